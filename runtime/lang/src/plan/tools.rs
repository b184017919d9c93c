//! Tools: what a task calls, what a model may call, and when its calling comes to an end (dialect §9, §10.3).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Permissions, PluginLimits, ValueTemplate};

/// A tool call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ToolCall {
    /// Key of [`super::Workflow::tools`].
    pub tool: String,
}

/// A tool: a function of a plugin with its defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tool {
    /// Id.
    pub id: String,
    /// Id of the plugin entry, or `builtin:NAME`.
    pub plugin: String,
    /// Function of the plugin; `None`: the only one, else the one named like the tool.
    pub function: Option<String>,
    /// What it does.
    pub description: String,
    /// Defaults under the call's `with`.
    pub with: Option<ValueTemplate>,
    /// Second argument of the tool, a JSON value.
    pub config: Value,
    /// JSON Schema of the input (CZ0708).
    pub input_schema: Option<Value>,
    /// JSON Schema of the output (CZ0709).
    pub output_schema: Option<Value>,
    /// Limit of one call.
    pub timeout: Option<Duration>,
    /// What runs, where it is a script: the plugin is [`JS_ENGINE`] then, and `function` a key of what the script exports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Script>,
}

/// The plugin that runs scripts.
pub const JS_ENGINE: &str = "builtin:js";

/// A script with everything it imports: a run keeps the text it began with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Name of the module whose default export is called.
    pub main: String,
    /// Texts of the modules by name: paths below the project folder.
    pub modules: BTreeMap<String, String>,
    /// What it may do.
    pub permissions: Permissions,
    /// Caps on one call.
    pub limits: PluginLimits,
}

/// The tools of a prompt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolbox {
    /// Keys of [`super::Workflow::tools`], in the order the model is told of them.
    pub tools: Vec<String>,
    /// When it comes to an end.
    pub guards: ToolGuards,
}

impl Toolbox {
    /// Whether the model may call nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }
}

/// What bounds the tool calls of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolGuards {
    /// Most answers whose calls are carried out (CZ0509).
    pub max_iterations: u32,
    /// Most calls of one answer at once.
    pub max_concurrent: u32,
    /// Most failed calls in a row (CZ0510).
    pub max_sequential_errors: u32,
    /// Most equal calls with equal results in a row (CZ0510).
    pub max_consecutive_successes: u32,
    /// Most calls of one tool (CZ0510); 0: no cap.
    pub default_cap: u32,
    /// The same by tool id.
    pub caps: BTreeMap<String, u32>,
}

impl Default for ToolGuards {
    fn default() -> Self {
        Self {
            max_iterations: 25,
            max_concurrent: 10,
            max_sequential_errors: 10,
            max_consecutive_successes: 3,
            default_cap: 0,
            caps: BTreeMap::new(),
        }
    }
}

impl ToolGuards {
    /// Most calls of the tool with this id; `None`: no cap.
    #[must_use]
    pub fn cap(&self, tool: &str) -> Option<u32> {
        Some(self.caps.get(tool).copied().unwrap_or(self.default_cap)).filter(|cap| *cap > 0)
    }
}
