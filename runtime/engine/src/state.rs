//! What a run has come to.
//!
//! A run is a set of task lists being followed ([`ListState`]) and the steps they started ([`Step`]). Today the only
//! list is the workflow's own; a container opens further lists under its step key. In memory a task keeps only its
//! latest execution, so a run's state grows with its plan and not with its length.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use compozy_lang::plan::{TaskIndex, Workflow};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::StepError;
use crate::json::Json;
use crate::status::Status;
use crate::time::Timestamp;

/// Path of a task and the number of its execution, from 1; printed `greet#1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// Ids of containers and task, joined by `/`.
    pub path: String,
    /// Which execution of this task.
    pub execution: u32,
}

impl std::fmt::Display for StepKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}#{}", self.path, self.execution)
    }
}

impl std::str::FromStr for StepKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (path, execution) = text.rsplit_once('#').ok_or(())?;
        Ok(Self { path: path.to_owned(), execution: execution.parse().map_err(|_| ())? })
    }
}

/// What never changes about a run.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Id of the run.
    pub exec_id: String,
    /// The checked input, an object.
    pub input: Json,
    /// `.trigger` of templates.
    pub trigger: Json,
    /// When the whole run times out.
    pub deadline: Option<Timestamp>,
}

/// A run.
#[derive(Debug, Clone)]
pub struct RunState {
    /// What never changes.
    pub facts: Facts,
    /// Status of the run.
    pub status: Status,
    /// When the first step started.
    pub started_at: Option<Timestamp>,
    /// The run's output, once it ended well.
    pub output: Option<Json>,
    /// The run's error, once it ended otherwise.
    pub error: Option<StepError>,
    /// The lists being followed; the key is the container's step key, empty for the workflow's own list.
    pub lists: BTreeMap<String, ListState>,
    /// Latest execution of each task that ran, by task path.
    pub steps: BTreeMap<String, Step>,
    /// Tasks (paths) whose latest execution has not ended.
    pub open: BTreeSet<String>,
    /// Task the run begins with.
    pub entry: TaskIndex,
    /// Task executions started so far.
    pub executions: u64,
    /// Seq of the last journal event.
    pub last_seq: i64,
}

/// How far a task list has been followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum ListState {
    /// A step of the list is under way.
    Running {
        /// Its task.
        task: TaskIndex,
    },
    /// The step is recorded; its `sleep` is running.
    Sleeping {
        /// Task that succeeded.
        task: TaskIndex,
        /// When the sleep ends.
        until: Timestamp,
        /// Where the flow goes then; `None`: the list ends.
        next: Option<TaskIndex>,
        /// Values laid over the next task's `with`.
        overlay: Option<Value>,
    },
    /// The list has ended.
    Ended {
        /// The last task that ran.
        last: Option<TaskIndex>,
    },
}

/// One execution of a task.
#[derive(Debug, Clone)]
pub struct Step {
    /// Path and execution.
    pub key: StepKey,
    /// Unique id of this execution, `<exec_id>:<path>:<execution>`; also its idempotency key.
    pub id: String,
    /// Position of the task in its list.
    pub task: TaskIndex,
    /// Order of the start within the run, from 1.
    pub position: u64,
    /// Where it stands.
    pub status: Status,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When the next attempt starts, while waiting for it.
    pub retry_at: Option<Timestamp>,
    /// Values a transition laid over its `with`.
    pub overlay: Option<Value>,
    /// The failure it handles, when an `on_error` led here; its `.error`.
    pub cause: Option<StepError>,
    /// Its condition was false.
    pub skipped: bool,
    /// Rendered input, once recorded.
    pub input: Option<Json>,
    /// Recorded output.
    pub output: Option<Json>,
    /// Recorded error, or that of the last attempt while waiting.
    pub error: Option<StepError>,
    /// Seq of the event that recorded the result.
    pub result_seq: Option<i64>,
    /// When the first attempt started.
    pub started_at: Timestamp,
    /// When the present attempt started; not stored.
    pub attempt_started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// The part of a run that is neither a column of its row nor a step; stored as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StoredState {
    /// Lists being followed.
    pub lists: BTreeMap<String, ListState>,
    /// Task the run begins with.
    #[serde(default)]
    pub entry: TaskIndex,
    /// Task executions started so far.
    pub executions: u64,
}

/// The part of a step that has no column of its own; stored as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StoredStep {
    /// When the next attempt starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Values a transition laid over its `with`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Value>,
    /// The failure it handles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<StepError>,
    /// Its condition was false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
}

/// Key of the workflow's own list in [`RunState::lists`].
pub const ROOT: &str = "";

impl RunState {
    /// A run that has been asked for and has done nothing.
    #[must_use]
    pub fn new(facts: Facts, entry: TaskIndex) -> Self {
        Self {
            facts,
            status: Status::Pending,
            started_at: None,
            output: None,
            error: None,
            lists: BTreeMap::new(),
            steps: BTreeMap::new(),
            open: BTreeSet::new(),
            entry,
            executions: 0,
            last_seq: 0,
        }
    }

    /// The stored form of what is neither column nor step.
    #[must_use]
    pub fn stored(&self) -> StoredState {
        StoredState { lists: self.lists.clone(), entry: self.entry, executions: self.executions }
    }

    /// Steps that have not ended.
    pub fn open_steps(&self) -> impl Iterator<Item = &Step> {
        self.open.iter().filter_map(|path| self.steps.get(path))
    }

    /// The latest execution of the task at `index` of the workflow's own list.
    #[must_use]
    pub fn step(&self, plan: &Workflow, index: TaskIndex) -> Option<&Step> {
        self.steps.get(&plan.tasks.get(index)?.id)
    }
}

impl Step {
    /// How long it took, or has taken at `now`.
    #[must_use]
    pub fn duration(&self, now: Timestamp) -> Duration {
        self.finished_at.unwrap_or(now).since(self.started_at)
    }

    /// The stored form of what has no column.
    #[must_use]
    pub fn stored(&self) -> StoredStep {
        StoredStep {
            retry_at: self.retry_at,
            overlay: self.overlay.clone(),
            cause: self.cause.clone(),
            skipped: self.skipped,
        }
    }
}
