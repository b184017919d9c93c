//! Workflow files.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::{Concurrency, Template, TemplateMode, ValueTemplate};
use crate::schema::workflow::{WORKFLOW, WORKFLOW_CONFIG};
use crate::settings::Durability;
use crate::yaml::Node;

use super::fields::Fields;
use super::project::Definitions;
use super::reader::{Reader, SiteKind};
use super::schedule::Schedule;
use super::task::{Flow, Retry, TaskList, Transition};
use super::trigger::Trigger;
use super::{Name, SchemaRef, Unsupported};

/// A workflow as written.
#[derive(Debug)]
pub(crate) struct Workflow {
    pub(crate) id: Name,
    /// File it was read from.
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) input: Option<SchemaRef>,
    pub(crate) output_schema: Option<SchemaRef>,
    pub(crate) outputs: Option<ValueTemplate>,
    pub(crate) durability: Option<Durability>,
    pub(crate) concurrency: Option<Concurrency>,
    pub(crate) tasks: TaskList,
    pub(crate) triggers: Vec<Trigger>,
    pub(crate) schedules: Vec<Schedule>,
    /// Ids of all tasks at every depth, for the check of `.tasks.<id>`.
    pub(crate) task_ids: Vec<String>,
    pub(crate) defaults: Defaults,
    pub(crate) bindings: Vec<Name>,
    pub(crate) unsupported: Vec<Unsupported>,
}

/// What a `config` says for all tasks below it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Defaults {
    pub(crate) on_error: Option<Transition>,
    pub(crate) retry: Retry,
    pub(crate) env: BTreeMap<String, Template>,
    /// Limit of the whole run.
    pub(crate) timeout: Option<Duration>,
}

impl Reader<'_> {
    /// Reads one workflow; `number` is its position among all, `definitions` takes what it registers project-wide.
    pub(crate) fn workflow(&mut self, node: &Node, number: usize, definitions: &mut Definitions) -> Option<Workflow> {
        self.site.workflow = Some(number);
        let found = self.workflow_fields(node, definitions);
        self.site.workflow = None;
        found
    }

    fn workflow_fields(&mut self, node: &Node, definitions: &mut Definitions) -> Option<Workflow> {
        let fields = self.fields(node, &WORKFLOW, "")?;
        let id = self.workflow_id(&fields);
        let config = fields.get("config").and_then(|node| self.fields(node, &WORKFLOW_CONFIG, "config"));
        let config = config.as_ref();
        // What a workflow file registers is seen by every workflow, so its templates belong to none.
        let number = self.site.workflow.take();
        definitions.read(self, &fields, &["schemas", "agents", "tools", "mcps", "knowledge_bases"]);
        self.site.workflow = number;
        let (outputs, output_schema) = self.workflow_output(&fields);
        let unsupported = self.unsupported_keys(&fields, &[], &["knowledge"]);
        if let Some(tasks) = fields.get("tasks") {
            collect_ids(tasks, None, &mut self.task_ids);
        }
        let flow = match self.choice(&fields, "flow") {
            Some("sequential") => Flow::Sequential,
            Some("explicit") => Flow::Explicit,
            _ => Flow::Auto,
        };
        let tasks = fields.get("tasks").map(|node| self.task_list(node, "tasks", flow)).unwrap_or_default();
        let task_ids = std::mem::take(&mut self.task_ids);
        Some(Workflow {
            file: node.source.name.to_string(),
            name: self.text(&fields, "name").unwrap_or_default(),
            version: self.text(&fields, "version").unwrap_or_default(),
            description: self.text(&fields, "description").unwrap_or_default(),
            input: self.workflow_input(&fields, config),
            output_schema,
            outputs,
            durability: config.and_then(|config| self.choice(config, "durability")).map(durability),
            concurrency: config.and_then(|config| self.concurrency(config, &id.text)),
            tasks,
            triggers: self.triggers(&fields),
            schedules: self.schedules(&fields),
            task_ids,
            defaults: config.map(|config| self.defaults(config)).unwrap_or_default(),
            bindings: self.bindings(&fields),
            unsupported,
            id,
        })
    }

    /// Defaults of a project's or workflow's `config`.
    pub(crate) fn defaults(&mut self, config: &Fields<'_>) -> Defaults {
        self.at(SiteKind::Task, |reader| Defaults {
            on_error: reader.on_error(config),
            retry: reader.retry(&[Some(config)]),
            env: reader.env(&[Some(config)]),
            timeout: reader.duration(config, "timeout"),
        })
    }

    /// The id, or the name of the file without its extension; that also stands for an id that cannot be read.
    fn workflow_id(&mut self, fields: &Fields<'_>) -> Name {
        let is_written = fields.get("id").is_some();
        if let Some(id) = self.name(fields, "id") {
            return id;
        }
        let file = fields.node.source.name.clone();
        let stem = file.rsplit('/').next().unwrap_or(&file);
        let stem = stem.strip_suffix(".yaml").or_else(|| stem.strip_suffix(".yml")).unwrap_or(stem);
        if !is_written {
            let message = format!("the workflow has no id; it is called '{stem}' after its file");
            let problem = fields.node.diagnostic("CZ0203", message).length(1);
            self.report(problem.severity(crate::diagnostic::Severity::Note));
        }
        Name { text: stem.to_owned(), place: fields.node.place(), length: 1 }
    }

    /// `config.input`, or `input` with an optional `schema` level.
    fn workflow_input(&mut self, fields: &Fields<'_>, config: Option<&Fields<'_>>) -> Option<SchemaRef> {
        let outer = fields.entry("input");
        let inner = config.and_then(|config| config.entry("input"));
        if let (Some(first), Some(second)) = (inner, outer) {
            self.second_spelling(first, second);
        }
        let node = &inner.or(outer)?.value;
        let path = if inner.is_some() { "config.input" } else { "input" };
        match node.entries() {
            Some([only]) if &*only.key == "schema" => self.schema_of(&only.value, &format!("{path}.schema")),
            _ => self.schema_of(node, path),
        }
    }

    /// `outputs`, or `output` as a schema of the final output.
    fn workflow_output(&mut self, fields: &Fields<'_>) -> (Option<ValueTemplate>, Option<SchemaRef>) {
        let Some(entry) = fields.entry("outputs") else { return (None, None) };
        let node = &entry.value;
        if &*entry.key == "output" {
            let schema = match node.entries() {
                Some([only]) if &*only.key == "schema" => Some(&only.value),
                Some(_) if is_object_schema(node) => Some(node),
                _ => None,
            };
            if let Some(schema) = schema {
                return (None, self.schema_of(schema, "output"));
            }
        }
        let outputs =
            self.at(SiteKind::WorkflowOutputs, |reader| reader.templates(node, &entry.key, TemplateMode::Outputs));
        (Some(outputs), None)
    }
}

/// `type: object` with `properties`.
fn is_object_schema(node: &Node) -> bool {
    let is_object = node.get("type").and_then(Node::scalar).is_some_and(|scalar| &*scalar.text == "object");
    is_object && node.get("properties").is_some_and(|properties| properties.entries().is_some())
}

/// A durability by its word.
pub(crate) fn durability(word: &str) -> Durability {
    match word {
        "normal" => Durability::Normal,
        "memory" => Durability::Memory,
        _ => Durability::Full,
    }
}

/// Ids of tasks at every depth, those that are given by default among them.
fn collect_ids(node: &Node, default: Option<String>, found: &mut Vec<String>) {
    for task in super::scalar::one_or_many(node) {
        let Some(entries) = task.entries() else { continue };
        let written = task.get("id").and_then(Node::scalar).map(|scalar| scalar.text.to_string());
        let id = written.or_else(|| default.clone());
        found.extend(id.clone());
        let id = id.unwrap_or_default();
        for entry in entries {
            match &*entry.key {
                "tasks" | "task" => collect_ids(&entry.value, None, found),
                "processor" => collect_ids(&entry.value, Some(format!("{id}-processor")), found),
                "routes" => {
                    for route in entry.value.entries().unwrap_or_default() {
                        collect_ids(&route.value, Some(format!("{id}-{}", route.key)), found);
                    }
                }
                "default" | "default_route" => collect_ids(&entry.value, Some(format!("{id}-default")), found),
                _ => {}
            }
        }
    }
}

/// Kind of what a resource file defines.
pub(crate) fn resource_kind(node: &Node) -> Option<&Node> {
    node.get("resource").filter(|kind| !kind.is_null())
}
