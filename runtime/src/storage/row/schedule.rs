//! What is remembered of schedules.

use compozy_engine::time::Timestamp;

use super::NewRun;
use crate::id::ExecId;

/// A schedule of the project.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Unique; stays the same while the project does.
    pub schedule_id: String,
    /// Which workflow it starts.
    pub workflow_id: String,
    /// What the project says, JSON text.
    pub declared: String,
}

/// One row of `schedules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Unique.
    pub schedule_id: String,
    /// Which workflow it starts.
    pub workflow_id: String,
    /// What the project says, JSON text; `None`: it says nothing any more.
    pub declared: Option<String>,
    /// What was set at run time, JSON text.
    pub overriding: Option<String>,
    /// When it fires next.
    pub next_fire_at: Option<Timestamp>,
    /// The time of the last fire that started a run.
    pub last_fire_at: Option<Timestamp>,
    /// The run it started last.
    pub last_exec_id: Option<ExecId>,
    /// The oldest fire that was kept until the run before it ends.
    pub buffered_at: Option<Timestamp>,
    /// The latest fire and what became of it, a word of [`Fire::state`].
    pub last: Option<(Timestamp, String)>,
}

/// A time of a schedule that has come.
#[derive(Debug, Clone)]
pub struct Fire {
    /// Which schedule.
    pub schedule_id: String,
    /// Which of its times. Recorded once: a second fire of this time does nothing, unless the first was `buffered`.
    pub fire_at: Timestamp,
    /// `started`, `skipped`, `buffered` or `failed`; `started` exactly with a run.
    pub state: String,
    /// The run to start.
    pub start: Option<NewRun>,
    /// The run to cancel first (`overlap_policy: cancel_other`).
    pub cancel: Option<ExecId>,
    /// When the schedule fires next; written with the fire.
    pub next_fire_at: Option<Timestamp>,
    /// Now.
    pub at: Timestamp,
}
