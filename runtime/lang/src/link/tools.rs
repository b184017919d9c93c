//! Tools and the plugins behind them.

use crate::document::Name;
use crate::document::tool::{Tool as ToolDocument, ToolRef};
use crate::plan::Tool;

use super::Linker;

impl Linker<'_> {
    /// Registers the tools of all files.
    pub(super) fn tools(&mut self, tools: Vec<ToolDocument>) {
        let mut with_id = Vec::new();
        for tool in tools {
            match tool.id.clone() {
                Some(id) => with_id.push((id, tool)),
                None => self.report(tool.node.diagnostic("CZ0203", "a tool needs an id").length(1).help("add it")),
            }
        }
        let names: Vec<Name> = with_id.iter().map(|(id, _)| id.clone()).collect();
        let unique = self.unique_ids("tool", &names);
        for ((id, tool), is_first) in with_id.into_iter().zip(unique) {
            if is_first && let Some(tool) = self.tool(tool, &id.text) {
                self.tools.insert(id.text, tool);
            }
        }
    }

    /// A tool with its plugin checked.
    fn tool(&mut self, tool: ToolDocument, id: &str) -> Option<Tool> {
        if let Some(script) = &tool.script {
            let unsupported = crate::document::Unsupported {
                what: "script tools".into(),
                place: script.place.clone(),
                is_warning: false,
            };
            self.report(unsupported.diagnostic());
            return None;
        }
        let Some(plugin) = &tool.plugin else {
            let message = format!("'{id}': no usable implementation: 'plugin' is missing");
            self.report(
                tool.node.diagnostic("CZ0701", message).length(1).help("name a plugin of plugins:, or builtin:NAME"),
            );
            return None;
        };
        if !plugin.text.starts_with("builtin:") {
            match self.plugins.get(&plugin.text) {
                Some(crate::plan::PluginKind::Tool) => {}
                Some(_) => {
                    let message =
                        format!("'{}': not a tool component: its entry in plugins has another kind", plugin.text);
                    self.report(plugin.diagnostic("CZ0702", message));
                }
                None => {
                    let known: Vec<String> = self.plugins.keys().cloned().collect();
                    self.not_found("plugin", plugin, &known);
                }
            }
        }
        Some(Tool {
            id: id.to_owned(),
            plugin: plugin.text.clone(),
            function: tool.function,
            description: tool.description,
            with: tool.with,
            config: tool.config,
            input_schema: self.schema(tool.input),
            output_schema: self.schema(tool.output),
            timeout: tool.timeout,
        })
    }

    /// The tool of a task and its key in [`crate::plan::Workflow::tools`].
    pub(super) fn tool_of(&mut self, reference: ToolRef, task: &Name) -> Option<(String, Tool)> {
        match reference {
            ToolRef::Id(name) => {
                if let Some(tool) = self.tools.get(&name.text) {
                    return Some((name.text, tool.clone()));
                }
                if name.text.starts_with("cp__") {
                    let message = format!("built-in tool '{}' is off", name.text);
                    self.report(
                        name.diagnostic("CZ0707", message).help("it is not part of this version; use a plugin"),
                    );
                    return None;
                }
                let known: Vec<String> = self.tools.keys().cloned().collect();
                self.not_found("tool", &name, &known);
                None
            }
            ToolRef::Inline(tool) => {
                let id = tool.id.as_ref().map_or_else(|| task.text.clone(), |id| id.text.clone());
                let key = format!("{}#{id}", task.text);
                self.tool(*tool, &id).map(|tool| (key, tool))
            }
        }
    }
}
