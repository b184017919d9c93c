//! The documents of the API: what stands under `data`.
//!
//! The command line prints the same structs when it works without a server, so both give the same bytes. JSON that
//! users or plugins made (inputs, outputs, errors) is passed on as it was stored, key order and number spelling kept.
//! Times are RFC 3339 in UTC with milliseconds, durations integer milliseconds.

pub mod event;
pub mod execution;
pub mod import;
pub mod project;
pub mod schedule;
mod waiting;
pub mod workflow;

use compozy_engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A JSON value as it was stored.
pub type Json = Box<RawValue>;

/// Where a list's page stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Most items of the page.
    pub limit: u32,
    /// Cursor of the page after, `null` on the last.
    pub next_cursor: Option<String>,
    /// Cursor of the page before, `null` on the first.
    pub prev_cursor: Option<String>,
    /// All matches, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// Stored JSON text as a member of a document; text that is no JSON (a damaged row) becomes a JSON string.
fn json(text: &str) -> Json {
    RawValue::from_string(text.to_owned())
        .or_else(|_| serde_json::value::to_raw_value(text))
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn maybe_json(text: Option<&str>) -> Option<Json> {
    text.map(json)
}

fn maybe_time(time: Option<Timestamp>) -> Option<String> {
    time.map(Timestamp::to_rfc3339)
}

/// Whole milliseconds between two times.
fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}
