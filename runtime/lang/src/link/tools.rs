//! Tools and the plugins behind them.

use crate::document::Name;
use crate::document::tool::{Tool as ToolDocument, ToolRef};
use crate::plan::{JS_ENGINE, Prompt, Script, Tool, ToolGuards};

use super::Linker;
use super::tasks::Used;

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
        let Some(plugin) = &tool.plugin else { return self.script_tool(tool, id) };
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
            script: None,
        })
    }

    /// A tool that is a script: its own, or a function of the one that `runtime.entrypoint` names.
    fn script_tool(&mut self, tool: ToolDocument, id: &str) -> Option<Tool> {
        let (path, function) = match (&tool.script, &self.facts.entrypoint) {
            (Some(script), _) => (&script.text, tool.function),
            (None, Some(entrypoint)) => (&entrypoint.text, Some(tool.function.unwrap_or_else(|| id.to_owned()))),
            (None, None) => {
                let message = format!("'{id}': no usable implementation: neither 'plugin' nor 'script' is there");
                let help = "name a plugin of plugins:, builtin:NAME, or a JavaScript file";
                self.report(tool.node.diagnostic("CZ0701", message).length(1).help(help));
                return None;
            }
        };
        // What cannot be read has been told already.
        let modules = self.facts.scripts.get(path)?.clone();
        let databases = self.databases.clone();
        self.granted_databases(&tool.databases, &databases);
        let mut permissions = tool.permissions;
        self.model_grant(&mut permissions, &tool.models);
        Some(Tool {
            id: id.to_owned(),
            plugin: JS_ENGINE.to_owned(),
            function,
            description: tool.description,
            with: tool.with,
            config: tool.config,
            input_schema: self.schema(tool.input),
            output_schema: self.schema(tool.output),
            timeout: tool.timeout,
            script: Some(Script { main: modules.main, modules: modules.texts, permissions, limits: tool.limits }),
        })
    }

    /// Lets a prompt call these tools. One with the id of an earlier one takes its place.
    pub(super) fn prompt_tools(&mut self, prompt: &mut Prompt, references: Vec<ToolRef>, task: &Name, used: &mut Used) {
        for reference in references {
            let Some((key, tool)) = self.tool_of(reference, task) else { continue };
            let is_other = |key: &String| used.tools.get(key).is_none_or(|known| known.id != tool.id);
            prompt.toolbox.tools.retain(is_other);
            prompt.toolbox.tools.push(used.keep_tool(key, tool));
        }
    }

    /// What bounds the tool calls of a prompt: the agent over the provider's entry over `llm`.
    pub(super) fn tool_guards(&self, max_iterations: Option<u32>, provider: Option<&str>) -> ToolGuards {
        let entry = self.providers.iter().find(|entry| provider.map_or(entry.default, |id| entry.id == id));
        let mut guards = self.settings.llm.tools.clone();
        let own = max_iterations.or_else(|| entry.and_then(|entry| entry.max_tool_iterations));
        guards.max_iterations = own.unwrap_or(guards.max_iterations);
        guards
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
                // Registered tools have no `#` in their ids.
                let key = format!("{}#{id}", task.text);
                self.tool(*tool, &id).map(|tool| (key, tool))
            }
        }
    }
}
