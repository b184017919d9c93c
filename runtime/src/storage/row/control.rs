//! What reaches a run from outside: signals, and what others want of it.

use compozy_engine::time::Timestamp;

use super::Idempotency;
use crate::id::{ExecId, NodeId};

/// A signal to be kept for a run.
#[derive(Debug, Clone)]
pub struct NewSignal {
    /// Unique within a run: a second one with this id changes nothing.
    pub signal_id: String,
    /// Name.
    pub name: String,
    /// What it carries, JSON text.
    pub payload: String,
    /// `{signal_id, received_at_utc, workflow_id, source}`, JSON text.
    pub metadata: String,
    /// Chosen by the sender; unique within a run too.
    pub dedupe_key: Option<String>,
}

/// One row of `signals`.
#[derive(Debug, Clone)]
pub struct Signal {
    /// Place in the order in which signals came, over all runs.
    pub position: i64,
    /// Unique within the run.
    pub signal_id: String,
    /// Name.
    pub name: String,
    /// What it carries, JSON text.
    pub payload: String,
    /// Where it came from, JSON text.
    pub metadata: String,
    /// `queued`, `consumed` or `ignored`.
    pub state: String,
    /// The run's journal says that it came.
    pub noted: bool,
    /// Step that took it.
    pub consumed_by: Option<String>,
    /// When it was recorded.
    pub received_at: Timestamp,
}

/// What a signal for one run met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalOutcome {
    /// Recorded; `owner` is the node to be told, if any owns the run.
    Queued {
        /// Present owner.
        owner: Option<NodeId>,
    },
    /// One with this id, dedupe key or idempotency key was recorded before.
    Duplicate {
        /// Its id.
        signal_id: String,
        /// What became of it: `queued`, `consumed` or `ignored`.
        state: String,
    },
}

/// What became of a signal that reached the run.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Its id.
    pub signal_id: String,
    /// `consumed` or `ignored`.
    pub state: String,
    /// Step that looked at it.
    pub step_key: Option<String>,
}

/// A signal that a run or a publisher sends.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The signal.
    pub signal: NewSignal,
    /// The run it is for, which keeps it if it does not wait yet; `None`: every run that waits for its name now.
    pub target: Option<ExecId>,
}

/// Something wanted of another run. One that is gone or has ended is left alone.
#[derive(Debug, Clone)]
pub struct Demand {
    /// Of which run.
    pub exec_id: ExecId,
    /// What.
    pub wanted: Wanted,
    /// Who wants it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// What can be wanted of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Its end.
    Cancel,
    /// That it starts nothing new.
    Pause,
    /// The end of a pause.
    Resume,
}

/// A run that has something new to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Woken {
    /// The run.
    pub exec_id: ExecId,
    /// The node to be told; `None`: the run waits in the queue, or is paused.
    pub owner: Option<NodeId>,
}

/// What the scope of a delivery's idempotency key begins with: it is forgotten at its time, whatever has become of the run.
pub const DELIVERY: &str = "delivery|";

/// Something published to whoever listens.
#[derive(Debug, Clone)]
pub struct Published {
    /// Unique; a second one with this id changes nothing.
    pub event_id: String,
    /// Name: that of a signal.
    pub name: String,
    /// What it carries, JSON text.
    pub payload: String,
    /// Where it came from: `api`, `webhook`.
    pub source: String,
    /// What the signal says of itself to the runs that wait for it, JSON text.
    pub metadata: String,
    /// When.
    pub at: Timestamp,
    /// Key of the request, recorded with it.
    pub idempotency: Option<Idempotency>,
}

/// What a publication came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is recorded; these runs have something new to look at.
    Published(Vec<Woken>),
    /// It was published before, under this id, and nothing was done.
    Repeated {
        /// Id of the publication of that time.
        event_id: String,
    },
}
