//! What can happen to a run.

use std::time::Duration;

use compozy_lang::plan::TaskIndex;
use serde_json::Value;

use crate::error::StepError;
use crate::json::Json;
use crate::state::StepKey;

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The run begins, at its entry.
    Start,
    /// An attempt of a step ended.
    StepEnded {
        /// Which step.
        key: StepKey,
        /// Which attempt; an event of an earlier attempt is ignored.
        attempt: u32,
        /// How it ended. Boxed, as most events are small.
        outcome: Box<Outcome>,
    },
    /// A durable timer came due.
    TimerDue {
        /// Which.
        timer: TimerKey,
    },
    /// The workflow's `outputs` were rendered (or there are none and the last output stands).
    OutputsRendered(Result<Json, StepError>),
    /// The run cannot go on and fails with this error.
    Lost(StepError),
    /// Someone wants the run to end.
    Cancel {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
}

/// How an attempt ended. Templates over `.output` or `.error` are rendered by then.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It has an output.
    Done(Done),
    /// It failed.
    Failed(Failure),
}

/// An attempt that succeeded.
#[derive(Debug, Clone)]
pub struct Done {
    /// Rendered `with`, for the record.
    pub input: Option<Json>,
    /// Final output.
    pub output: Json,
    /// `condition` was false: nothing ran.
    pub skipped: bool,
    /// `final` was true.
    pub ends_list: bool,
    /// `sleep`.
    pub sleep: Option<Duration>,
    /// `on_success`, rendered.
    pub transition: Rendered,
    /// Tokens used.
    pub usage: Vec<Usage>,
}

/// An attempt that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Rendered `with`, if it got so far.
    pub input: Option<Json>,
    /// Why.
    pub error: StepError,
    /// `on_error`, rendered; used if no attempt is left.
    pub transition: Rendered,
    /// Tokens used.
    pub usage: Vec<Usage>,
}

/// A transition after rendering.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rendered {
    /// Where it leads.
    pub next: Option<Target>,
    /// Values laid over the next task's `with`.
    pub with: Option<Value>,
}

/// A rendered `next`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A task of the list.
    Task(TaskIndex),
    /// A templated id that names no task (CZ0307).
    Unknown(String),
}

/// Tokens of one model call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Provider entry.
    pub provider: String,
    /// Model that answered.
    pub model: String,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// Names a timer within its run; printed as its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimerKey {
    /// `sleep` of the list `list` after a step.
    Sleep {
        /// Key of the list.
        list: String,
    },
    /// The next attempt of a step.
    Retry {
        /// Which step.
        step: StepKey,
    },
    /// The run's own time limit.
    RunTimeout,
}

impl TimerKey {
    /// The word in `timers.kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sleep { .. } => "sleep",
            Self::Retry { .. } => "retry",
            Self::RunTimeout => "timeout",
        }
    }

    /// The step it belongs to.
    #[must_use]
    pub fn step(&self) -> Option<&StepKey> {
        match self {
            Self::Retry { step } => Some(step),
            Self::Sleep { .. } | Self::RunTimeout => None,
        }
    }
}

impl std::fmt::Display for TimerKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sleep { list } => write!(formatter, "sleep/{list}"),
            Self::Retry { step } => write!(formatter, "retry/{step}"),
            Self::RunTimeout => formatter.write_str("timeout/run"),
        }
    }
}

impl std::str::FromStr for TimerKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once('/').ok_or(())? {
            ("sleep", list) => Ok(Self::Sleep { list: list.to_owned() }),
            ("retry", step) => Ok(Self::Retry { step: step.parse()? }),
            ("timeout", "run") => Ok(Self::RunTimeout),
            _ => Err(()),
        }
    }
}
