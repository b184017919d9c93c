//! Defects that can be switched on, so that a test can show that each is found.

/// A defect of the store or of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Writes are not guarded by owner and epoch.
    DropFencing,
    /// Writes are guarded by their owner, but not by its epoch.
    DropEpoch,
    /// Writes are not guarded by the seq they follow.
    DropSeqGuard,
    /// A claim leaves the row in `ready`.
    KeepReady,
    /// Runs of a dead node are freed, but not queued.
    ForgetReady,
    /// A paused run of a dead node is not queued although it was resumed or canceled since.
    ForgetPausedRequests,
    /// Timers that are not needed any more stay.
    ForgetDisarm,
    /// Of a commit one step is not written.
    TornCommit,
    /// A result and what follows from it are two commits.
    SplitCommit,
    /// Clients hear of success before the commit.
    AcknowledgeEarly,
    /// Signals that a run has queued are not there when it is loaded.
    LoseQueuedSignals,
    /// Signals that a wait holds are also queued when the run is loaded.
    DoubleHeldSignals,
    /// Signals are handed to the run again although it has settled them.
    RedeliverSignals,
    /// A commit does not store what became of signals.
    ForgetSettled,
    /// Cancelling a step does not reach its sub-run.
    LeaveChildren,
    /// Pausing a run does not reach its sub-runs.
    ForgetChildPause,
    /// Nobody looks whether a sub-run has ended, if the one message about it was lost.
    MissChildEnds,
    /// Timers are forgotten when a run is loaded.
    ForgetTimers,
    /// A commit of unknown outcome is taken for success.
    UnknownIsSuccess,
    /// A claim of unknown outcome is taken for failure.
    ForgetUnknownClaims,
    /// A node takes a run up again under the epoch under which it gave it up.
    SameEpochAgain,
    /// Steps start before the commit that records their start.
    CarryOutEarly,
    /// A node goes on after its lease.
    IgnoreLease,
    /// Answers of aborted and replaced calls reach the run.
    LateAnswers,
}

impl Fault {
    pub(crate) const ALL: [Self; 24] = [
        Self::DropFencing,
        Self::DropEpoch,
        Self::DropSeqGuard,
        Self::KeepReady,
        Self::ForgetReady,
        Self::ForgetPausedRequests,
        Self::ForgetDisarm,
        Self::TornCommit,
        Self::SplitCommit,
        Self::AcknowledgeEarly,
        Self::LoseQueuedSignals,
        Self::DoubleHeldSignals,
        Self::RedeliverSignals,
        Self::ForgetSettled,
        Self::LeaveChildren,
        Self::ForgetChildPause,
        Self::MissChildEnds,
        Self::ForgetTimers,
        Self::UnknownIsSuccess,
        Self::ForgetUnknownClaims,
        Self::SameEpochAgain,
        Self::CarryOutEarly,
        Self::IgnoreLease,
        Self::LateAnswers,
    ];
}
