//! What is written to the journal: the events that watchers see.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::error::StepError;
use crate::state::StepKey;
use crate::status::Status;
use crate::time::Timestamp;

/// One journal event, before it has its seq.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// The run began.
    WorkflowStart {
        /// Which workflow.
        workflow_id: String,
    },
    /// The run is recorded with steps of another one, and waits to begin.
    WorkflowForked {
        /// Which workflow.
        workflow_id: String,
        /// The other run.
        forked_from: String,
    },
    /// The result of a step was taken over from another run.
    TaskReused {
        /// Which step.
        key: StepKey,
        /// The attempt that gave it.
        attempt: u32,
        /// How it ended.
        status: Status,
    },
    /// The run moved between RUNNING, WAITING and PAUSED.
    WorkflowStatus {
        /// Where to.
        status: Status,
        /// Who wanted it, for a pause.
        by: Option<String>,
    },
    /// A step is recorded and held back by a pause.
    TaskHeld(StepKey),
    /// A step is open and waits for a signal or a sub-run.
    TaskWaiting {
        /// Which step.
        key: StepKey,
        /// Which attempt.
        attempt: u32,
        /// For what, `signal` or `child`.
        kind: &'static str,
        /// Name of the signal, or id of the sub-run.
        detail: String,
    },
    /// An attempt of a step starts.
    TaskStart {
        /// Which step.
        key: StepKey,
        /// Which attempt.
        attempt: u32,
    },
    /// A step ended.
    TaskStatus {
        /// Which step.
        key: StepKey,
        /// Its last attempt.
        attempt: u32,
        /// How it ended.
        status: Status,
        /// Its condition was false.
        skipped: bool,
        /// From the first attempt's start.
        duration: Duration,
        /// Why, if it did not succeed.
        error: Option<StepError>,
    },
    /// An attempt failed and another will follow.
    TaskRetry {
        /// Which step.
        key: StepKey,
        /// The attempt that failed.
        attempt: u32,
        /// Why.
        error: StepError,
        /// When the next attempt starts.
        at: Timestamp,
    },
    /// A durable pause began.
    Timer {
        /// After which step.
        key: StepKey,
        /// When it ends.
        until: Timestamp,
    },
    /// What became of a signal.
    Signal {
        /// Its id.
        signal_id: String,
        /// Its name.
        name: String,
        /// What became of it.
        state: SignalState,
        /// The step that sent it or looked at it.
        key: Option<StepKey>,
    },
    /// The run ended well.
    Complete,
    /// The run ended otherwise.
    Error {
        /// FAILED, TIMED_OUT or CANCELED.
        status: Status,
        /// Why.
        error: StepError,
    },
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalState {
    /// This run sent it.
    Sent,
    /// It reached the run and is kept for a wait.
    Queued,
    /// A wait ended with it.
    Consumed,
    /// A wait looked at it, and its condition does not hold.
    Ignored,
}

impl SignalState {
    /// The word in `signals.state` and in events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Queued => "queued",
            Self::Consumed => "consumed",
            Self::Ignored => "ignored",
        }
    }
}

impl Record {
    /// The event's name (cli-and-api §7.4).
    #[must_use]
    pub fn event(&self) -> &'static str {
        match self {
            Self::WorkflowStart { .. } | Self::WorkflowForked { .. } => "workflow_start",
            Self::WorkflowStatus { .. } => "workflow_status",
            Self::TaskStart { .. } => "task_start",
            Self::TaskStatus { .. } | Self::TaskReused { .. } | Self::TaskHeld(_) | Self::TaskWaiting { .. } => {
                "task_status"
            }
            Self::Signal { .. } => "signal",
            Self::TaskRetry { .. } => "task_retry",
            Self::Timer { .. } => "timer",
            Self::Complete => "complete",
            Self::Error { .. } => "error",
        }
    }

    /// The task it concerns.
    #[must_use]
    pub fn task(&self) -> Option<&str> {
        self.key().map(|key| key.path.as_str())
    }

    fn key(&self) -> Option<&StepKey> {
        match self {
            Self::TaskStart { key, .. }
            | Self::TaskStatus { key, .. }
            | Self::TaskReused { key, .. }
            | Self::TaskRetry { key, .. }
            | Self::TaskWaiting { key, .. }
            | Self::TaskHeld(key)
            | Self::Timer { key, .. } => Some(key),
            Self::Signal { key, .. } => key.as_ref(),
            Self::WorkflowStart { .. }
            | Self::WorkflowForked { .. }
            | Self::WorkflowStatus { .. }
            | Self::Complete
            | Self::Error { .. } => None,
        }
    }

    /// The event's own fields, a JSON object as text.
    #[must_use]
    pub fn data(&self) -> String {
        // The two events of every step are printed by hand: they are most of what is written.
        match self {
            Self::TaskStart { key, attempt } => {
                format!(r#"{{"step_key":{},"attempt":{attempt},"status":"RUNNING"}}"#, quoted(key))
            }
            Self::TaskStatus { key, attempt, status: Status::Success, skipped: false, duration, error: None } => {
                let duration_ms = duration.as_millis();
                format!(
                    r#"{{"step_key":{},"attempt":{attempt},"status":"SUCCESS","duration_ms":{duration_ms}}}"#,
                    quoted(key)
                )
            }
            other => Value::Object(other.fields()).to_string(),
        }
    }

    fn fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        if let Some(key) = self.key() {
            fields.insert("step_key".into(), key.to_string().into());
        }
        match self {
            Self::WorkflowStart { workflow_id } => {
                fields.insert("workflow_id".into(), workflow_id.as_str().into());
            }
            Self::WorkflowForked { workflow_id, forked_from } => {
                fields.insert("workflow_id".into(), workflow_id.as_str().into());
                fields.insert("forked_from".into(), forked_from.as_str().into());
                fields.insert("status".into(), Status::Pending.word().into());
            }
            Self::TaskReused { attempt, status, .. } => {
                fields.insert("attempt".into(), (*attempt).into());
                fields.insert("status".into(), status.word().into());
                fields.insert("reused".into(), true.into());
            }
            Self::WorkflowStatus { status, by } => {
                fields.insert("status".into(), status.word().into());
                if let Some(by) = by {
                    fields.insert("by".into(), by.as_str().into());
                }
            }
            Self::TaskHeld(_) => {
                fields.insert("status".into(), Status::Pending.word().into());
            }
            Self::TaskWaiting { attempt, kind, detail, .. } => {
                fields.insert("attempt".into(), (*attempt).into());
                fields.insert("status".into(), Status::Waiting.word().into());
                fields.insert("waiting_for".into(), json!({"kind": kind, "detail": detail}));
            }
            Self::Signal { signal_id, name, state, .. } => {
                fields.insert("signal_id".into(), signal_id.as_str().into());
                fields.insert("name".into(), name.as_str().into());
                fields.insert("state".into(), state.word().into());
            }
            Self::TaskStart { attempt, .. } => {
                fields.insert("attempt".into(), (*attempt).into());
                fields.insert("status".into(), Status::Running.word().into());
            }
            Self::TaskStatus { attempt, status, skipped, duration, error, .. } => {
                fields.insert("attempt".into(), (*attempt).into());
                fields.insert("status".into(), status.word().into());
                fields.insert("duration_ms".into(), json!(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)));
                if *skipped {
                    fields.insert("skipped".into(), true.into());
                }
                if let Some(error) = error {
                    fields.insert("error".into(), json!(error));
                }
            }
            Self::TaskRetry { attempt, error, at, .. } => {
                fields.insert("attempt".into(), (*attempt).into());
                fields.insert("status".into(), Status::Waiting.word().into());
                fields.insert("error".into(), json!(error));
                fields.insert("retry_at".into(), at.to_rfc3339().into());
            }
            Self::Timer { until, .. } => {
                fields.insert("kind".into(), "sleep".into());
                fields.insert("until".into(), until.to_rfc3339().into());
            }
            Self::Complete => {
                fields.insert("status".into(), Status::Success.word().into());
            }
            Self::Error { status, error } => {
                fields.insert("status".into(), status.word().into());
                fields.insert("error".into(), json!(error));
            }
        }
        fields
    }
}

fn quoted(key: &StepKey) -> String {
    Value::String(key.to_string()).to_string()
}
