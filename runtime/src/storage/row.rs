//! Rows as every driver reads and writes them. JSON is text, times are microseconds UTC.

mod control;
mod memory;
mod retention;
mod schedule;

use compozy_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::control::{
    DELIVERY, Demand, NewSignal, PublishOutcome, Published, Sent, Settled, Signal, SignalOutcome, Wanted, Woken,
};
pub use self::memory::{MemoryAct, MemoryChange, MemoryMessage, MemoryState, MemoryTotals, NewMessage};
pub use self::retention::{Retention, Swept};
pub use self::schedule::{Declared, Fire, Schedule};
use crate::id::{ExecId, NodeId};

/// Durability levels (cli-and-api §9.4), weakest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Steps only in memory.
    Memory,
    /// Survives a killed process.
    Normal,
    /// Survives a power cut.
    #[default]
    Full,
}

impl From<compozy_lang::settings::Durability> for Durability {
    fn from(written: compozy_lang::settings::Durability) -> Self {
        match written {
            compozy_lang::settings::Durability::Memory => Self::Memory,
            compozy_lang::settings::Durability::Normal => Self::Normal,
            compozy_lang::settings::Durability::Full => Self::Full,
        }
    }
}

/// One row of `executions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// Primary key.
    pub exec_id: ExecId,
    /// `workflow`, later also `agent` and `task`.
    pub component: String,
    /// Which workflow.
    pub workflow_id: String,
    /// Key of the pinned definition.
    pub definition_digest: String,
    /// A status word of cli-and-api §1.
    pub status: String,
    /// Why it is in this status, where that needs saying (`canceled by user`).
    pub reason: Option<String>,
    /// Input, JSON text.
    pub input: String,
    /// Output, JSON text, once ended with SUCCESS.
    pub output: Option<String>,
    /// Error, JSON text, once ended otherwise.
    pub error: Option<String>,
    /// What started it, JSON text `{"type": "manual", …}`.
    pub trigger: String,
    /// Tags, JSON object text.
    pub tags: String,
    /// Parent run of a sub-run.
    pub parent_exec_id: Option<ExecId>,
    /// Outermost run; itself for a top-level one.
    pub root_exec_id: ExecId,
    /// Run it was retried or forked from.
    pub forked_from: Option<ExecId>,
    /// Durability level.
    pub durability: Durability,
    /// Higher runs first.
    pub priority: i64,
    /// How many runs of its key may be under way at once. Runs inside other runs have none.
    pub concurrency: Option<Concurrency>,
    /// When the whole run times out.
    pub deadline: Option<Timestamp>,
    /// Engine state that is not a step (where the flow stands), JSON text.
    pub state: String,
    /// Node that owns it.
    pub owner_node: Option<NodeId>,
    /// Only this node may claim it while it lives.
    pub affinity_node: Option<NodeId>,
    /// Incremented by every claim.
    pub epoch: i64,
    /// Seq of the last journal event.
    pub last_seq: i64,
    /// A cancel request, JSON text `{"by", "reason"?, "at"}`.
    pub cancel_request: Option<String>,
    /// Set while the run shall be paused, JSON text `{"by", "at"}`. Whoever drives the run makes it so.
    pub pause_request: Option<String>,
    /// Recorded.
    pub created_at: Timestamp,
    /// First step started.
    pub started_at: Option<Timestamp>,
    /// Last change.
    pub updated_at: Timestamp,
    /// Ended.
    pub finished_at: Option<Timestamp>,
    /// It waits for its concurrency key. Read only.
    pub gated: bool,
    /// A live node owns it or, if none does, would claim it. Read only.
    pub attended: bool,
}

/// A concurrency key with its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// Runs with equal keys are counted together.
    pub key: String,
    /// Most of them at once, at least 1.
    pub limit: u32,
}

/// How many runs wait in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueLength {
    /// For a free place.
    pub claimable: u64,
    /// For their concurrency key.
    pub gated: u64,
}

/// What [`super::Storage::start`] writes.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The run as it shall be after this transaction (owner set: the starting node runs it at once).
    pub run: Run,
    /// Write a `ready` row so that any node may claim it. False when `run.owner_node` is set.
    pub queue: bool,
    /// First journal events, steps and timers.
    pub changes: Changes,
    /// Definition to store under `run.definition_digest` if it is not there yet: kind, id, JSON text.
    pub definition: Option<(String, String, String)>,
    /// Idempotency key of the request.
    pub idempotency: Option<Idempotency>,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedRun {
    /// Which run.
    pub exec_id: ExecId,
    /// A terminal status word.
    pub status: String,
    /// Output, JSON text.
    pub output: Option<String>,
    /// Error, JSON text.
    pub error: Option<String>,
    /// The error is worth another attempt.
    pub retryable: bool,
}

/// An idempotency key.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// Principal, route and path parameters, or [`DELIVERY`] and from whom.
    pub scope: String,
    /// The key the client sent.
    pub key: String,
    /// SHA-256 (hex) of the canonical request body.
    pub request_hash: String,
    /// When it may be forgotten, but never before its run has ended (keys of deliveries excepted).
    pub expires_at: Timestamp,
}

/// What a start met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// Recorded.
    New,
    /// The idempotency key was used before, with the same request, for this run.
    Replayed(ExecId),
}

/// The changes of one decision, written in one transaction.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// New values of the run's row. `None`: only `last_seq` and `updated_at` move.
    pub run: Option<RunUpdate>,
    /// Events to append; `seq` contiguous from `last_seq + 1`.
    pub journal: Vec<Journal>,
    /// Steps to insert or replace.
    pub steps: Vec<Step>,
    /// Attempts to insert or replace.
    pub attempts: Vec<Attempt>,
    /// Timers to insert or replace.
    pub timers_set: Vec<Timer>,
    /// Ids of timers to remove.
    pub timers_cleared: Vec<String>,
    /// Tokens used.
    pub usage: Vec<Usage>,
    /// Ids of signals whose coming these events tell.
    pub noted: Vec<String>,
    /// What became of signals that reached this run.
    pub settled: Vec<Settled>,
    /// Signals to send to other runs.
    pub sent: Vec<Sent>,
    /// Runs to start: sub-runs, and what a sent signal starts.
    pub starts: Vec<NewRun>,
    /// What is wanted of other runs.
    pub demands: Vec<Demand>,
    /// What becomes of memories.
    pub memory: Vec<MemoryChange>,
    /// When these changes were decided.
    pub at: Timestamp,
}

impl Changes {
    /// Takes out what concerns signals, memories and other runs, and cannot wait for the rest; `None` when there is nothing.
    #[must_use]
    pub fn take_outward(&mut self) -> Option<Self> {
        let outward = Self {
            noted: std::mem::take(&mut self.noted),
            settled: std::mem::take(&mut self.settled),
            sent: std::mem::take(&mut self.sent),
            starts: std::mem::take(&mut self.starts),
            demands: std::mem::take(&mut self.demands),
            memory: std::mem::take(&mut self.memory),
            at: self.at,
            ..Self::default()
        };
        let nothing = outward.noted.is_empty()
            && outward.settled.is_empty()
            && outward.sent.is_empty()
            && outward.starts.is_empty()
            && outward.demands.is_empty()
            && outward.memory.is_empty();
        (!nothing).then_some(outward)
    }
}

/// New values of a run's row.
#[derive(Debug, Clone)]
pub struct RunUpdate {
    /// Status word; moves only as cli-and-api §9.2 (f) allows.
    pub status: String,
    /// Reason.
    pub reason: Option<String>,
    /// Output, JSON text; `None` leaves it.
    pub output: Option<String>,
    /// Error, JSON text; `None` leaves it.
    pub error: Option<String>,
    /// Engine state that is not a step.
    pub state: String,
    /// First step started; `None` leaves it.
    pub started_at: Option<Timestamp>,
    /// Ended; set together with a terminal status. Owner, affinity, `ready` row and timers of the run go with it.
    pub finished_at: Option<Timestamp>,
}

impl RunUpdate {
    /// The values the run's row has, but for its reason.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        Self {
            status: run.status.clone(),
            reason: None,
            output: None,
            error: None,
            state: run.state.clone(),
            started_at: None,
            finished_at: None,
        }
    }
}

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Contiguous from 1.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Event name of cli-and-api §7.4 (`task_start`, …).
    pub event: String,
    /// Task it concerns.
    pub task_id: Option<String>,
    /// Fields of the event, a JSON object as text.
    pub data: String,
}

/// One row of `steps`: the current state of one task execution.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// Path of the task and its execution number, `greet#1`.
    pub step_key: String,
    /// Unique id of this task execution.
    pub task_exec_id: String,
    /// Path of the task, ids joined by `/`.
    pub task_id: String,
    /// `basic`, `router`, …
    pub kind: String,
    /// Status word.
    pub status: String,
    /// Which attempt, from 1.
    pub attempt: i64,
    /// Step key of the container.
    pub parent: Option<String>,
    /// Order of the start within the run, from 1.
    pub position: i64,
    /// Rendered input, JSON text, once recorded.
    pub input: Option<String>,
    /// Recorded output, JSON text.
    pub output: Option<String>,
    /// Error, JSON text.
    pub error: Option<String>,
    /// What it waits for while not running, JSON text.
    pub waiting_for: Option<String>,
    /// Engine state of the step (overlay, wake time), JSON text.
    pub state: String,
    /// Seq of the journal event that recorded the result.
    pub result_seq: Option<i64>,
    /// First attempt started.
    pub started_at: Timestamp,
    /// Ended.
    pub finished_at: Option<Timestamp>,
}

/// One row of `attempts`.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Task execution.
    pub task_exec_id: String,
    /// From 1.
    pub attempt: i64,
    /// Node that ran it.
    pub node: NodeId,
    /// Epoch of the run.
    pub epoch: i64,
    /// Status word of the attempt.
    pub outcome: String,
    /// Error, JSON text.
    pub error: Option<String>,
    /// Started.
    pub started_at: Timestamp,
    /// Ended.
    pub finished_at: Timestamp,
}

/// One row of `timers`, pending until it is cleared.
#[derive(Debug, Clone)]
pub struct Timer {
    /// Unique within the run: `<step key>/<kind>`, or `run/timeout`.
    pub timer_id: String,
    /// `sleep`, `retry`, `timeout`.
    pub kind: String,
    /// Step it belongs to.
    pub step_key: Option<String>,
    /// When it fires.
    pub due_at: Timestamp,
}

/// One row of `usage`.
#[derive(Debug, Clone)]
pub struct Usage {
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
}

/// One row of `nodes`.
#[derive(Debug, Clone)]
pub struct Node {
    /// Id of the process.
    pub node_id: NodeId,
    /// `server` or `embedded`.
    pub kind: String,
    /// Version of compozy.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When it said so, by its own clock.
    pub renewed_at: Timestamp,
    /// Until when it is taken to be alive. A database with a clock of its own counts the time from `renewed_at` to this
    /// from its own now.
    pub lease_until: Timestamp,
}

/// A run with everything the engine needs to go on.
#[derive(Debug, Clone)]
pub struct LoadedRun {
    /// The run.
    pub run: Run,
    /// Its steps, in the order they started.
    pub steps: Vec<Step>,
    /// Its pending timers.
    pub timers: Vec<Timer>,
    /// Signals that nothing has taken yet, in the order they came.
    pub signals: Vec<Signal>,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only this workflow.
    pub workflow_id: Option<String>,
    /// Only these status words; empty: all.
    pub statuses: Vec<String>,
    /// Created at or after.
    pub since: Option<Timestamp>,
    /// Created before.
    pub until: Option<Timestamp>,
    /// Having this tag with this value.
    pub tag: Option<(String, String)>,
    /// Children of this run.
    pub parent: Option<ExecId>,
    /// Oldest first.
    pub ascending: bool,
    /// Where the page starts, from [`Page::next`] or [`Page::previous`]; opaque.
    pub cursor: Option<String>,
    /// 1 to 500.
    pub limit: u32,
    /// Also count all matches.
    pub count: bool,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// Items in order.
    pub items: Vec<T>,
    /// Cursor of the page after.
    pub next: Option<String>,
    /// Cursor of the page before.
    pub previous: Option<String>,
    /// All matches, when asked for.
    pub total: Option<u64>,
}

/// Runs of one workflow.
#[derive(Debug, Clone)]
pub struct WorkflowSummary {
    /// Which workflow.
    pub workflow_id: String,
    /// How many runs are stored.
    pub runs: u64,
    /// The newest.
    pub latest: Run,
}

/// One value of a plugin's key-value space.
#[derive(Debug, Clone)]
pub struct KvEntry {
    /// Id of the plugin entry.
    pub space: String,
    /// 1 to 512 bytes.
    pub key: String,
    /// At most 1 MiB.
    pub value: Vec<u8>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}
