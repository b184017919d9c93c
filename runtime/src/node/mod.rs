//! The worker: takes starts, claims runs under a lease, commits what the engine decides and carries out its commands.
//!
//! A run that this node owns is driven by one tokio task ([`driver`]). Nothing about it lives only there: the commit
//! comes first, then the memory moves on.

use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::Project;
use serde_json::{Map, Value};

use crate::id::{ExecId, NodeId};
use crate::storage;
use crate::storage::row::{Durability, Idempotency, Journal, Run};
use crate::storage::{CancelOutcome, Storage};

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
    /// Durability level; `None`: the database's.
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

/// One way in which an input breaks its schema.
#[derive(Debug, Clone)]
pub struct Violation {
    /// JSON pointer into the input, `/city`.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
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
    /// The input is larger than `limits.max_input_size`.
    #[error("input is {size} bytes; the limit is {limit}")]
    InputTooLarge {
        /// Bytes of JSON text.
        size: u64,
        /// The limit.
        limit: u64,
    },
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
}

/// A node at a glance.
#[derive(Debug, Clone)]
pub struct Status {
    /// The engine loop runs and accepts work.
    pub ready: bool,
    /// Runs owned and held in memory.
    pub running: usize,
    /// The node's lease holds.
    pub lease_ok: bool,
}
