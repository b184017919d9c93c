//! What a run has come to.
//!
//! A run is the steps it started ([`Step`]). A step that holds others is open ([`Opening`]) until its end is decided and
//! rendered. In memory a task keeps only its latest execution, so a run's state grows with its plan and not with its
//! length. Every change of a step goes through [`RunState::change`], which keeps the counters that decisions read, so
//! that no decision has to look at all open steps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;
use std::time::Duration;

use compozy_lang::plan::{Task, TaskIndex, TaskKind, Workflow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::StepError;
use crate::fork::Origin;
use crate::json::Json;
use crate::opening::{Items, Opening, Signal};
use crate::status::Status;
use crate::time::Timestamp;

mod steps;

pub use steps::Steps;

/// Path of a task and the number of its execution, from 1; printed `greet#1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// Ids of containers and task, joined by `/`.
    pub path: String,
    /// Which execution of this path within the run.
    pub execution: u32,
}

impl StepKey {
    /// The task's own id, the last part of the path.
    #[must_use]
    pub fn id(&self) -> &str {
        self.path.rsplit_once('/').map_or(&self.path, |(_, id)| id)
    }
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

/// Where a task stands in the plan: positions from the outermost list inwards (`Workflow::task`).
pub type Address = Vec<TaskIndex>;

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
    /// How many runs it is inside of: 0, or one more than the run that started it.
    pub depth: u32,
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
    /// Latest execution of each task that ran.
    pub steps: Steps,
    /// Task the run begins with.
    pub entry: TaskIndex,
    /// How it begins, if it goes on from another run and has not begun.
    pub origin: Option<Origin>,
    /// The outermost list has ended with this task; its outputs are being rendered.
    pub ended_with: Option<TaskIndex>,
    /// Task executions started so far.
    pub executions: u64,
    /// No new task starts.
    pub paused: bool,
    /// Signals that no wait has taken yet, oldest first. Stored as rows of their own.
    pub inbox: VecDeque<Signal>,
    /// Seq of the last journal event.
    pub last_seq: i64,
    /// Members of the input, taken apart when first asked for.
    input_members: OnceLock<BTreeMap<String, Json>>,
}

/// One execution of a task.
#[derive(Debug, Clone)]
pub struct Step {
    /// Path and execution.
    pub key: StepKey,
    /// Unique id of this execution, `<exec_id>:<path>:<execution>`; also its idempotency key.
    pub id: String,
    /// The step that holds it; `None` in the workflow's own list.
    pub parent: Option<StepKey>,
    /// Where its task stands in the plan.
    pub address: Address,
    /// Which item of its collection it is for.
    pub index: Option<usize>,
    /// Order of the start within the run, from 1.
    pub position: u64,
    /// Where it stands. PENDING: held back by a pause.
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
    /// It ended well and its `sleep` is running.
    pub pause: Option<Pause>,
    /// What it holds, once opened. Boxed, as most steps hold nothing.
    pub opening: Option<Box<Opening>>,
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

/// The `sleep` after a step that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// When it ends.
    pub until: Timestamp,
    /// Where the flow of its list goes then; `None`: the list ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TaskIndex>,
    /// Values laid over the next task's `with`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Value>,
}

/// The part of a run that is neither a column of its row nor a step; stored as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StoredState {
    /// Task the run begins with.
    #[serde(default)]
    pub entry: TaskIndex,
    /// How it begins, if it goes on from another run and has not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Task executions started so far.
    #[serde(default)]
    pub executions: u64,
    /// No new task starts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// How many runs it is inside of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u32,
    /// Its error is worth another attempt of the task that started it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_zero(depth: &u32) -> bool {
    *depth == 0
}

/// The part of a step that has no column of its own; stored as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct StoredStep {
    /// Where its task stands in the plan.
    #[serde(default)]
    pub address: Address,
    /// Which item of its collection it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
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
    /// Its error is worth another attempt of the container it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
    /// Its `sleep` is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Box<Opening>>,
}

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
            steps: Steps::default(),
            entry,
            origin: None,
            ended_with: None,
            executions: 0,
            paused: false,
            inbox: VecDeque::new(),
            last_seq: 0,
            input_members: OnceLock::new(),
        }
    }

    /// The members of the run's input by name. A large input is not parsed for every step that wants one of them.
    pub fn input_members(&self) -> &BTreeMap<String, Json> {
        self.input_members.get_or_init(|| {
            let members: BTreeMap<String, Box<RawValue>> =
                serde_json::from_str(self.facts.input.as_str()).unwrap_or_default();
            members
                .into_iter()
                .map(|(name, value)| (name, Json::from_valid(String::from(Box::<str>::from(value)))))
                .collect()
        })
    }

    /// The stored form of what is neither column nor step.
    #[must_use]
    pub fn stored(&self) -> StoredState {
        let Self { entry, executions, paused, .. } = *self;
        let retryable = self.error.as_ref().is_some_and(|error| error.retryable);
        StoredState { entry, origin: self.origin.clone(), executions, paused, depth: self.facts.depth, retryable }
    }

    /// Puts back what [`RunState::stored`] gave. The error must be in place.
    pub fn restore(&mut self, stored: &StoredState) {
        self.entry = stored.entry;
        self.origin = stored.origin.clone();
        self.executions = stored.executions;
        self.paused = stored.paused;
        self.facts.depth = stored.depth;
        if let Some(error) = &mut self.error {
            error.retryable = stored.retryable;
        }
    }

    /// The latest execution of the task at `index` of the workflow's own list.
    #[must_use]
    pub fn step(&self, plan: &Workflow, index: TaskIndex) -> Option<&Step> {
        self.steps.get(&plan.tasks.get(index)?.id)
    }

    /// The children of `container`'s present attempt in the order of the plan or of the items: id, and the latest
    /// execution of those that were started.
    pub fn children<'a>(&'a self, plan: &'a Workflow, container: &'a Step) -> Vec<(String, Option<&'a Step>)> {
        let Some((task, opening)) = plan.task(&container.address).zip(container.opening.as_deref()) else {
            return Vec::new();
        };
        let ids: Vec<String> = match opening.branches().and_then(|branches| branches.items.as_ref()) {
            Some(items) => (0..items.values.len()).map(|index| items.id(task, index)).collect(),
            None => task.children().iter().map(|child| child.id.clone()).collect(),
        };
        let find = |id: &str| self.steps.get(&format!("{}/{id}", container.key.path));
        ids.into_iter()
            .map(|id| {
                let step = find(&id).filter(|step| step.belongs_to(container));
                (id, step)
            })
            .collect()
    }
}

impl Items {
    /// Id of the child for the item at `index` of the collection `task`.
    #[must_use]
    pub fn id(&self, task: &Task, index: usize) -> String {
        if let Some(id) = self.ids.as_ref().and_then(|ids| ids.get(index)) {
            return id.clone();
        }
        let child = match &task.kind {
            TaskKind::Collection(collection) if !collection.child.id.is_empty() => &collection.child.id,
            _ => &task.id,
        };
        format!("{child}-{index}")
    }
}

impl Step {
    /// How long it took, or has taken at `now`.
    #[must_use]
    pub fn duration(&self, now: Timestamp) -> Duration {
        self.finished_at.unwrap_or(now).since(self.started_at)
    }

    /// Whether it is a child of the present attempt of `container`.
    #[must_use]
    pub fn belongs_to(&self, container: &Self) -> bool {
        self.parent.as_ref() == Some(&container.key)
            && container.opening.as_ref().is_some_and(|opening| self.position > opening.since)
    }

    /// Something of this very step is under way: an attempt, or what ends an open step.
    #[must_use]
    pub fn executes(&self) -> bool {
        match &self.opening {
            _ if self.status.is_terminal() => false,
            Some(opening) => opening.executes(),
            None => self.status == Status::Running,
        }
    }

    /// The stored form of what has no column.
    #[must_use]
    pub fn stored(&self) -> StoredStep {
        StoredStep {
            address: self.address.clone(),
            index: self.index,
            retry_at: self.retry_at,
            overlay: self.overlay.clone(),
            cause: self.cause.clone(),
            skipped: self.skipped,
            retryable: self.error.as_ref().is_some_and(|error| error.retryable),
            pause: self.pause.clone(),
            opening: self.opening.clone(),
        }
    }

    /// Puts back what [`Step::stored`] gave. Input and error must be in place.
    pub fn restore(&mut self, stored: StoredStep) {
        self.address = stored.address;
        self.index = stored.index;
        self.retry_at = stored.retry_at;
        self.overlay = stored.overlay;
        self.cause = stored.cause;
        self.skipped = stored.skipped;
        self.pause = stored.pause;
        self.opening = stored.opening;
        if let Some(error) = &mut self.error {
            error.retryable = stored.retryable;
        }
        let Some(opening) = self.opening.as_mut() else { return };
        if let Some(closing) = &mut opening.closing
            && let Some(cause) = &mut closing.cause
        {
            cause.retryable = closing.retryable;
        }
        if let Some(branches) = opening.branches_mut()
            && let Some((with, items)) = self.input.as_ref().and_then(Items::from_recorded)
        {
            self.input = with;
            branches.items = Some(items);
        }
    }

    /// Input as it is recorded: `with`, and of a collection also its items.
    #[must_use]
    pub fn recorded_input(&self) -> Option<Json> {
        let items = self.opening.as_ref().and_then(|opening| opening.branches()?.items.as_ref());
        match items {
            Some(items) => Some(items.recorded(self.input.as_ref())),
            None => self.input.clone(),
        }
    }
}
