//! Why a model gave no answer.

use std::time::Duration;

use compozy_lang::source::Place;

use super::kinds;
use crate::plugin::{self, CallError, Kind};

/// Why a model gave no answer, split by what the caller can do. [`Error::code`] gives the stable code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such entry (CZ0501).
    #[error("provider '{id}' not found in llm.providers{}", suggestion(known))]
    Unknown {
        /// What was asked for.
        id: String,
        /// Entries there are.
        known: Vec<String>,
    },
    /// There is no entry at all (CZ0502).
    #[error("no LLM provider is configured")]
    NoProvider,
    /// More than one entry says `default: true` (CZ0503).
    #[error("more than one default provider: {}", ids.join(", "))]
    TwoDefaults {
        /// Their ids.
        ids: Vec<String>,
    },
    /// The type is unknown, or no plugin for it is bundled (CZ0511).
    #[error("{0}")]
    Type(String),
    /// A variable that a setting refers to is not set (CZ0113).
    #[error("environment variable {name} is not set ({}) and has no default", at(place, key))]
    MissingVariable {
        /// The variable.
        name: String,
        /// Where it is written; line 0 for a default of ours.
        place: Place,
        /// Key path of the setting.
        key: String,
    },
    /// A setting has an impossible value (CZ0110).
    #[error("llm.providers.{id}.{key}: {reason}")]
    Setting {
        /// Id of the entry.
        id: String,
        /// Key of the entry.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The output schema is no JSON Schema (CZ0208).
    #[error("the output schema is not valid: {0}")]
    Schema(String),
    /// The plugin cannot be loaded.
    #[error("plugin of provider '{id}': {source}")]
    Plugin {
        /// Id of the entry.
        id: String,
        /// Why.
        #[source]
        source: plugin::Error,
    },
    /// The key was refused (CZ0504).
    #[error("provider '{id}' refused the API key: {reason}")]
    Refused {
        /// Id of the entry.
        id: String,
        /// What the server said.
        reason: String,
    },
    /// The provider limits the rate (CZ0506).
    #[error("provider '{id}': rate limited after {attempts} attempts: {reason}")]
    RateLimited {
        /// Id of the entry.
        id: String,
        /// Requests made.
        attempts: u32,
        /// What the server said.
        reason: String,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// More requests wait than the queue holds, or none got through in time (CZ0506).
    #[error("provider '{id}': rate limited, {waiting} calls are waiting already")]
    Queue {
        /// Id of the entry.
        id: String,
        /// Requests that waited.
        waiting: usize,
    },
    /// It cannot be reached, failed, or does not speak the protocol (CZ0507).
    #[error("provider '{id}': unreachable: {reason}")]
    Unreachable {
        /// Id of the entry.
        id: String,
        /// What happened.
        reason: String,
        /// Whether the same request may succeed later.
        retryable: bool,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// No answer matched the schema (CZ0508).
    #[error("reply of '{id}' does not match the output schema after {attempts} attempts: {violations}")]
    Structured {
        /// Id of the entry.
        id: String,
        /// Answers that were checked.
        attempts: usize,
        /// What is wrong with the last one.
        violations: String,
    },
    /// The entry waits for its own answer (CZ0704).
    #[error("{}", .0.message)]
    Circle(crate::plugin::host::llm::Error),
    /// The plugin itself failed: trap, limit, deadline, cancel.
    #[error(transparent)]
    Call(CallError),
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Unknown { .. } => "CZ0501",
            Self::NoProvider => "CZ0502",
            Self::TwoDefaults { .. } => "CZ0503",
            Self::Type(_) => "CZ0511",
            Self::MissingVariable { .. } => "CZ0113",
            Self::Setting { .. } => "CZ0110",
            Self::Schema(_) => "CZ0208",
            Self::Plugin { source, .. } => source.code(),
            Self::Refused { .. } => "CZ0504",
            Self::RateLimited { .. } | Self::Queue { .. } => "CZ0506",
            Self::Unreachable { .. } => "CZ0507",
            Self::Structured { .. } => "CZ0508",
            Self::Circle(error) => &error.code,
            Self::Call(error) => &error.code,
        }
    }

    /// How to mend it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::Unknown { .. } | Self::NoProvider => "add the entry",
            Self::TwoDefaults { .. } => "keep one `default: true`",
            Self::Type(_) | Self::Setting { .. } => "fix it",
            Self::MissingVariable { .. } => "set it, or write `${…:-…}`",
            Self::Schema(_) | Self::Structured { .. } => "simplify the schema",
            Self::Plugin { .. } | Self::Circle(_) => return None,
            Self::Refused { .. } => "check the variable",
            Self::RateLimited { .. } | Self::Queue { .. } => "wait, or lower concurrency",
            Self::Unreachable { .. } => "check `base_url`",
            Self::Call(error) => return error.help.clone(),
        };
        Some(help.to_owned())
    }

    /// Whether the step may be tried again.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Queue { .. } => true,
            Self::Unreachable { retryable, .. } => *retryable,
            Self::Call(error) => error.retryable,
            _ => false,
        }
    }

    /// How long to wait before that, where the provider says.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unreachable { retry_after, .. } => *retry_after,
            Self::Call(error) => error.retry_after,
            _ => None,
        }
    }

    /// Whether the call was canceled.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        matches!(self, Self::Call(error) if error.kind == Kind::Canceled)
    }

    pub(crate) fn canceled(id: &str) -> Self {
        Self::Call(CallError::new(Kind::Canceled, "CZ0321", format!("call of provider '{id}' was canceled")))
    }

    pub(crate) fn unsupported(kind: &str) -> Self {
        Self::Type(format!("provider type '{kind}' is not supported. Known: {}", kinds::names()))
    }

    /// Reads what an llm plugin reported; its codes are the catalogue's.
    pub(crate) fn from_call(id: &str, error: CallError) -> Self {
        if error.kind != Kind::Plugin || error.code == "CZ0703" {
            return Self::Call(error);
        }
        let id = id.to_owned();
        let CallError { code, message: reason, retryable, retry_after, .. } = error;
        match code.as_str() {
            "CZ0504" => Self::Refused { id, reason },
            "CZ0506" => Self::RateLimited { id, attempts: 1, reason, retry_after },
            _ => Self::Unreachable { id, reason, retryable, retry_after },
        }
    }

    /// Notes how many requests were made.
    pub(crate) fn after(self, made: u32) -> Self {
        match self {
            Self::RateLimited { id, reason, retry_after, .. } => {
                Self::RateLimited { id, attempts: made, reason, retry_after }
            }
            other => other,
        }
    }
}

fn suggestion(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(". Did you mean: {}?", known.join(", ")) }
}

fn at(place: &Place, key: &str) -> String {
    if place.line == 0 { key.to_owned() } else { format!("{}:{}:{}, {key}", place.file, place.line, place.column) }
}
