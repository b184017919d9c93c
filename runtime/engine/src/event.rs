//! What can happen to a run.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::TaskIndex;
use serde_json::Value;

use crate::error::StepError;
use crate::json::Json;
use crate::opening::{Items, Signal};
use crate::state::StepKey;
use crate::status::Status;

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The run begins, at its entry.
    Start,
    /// An attempt of a step ended, or a step that holds others opened, or an open one was looked at.
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
    /// A signal reached the run; one that is known already is ignored.
    Signal(Signal),
    /// A sub-run that a step waits for has ended.
    ChildEnded {
        /// The step.
        key: StepKey,
        /// The sub-run.
        exec_id: String,
        /// How it ended.
        status: Status,
        /// Its output, if it ended well.
        output: Option<Json>,
        /// Its error otherwise; `retryable` says whether the task may try again.
        error: Option<Box<StepError>>,
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
    /// No new task starts from now on.
    Pause {
        /// Who wants it.
        by: String,
    },
    /// Ends a pause.
    Resume,
}

/// How an attempt ended. Templates over `.output` or `.error` are rendered by then.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It has an output.
    Done(Done),
    /// It failed.
    Failed(Failure),
    /// It holds other steps, waits for a signal or for a sub-run, and is open now.
    Opened(Opened),
    /// The condition of a wait does not hold for the signal it looked at.
    Unmatched,
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
    /// `final` was true, or a router's route is null.
    pub ends_list: bool,
    /// `sleep`.
    pub sleep: Option<Duration>,
    /// `on_success`, rendered; of a router the route that was chosen.
    pub transition: Rendered,
    /// Tokens used.
    pub usage: Vec<Usage>,
    /// Signals to send, recorded with the result.
    pub signals: Vec<Sent>,
    /// Sub-runs to start that nobody waits for, recorded with the result.
    pub children: Vec<SubRun>,
    /// What the node records with the result, or lets go of with it.
    pub attached: Vec<Attachment>,
}

impl Done {
    /// An attempt that gave `output` and nothing else.
    #[must_use]
    pub fn new(output: Json) -> Self {
        Self {
            input: None,
            output,
            skipped: false,
            ends_list: false,
            sleep: None,
            transition: Rendered::default(),
            usage: Vec::new(),
            signals: Vec::new(),
            children: Vec::new(),
            attached: Vec::new(),
        }
    }
}

/// Something of the node's that belongs to a result: what it changes in a memory, and the right to do so. It goes from
/// the event into the decision unseen, and is dropped with whichever of them counts for nothing.
#[derive(Clone)]
pub struct Attachment(Arc<dyn Any + Send + Sync>);

impl Attachment {
    /// Attaches `thing`.
    #[must_use]
    pub fn new(thing: impl Any + Send + Sync) -> Self {
        Self(Arc::new(thing))
    }

    /// What was attached, if it is a `T`.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Attachment")
    }
}

/// An attempt that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Rendered `with`, if it got so far.
    pub input: Option<Json>,
    /// What a container kept of its children.
    pub output: Option<Json>,
    /// Why.
    pub error: StepError,
    /// `on_error`, rendered; used if no attempt is left.
    pub transition: Rendered,
    /// Tokens used.
    pub usage: Vec<Usage>,
}

/// A step that is open now.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Rendered `with`.
    pub input: Option<Json>,
    /// Limit of this attempt.
    pub timeout: Option<Duration>,
    /// What it holds.
    pub body: Opens,
}

/// What an opened step holds.
#[derive(Debug, Clone)]
pub enum Opens {
    /// Tasks that follow each other (composite).
    List,
    /// Children side by side (parallel, collection).
    Branches {
        /// Most children at once, at least 1.
        workers: u32,
        /// Wave size; 0: one wave.
        batch: u32,
        /// The kept items of a collection.
        items: Option<Items>,
    },
    /// A wait for signals of this name.
    Wait {
        /// Name.
        name: String,
    },
    /// A sub-run to be started.
    Run(SubRun),
}

/// A sub-run to be started in the same commit.
#[derive(Debug, Clone, PartialEq)]
pub struct SubRun {
    /// Its id.
    pub exec_id: String,
    /// Its workflow.
    pub workflow_id: String,
    /// Its input.
    pub input: Json,
}

/// A signal to be sent in the same commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Its id, derived from the step's so that a second try sends the same signal.
    pub signal_id: String,
    /// Name.
    pub name: String,
    /// What it carries.
    pub payload: Json,
    /// The one run it is for.
    pub target: Option<String>,
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
    /// `sleep` after a step.
    Sleep {
        /// The step that succeeded.
        step: StepKey,
    },
    /// The next attempt of a step.
    Retry {
        /// Which step.
        step: StepKey,
    },
    /// The time limit of an open step.
    Timeout {
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
            Self::Timeout { .. } | Self::RunTimeout => "timeout",
        }
    }

    /// The step it belongs to.
    #[must_use]
    pub fn step(&self) -> Option<&StepKey> {
        match self {
            Self::Retry { step } | Self::Sleep { step } | Self::Timeout { step } => Some(step),
            Self::RunTimeout => None,
        }
    }
}

impl std::fmt::Display for TimerKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.step() {
            Some(step) => write!(formatter, "{}/{step}", self.kind()),
            None => formatter.write_str("run"),
        }
    }
}

impl std::str::FromStr for TimerKey {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let Some((kind, step)) = text.split_once('/') else {
            return if text == "run" { Ok(Self::RunTimeout) } else { Err(()) };
        };
        let step = step.parse()?;
        match kind {
            "sleep" => Ok(Self::Sleep { step }),
            "retry" => Ok(Self::Retry { step }),
            "timeout" => Ok(Self::Timeout { step }),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_read_back_as_printed() {
        let step = || StepKey { path: "all/each-1/x".into(), execution: 2 };
        for (timer, text) in [
            (TimerKey::Sleep { step: step() }, "sleep/all/each-1/x#2"),
            (TimerKey::Retry { step: step() }, "retry/all/each-1/x#2"),
            (TimerKey::Timeout { step: step() }, "timeout/all/each-1/x#2"),
            (TimerKey::RunTimeout, "run"),
        ] {
            assert_eq!(timer.to_string(), text);
            assert_eq!(text.parse(), Ok(timer));
        }
    }
}
