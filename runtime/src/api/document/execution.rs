//! Executions, their steps and lists of them (cli-and-api §7.2).

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use super::waiting::WaitingFor;
use super::{Json, Page, json, maybe_json, maybe_time, millis};
use crate::id::ExecId;
use crate::storage::row::{Concurrency, Durability, LoadedRun, Run, RunFilter, Step, Usage};
use crate::storage::{Error, Storage};

/// Who builds the document, which decides what a queued run is said to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// A server, which will take the run up itself.
    Server,
    /// A command that only reads the database: no node runs.
    Database,
}

/// One execution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Execution {
    /// Which workflow.
    pub workflow_id: String,
    /// The same as `exec_id`, under the name older clients read.
    pub workflow_exec_id: ExecId,
    /// Id.
    pub exec_id: ExecId,
    /// `workflow`.
    pub component: String,
    /// Status word.
    pub status: String,
    /// Why it is in this status, where that needs saying.
    pub reason: Option<String>,
    /// Input.
    pub input: Option<Json>,
    /// Output, once ended with SUCCESS.
    pub output: Option<Json>,
    /// Error, once ended otherwise.
    pub error: Option<Json>,
    /// Latest execution of each task, in the order they first started.
    pub tasks: Tasks,
    /// Tokens used, per step and model.
    pub usage: Vec<TokenUsage>,
    /// Recorded.
    pub created_at: String,
    /// First step started.
    pub started_at: Option<String>,
    /// Last change.
    pub updated_at: String,
    /// Ended.
    pub finished_at: Option<String>,
    /// From the first step's start to the end.
    pub duration_ms: Option<u64>,
    /// Digest of the pinned definition.
    pub definition_digest: String,
    /// Durability level.
    pub durability: Durability,
    /// Higher runs first.
    pub priority: i64,
    /// How many executions of its key may be under way at once.
    pub concurrency: Option<Concurrency>,
    /// What started it.
    pub trigger: Json,
    /// Tags.
    pub tags: Json,
    /// Parent of a sub-run.
    pub parent_exec_id: Option<ExecId>,
    /// Execution it was retried or forked from.
    pub forked_from: Option<ExecId>,
    /// Attempts of all its steps.
    pub attempt_count: i64,
    /// A cancel request that a node has yet to carry out, `{by, reason?, at}`.
    pub cancel_request: Option<Json>,
    /// What it waits for while nothing executes, else `null`.
    pub waiting_for: Option<WaitingFor>,
}

/// Tokens of one step and model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Step.
    pub step_key: String,
    /// Provider entry.
    pub provider: String,
    /// Model that answered.
    pub model: String,
    /// Tokens read.
    pub prompt_tokens: i64,
    /// Tokens written.
    pub completion_tokens: i64,
    /// Both.
    pub total_tokens: i64,
}

/// One execution of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskExecution {
    /// Path of the task, ids joined by `/`.
    pub task_id: String,
    /// Unique id of this execution.
    pub task_exec_id: String,
    /// Path and execution number, `greet#1`.
    pub step_key: String,
    /// Kind of task.
    pub kind: String,
    /// Status word.
    pub status: String,
    /// Which attempt, from 1.
    pub attempt: i64,
    /// Order of the start within the run, from 1.
    pub position: i64,
    /// Rendered input.
    pub input: Option<Json>,
    /// Recorded output.
    pub output: Option<Json>,
    /// Error.
    pub error: Option<Json>,
    /// First attempt started.
    pub started_at: String,
    /// Ended.
    pub finished_at: Option<String>,
    /// From the first attempt's start to the end.
    pub duration_ms: Option<u64>,
    /// What it waits for while it is not running, else `null`.
    pub waiting_for: Option<WaitingFor>,
    /// Steps inside this one; only in the steps tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<TaskExecution>>,
}

/// The steps tree of an execution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskList {
    /// Outermost steps in the order they started.
    pub tasks: Vec<TaskExecution>,
}

/// Task executions by task path, printed as an object in their order.
#[derive(Debug, Clone, Default)]
pub struct Tasks(pub Vec<TaskExecution>);

/// An entry of a list of executions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// Which workflow.
    pub workflow_id: String,
    /// The same as `exec_id`.
    pub workflow_exec_id: ExecId,
    /// Id.
    pub exec_id: ExecId,
    /// `workflow`.
    pub component: String,
    /// Status word.
    pub status: String,
    /// Why it is in this status, where that needs saying.
    pub reason: Option<String>,
    /// Error, once ended otherwise than well.
    pub error: Option<Json>,
    /// Recorded.
    pub created_at: String,
    /// First step started.
    pub started_at: Option<String>,
    /// Last change.
    pub updated_at: String,
    /// Ended.
    pub finished_at: Option<String>,
    /// From the first step's start to the end.
    pub duration_ms: Option<u64>,
    /// Digest of the pinned definition.
    pub definition_digest: String,
    /// Durability level.
    pub durability: Durability,
    /// What started it.
    pub trigger: Json,
    /// Tags.
    pub tags: Json,
    /// Parent of a sub-run.
    pub parent_exec_id: Option<ExecId>,
    /// What it waits for while nothing executes, else `null`.
    pub waiting_for: Option<WaitingFor>,
    /// Input, with `expand=input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    /// Output, with `expand=output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Tasks, with `expand=tasks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Tasks>,
}

/// What a list shows beyond the summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expand {
    /// Inputs.
    pub input: bool,
    /// Outputs.
    pub output: bool,
    /// Tasks.
    pub tasks: bool,
}

/// A page of executions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecutionList {
    /// Entries in order.
    pub executions: Vec<Summary>,
    /// Where the page stands.
    pub page: Page,
}

/// Reads one execution; `None` when there is none of this id.
///
/// # Errors
/// Those of the storage.
pub async fn load(storage: &dyn Storage, exec_id: &ExecId, viewer: Viewer) -> Result<Option<Execution>, Error> {
    let Some(loaded) = storage.load(exec_id).await? else { return Ok(None) };
    let usage = storage.usage(exec_id).await?;
    Ok(Some(build(&loaded, &usage, viewer)))
}

/// Builds the document of a run that has been read whole.
#[must_use]
pub fn build(loaded: &LoadedRun, usage: &[Usage], viewer: Viewer) -> Execution {
    let LoadedRun { run, steps, timers, .. } = loaded;
    let waiting_for = WaitingFor::of(run, steps, timers, viewer);
    Execution {
        workflow_id: run.workflow_id.clone(),
        workflow_exec_id: run.exec_id.clone(),
        exec_id: run.exec_id.clone(),
        component: run.component.clone(),
        status: run.status.clone(),
        reason: run.reason.clone(),
        input: Some(json(&run.input)),
        output: maybe_json(run.output.as_deref()),
        error: maybe_json(run.error.as_deref()),
        tasks: Tasks::latest(steps, waiting_for.as_ref()),
        usage: usage.iter().map(TokenUsage::new).collect(),
        created_at: run.created_at.to_rfc3339(),
        started_at: maybe_time(run.started_at),
        updated_at: run.updated_at.to_rfc3339(),
        finished_at: maybe_time(run.finished_at),
        duration_ms: duration_ms(run),
        definition_digest: run.definition_digest.clone(),
        durability: run.durability,
        priority: run.priority,
        concurrency: run.concurrency.clone(),
        trigger: json(&run.trigger),
        tags: json(&run.tags),
        parent_exec_id: run.parent_exec_id.clone(),
        forked_from: run.forked_from.clone(),
        attempt_count: steps.iter().map(|step| step.attempt).sum(),
        cancel_request: maybe_json(run.cancel_request.as_deref()),
        waiting_for,
    }
}

/// Reads a page of executions.
///
/// # Errors
/// Those of the storage.
pub async fn list(
    storage: &dyn Storage,
    filter: &RunFilter,
    expand: Expand,
    viewer: Viewer,
) -> Result<ExecutionList, Error> {
    let page = storage.runs(filter).await?;
    let mut executions = Vec::with_capacity(page.items.len());
    for run in &page.items {
        executions.push(summary(storage, run, expand, viewer).await?);
    }
    let page = Page { limit: filter.limit, next_cursor: page.next, prev_cursor: page.previous, total: page.total };
    Ok(ExecutionList { executions, page })
}

/// The entry of one run. Steps are read only where they are shown, or needed to say what a run waits for.
///
/// # Errors
/// Those of the storage.
pub async fn summary(storage: &dyn Storage, run: &Run, expand: Expand, viewer: Viewer) -> Result<Summary, Error> {
    let (mut steps, mut timers) = (Vec::new(), Vec::new());
    if (expand.tasks || run.status == "WAITING")
        && let Some(loaded) = storage.load(&run.exec_id).await?
    {
        (steps, timers) = (loaded.steps, loaded.timers);
    }
    let mut summary = Summary::new(run, viewer);
    summary.waiting_for = WaitingFor::of(run, &steps, &timers, viewer);
    summary.input = expand.input.then(|| json(&run.input));
    summary.output = if expand.output { maybe_json(run.output.as_deref()) } else { None };
    summary.tasks = expand.tasks.then(|| Tasks::latest(&steps, summary.waiting_for.as_ref()));
    Ok(summary)
}

impl Summary {
    /// The entry of a run by its row alone.
    #[must_use]
    pub fn new(run: &Run, viewer: Viewer) -> Self {
        Self {
            workflow_id: run.workflow_id.clone(),
            workflow_exec_id: run.exec_id.clone(),
            exec_id: run.exec_id.clone(),
            component: run.component.clone(),
            status: run.status.clone(),
            reason: run.reason.clone(),
            error: maybe_json(run.error.as_deref()),
            created_at: run.created_at.to_rfc3339(),
            started_at: maybe_time(run.started_at),
            updated_at: run.updated_at.to_rfc3339(),
            finished_at: maybe_time(run.finished_at),
            duration_ms: duration_ms(run),
            definition_digest: run.definition_digest.clone(),
            durability: run.durability,
            trigger: json(&run.trigger),
            tags: json(&run.tags),
            parent_exec_id: run.parent_exec_id.clone(),
            waiting_for: WaitingFor::of(run, &[], &[], viewer),
            input: None,
            output: None,
            tasks: None,
        }
    }
}

impl TaskExecution {
    /// The document of one row, in a run that waits for `run`.
    #[must_use]
    pub fn new(step: &Step, run: Option<&WaitingFor>) -> Self {
        Self {
            task_id: step.task_id.clone(),
            task_exec_id: step.task_exec_id.clone(),
            step_key: step.step_key.clone(),
            kind: step.kind.clone(),
            status: step.status.clone(),
            attempt: step.attempt,
            position: step.position,
            input: maybe_json(step.input.as_deref()),
            output: maybe_json(step.output.as_deref()),
            error: maybe_json(step.error.as_deref()),
            started_at: step.started_at.to_rfc3339(),
            finished_at: maybe_time(step.finished_at),
            duration_ms: step.finished_at.map(|end| millis(step.started_at, end)),
            waiting_for: WaitingFor::of_step(step, run),
            children: None,
        }
    }
}

impl TaskList {
    /// The tree of `steps` of a run that waits for `run`. They are in the order they started: a container comes before
    /// what it contains.
    #[must_use]
    pub fn new(steps: &[Step], run: Option<&WaitingFor>) -> Self {
        let mut children: std::collections::HashMap<&str, Vec<TaskExecution>> = std::collections::HashMap::new();
        let mut tasks = Vec::new();
        // From the last to the first, so that every child is complete when its container is reached.
        for step in steps.iter().rev() {
            let mut task = TaskExecution::new(step, run);
            let mut inside = children.remove(step.step_key.as_str()).unwrap_or_default();
            inside.reverse();
            task.children = Some(inside);
            match step.parent.as_deref() {
                Some(parent) if steps.iter().any(|other| other.step_key == parent) => {
                    children.entry(parent).or_default().push(task);
                }
                _ => tasks.push(task),
            }
        }
        tasks.reverse();
        Self { tasks }
    }
}

impl Tasks {
    /// The latest execution of each task of `steps` in a run that waits for `run`, in the order the tasks first started.
    #[must_use]
    pub fn latest(steps: &[Step], run: Option<&WaitingFor>) -> Self {
        let mut places: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
        let mut latest: Vec<&Step> = Vec::new();
        for step in steps {
            match places.get(step.task_id.as_str()).and_then(|place| latest.get_mut(*place)) {
                Some(known) => *known = step,
                None => {
                    places.insert(&step.task_id, latest.len());
                    latest.push(step);
                }
            }
        }
        Self(latest.into_iter().map(|step| TaskExecution::new(step, run)).collect())
    }
}

impl Serialize for Tasks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|task| (&task.task_id, task)))
    }
}

impl<'de> Deserialize<'de> for Tasks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Tasks;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tasks")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tasks, A::Error> {
                let mut tasks = Vec::new();
                while let Some((_, task)) = map.next_entry::<String, TaskExecution>()? {
                    tasks.push(task);
                }
                Ok(Tasks(tasks))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl TokenUsage {
    fn new(usage: &Usage) -> Self {
        Self {
            step_key: usage.step_key.clone(),
            provider: usage.provider.clone(),
            model: usage.model.clone(),
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
        }
    }
}

fn duration_ms(run: &Run) -> Option<u64> {
    run.finished_at.map(|end| millis(run.started_at.unwrap_or(run.created_at), end))
}

#[cfg(test)]
#[path = "execution_tests.rs"]
mod tests;
