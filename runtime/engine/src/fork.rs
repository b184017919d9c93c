//! A new run that goes on from the records of another one: which steps it keeps, and where it begins.
//!
//! What was recorded before the place where the new run begins is copied, so that `.tasks.X` sees it and none of it runs
//! again. Tasks of the outermost list follow each other, so every step that started before such a task began has ended
//! by then. Inside a container that is not so; therefore a run begins anew at tasks of the outermost list only.

use compozy_lang::plan::{Task, TaskIndex, TaskKind, Workflow};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::StepError;
use crate::record::Record;
use crate::state::{Address, Facts, RunState, Step, StepKey};
use crate::status::Status;

/// What is known of the run that is gone on from.
#[derive(Debug)]
pub struct Source<'a> {
    /// Its definition.
    pub plan: &'a Workflow,
    /// Its id.
    pub exec_id: &'a str,
    /// Where it stands.
    pub status: Status,
    /// Task it began with.
    pub entry: TaskIndex,
    /// How it ended, unless well.
    pub error: Option<&'a StepError>,
    /// Every execution of its tasks, in the order they started.
    pub steps: Vec<Step>,
}

/// Where the new run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Before the first step that did not succeed.
    Failure,
    /// Before the first execution of this task (`id`), or before the one named (`id#2`).
    Task(String),
}

/// How a run begins that goes on from another one; stored until it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "begins", rename_all = "snake_case")]
pub enum Origin {
    /// With this task of the outermost list.
    Task {
        /// Position in the list.
        index: TaskIndex,
        /// Values that a transition laid over its `with`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overlay: Option<Value>,
        /// The failure that it handles.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Box<StepError>>,
    },
    /// With the run's outputs: every task has ended, this one last.
    Outputs {
        /// Position in the list.
        last: TaskIndex,
    },
}

/// A run to be recorded.
#[derive(Debug)]
pub struct Fork {
    /// The run, before anything of it has happened.
    pub state: RunState,
    /// What it keeps: ended steps, under its own ids.
    pub steps: Vec<Step>,
    /// Its first events, in order.
    pub records: Vec<Record>,
}

/// Why no run can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The run has not ended, or has ended well.
    NotFailed(Status),
    /// The definition has no such task.
    Unknown(String),
    /// The task is inside a container.
    Inside {
        /// As asked for.
        task: String,
        /// The outermost container.
        container: String,
    },
    /// The run has never begun this task.
    NotReached(String),
}

/// Error codes of a run whose tasks all ended well and whose outputs did not.
const OUTPUTS_FAILED: [&str; 2] = ["CZ0319", "CZ0322"];

/// The run that goes on from `source` under the definition `plan`.
///
/// # Errors
/// [`Refused`].
pub fn fork(source: Source<'_>, place: &Place, plan: &Workflow, facts: Facts) -> Result<Fork, Refused> {
    let Cut { position, begins } = cut(&source, place)?;
    let find = |id: &str| {
        let index = plan.tasks.iter().position(|task| task.id == id);
        index.ok_or_else(|| Refused::Unknown(id.to_owned()))
    };
    let origin = match begins {
        Begins::At(step) => Origin::Task {
            index: find(step.key.id())?,
            overlay: step.overlay.clone(),
            cause: step.cause.clone().map(Box::new),
        },
        Begins::Entry(id) => Origin::Task { index: find(&id)?, overlay: None, cause: None },
        Begins::Outputs(id) => Origin::Outputs { last: find(&id)? },
    };
    let entry = match &origin {
        Origin::Task { index, .. } => *index,
        Origin::Outputs { last } => *last,
    };
    let mut state = RunState::new(facts, entry);
    state.origin = Some(origin);
    state.executions = position.saturating_sub(1);
    let forked_from = source.exec_id.to_owned();
    let mut records = vec![Record::WorkflowForked { workflow_id: plan.id.clone(), forked_from }];
    let mut steps = Vec::new();
    for step in source.steps {
        if step.position >= position || !step.status.is_terminal() {
            continue;
        }
        // A task that the definition no longer has is not seen by any other.
        let Some(address) = moved(source.plan, plan, &step.address) else { continue };
        records.push(Record::TaskReused { key: step.key.clone(), attempt: step.attempt, status: step.status });
        let seq = i64::try_from(records.len()).unwrap_or(i64::MAX);
        steps.push(kept(step, address, &state.facts.exec_id, seq));
    }
    state.last_seq = i64::try_from(records.len()).unwrap_or(i64::MAX);
    Ok(Fork { state, steps, records })
}

/// Steps from `position` on are not kept.
struct Cut<'a> {
    position: u64,
    begins: Begins<'a>,
}

/// What the new run does first.
enum Begins<'a> {
    /// This step once more.
    At(&'a Step),
    /// The task of this id.
    Entry(String),
    /// Its outputs, after the task of this id.
    Outputs(String),
}

fn cut<'a>(source: &'a Source<'_>, place: &Place) -> Result<Cut<'a>, Refused> {
    match place {
        Place::Failure => before_failure(source),
        Place::Task(text) => before_task(source, text),
    }
}

fn before_failure<'a>(source: &'a Source<'_>) -> Result<Cut<'a>, Refused> {
    if !source.status.is_terminal() || source.status == Status::Success {
        return Err(Refused::NotFailed(source.status));
    }
    let outermost = || source.steps.iter().filter(|step| step.parent.is_none());
    if let Some(failed) = outermost().find(|step| step.status != Status::Success) {
        return Ok(Cut { position: failed.position, begins: Begins::At(failed) });
    }
    let all = source.steps.iter().map(|step| step.position).max().unwrap_or(0) + 1;
    let last = outermost().next_back();
    let outputs = source.error.is_some_and(|error| OUTPUTS_FAILED.contains(&error.code.as_str()));
    Ok(match last {
        Some(last) if outputs => Cut { position: all, begins: Begins::Outputs(last.key.id().to_owned()) },
        // It ended between two tasks; which would have been next only the end of the last one says.
        Some(last) => Cut { position: last.position, begins: Begins::At(last) },
        None => {
            let entry = source.plan.tasks.get(source.entry).map(|task| task.id.clone());
            Cut { position: 1, begins: Begins::Entry(entry.unwrap_or_default()) }
        }
    })
}

fn before_task<'a>(source: &'a Source<'_>, text: &str) -> Result<Cut<'a>, Refused> {
    let named: Option<StepKey> = text.parse().ok();
    let path = named.as_ref().map_or(text, |key| key.path.as_str());
    if let Some((container, _)) = path.split_once('/') {
        return Err(Refused::Inside { task: path.to_owned(), container: container.to_owned() });
    }
    let found = source.steps.iter().find(|step| match &named {
        Some(key) => step.key == *key,
        None => step.key.path == path,
    });
    if let Some(step) = found {
        return Ok(Cut { position: step.position, begins: Begins::At(step) });
    }
    if !source.plan.tasks.iter().any(|task| task.id == path) {
        return Err(Refused::Unknown(path.to_owned()));
    }
    // A run that has not begun is just before its entry.
    let entry = source.plan.tasks.get(source.entry).is_some_and(|task| task.id == path);
    if entry && source.steps.is_empty() && named.is_none() {
        return Ok(Cut { position: 1, begins: Begins::Entry(path.to_owned()) });
    }
    Err(Refused::NotReached(text.to_owned()))
}

/// A copy of `step` that belongs to the run `exec_id`, recorded by its event `seq`.
fn kept(step: Step, address: Address, exec_id: &str, seq: i64) -> Step {
    Step {
        id: format!("{exec_id}:{}:{}", step.key.path, step.key.execution),
        address,
        pause: None,
        result_seq: Some(seq),
        ..step
    }
}

/// Where the task at `address` of one plan stands in another: under the same ids.
fn moved(from: &Workflow, to: &Workflow, address: &[TaskIndex]) -> Option<Address> {
    if from.digest == to.digest {
        return Some(address.to_vec());
    }
    let (mut old, mut new): (&[Task], &[Task]) = (&from.tasks, &to.tasks);
    // The one task of a collection is the same under whatever id.
    let mut items = false;
    let mut moved = Address::new();
    for index in address {
        let task = old.get(*index)?;
        let place = if items { 0 } else { new.iter().position(|other| other.id == task.id)? };
        let other = new.get(place)?;
        items = matches!((&task.kind, &other.kind), (TaskKind::Collection(_), TaskKind::Collection(_)));
        moved.push(place);
        (old, new) = (task.children(), other.children());
    }
    Some(moved)
}
