//! The worker: takes starts, claims runs under a lease, commits what the engine decides and carries out its commands.
//!
//! A run that this node owns is driven by one tokio task ([`driver`]). Nothing about it lives only there: the commit
//! comes first, then the memory moves on.

mod ask;
mod claims;
mod definitions;
mod driver;
mod events;
mod fork;
mod held;
mod kept;
mod lease;
mod pending;
pub mod project;
mod projection;
mod reach;
mod retention;
mod runs;
pub mod schedules;
mod schemas;
mod secrets;
mod signals;
mod slots;
mod spawned;
mod start;
mod state;
pub mod step;
mod sub_runs;
mod timers;
mod triggers;
mod watchers;
pub mod webhooks;
mod worker;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compozy_engine::status::Status as RunStatus;
use compozy_engine::time::Timestamp;
use compozy_lang::environment::ProjectEnvironment;
use compozy_lang::plan::Project;
pub use compozy_lang::schema_check::Violation;
use serde_json::{Map, Value};
use tokio::sync::broadcast;

pub use self::ask::{SignalAccepted, SignalRequest, put_signal, repeated_cancel};
pub use self::events::{EventAccepted, EventRequest};
pub use self::fork::ForkRequest;
pub use self::triggers::{Hook, check_signal};
use crate::clock::Clock;
use crate::id::{ExecId, NodeId};
use crate::memory::Keeper;
use crate::plugin::template::Renderer;
use crate::provider::Providers;
use crate::storage;
use crate::storage::Storage;
use crate::storage::row::{Durability, Idempotency, Journal, Retention, Run};
pub use compozy_engine::fork::Place;
use definitions::Definitions;
use driver::Control;
use secrets::Secrets;
use watchers::Watchers;
use worker::Worker;

/// How long a stopped driver is given to let go of its run.
const LET_GO: Duration = Duration::from_secs(2);

/// How often a waiter looks at a run that another process may drive.
const LOOK: Duration = Duration::from_millis(250);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Claims whatever is claimable.
    Server,
    /// Runs only what it was asked to run.
    Embedded,
}

/// What a node is made of.
#[derive(Debug)]
pub struct Options {
    /// What it is.
    pub kind: Kind,
    /// Where runs live.
    pub storage: Arc<dyn Storage>,
    /// Time and ids.
    pub clock: Clock,
    /// The definitions it starts with.
    pub project: Arc<Project>,
    /// Calls of tools.
    pub tools: Arc<step::Tools>,
    /// Templates.
    pub renderer: Arc<Renderer>,
    /// Models.
    pub providers: Arc<Providers>,
    /// Limit of one model call where the task has none (`llm.provider_timeout`).
    pub prompt_timeout: Duration,
    /// Environment variables of the project.
    pub environment: ProjectEnvironment,
    /// Values that are neither recorded nor shown.
    pub secrets: Vec<String>,
    /// Runs that may execute at once.
    pub max_concurrent_runs: usize,
    /// Runs that may wait for a slot.
    pub max_pending: usize,
    /// How long the node counts as alive without renewal.
    pub lease: Duration,
    /// Most runs claimed at once, 1 or more.
    pub claim_batch: usize,
    /// What a server removes of finished runs; `None`: nothing.
    pub retention: Option<Retention>,
}

/// A live worker.
#[derive(Debug)]
pub struct Node {
    worker: Arc<Worker>,
}

impl Node {
    /// Registers the node, frees the runs of dead ones and begins to claim. Ready when it returns.
    ///
    /// # Errors
    /// [`Error::Storage`] when the node cannot be registered.
    pub async fn launch(options: Options) -> Result<Arc<Self>, Error> {
        let id = options.clock.node_id();
        let watchers = Arc::new(Watchers::default());
        watchers.replace_secrets(Secrets::new(&options.secrets));
        let definitions = Arc::new(Definitions::new(options.project.clone()));
        let steps = Arc::new(step::Executor::new(&options, watchers.clone(), definitions.clone()));
        let retention = options.retention;
        let worker = Arc::new(Worker::new(options, id, steps, watchers, definitions));
        claims::renew(&worker).await?;
        if worker.kind == Kind::Server {
            let freed = worker.storage.recover(&worker.id, true, worker.clock.now()).await?;
            if freed > 0 {
                tracing::info!(runs = freed, "going on with runs of a former server");
            }
            tokio::spawn(claims::claim_loop(worker.clone()));
            if let Some(retention) = retention {
                tokio::spawn(retention::sweep_loop(worker.clone(), retention));
            }
        }
        claims::count(&worker).await;
        tokio::spawn(claims::lease_loop(worker.clone()));
        tokio::spawn(claims::watch_loop(worker.clone()));
        tokio::spawn(claims::care_loop(worker.clone()));
        tokio::spawn(claims::change_loop(worker.clone()));
        Ok(Arc::new(Self { worker }))
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.worker.id
    }

    /// Where runs live.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.worker.storage
    }

    /// The definitions that new runs use.
    #[must_use]
    pub fn project(&self) -> Arc<Project> {
        self.worker.definitions.project()
    }

    /// Gives new runs other definitions; runs under way keep theirs.
    pub fn replace_project(&self, project: Arc<Project>) {
        self.memory().replace_limits((&project.settings.limits).into());
        self.worker.replace_project(project);
    }

    /// Keeps these values, instead of those of the launch, out of what is recorded from now on.
    pub fn replace_secrets(&self, values: &[String]) {
        self.worker.replace_secrets(values);
    }

    /// The memories of this process.
    #[must_use]
    pub fn memory(&self) -> &Keeper {
        self.worker.steps.memory()
    }

    /// The node at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            ready: !self.worker.stopping.load(Ordering::Relaxed),
            running: self.worker.running(),
            schedules_reconciled: self.worker.schedules.reconciled(),
            lease_ok: self.worker.lease.is_well(&self.worker.clock),
            trouble: self.worker.trouble(),
        }
    }

    /// Starts a run. It is durable when this returns.
    ///
    /// # Errors
    /// Every variant of [`Error`] but those about existing runs; nothing was stored then.
    pub async fn submit(&self, request: StartRequest) -> Result<Accepted, Error> {
        start::submit(&self.worker, request).await
    }

    /// Waits until the run has ended; `None` when `timeout` passed first.
    ///
    /// # Errors
    /// [`Error::ExecutionNotFound`], [`Error::Storage`].
    pub async fn wait(&self, exec_id: &ExecId, timeout: Option<Duration>) -> Result<Option<Run>, Error> {
        let clock = &self.worker.clock;
        let until = timeout.map(|timeout| clock.now().after(timeout));
        let mut notices = self.subscribe(exec_id);
        loop {
            let run = self.worker.storage.run(exec_id).await?;
            let run = run.ok_or_else(|| Error::ExecutionNotFound(exec_id.clone()))?;
            if run.status.parse().is_ok_and(RunStatus::is_terminal) {
                return Ok(Some(run));
            }
            let left = until.map(|until| until.since(clock.now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            let pause = left.unwrap_or(LOOK).min(LOOK);
            tokio::select! {
                () = ended(&mut notices) => {}
                () = clock.sleep(pause) => {}
            }
        }
    }

    /// Live notices of a run driven by this node, from now on. To miss nothing, subscribe first, then read the journal,
    /// then go on by seq.
    #[must_use]
    pub fn subscribe(&self, exec_id: &ExecId) -> broadcast::Receiver<Notice> {
        self.worker.watchers.subscribe(exec_id)
    }

    /// Takes over one stored run, for embedded execution: now, or as soon as the lease of whoever owns it ends.
    pub fn adopt(&self, exec_id: &ExecId) {
        let (worker, exec_id) = (self.worker.clone(), exec_id.clone());
        tokio::spawn(async move { runs::take_when_free(&worker, &exec_id).await });
    }

    /// Stops claiming, gives running steps `drain` to end, aborts the rest and hands every run back.
    pub async fn shutdown(&self, drain: Duration) {
        let worker = &self.worker;
        worker.stopping.store(true, Ordering::Relaxed);
        worker.wake.notify_one();
        worker.schedules.look();
        worker.tell_all(|| Control::Drain);
        self.emptied(drain).await;
        worker.tell_all(|| Control::Stop);
        self.emptied(LET_GO).await;
        let now = worker.clock.now();
        if let Err(error) = worker.storage.hand_back(&worker.id, now).await {
            tracing::warn!("failed to hand runs back, the next node takes them over: {error}");
        }
        if let Err(error) = worker.storage.remove_node(&worker.id).await {
            tracing::warn!("failed to remove the node's row: {error}");
        }
    }

    async fn emptied(&self, longest: Duration) {
        let clock = &self.worker.clock;
        let until = clock.now().after(longest);
        while self.worker.running() > 0 && clock.now() < until {
            tokio::select! {
                () = self.worker.wake.notified() => {}
                () = clock.sleep(Duration::from_millis(20)) => {}
            }
        }
    }
}

/// Waits for the run's last event, or until notices were lost.
async fn ended(notices: &mut broadcast::Receiver<Notice>) {
    loop {
        match notices.recv().await {
            Ok(Notice::Events(events)) => {
                if events.iter().any(|event| matches!(event.event.as_str(), "complete" | "error")) {
                    return;
                }
            }
            Ok(Notice::Chunk { .. } | Notice::Live { .. }) => {}
            Err(_) => return,
        }
    }
}

/// A request to run a workflow.
#[derive(Debug, Clone)]
pub struct StartRequest {
    /// Which workflow.
    pub workflow_id: String,
    /// Input, an object; defaults of the schema are filled in and it is checked before anything is stored.
    pub input: Value,
    /// Task to begin with; `None`: the first.
    pub task: Option<String>,
    /// Tags.
    pub tags: Map<String, Value>,
    /// Durability level; `None`: the workflow's, else the database's.
    pub durability: Option<Durability>,
    /// Higher runs first.
    pub priority: i64,
    /// What started it, `{"type": "manual"}`.
    pub trigger: Value,
    /// Idempotency key of the request.
    pub idempotency: Option<Idempotency>,
}

/// A start that is durable.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The run.
    pub exec_id: ExecId,
    /// Its workflow.
    pub workflow_id: String,
    /// The idempotency key was used before; this is the run of that time.
    pub replayed: bool,
}

/// Why the node refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such workflow; the nearest names.
    #[error("workflow '{id}' not found")]
    WorkflowNotFound {
        /// What was asked for.
        id: String,
        /// Nearest names, at most three.
        suggestions: Vec<String>,
    },
    /// The workflow has no such task.
    #[error("workflow '{workflow}' has no task '{task}'")]
    TaskNotFound {
        /// Workflow.
        workflow: String,
        /// What was asked for.
        task: String,
    },
    /// The input breaks the workflow's schema. Nothing was stored.
    #[error("input of workflow '{workflow}' does not match its schema")]
    InputInvalid {
        /// Workflow.
        workflow: String,
        /// Every violation.
        violations: Vec<Violation>,
    },
    /// No such schedule.
    #[error("schedule '{id}' not found")]
    ScheduleNotFound {
        /// What was asked for.
        id: String,
        /// Ids that may be meant.
        suggestions: Vec<String>,
    },
    /// A schedule cannot be what is asked for. Nothing was stored.
    #[error("the schedule is not valid")]
    ScheduleInvalid {
        /// Every part that is wrong.
        invalid: Vec<schedules::Invalid>,
    },
    /// The input is larger than `limits.max_input_size`.
    #[error("input is {size} bytes; the limit is {limit}")]
    InputTooLarge {
        /// Bytes of JSON text.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The payload breaks what triggers of the signal declare. Nothing was stored.
    #[error("signal '{name}': payload does not match its schema")]
    PayloadInvalid {
        /// The signal.
        name: String,
        /// Every violation.
        violations: Vec<Violation>,
    },
    /// The event of a webhook makes no input that its workflow takes. Nothing was stored.
    #[error("event '{event}': input does not match its schema")]
    EventInvalid {
        /// The event.
        event: String,
        /// Every violation.
        violations: Vec<Violation>,
    },
    /// A delivery is not signed as its webhook asks.
    #[error("the signature of the delivery is not valid")]
    Unverified,
    /// A webhook cannot be used as it is configured; the text is for the log.
    #[error("{0}")]
    WebhookUnusable(String),
    /// Too many runs are waiting; nothing was stored.
    #[error("too many runs are waiting to start")]
    Overloaded,
    /// The node is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The idempotency key was used with another request.
    #[error("the idempotency key was used with another request")]
    IdempotencyMismatch,
    /// No such run.
    #[error("execution '{0}' not found")]
    ExecutionNotFound(ExecId),
    /// The run has ended with this status.
    #[error("execution has ended: {0}")]
    ExecutionFinished(String),
    /// The run has this status: it has not ended, or has ended well.
    #[error("only an execution that has failed can be retried; this one is {0}")]
    NotFailed(String),
    /// The run has never begun this task.
    #[error("the execution has not reached task '{0}'")]
    TaskNotReached(String),
    /// The task is inside a container.
    #[error("task '{task}' is inside '{container}'; an execution can be forked at tasks of the outermost list only")]
    TaskInside {
        /// What was asked for.
        task: String,
        /// The outermost container.
        container: String,
    },
    /// What the run was pinned to cannot be read.
    #[error("{0} is gone or unreadable")]
    DefinitionUnavailable(String),
    /// Storage refused or failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

/// What a subscriber hears of a run.
#[derive(Debug, Clone)]
pub enum Notice {
    /// Events that have been committed, in order.
    Events(Arc<[Journal]>),
    /// A piece of a model's answer; not journaled. Its SSE id is `<seq>.<number>`.
    Chunk {
        /// Seq of the last journal event before it.
        seq: i64,
        /// Number of the chunk after that event, from 1.
        number: u64,
        /// Task that produces the text.
        task_id: String,
        /// The text.
        text: String,
    },
    /// Something that happens inside a step; not journaled. It is numbered like a chunk.
    Live {
        /// Seq of the last journal event before it.
        seq: i64,
        /// Number after that event, from 1, shared with chunks.
        number: u64,
        /// When.
        at: Timestamp,
        /// Task it happens in.
        task_id: String,
        /// `agent_start`, `agent_status`, `tool_call` or `tool_result`.
        event: &'static str,
        /// Fields of the event.
        data: Map<String, Value>,
    },
}

/// A node at a glance.
#[derive(Debug, Clone)]
pub struct Status {
    /// The engine loop runs and accepts work.
    pub ready: bool,
    /// Runs owned and held in memory.
    pub running: usize,
    /// The project's schedules were written down and looked at.
    pub schedules_reconciled: bool,
    /// The node's lease holds.
    pub lease_ok: bool,
    /// Why the database did not take the last renewal of the lease; `None`: it did.
    pub trouble: Option<&'static str>,
}
