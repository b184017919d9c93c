//! Why a plugin could not be loaded and why a call of it failed.

use std::time::Duration;

use super::bindings::tool::compozy::plugin::types;

/// Why a component could not be loaded. [`Error::code`] gives the stable code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine could not be set up on this machine.
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Path as given.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is not a component of the kind asked for.
    #[error("not a {kind} component: {reason}")]
    NotAComponent {
        /// `tool`, `llm`, `embedder` or `template`.
        kind: &'static str,
        /// What is missing or wrong.
        reason: String,
    },
    /// An entry names no component that is there.
    #[error("no usable implementation: {0}")]
    Unusable(String),
    /// The file of an entry lies outside the project folder.
    #[error("path '{0}' leaves the project folder")]
    Outside(String),
    /// The file is not the one its entry's `digest` names.
    #[error("digest mismatch: expected {expected}, found {found}")]
    Digest {
        /// As the entry says, `sha256:…`.
        expected: String,
        /// Of the file, `sha256:…`.
        found: String,
    },
    /// The component of a registry is not on this machine.
    #[error("not pulled: {0}")]
    NotPulled(String),
    /// It is compiled already, for some engine.
    #[error("compiled for another engine, or no digest")]
    Precompiled,
    /// A line under `permissions` cannot be read.
    #[error("permissions.{key}: {reason}")]
    Permission {
        /// `http`, `fs`, …
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// The stable code of the dialect's catalogue.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine(_) => "CZ0705",
            Self::Read { .. } | Self::Unusable(_) => "CZ0701",
            Self::Outside(_) => "CZ0206",
            Self::Digest { .. } | Self::NotPulled(_) => "CZ0711",
            Self::NotAComponent { .. } => "CZ0702",
            Self::Precompiled => "CZ0710",
            Self::Permission { .. } => "CZ0110",
        }
    }
}

/// What ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The plugin reported the failure itself.
    Plugin,
    /// It wanted more linear memory than `limits.memory`.
    Memory,
    /// It wanted more table elements, tables or instances than one call may have.
    Table,
    /// It recursed too deep.
    Stack,
    /// It ran longer than its attempt or `limits.timeout` allows.
    Deadline,
    /// The call was canceled.
    Canceled,
    /// Its answer, or what it handed to the host in one call, was larger than `limits.output`.
    Output,
    /// It called the host too often.
    HostCalls,
    /// It held too many handles.
    Handles,
    /// Any other trap.
    Trap,
    /// The host could not make the call: a fault of ours or of the machine.
    Host,
}

impl Kind {
    /// A stable word, for logs and `non_retryable_error_types`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Memory => "memory",
            Self::Table => "table",
            Self::Stack => "stack",
            Self::Deadline => "deadline",
            Self::Canceled => "canceled",
            Self::Output => "output",
            Self::HostCalls => "host_calls",
            Self::Handles => "handles",
            Self::Trap => "trap",
            Self::Host => "host",
        }
    }
}

/// A call that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// `CZ0704`, `CZ0705`, or the plugin's own code.
    pub code: String,
    /// What ended the call.
    pub kind: Kind,
    /// One sentence for people.
    pub message: String,
    /// How to mend it, where the host knows: the `permissions` line that was missing.
    pub help: Option<String>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// How long to wait before trying again, where the plugin knows.
    pub retry_after: Option<Duration>,
    /// What is known about the end of the instance; `None` when the plugin answered.
    pub trap: Option<Box<TrapDetail>>,
}

/// What is known about an instance that did not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrapDetail {
    /// Wasm functions, innermost first, at most [`TrapDetail::FRAMES`].
    pub backtrace: Vec<String>,
    /// The end of what the guest wrote to stderr, control characters escaped.
    pub stderr: String,
    /// Most linear memory it held, in bytes.
    pub peak_memory_bytes: u64,
}

impl TrapDetail {
    /// Frames kept of a backtrace.
    pub const FRAMES: usize = 16;
}

/// Longest message taken over from a plugin, in bytes.
const MESSAGE_BYTES: usize = 16 << 10;

/// A plugin that asks to be tried again later than this is tried again after this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

impl CallError {
    /// An error without trap.
    #[must_use]
    pub fn new(kind: Kind, code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            kind,
            message: message.into(),
            help: None,
            retryable: false,
            retry_after: None,
            trap: None,
        }
    }

    /// What the plugin `plugin_id` reported itself.
    pub(crate) fn reported(error: types::Error) -> Self {
        Self {
            retryable: error.retryable,
            retry_after: error.retry_after_ms.map(|ms| Duration::from_millis(ms).min(LONGEST_RETRY_AFTER)),
            ..Self::new(Kind::Plugin, shortened(&error.code, 64), shortened(&error.message, MESSAGE_BYTES))
        }
    }
}

/// The first `bytes` bytes of `text`, cut at a character.
pub(crate) fn shortened(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// `text` with control characters escaped: guests must not forge log lines or drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut clean, character| {
        if character.is_control() {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
        clean
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::bindings::tool::compozy::plugin::types;
    use super::{CallError, printable, shortened};

    #[test]
    fn a_plugin_asks_for_a_day_at_most() {
        let asked = |retry_after_ms| {
            let error = types::Error { code: "busy".into(), message: "later".into(), retryable: true, retry_after_ms };
            CallError::reported(error).retry_after
        };
        let day = Duration::from_secs(24 * 3600);
        for (ms, expected) in
            [(None, None), (Some(1_500), Some(Duration::from_millis(1_500))), (Some(u64::MAX), Some(day))]
        {
            assert_eq!(asked(ms), expected, "{ms:?}");
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a'\"\u{1b}[31m\nä\u{9b}"), "a'\"\\u{1b}[31m\\nä\\u{9b}");
    }

    #[test]
    fn texts_are_cut_at_characters() {
        assert_eq!((shortened("aää", 2), shortened("aää", 3), shortened("aää", 99)), ("a", "aä", "aää"));
    }
}
