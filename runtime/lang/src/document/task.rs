//! Tasks of every type: what they have in common here, what each adds in a file of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::plan::{Expression, Signal, Template, TemplateMode, Typed, ValueTemplate};
use crate::schema::task::{TASK, TASK_CONFIG, TYPES};
use crate::suggest;
use crate::yaml::Node;

use super::fields::Fields;
use super::memory::MemoryUse;
use super::reader::{Reader, SiteKind};
use super::tool::ToolRef;
use super::{Name, SchemaRef, Unsupported, item_path};

mod basic;
mod calls;
mod containers;
mod flow;
mod router;
mod wait;

pub(crate) use basic::{Executor, PromptExecutor};
pub(crate) use calls::{Memory, SubWorkflow};
pub(crate) use containers::{Collection, Parallel};
pub(crate) use flow::{NextRef, Retry, Transition};
pub(crate) use router::{RouteRef, Router};
pub(crate) use wait::Wait;

/// Most tasks inside each other, counting routes and processors too. Reading and linking recurse, and a plan of more
/// levels could not be read back from its JSON, which ends at 128 levels of its own.
const MAX_DEPTH: usize = 32;

/// A task as written.
#[derive(Debug)]
pub(crate) struct Task {
    /// Id, written or by default.
    pub(crate) id: Name,
    /// The id of a collection's child, where it is a template.
    pub(crate) id_template: Option<Template>,
    /// What it does; `None`: nothing that could be read (reported).
    pub(crate) body: Option<Body>,
    pub(crate) with: Option<ValueTemplate>,
    pub(crate) input: Option<SchemaRef>,
    pub(crate) output: Option<SchemaRef>,
    pub(crate) outputs: Option<ValueTemplate>,
    pub(crate) env: BTreeMap<String, Template>,
    /// `None` for routers and waits, which have their own.
    pub(crate) condition: Option<Expression>,
    pub(crate) on_success: Transition,
    pub(crate) on_error: Option<Transition>,
    pub(crate) sleep: Option<Typed<Duration>>,
    pub(crate) is_final: Option<Typed<bool>>,
    pub(crate) timeout: Option<Typed<Duration>>,
    pub(crate) retry: Retry,
    /// Knowledge bases it is bound to.
    pub(crate) bindings: Vec<Name>,
    /// Memories of the prompt.
    pub(crate) memories: Vec<MemoryUse>,
    /// Tools the model may call.
    pub(crate) tools: Vec<ToolRef>,
    /// What it uses that is not part of this version.
    pub(crate) unsupported: Vec<Unsupported>,
    /// Id of the router it is written in.
    pub(crate) router: Option<String>,
    /// The map.
    pub(crate) node: Node,
}

/// What a task does.
#[derive(Debug)]
pub(crate) enum Body {
    Basic(Executor),
    Router(Box<Router>),
    Parallel(Parallel),
    Collection(Box<Collection>),
    Composite(TaskList),
    Aggregate,
    Wait(Box<Wait>),
    Signal(Box<Signal>),
    Memory(Box<Memory>),
    Workflow(SubWorkflow),
}

/// A list of tasks as written; inline tasks of a router stand right behind it.
#[derive(Debug)]
pub(crate) struct TaskList {
    pub(crate) tasks: Vec<Task>,
    pub(crate) flow: Flow,
    /// Whether every entry could be read.
    pub(crate) is_complete: bool,
    /// Ids of all entries, also of those that could not be read.
    pub(crate) ids: Vec<String>,
}

/// `flow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Auto,
    Sequential,
    Explicit,
}

impl Default for TaskList {
    fn default() -> Self {
        Self { tasks: Vec::new(), flow: Flow::Sequential, is_complete: true, ids: Vec::new() }
    }
}

/// How a task comes to its id.
#[derive(Debug, Clone, Copy)]
pub(super) enum Naming<'a> {
    /// It must be written; the position in the list for the message.
    Written(usize),
    /// It may be left out.
    Or(&'a str),
    /// As `Or`, and it may be a template.
    Child(&'a str),
}

impl Reader<'_> {
    /// Tasks of a list. What cannot be read is reported and left out.
    pub(crate) fn task_list(&mut self, node: &Node, path: &str, flow: Flow) -> TaskList {
        let mut list = TaskList { flow, ..TaskList::default() };
        for (index, node) in super::scalar::one_or_many(node).iter().enumerate() {
            list.ids.extend(node.get("id").and_then(Node::scalar).map(|scalar| scalar.text.to_string()));
            let read = self.task(node, &item_path(path, node, index), Naming::Written(index));
            list.is_complete &= !read.is_empty() && read.iter().all(|task| task.body.is_some());
            list.tasks.extend(read);
        }
        list
    }

    /// A task, and behind it the tasks written in its routes; nothing: it cannot be read (reported).
    pub(super) fn task(&mut self, node: &Node, path: &str, naming: Naming<'_>) -> Vec<Task> {
        let Some(kind) = self.task_type(node, path) else { return Vec::new() };
        let Some(fields) = self.fields_of(node, &TASK, path, Some(kind)) else { return Vec::new() };
        let (id, id_template, is_named) = self.task_id(&fields, naming);
        self.depth += 1;
        let mut tasks = vec![];
        let body = self.body(kind, &fields, &id, &mut tasks);
        self.depth -= 1;
        let task = self.at(SiteKind::Task, |reader| reader.typed_task(kind, &fields, (id, id_template), body));
        // A task without an id is read for what else is wrong with it, and then left out.
        if !is_named {
            return Vec::new();
        }
        tasks.insert(0, task);
        tasks
    }

    /// The id, its template where it is one, and whether there is an id at all.
    fn task_id(&mut self, fields: &Fields<'_>, naming: Naming<'_>) -> (Name, Option<Template>, bool) {
        let node = fields.get("id");
        let otherwise = |text: &str| Name { text: text.to_owned(), place: fields.node.place(), length: 1 };
        if let (Naming::Child(parent), Some(node)) = (naming, node)
            && node.scalar().is_some_and(|scalar| scalar.text.contains("{{"))
        {
            let template =
                self.at(SiteKind::Task, |reader| reader.template(node, &fields.at("id"), TemplateMode::Text));
            return (Name { length: node.length(), place: node.place(), ..otherwise(parent) }, template, true);
        }
        if let Some(id) = self.name(fields, "id") {
            return (id, None, true);
        }
        match naming {
            Naming::Or(text) | Naming::Child(text) => (otherwise(text), None, node.is_none()),
            Naming::Written(index) => {
                if node.is_none() {
                    let problem = fields.node.diagnostic("CZ0302", format!("task #{} has no id", index + 1));
                    self.report(problem.length(1).path(&fields.path).help("add it"));
                }
                (otherwise(&format!("#{}", index + 1)), None, false)
            }
        }
    }

    /// The task's type, checked.
    fn task_type(&mut self, node: &Node, path: &str) -> Option<&'static str> {
        let Some(entries) = node.entries() else {
            self.expected(node, path, "a map");
            return None;
        };
        let Some(kind) = node.get("type").filter(|kind| !kind.is_null()) else {
            // A key that only another type has means a forgotten type.
            for (key, meant) in [
                ("routes", "router"),
                ("tasks", "composite"),
                ("items", "collection"),
                ("wait_for", "wait"),
                ("operation", "memory"),
            ] {
                if let Some(entry) = entries.iter().find(|entry| &*entry.key == key) {
                    let meant = if key == "tasks" && node.get("items").is_some() { "collection" } else { meant };
                    let message = format!("'{key}' belongs to {meant} tasks");
                    let place = entry.value.place_of(entry.key_span);
                    let problem = Diagnostic::error("CZ0304", message, place).length(crate::source::narrow(key.len()));
                    self.report(problem.path(path).help(format!("add type: {meant}")));
                    return None;
                }
            }
            return Some("basic");
        };
        let text = self.text_of(kind, &format!("{path}.type"))?;
        let known = TYPES.iter().copied().find(|known| known.eq_ignore_ascii_case(&text));
        if known.is_none() {
            let near = suggest::nearest(&text, TYPES.iter().copied())
                .map(|near| format!(". Did you mean '{near}'?"))
                .unwrap_or_default();
            let problem = kind.diagnostic("CZ0303", format!("task type '{text}' does not exist{near}"));
            self.report(problem.path(path).help(format!("types: {}", TYPES.join(", "))));
        }
        known
    }

    /// What all types have in common, around `body`.
    fn typed_task(
        &mut self,
        kind: &'static str,
        fields: &Fields<'_>,
        (id, id_template): (Name, Option<Template>),
        body: Option<Body>,
    ) -> Task {
        let config = fields.get("config").and_then(|node| self.fields(node, &TASK_CONFIG, &fields.at("config")));
        let config = config.as_ref();
        // What a template may name besides the variables of every task (dialect §6.2).
        let (in_outputs, after): (&[&str], &[&str]) = match kind {
            "parallel" | "collection" | "composite" => (&["children"], &[]),
            "wait" => (&["signal"], &["signal"]),
            _ => (&[], &[]),
        };
        let (outputs, output) = self.with_names(in_outputs, |reader| {
            let outputs = reader.task_outputs(fields);
            let (output, output_is_outputs) = reader.task_output(fields);
            (outputs.or(output_is_outputs), output)
        });
        let has_own_condition = matches!(kind, "router" | "wait");
        let (is_final, on_success) =
            self.with_names(after, |reader| (reader.is_final(fields), reader.on_success(fields)));
        Task {
            body,
            with: self.at(SiteKind::With, |reader| reader.field_templates(fields, "with")),
            input: self.schema(fields, "input"),
            output,
            outputs,
            env: self.env(&[Some(fields), config]),
            condition: if has_own_condition { None } else { self.condition(fields) },
            on_success,
            on_error: self.on_error(fields).or_else(|| self.on_error(config?)),
            sleep: self.typed_duration(fields, "sleep"),
            is_final,
            timeout: self.timeout(kind, fields, &id, config),
            retry: self.retry(&[Some(fields), config]),
            bindings: self.bindings(fields),
            memories: self.memory_uses(fields),
            tools: self.tool_refs(fields),
            unsupported: self.unsupported_keys(fields, &["mcps", "attachments"], &["knowledge"]),
            router: None,
            node: fields.node.clone(),
            id_template,
            id,
        }
    }

    /// What the type adds; the tasks written in the routes of a router go into `inline`.
    fn body(&mut self, kind: &str, fields: &Fields<'_>, id: &Name, inline: &mut Vec<Task>) -> Option<Body> {
        if self.depth > MAX_DEPTH {
            let problem = id.diagnostic("CZ0313", format!("'{}' lies more than {MAX_DEPTH} tasks deep", id.text));
            self.report(problem.help("make it a workflow of its own"));
            return None;
        }
        self.at(SiteKind::Task, |reader| reader.body_of(kind, fields, id, inline))
    }

    fn body_of(&mut self, kind: &str, fields: &Fields<'_>, id: &Name, inline: &mut Vec<Task>) -> Option<Body> {
        match kind {
            "router" => self.router(fields, id, inline).map(|router| Body::Router(Box::new(router))),
            "parallel" => self.parallel(fields, id).map(Body::Parallel),
            "collection" => self.collection(fields, id).map(|collection| Body::Collection(Box::new(collection))),
            "composite" => Some(Body::Composite(self.composite(fields))),
            "aggregate" => self.aggregate(fields, id).then_some(Body::Aggregate),
            "wait" => self.wait(fields, id).map(|wait| Body::Wait(Box::new(wait))),
            "signal" => self.signal(fields, id).map(|signal| Body::Signal(Box::new(signal))),
            "memory" => self.memory_task(fields, id).map(|memory| Body::Memory(Box::new(memory))),
            "workflow" => self.sub_workflow(fields, id).map(Body::Workflow),
            _ => self.executor(fields, id).map(Body::Basic),
        }
    }

    /// CZ0309: a key that a type needs.
    pub(super) fn needs(&mut self, kind: &str, id: &Name, key: &str, help: &str) {
        let problem = id.diagnostic("CZ0309", format!("{kind} task '{}' needs '{key}'", id.text));
        self.report(problem.help(help));
    }

    /// `env` of several maps, the first wins.
    pub(crate) fn env(&mut self, all: &[Option<&Fields<'_>>]) -> BTreeMap<String, Template> {
        let mut found = BTreeMap::new();
        for fields in all.iter().copied().flatten() {
            let Some(node) = fields.get("env") else { continue };
            for (name, template) in self.template_map(node, &fields.at("env")) {
                found.entry(name).or_insert(template);
            }
        }
        found
    }

    /// A value of templates under a key.
    pub(super) fn field_templates(&mut self, fields: &Fields<'_>, name: &str) -> Option<ValueTemplate> {
        let node = fields.get(name)?;
        Some(self.templates(node, &fields.at(name), TemplateMode::Value))
    }

    fn task_outputs(&mut self, fields: &Fields<'_>) -> Option<ValueTemplate> {
        self.at(SiteKind::Output, |reader| reader.field_templates(fields, "outputs"))
    }

    /// `output`: a schema, or a map of templates that is meant as `outputs`.
    fn task_output(&mut self, fields: &Fields<'_>) -> (Option<SchemaRef>, Option<ValueTemplate>) {
        let Some(node) = fields.get("output") else { return (None, None) };
        if !holds_template(node) {
            return (self.schema(fields, "output"), None);
        }
        let message = format!("'{}' holds templates and is read as 'outputs'", fields.at("output"));
        self.report(fields.diagnostic("output", "CZ0107", message).severity(crate::diagnostic::Severity::Note));
        if let (Some(first), Some(second)) = (fields.entry("outputs"), fields.entry("output")) {
            self.second_spelling(first, second);
            return (None, None);
        }
        (None, self.at(SiteKind::Output, |reader| reader.field_templates(fields, "output")))
    }

    /// `condition` of a task that may be skipped.
    fn condition(&mut self, fields: &Fields<'_>) -> Option<Expression> {
        let node = fields.get("condition")?;
        self.expression(node, &fields.at("condition"), TemplateMode::Guard).map(|(expression, _)| expression)
    }

    fn is_final(&mut self, fields: &Fields<'_>) -> Option<Typed<bool>> {
        let node = fields.get("final")?;
        let path = fields.at("final");
        self.at(SiteKind::Output, |reader| {
            reader.typed(node, &path, TemplateMode::Guard, |reader, node| reader.bool_of(node, &path))
        })
    }

    fn typed_duration(&mut self, fields: &Fields<'_>, name: &str) -> Option<Typed<Duration>> {
        let node = fields.get(name)?;
        let path = fields.at(name);
        self.typed(node, &path, TemplateMode::Text, |reader, node| {
            reader.duration_of(node, &path, crate::duration::Bare::Refused)
        })
    }

    /// A whole number that may be a template.
    pub(super) fn typed_count(&mut self, fields: &Fields<'_>, name: &str, most: u32) -> Option<Typed<u32>> {
        let node = fields.get(name)?;
        let path = fields.at(name);
        self.typed(node, &path, TemplateMode::Text, |reader, node| {
            let count = reader.int_of(node, &path, 0, i64::from(most))?;
            u32::try_from(count).ok()
        })
    }

    /// `timeout`. A wait task needs one, and there `none` is none.
    fn timeout(
        &mut self,
        kind: &str,
        fields: &Fields<'_>,
        id: &Name,
        config: Option<&Fields<'_>>,
    ) -> Option<Typed<Duration>> {
        let fields = if fields.get("timeout").is_some() { fields } else { config.unwrap_or(fields) };
        if kind == "wait" {
            let Some(node) = fields.get("timeout") else {
                self.needs(kind, id, "timeout", "add it; none waits without limit");
                return None;
            };
            if node.scalar().is_some_and(|scalar| scalar.text.trim().eq_ignore_ascii_case("none")) {
                return None;
            }
        }
        self.typed_duration(fields, "timeout")
    }
}

/// Whether some scalar of a value holds a template.
pub(crate) fn holds_template(node: &Node) -> bool {
    match &node.value {
        crate::yaml::Value::Scalar(scalar) => scalar.text.contains("{{"),
        crate::yaml::Value::List(items) => items.iter().any(holds_template),
        crate::yaml::Value::Map(entries) => entries.iter().any(|entry| holds_template(&entry.value)),
    }
}
