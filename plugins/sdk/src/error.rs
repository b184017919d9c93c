//! The error a plugin reports, and how the host's errors become one.

use std::time::Duration;

use crate::bindings::host;
/// A failure that becomes the step's error: a short stable `code`, a `message` for people, whether the same call may
/// succeed later (`retryable`) and after how long (`retry_after_ms`).
pub use crate::bindings::host::compozy::plugin::types::Error;

/// What plugin functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure that would happen again if tried again.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false, retry_after_ms: None }
    }

    /// Marks the failure as one that may pass; only then is the step tried again.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Marks the failure as one that may pass after `delay`.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retryable = true;
        self.retry_after_ms = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

impl From<host::compozy::host::types::Error> for Error {
    fn from(error: host::compozy::host::types::Error) -> Self {
        Self {
            code: error.code,
            message: error.message,
            retryable: error.retryable,
            retry_after_ms: error.retry_after_ms,
        }
    }
}

impl From<host::compozy::host::sql::Error> for Error {
    fn from(error: host::compozy::host::sql::Error) -> Self {
        let message = match &error.sqlstate {
            Some(sqlstate) => format!("{} (SQLSTATE {sqlstate})", error.message),
            None => error.message,
        };
        Self { code: error.code, message, retryable: error.retryable, retry_after_ms: None }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new("invalid_json", error.to_string())
    }
}
