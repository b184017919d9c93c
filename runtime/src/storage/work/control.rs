//! What is asked of runs from outside, as data.

use compozy_engine::time::Timestamp;

use super::super::row::{Demand, Idempotency, Published};
use super::encode::Encoded;
use super::outward::EncodedSignal;
use crate::id::ExecId;

/// Stands in the row of an idempotency key whose request concerns no single run.
pub(in crate::storage) const NO_RUN: &str = "";

/// A signal for one run.
#[derive(Debug)]
pub(in crate::storage) struct NewlySent {
    pub(in crate::storage) exec_id: ExecId,
    pub(in crate::storage) signal: EncodedSignal,
    pub(in crate::storage) idempotency: Option<Idempotency>,
    pub(in crate::storage) now: Timestamp,
}

/// A published event, as a signal and with the runs it starts.
#[derive(Debug)]
pub(in crate::storage) struct Publication {
    pub(in crate::storage) event: Published,
    pub(in crate::storage) signal: EncodedSignal,
    pub(in crate::storage) starts: Vec<Encoded>,
}

/// `{"by", "reason"?, "at"}`.
pub(in crate::storage) fn note(demand: &Demand, now: Timestamp) -> String {
    let mut note = serde_json::Map::new();
    note.insert("by".into(), demand.by.as_str().into());
    if let Some(reason) = &demand.reason {
        note.insert("reason".into(), reason.as_str().into());
    }
    note.insert("at".into(), now.0.into());
    serde_json::Value::Object(note).to_string()
}
