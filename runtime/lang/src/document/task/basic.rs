//! Basic tasks: a prompt, an agent or a tool.

use crate::plan::{Template, TemplateMode};

use crate::document::Name;
use crate::document::agent::AgentRef;
use crate::document::fields::Fields;
use crate::document::provider::Entry;
use crate::document::reader::Reader;
use crate::document::tool::ToolRef;

/// What a basic task runs.
#[derive(Debug)]
pub(crate) enum Executor {
    /// A model.
    Prompt(Box<PromptExecutor>),
    /// A tool.
    Tool(ToolRef),
}

/// `prompt`, `agent`, `action` and `model_config` of a task.
#[derive(Debug)]
pub(crate) struct PromptExecutor {
    pub(crate) prompt: Option<Template>,
    pub(crate) agent: Option<AgentRef>,
    pub(crate) action: Option<Name>,
    pub(crate) model_config: Option<Entry>,
}

impl Reader<'_> {
    pub(super) fn executor(&mut self, fields: &Fields<'_>, id: &Name) -> Option<Executor> {
        let prompts = ["agent", "prompt", "action", "model_config", "tools"];
        if let Some(tool) = fields.get("tool") {
            if let Some(other) = prompts.iter().copied().find(|name| fields.get(name).is_some()) {
                let message = format!("'tool' cannot be combined with '{other}'");
                let problem =
                    fields.diagnostic(other, "CZ0306", message).related(fields.place("tool"), "'tool' is here");
                self.report(problem.help("make it two tasks"));
            }
            return self.tool_ref(tool, &fields.at("tool")).map(Executor::Tool);
        }
        if fields.get("prompt").is_none() && fields.get("agent").is_none() {
            let problem = id.diagnostic("CZ0305", format!("task '{}' has nothing to run", id.text));
            self.report(problem.path(&fields.path).help("write one of prompt, agent, tool"));
            return None;
        }
        Some(Executor::Prompt(Box::new(PromptExecutor {
            prompt: fields.get("prompt").and_then(|node| self.template(node, &fields.at("prompt"), TemplateMode::Text)),
            agent: fields.get("agent").and_then(|node| self.agent_ref(node, &fields.at("agent"))),
            action: self.name(fields, "action"),
            model_config: fields.get("model_config").and_then(|node| self.provider(node, &fields.at("model_config"))),
        })))
    }
}
