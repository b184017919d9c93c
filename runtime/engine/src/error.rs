//! Why a step or a run failed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Classes of failure, `.error.kind` of templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A tool or plugin failed.
    Tool,
    /// A model call failed.
    Llm,
    /// A template could not be rendered.
    Template,
    /// A value does not match its schema.
    Schema,
    /// A time limit passed.
    Timeout,
    /// Something was not granted.
    Permission,
    /// Canceled.
    Canceled,
    /// Anything else.
    Internal,
}

impl ErrorKind {
    /// The word of `.error.kind`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Llm => "llm",
            Self::Template => "template",
            Self::Schema => "schema",
            Self::Timeout => "timeout",
            Self::Permission => "permission",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
        }
    }
}

/// Why a step or a run failed; `.error` of templates and `error` of documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepError {
    /// A stable code of the registry (`CZ0318`, …) or of the plugin.
    pub code: String,
    /// Class.
    pub kind: ErrorKind,
    /// One sentence for people.
    pub message: String,
    /// Task that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Attempts made.
    #[serde(default)]
    pub attempts: u32,
    /// Where in a file, `workflows/x.yaml:4:11`, for template and schema errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Details of a trap (backtrace, end of stderr) or of a peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The same attempt may succeed later.
    #[serde(skip)]
    pub retryable: bool,
    /// The peer asked to wait so long.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

impl StepError {
    /// A permanent error of `kind`.
    #[must_use]
    pub fn new(code: impl Into<String>, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            kind,
            message: message.into(),
            task: None,
            attempts: 0,
            place: None,
            help: None,
            detail: None,
            retryable: false,
            retry_after: None,
        }
    }

    /// The same error, worth another attempt.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }
}
