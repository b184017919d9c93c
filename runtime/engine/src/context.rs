//! What templates see: the variables of dialect §6.2 as one JSON object.
//!
//! A render is sent only what its templates refer to, as the template plugin named it at load. Recorded values are
//! copied as text and never parsed. Of a large workflow input only the referenced members are sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use compozy_lang::plan::{Reference, Task, Workflow};
use serde_json::Value;

use crate::error::StepError;
use crate::json::Json;
use crate::state::{RunState, Step};
use crate::status::Status;

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
    /// `.env`, at least the names referred to.
    pub env: &'a BTreeMap<String, String>,
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
    object.close()
}

/// Root variables of a task or workflow site, in the order they are sent.
const ROOTS: [&str; 15] = [
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
];

/// The references, sorted by root.
struct Wanted<'r> {
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

    /// Members of `root` that are referred to; `None`: all of them.
    fn members(&self, root: &str) -> Option<BTreeSet<&'r str>> {
        if self.all {
            return None;
        }
        let paths = self.by_root.get(root)?;
        paths.iter().map(|path| path.first().map(String::as_str)).collect()
    }

    /// Members of the task `id` that are referred to; `None`: all of them.
    fn task_members(&self, id: &str) -> Option<BTreeSet<&'r str>> {
        if self.all {
            return None;
        }
        let paths = self.by_root.get("tasks")?.iter().filter(|path| path.first().is_none_or(|first| first == id));
        paths.map(|path| path.get(1).map(String::as_str)).collect()
    }
}

impl Site<'_> {
    fn root(&self, root: &str, wanted: &Wanted<'_>, object: &mut Object) {
        match root {
            "input" => object.raw("input", &self.input(wanted)),
            "with" => {
                if let Some(with) = self.with {
                    object.raw("with", &with.to_string());
                }
            }
            "workflow" => object.raw("workflow", &self.workflow()),
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
            "trigger" => object.raw("trigger", self.state.facts.trigger.as_str()),
            "project" => object.raw("project", &self.project()),
            "env" => {
                let mut env = Object::open();
                self.env.iter().for_each(|(name, value)| env.text(name, value));
                object.raw("env", &env.close());
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

    /// The workflow input with the rendered `with` laid over it, key by key.
    fn input(&self, wanted: &Wanted<'_>) -> String {
        let input = &self.state.facts.input;
        let overlay = self.with.and_then(Value::as_object).filter(|with| !with.is_empty());
        let members = if input.as_str().len() > WHOLE_INPUT_BYTES { wanted.members("input") } else { None };
        if overlay.is_none() && members.is_none() {
            return input.as_str().to_owned();
        }
        let Value::Object(mut merged) = input.to_value() else { return input.as_str().to_owned() };
        if let Some(members) = members {
            merged.retain(|key, _| members.contains(key.as_str()));
        }
        for (key, value) in overlay.into_iter().flatten() {
            merged.insert(key.clone(), value.clone());
        }
        Value::Object(merged).to_string()
    }

    fn workflow(&self) -> String {
        let mut object = Object::open();
        object.text("id", &self.plan.id);
        object.text("name", &self.plan.name);
        object.text("version", &self.plan.version);
        object.text("exec_id", &self.state.facts.exec_id);
        object.raw("input", self.state.facts.input.as_str());
        // Outputs are rendered when every task has ended well.
        let status = if self.step.is_none() { Status::Success } else { Status::Running };
        object.text("status", status.word());
        if self.step.is_none() {
            object.raw("error", "null");
        }
        object.close()
    }

    fn tasks(&self, wanted: &Wanted<'_>) -> String {
        let ids = wanted.members("tasks");
        let mut object = Object::open();
        let declared = &self.plan.tasks;
        // A run of many tasks must not look at all of them for each step.
        let chosen: Vec<&Task> = match &ids {
            None => declared.iter().collect(),
            Some(ids) => ids.iter().filter_map(|id| self.declared(id)).collect(),
        };
        for task in chosen {
            let members = wanted.task_members(&task.id);
            object.raw(&task.id, &self.task_facts(task, members.as_ref()));
        }
        object.close()
    }

    fn declared(&self, id: &str) -> Option<&Task> {
        match self.state.steps.get(id) {
            Some(step) => self.plan.tasks.get(step.task),
            None => self.plan.tasks.iter().find(|task| task.id == id),
        }
    }

    fn task_facts(&self, task: &Task, members: Option<&BTreeSet<&str>>) -> String {
        let has = |member: &str| members.is_none_or(|members| members.contains(member));
        let step = self.state.steps.get(&task.id);
        let mut object = Object::open();
        object.text("status", step.map_or(Status::Pending, |step| step.status).word());
        if has("id") {
            object.text("id", &task.id);
        }
        if has("type") {
            object.text("type", task.kind_word());
        }
        let Some(step) = step else { return object.close() };
        object.raw("skipped", if step.skipped { "true" } else { "false" });
        if has("attempts") {
            object.raw("attempts", &step.attempt.to_string());
        }
        if has("input") {
            object.raw("input", step.input.as_ref().map_or("null", Json::as_str));
        }
        if has("output") {
            object.raw("output", step.output.as_ref().map_or("null", Json::as_str));
        }
        if has("error") {
            object.raw("error", &step.error.as_ref().map_or_else(|| "null".to_owned(), error_object));
        }
        object.close()
    }

    fn task(&self, step: &Step) -> String {
        let task = self.plan.tasks.get(step.task);
        let mut object = Object::open();
        object.text("id", &step.key.path);
        object.text("type", task.map_or("basic", Task::kind_word));
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

/// A JSON object being printed.
struct Object(String);

impl Object {
    fn open() -> Self {
        Self("{".to_owned())
    }

    /// A member whose value is JSON text already.
    fn raw(&mut self, key: &str, json: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(&mut self.0, key);
        self.0.push(':');
        self.0.push_str(json);
    }

    fn text(&mut self, key: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(&mut self.0, key);
        self.0.push(':');
        quote(&mut self.0, value);
    }

    fn close(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Appends `text` as a JSON string.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if u32::from(control) < 0x20 => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
