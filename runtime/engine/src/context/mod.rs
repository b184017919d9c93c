//! What templates and conditions see: the variables of dialect §6.2 as one JSON object.
//!
//! A render is sent only what its templates refer to, as the template plugin named it at load. Recorded values are
//! copied as text and never parsed. Of a large workflow input only the referenced members are sent. [`tasks`] finds the
//! tasks that a place can name, [`scope`] what its containers lend it.

mod object;
mod scope;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};

use compozy_lang::plan::{Reference, Workflow};
use serde_json::Value;

use crate::error::StepError;
use crate::json::Json;
use crate::opening::Signal;
use crate::state::{RunState, Step};
use crate::status::Status;
use object::Object;

/// Inputs larger than this are cut down to the referenced members. Smaller ones go whole, so that an error message can
/// name what is there.
const WHOLE_INPUT_BYTES: usize = 4 << 10;

/// Where a template stands.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The plan.
    pub plan: &'a Workflow,
    /// The run.
    pub state: &'a RunState,
    /// The step it belongs to; `None` in the workflow's `outputs`.
    pub step: Option<&'a Step>,
    /// The step's rendered `with`; `None` while it is being rendered.
    pub with: Option<&'a Value>,
    /// `.output`.
    pub output: Option<&'a Json>,
    /// `.error`.
    pub error: Option<&'a StepError>,
    /// An item that is looked at before its step exists: `filter` and the `id` of a collection's children.
    pub item: Option<Item<'a>>,
    /// `.signal` and `.processor` of a wait.
    pub signal: Option<Looked<'a>>,
    /// `.env`, at least the names referred to.
    pub env: &'a BTreeMap<String, String>,
}

/// An item of a collection with its position.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The item.
    pub value: &'a Json,
    /// 0-based position.
    pub index: usize,
}

/// The signal a wait looks at.
#[derive(Debug, Clone, Copy)]
pub struct Looked<'a> {
    /// The signal.
    pub signal: &'a Signal,
    /// The processor's step, if there is one.
    pub processor: Option<&'a Step>,
}

impl<'a> Site<'a> {
    /// A place of `step`, or of the workflow's `outputs`, with nothing rendered yet.
    #[must_use]
    pub fn new(
        plan: &'a Workflow,
        state: &'a RunState,
        step: Option<&'a Step>,
        env: &'a BTreeMap<String, String>,
    ) -> Self {
        Self { plan, state, step, with: None, output: None, error: None, item: None, signal: None, env }
    }
}

/// The context object for templates that refer to `references`.
#[must_use]
pub fn build<'r>(site: &Site<'_>, references: impl IntoIterator<Item = &'r Reference>) -> String {
    let wanted = Wanted::new(references);
    let mut object = Object::open();
    for root in ROOTS {
        if wanted.has(root) {
            site.root(root, &wanted, &mut object);
        }
    }
    site.named_items(&wanted, &mut object);
    object.close()
}

/// Root variables of a task or workflow site, in the order they are sent. Names that collections give their items come
/// after them.
const ROOTS: [&str; 18] = [
    "input",
    "with",
    "workflow",
    "tasks",
    "output",
    "error",
    "task",
    "trigger",
    "project",
    "env",
    "workflow_id",
    "workflow_exec_id",
    "status",
    "item",
    "index",
    "parent",
    "children",
    "signal",
];

/// The references, sorted by root.
pub(crate) struct Wanted<'r> {
    all: bool,
    by_root: BTreeMap<&'r str, Vec<&'r [String]>>,
}

impl<'r> Wanted<'r> {
    fn new(references: impl IntoIterator<Item = &'r Reference>) -> Self {
        let mut wanted = Self { all: false, by_root: BTreeMap::new() };
        for reference in references {
            match reference.path.split_first() {
                Some((root, rest)) => wanted.by_root.entry(root).or_default().push(rest),
                None => wanted.all = true,
            }
        }
        wanted
    }

    fn has(&self, root: &str) -> bool {
        self.all || self.by_root.contains_key(root)
    }

    /// What is referred to below `root`.
    fn below(&self, root: &str) -> Below<'r> {
        Below(if self.all { None } else { self.by_root.get(root).cloned() })
    }

    /// Members of `root` that are referred to; `None`: all of them.
    fn members(&self, root: &str) -> Option<BTreeSet<&'r str>> {
        self.below(root).members()
    }

    /// Paths below the task `id` that are referred to; `None`: all of them.
    fn below_task(&self, id: &str) -> Option<Vec<&'r [String]>> {
        if self.all {
            return None;
        }
        let paths = self.by_root.get("tasks")?.iter().filter(|path| path.first().is_none_or(|first| first == id));
        paths.map(|path| path.get(1..)).collect()
    }
}

/// The paths referred to below some place; `None`: everything.
struct Below<'r>(Option<Vec<&'r [String]>>);

impl<'r> Below<'r> {
    fn has(&self, member: &str) -> bool {
        let leads = |path: &&[String]| path.first().is_none_or(|first| first == member);
        self.0.as_ref().is_none_or(|paths| paths.iter().any(leads))
    }

    fn members(&self) -> Option<BTreeSet<&'r str>> {
        self.0.as_ref()?.iter().map(|path| path.first().map(String::as_str)).collect()
    }

    fn below(&self, member: &str) -> Self {
        let Some(paths) = &self.0 else { return Self(None) };
        let paths = paths.iter().filter(|path| path.first().is_none_or(|first| first == member));
        Self(paths.map(|path| path.get(1..)).collect())
    }
}

impl Site<'_> {
    fn root(&self, root: &str, wanted: &Wanted<'_>, object: &mut Object) {
        match root {
            "input" => object.raw("input", &self.input(wanted.members("input"))),
            "with" => {
                if let Some(with) = self.with {
                    object.raw("with", &with.to_string());
                }
            }
            "workflow" => object.raw("workflow", &self.workflow(&wanted.below("workflow"))),
            "tasks" => object.raw("tasks", &self.tasks(wanted)),
            "output" => self.output.iter().for_each(|output| object.raw("output", output.as_str())),
            "error" => {
                if let Some(error) = self.error.or(self.step.and_then(|step| step.cause.as_ref())) {
                    object.raw("error", &error_object(error));
                }
            }
            "task" => {
                if let Some(step) = self.step {
                    object.raw("task", &self.task(step));
                }
            }
            "trigger" => object.raw("trigger", &self.trigger(&wanted.below("trigger"))),
            "project" => object.raw("project", &self.project()),
            "env" => {
                let mut env = Object::open();
                self.env.iter().for_each(|(name, value)| env.text(name, value));
                object.raw("env", &env.close());
            }
            "item" => self.nearest_item().iter().for_each(|item| object.raw("item", item.value.as_str())),
            "index" => self.nearest_item().iter().for_each(|item| object.raw("index", &item.index.to_string())),
            "parent" => self.parent(wanted).iter().for_each(|parent| object.raw("parent", parent)),
            "children" => {
                if let Some(children) = self.step.and_then(|step| self.children_of(step)) {
                    object.raw("children", &children);
                }
            }
            "signal" => {
                if let Some(looked) = self.signal {
                    object.raw("signal", &signal_object(looked.signal));
                }
            }
            // Spellings of the reference, in `outputs` only.
            "workflow_id" if self.step.is_none() => object.text("workflow_id", &self.plan.id),
            "workflow_exec_id" if self.step.is_none() => {
                object.text("workflow_exec_id", &self.state.facts.exec_id);
            }
            "status" if self.step.is_none() => object.text("status", Status::Success.word()),
            _ => {}
        }
    }

    /// The workflow input with the rendered `with` laid over it, key by key. Of a large one only `members`; `None`: all.
    fn input(&self, members: Option<BTreeSet<&str>>) -> String {
        let input = &self.state.facts.input;
        let overlay = self.with.and_then(Value::as_object).filter(|with| !with.is_empty());
        let members = if input.as_str().len() > WHOLE_INPUT_BYTES { members } else { None };
        let (overlay, members) = match (overlay, members) {
            (None, None) => return input.as_str().to_owned(),
            (Some(overlay), None) => {
                let Value::Object(mut merged) = input.to_value() else { return input.as_str().to_owned() };
                merged.extend(overlay.clone());
                return Value::Object(merged).to_string();
            }
            (overlay, Some(members)) => (overlay.into_iter().flatten(), members),
        };
        let mut object = Object::open();
        let laid_over = |member: &str| self.with.is_some_and(|with| with.get(member).is_some());
        let known = self.state.input_members();
        for member in members.into_iter().filter(|member| !laid_over(member)) {
            known.get(member).iter().for_each(|value| object.raw(member, value.as_str()));
        }
        overlay.for_each(|(key, value)| object.raw(key, &value.to_string()));
        object.close()
    }

    fn workflow(&self, below: &Below<'_>) -> String {
        let mut object = Object::open();
        object.text("id", &self.plan.id);
        object.text("name", &self.plan.name);
        object.text("version", &self.plan.version);
        object.text("exec_id", &self.state.facts.exec_id);
        let input = self.state.facts.input.as_str();
        if input.len() <= WHOLE_INPUT_BYTES || below.has("input") {
            object.raw("input", input);
        }
        // Outputs are rendered when every task has ended well.
        let status = if self.step.is_none() { Status::Success } else { Status::Running };
        object.text("status", status.word());
        if self.step.is_none() {
            object.raw("error", "null");
        }
        object.close()
    }

    /// What started the run, with `name` and the workflow's input, which the record of the trigger does not repeat.
    fn trigger(&self, below: &Below<'_>) -> String {
        let facts = &self.state.facts;
        let Value::Object(trigger) = facts.trigger.to_value() else { return facts.trigger.as_str().to_owned() };
        let mut object = Object::open();
        trigger.iter().for_each(|(name, value)| object.raw(name, &value.to_string()));
        if !trigger.contains_key("name") {
            object.raw("name", "null");
        }
        let input = facts.input.as_str();
        if !trigger.contains_key("input") && (input.len() <= WHOLE_INPUT_BYTES || below.has("input")) {
            object.raw("input", input);
        }
        object.close()
    }

    fn task(&self, step: &Step) -> String {
        let task = self.plan.task(&step.address);
        let mut object = Object::open();
        object.text("id", step.key.id());
        object.text("type", task.map_or("basic", |task| task.kind_word()));
        object.raw("execution", &step.key.execution.to_string());
        object.raw("attempt_limit", &task.map_or(1, |task| task.retry.maximum_attempts).to_string());
        object.close()
    }

    fn project(&self) -> String {
        let project = &self.plan.project;
        let mut object = Object::open();
        object.text("id", &project.name);
        object.text("name", &project.name);
        object.text("version", &project.version);
        object.text("description", &project.description);
        object.close()
    }
}

/// `.error` of templates: `{code, kind, message, task, attempts}`.
fn error_object(error: &StepError) -> String {
    let mut object = Object::open();
    object.text("code", &error.code);
    object.text("kind", error.kind.word());
    object.text("message", &error.message);
    match &error.task {
        Some(task) => object.text("task", task),
        None => object.raw("task", "null"),
    }
    object.raw("attempts", &error.attempts.to_string());
    object.close()
}

fn error_or_null(step: &Step) -> String {
    step.error.as_ref().map_or_else(|| "null".to_owned(), error_object)
}

/// `.signal`: `{payload, metadata}`.
fn signal_object(signal: &Signal) -> String {
    let mut object = Object::open();
    object.raw("payload", signal.payload.as_str());
    object.raw("metadata", signal.metadata.as_str());
    object.close()
}

/// `{output, error}` of a processor; both null without one.
#[must_use]
pub fn processor_object(processor: Option<&Step>) -> String {
    let mut object = Object::open();
    object.raw("output", processor.and_then(|step| step.output.as_ref()).map_or("null", Json::as_str));
    object.raw("error", &processor.map_or_else(|| "null".to_owned(), error_or_null));
    object.close()
}

#[cfg(test)]
mod tests;
