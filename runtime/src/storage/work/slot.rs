//! Kinds of rows, and their values.

use std::sync::Arc;

/// One bound value. Texts are shared: the run's id stands in every row.
#[derive(Debug, Clone)]
pub(in crate::storage) enum Value {
    Null,
    Integer(i64),
    Text(Arc<str>),
    Blob(Arc<[u8]>),
}

/// Where rows go, in the order the statements of a logical transaction run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::storage) enum Slot {
    /// The run's row, when its status or owner does not change: touches no index.
    Advance,
    /// The run's row, when its status changes.
    Move,
    Definition,
    Head,
    Execution,
    WorkflowRuns,
    Idempotency,
    Ready,
    Payload,
    PayloadRef,
    Journal,
    Step,
    Attempt,
    Timer,
    ClearedTimer,
    Usage,
    /// That the journal says that a signal came.
    NotedSignal,
    /// What became of a signal: each is settled once.
    SettledSignal,
    EndedReady,
    EndedTimer,
    /// What an ended run has not taken.
    EndedSignal,
    /// A signal of a run; one that is known already changes nothing.
    Signal,
}

impl Slot {
    /// Number of values of one row.
    pub(in crate::storage) fn columns(self) -> usize {
        match self {
            Self::EndedReady | Self::EndedTimer => 1,
            Self::WorkflowRuns | Self::PayloadRef | Self::ClearedTimer | Self::NotedSignal | Self::EndedSignal => 2,
            Self::Payload => 3,
            Self::Head => 4,
            Self::Definition | Self::Idempotency | Self::Timer | Self::SettledSignal => 5,
            Self::Journal | Self::Usage => 6,
            Self::Ready | Self::Signal => 7,
            Self::Attempt => 8,
            Self::Advance => 12,
            Self::Move => 13,
            Self::Step => 17,
            Self::Execution => 30,
        }
    }
}
