//! Tasks that use something of the project: a memory, another workflow.

use serde_json::{Map, Value};

use crate::plan::{MemoryOperation, Template, TemplateMode, Typed, ValueTemplate};
use crate::yaml::Node;

use crate::document::Name;
use crate::document::fields::Fields;
use crate::document::reader::Reader;

/// `type: memory`.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) operation: MemoryOperation,
    pub(crate) memory: Name,
    pub(crate) key: Option<Template>,
    pub(crate) payload: Option<ValueTemplate>,
    pub(crate) options: Map<String, Value>,
}

/// `type: workflow`.
#[derive(Debug)]
pub(crate) struct SubWorkflow {
    pub(crate) workflow: Name,
    pub(crate) wait: bool,
}

impl Reader<'_> {
    pub(super) fn memory_task(&mut self, fields: &Fields<'_>, id: &Name) -> Option<Memory> {
        let operation = self.operation(fields, id);
        let memory = self.name(fields, "memory_ref");
        if fields.get("memory_ref").is_none() {
            self.needs("memory", id, "memory_ref", "add the id of an entry of memories:");
        }
        let key = fields.get("key_template").and_then(|node| self.memory_key(node, &fields.at("key_template")));
        let payload = self.field_templates(fields, "payload");
        let options = self.memory_options(fields);
        let operation = operation?;
        if matches!(operation, MemoryOperation::Write | MemoryOperation::Append) && payload.is_none() {
            self.needs("memory", id, "payload", "add the messages");
            return None;
        }
        let is_confirmed =
            options.get("clear_config").and_then(|config| config.get("confirm")) == Some(&Value::Bool(true));
        if operation == MemoryOperation::Clear && !is_confirmed {
            self.needs("memory", id, "clear_config", "a clear needs clear_config: {confirm: true}");
            return None;
        }
        Some(Memory { operation, memory: memory?, key, payload, options })
    }

    /// The key of a memory; one that is written out is checked now.
    pub(crate) fn memory_key(&mut self, node: &Node, path: &str) -> Option<Template> {
        let template = self.template(node, path, TemplateMode::Text)?;
        if let Some(text) = template.fixed_text().filter(|text| !text.contains("{{"))
            && !crate::plan::memory::is_memory_key(&text)
        {
            let shown = crate::yaml::describe_text(&text);
            let problem = node.diagnostic("CZ0323", format!("memory key {shown} is not valid"));
            let help = "use 1 to 256 letters, digits and _ : @ . * -, without __ at the start or end";
            self.report(problem.path(path).help(help));
        }
        Some(template)
    }

    fn operation(&mut self, fields: &Fields<'_>, id: &Name) -> Option<MemoryOperation> {
        if fields.get("operation").is_none() {
            let known = crate::schema::task::OPERATIONS.join(", ");
            self.needs("memory", id, "operation", &format!("add one of {known}"));
            return None;
        }
        Some(match self.choice(fields, "operation")? {
            "write" => MemoryOperation::Write,
            "append" => MemoryOperation::Append,
            "delete" => MemoryOperation::Delete,
            "clear" => MemoryOperation::Clear,
            "flush" => MemoryOperation::Flush,
            "stats" => MemoryOperation::Stats,
            "health" => MemoryOperation::Health,
            _ => MemoryOperation::Read,
        })
    }

    /// The further settings of an operation, as written.
    fn memory_options(&mut self, fields: &Fields<'_>) -> Map<String, Value> {
        let mut options = Map::new();
        for (name, most) in [("max_keys", 50_000), ("batch_size", 10_000)] {
            if let Some(Typed::Fixed(count)) = self.typed_count(fields, name, most) {
                options.insert(name.to_owned(), count.into());
            }
        }
        for name in ["flush_config", "clear_config", "health_config", "stats_config"] {
            let Some(node) = fields.get(name) else { continue };
            let path = fields.at(name);
            if node.entries().is_none() {
                self.expected(node, &path, "a map");
                continue;
            }
            let value = self.value(node, &path);
            options.insert(name.to_owned(), value);
        }
        options
    }

    pub(super) fn sub_workflow(&mut self, fields: &Fields<'_>, id: &Name) -> Option<SubWorkflow> {
        let wait = self.bool(fields, "wait").unwrap_or(true);
        if fields.get("workflow").is_none() {
            self.needs("workflow", id, "workflow", "add the id of the workflow");
            return None;
        }
        Some(SubWorkflow { workflow: self.name(fields, "workflow")?, wait })
    }
}
