//! What the node is to do after it has committed the records.

use crate::event::TimerKey;
use crate::state::StepKey;
use crate::time::Timestamp;

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the present attempt of a step and answer with `StepEnded`.
    Execute(StepKey),
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
    /// Render the workflow's `outputs` now, before committing, and answer with `OutputsRendered`: pure work, so that
    /// the last result and the end of the run share one transaction.
    RenderOutputs,
}
