//! Where a sweep is and what it removes, as data.

use std::time::Duration;

use compozy_engine::time::Timestamp;

use super::super::Error;
use super::encode::TERMINAL;

/// Most rows removed in one transaction.
pub(in crate::storage) const ROWS: u64 = 500;
/// Longest time for one, give or take one statement.
pub(in crate::storage) const SPAN: Duration = Duration::from_millis(20);
/// Runs looked at in one step.
pub(in crate::storage) const RUNS: u32 = 128;
/// Payloads looked at in one step.
pub(in crate::storage) const PAYLOADS: u32 = 1_000;
/// How long a payload that nobody needs is kept.
pub(in crate::storage) const PAYLOAD_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Pages given back in one step.
pub(in crate::storage) const PAGES: u64 = 64;
/// Free pages that are kept for what comes next.
pub(in crate::storage) const FREE_PAGES: u64 = 256;

/// Where a sweep is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage) enum Phase {
    /// Journals past their age.
    Journals,
    /// Runs of a terminal status past their age, oldest first; what follows the run of this time and id.
    Runs { status: usize, after: (i64, String) },
    /// Idempotency keys, events, fires and expired memories.
    Notes,
    /// Payloads that no run needs, after this hash.
    Payloads { after: String },
    /// Free pages.
    Pages,
}

impl Phase {
    pub(in crate::storage) fn runs(status: usize) -> Self {
        if status < TERMINAL.len() { Self::Runs { status, after: (i64::MIN, String::new()) } } else { Self::Notes }
    }

    pub(in crate::storage) fn text(&self) -> String {
        match self {
            Self::Journals => "journals".to_owned(),
            Self::Runs { status, after: (created_at, exec_id) } => format!("runs:{status}:{created_at}:{exec_id}"),
            Self::Notes => "notes".to_owned(),
            Self::Payloads { after } => format!("payloads:{after}"),
            Self::Pages => "pages".to_owned(),
        }
    }

    pub(in crate::storage) fn parse(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.splitn(4, ':').collect();
        match parts.as_slice() {
            ["journals"] => Ok(Self::Journals),
            ["runs", status, created_at, exec_id] => {
                let status = status.parse().map_err(|_| Error::InvalidCursor)?;
                let created_at = created_at.parse().map_err(|_| Error::InvalidCursor)?;
                Ok(Self::Runs { status, after: (created_at, (*exec_id).to_owned()) })
            }
            ["notes"] => Ok(Self::Notes),
            ["payloads", after] => Ok(Self::Payloads { after: (*after).to_owned() }),
            ["pages"] => Ok(Self::Pages),
            _ => Err(Error::InvalidCursor),
        }
    }
}

/// What the writer is to remove.
#[derive(Debug)]
pub(in crate::storage) enum Sweep {
    /// The journals of these runs, but for the last event.
    Journals { ids: Vec<String>, now: Timestamp },
    /// These runs, in this order.
    Runs(Vec<String>),
    /// Idempotency keys that have expired, events from before `events`, fires from before `fires`.
    Notes { now: Timestamp, events: Timestamp, fires: Timestamp },
    /// These payloads, unless they are younger than `before` or needed.
    Payloads { hashes: Vec<String>, before: Timestamp },
    /// Free pages.
    Pages,
}

/// What the writer removed.
#[derive(Debug, Default)]
pub(in crate::storage) struct Removed {
    /// How many of the things it was given are done with.
    pub(in crate::storage) done: usize,
    pub(in crate::storage) rows: u64,
    pub(in crate::storage) pages: u64,
    /// Bytes of the file, after pages were given back.
    pub(in crate::storage) bytes: u64,
    /// There is more of the same.
    pub(in crate::storage) more: bool,
}

/// The moment `age` before `now`.
pub(in crate::storage) fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_back_and_strange_ones_refused() {
        let place = (-7, "a:b".to_owned());
        let phases = [
            Phase::Journals,
            Phase::Runs { status: 2, after: place },
            Phase::Notes,
            Phase::Payloads { after: "0f".into() },
            Phase::Pages,
        ];
        for phase in phases {
            assert_eq!(Phase::parse(&phase.text()).unwrap(), phase);
        }
        for text in ["", "runs", "runs:x:1:a", "runs:0:y:a", "payloads", "pages:1"] {
            assert!(matches!(Phase::parse(text), Err(Error::InvalidCursor)), "{text}");
        }
    }
}
