//! The one vocabulary of states, for runs and steps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a run or a step stands (dialect §4.5). The last four are terminal and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Recorded, not started.
    Pending,
    /// A task is executing.
    Running,
    /// Only timers, signals or children are waited for.
    Waiting,
    /// Paused by a user; no new task starts.
    Paused,
    /// Ended well.
    Success,
    /// Ended with an unhandled failure.
    Failed,
    /// A timeout passed.
    TimedOut,
    /// Canceled by a user or by its parent.
    Canceled,
}

impl Status {
    /// Every status, in the order of the type.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Success,
        Self::Failed,
        Self::TimedOut,
        Self::Canceled,
    ];

    /// The word used everywhere: API, command line, database, metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Waiting => "WAITING",
            Self::Paused => "PAUSED",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Canceled => "CANCELED",
        }
    }

    /// Ended for good.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::TimedOut | Self::Canceled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// The text is no status word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.word() == text).ok_or(UnknownStatus)
    }
}
