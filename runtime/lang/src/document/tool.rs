//! Tools.

use serde_json::Value;

use crate::plan::{Permissions, PluginLimits, TemplateMode, ValueTemplate};
use crate::schema::definitions::TOOL;
use crate::script::ScriptRef;
use crate::yaml::Node;

use super::fields::Fields;
use super::plugin::Granted;
use super::reader::{Reader, SiteKind};
use super::{Name, SchemaRef, item_path};

/// A tool as written.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    /// Id, if it has one.
    pub(crate) id: Option<Name>,
    /// The plugin.
    pub(crate) plugin: Option<Name>,
    /// A script instead of a plugin.
    pub(crate) script: Option<Name>,
    /// Function of the plugin.
    pub(crate) function: Option<String>,
    /// What it does.
    pub(crate) description: String,
    /// Values under those of the call.
    pub(crate) with: Option<ValueTemplate>,
    /// Second argument.
    pub(crate) config: Value,
    /// Schema of the input.
    pub(crate) input: Option<SchemaRef>,
    /// Schema of the output.
    pub(crate) output: Option<SchemaRef>,
    /// What a script may do.
    pub(crate) permissions: Permissions,
    /// Ids of databases it is granted, with their places.
    pub(crate) databases: Vec<Name>,
    /// Provider entries it may ask, with their places.
    pub(crate) models: Vec<Name>,
    /// Caps on a script.
    pub(crate) limits: PluginLimits,
    /// Limit of a call.
    pub(crate) timeout: Option<std::time::Duration>,
    /// Where it is written.
    pub(crate) node: Node,
}

/// A tool of a task.
#[derive(Debug, Clone)]
pub(crate) enum ToolRef {
    /// A registered one.
    Id(Name),
    /// Written in place.
    Inline(Box<Tool>),
}

impl Reader<'_> {
    /// Reads one tool. Its `config` is used at the first call, so missing variables are kept for later.
    pub(crate) fn tool(&mut self, node: &Node, path: &str) -> Option<Tool> {
        let fields = self.fields(node, &TOOL, path)?;
        if let Some(env) = fields.get("env") {
            self.unsupported("env of tools", env.place());
        }
        let (id, script) = (self.name(&fields, "id"), self.name(&fields, "script"));
        if let Some(path) = &script {
            let owner = id.as_ref().unwrap_or(path).text.clone();
            self.scripts.push(ScriptRef { owner, path: path.clone() });
        }
        let is_plugin = fields.get("plugin").is_some();
        if let (true, Some(script)) = (is_plugin, &script) {
            let owner = &id.as_ref().unwrap_or(script).text;
            let message = format!("'{owner}': no usable implementation: it names a plugin and a script");
            self.report(script.diagnostic("CZ0701", message).help("remove one of them"));
        }
        for name in ["permissions", "limits"] {
            if fields.get(name).is_some() && is_plugin {
                let message = format!("'{name}' belongs to the plugin of a tool, not to the tool");
                self.report(fields.diagnostic(name, "CZ0701", message).help("write it in the entry of plugins:"));
            }
        }
        let Granted { permissions, databases, models } = self.permissions(&fields);
        let limits = self.plugin_limits(&fields);
        Some(Tool {
            id,
            plugin: self.name(&fields, "plugin"),
            script,
            permissions,
            databases,
            models,
            limits,
            function: self.text(&fields, "function"),
            description: self.text(&fields, "description").unwrap_or_default(),
            with: fields.get("with").map(|node| {
                self.at(SiteKind::With, |reader| {
                    reader.anywhere(|reader| reader.templates(node, &fields.at("with"), TemplateMode::Value))
                })
            }),
            config: fields
                .get("config")
                .map_or(Value::Null, |node| self.lazily(|reader| reader.value(node, &fields.at("config")))),
            input: self.schema(&fields, "input"),
            output: self.schema(&fields, "output"),
            timeout: self.duration(&fields, "timeout"),
            node: node.clone(),
        })
    }

    /// Tools that a model may call: ids and tools.
    pub(crate) fn tool_refs(&mut self, fields: &Fields<'_>) -> Vec<ToolRef> {
        let path = fields.at("tools");
        let nodes = fields.get("tools").map(super::scalar::one_or_many).unwrap_or_default();
        let mut found = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let Some(reference) = self.tool_ref(node, &item_path(&path, node, index)) else { continue };
            match &reference {
                ToolRef::Inline(tool) if tool.id.is_none() => {
                    self.report(node.diagnostic("CZ0203", "a tool needs an id").length(1).path(&path).help("add it"));
                }
                _ => found.push(reference),
            }
        }
        found
    }

    /// The tool of a task: an id, or a tool.
    pub(crate) fn tool_ref(&mut self, node: &Node, path: &str) -> Option<ToolRef> {
        if node.scalar().is_some() {
            return self.name_of(node, path).map(ToolRef::Id);
        }
        let tool = self.tool(node, path)?;
        let only_id = node.entries().is_some_and(|entries| entries.iter().all(|entry| &*entry.key == "id"));
        match (only_id, tool.id) {
            (true, Some(id)) => Some(ToolRef::Id(id)),
            (_, id) => Some(ToolRef::Inline(Box::new(Tool { id, ..tool }))),
        }
    }
}
