//! What the node is to do after it has committed the records.

use crate::event::TimerKey;
use crate::state::StepKey;
use crate::time::Timestamp;

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the present attempt of a step and answer with `StepEnded`: `Done` or `Failed`, or `Opened` for a step that
    /// holds children, waits for a signal or for a sub-run.
    Execute(StepKey),
    /// Render what follows the decided end of an open step and answer with `StepEnded`, `Done` or `Failed`.
    Close(StepKey),
    /// Look whether the signal a wait holds matches and answer with `StepEnded`: `Done`, `Unmatched` or `Failed`.
    Match(StepKey),
    /// Stop the step's call; its answer is not waited for.
    Abort(StepKey),
    /// Answer with `TimerDue` at `due`.
    Arm {
        /// Which timer.
        timer: TimerKey,
        /// When it is due.
        due: Timestamp,
    },
    /// Forget the timer.
    Disarm(TimerKey),
    /// Answer with `ChildEnded` when the sub-run has ended.
    AwaitChild {
        /// The step that waits.
        key: StepKey,
        /// The sub-run.
        exec_id: String,
    },
    /// Cancel a sub-run.
    CancelChild {
        /// The sub-run.
        exec_id: String,
    },
    /// Pause a sub-run.
    PauseChild {
        /// The sub-run.
        exec_id: String,
    },
    /// Resume a sub-run.
    ResumeChild {
        /// The sub-run.
        exec_id: String,
    },
    /// Render the workflow's `outputs` now, before committing, and answer with `OutputsRendered`: pure work, so that
    /// the last result and the end of the run share one transaction.
    RenderOutputs,
}
