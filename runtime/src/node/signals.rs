//! Signals between rows and the engine: what is kept for a run, what it has seen, what it sends.

use std::collections::VecDeque;

use compozy_engine::event::Sent;
use compozy_engine::json::Json;
use compozy_engine::opening::Signal;
use compozy_engine::record::{Record, SignalState};
use compozy_engine::state::RunState;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::Workflow;
use serde_json::json;

use crate::storage::row;

/// What records say of signals.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Those that came.
    pub(crate) noted: Vec<String>,
    /// Those that were taken or passed over.
    pub(crate) settled: Vec<row::Settled>,
}

impl Signals {
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut signals = Self::default();
        for record in records {
            let Record::Signal { signal_id, state, key, .. } = record else { continue };
            match state {
                SignalState::Queued => signals.noted.push(signal_id.clone()),
                SignalState::Consumed | SignalState::Ignored => signals.settled.push(row::Settled {
                    signal_id: signal_id.clone(),
                    state: state.word().to_owned(),
                    step_key: key.as_ref().map(ToString::to_string),
                }),
                SignalState::Sent => {}
            }
        }
        signals
    }
}

/// A signal of a run as the engine knows it.
pub(crate) fn received(signal: &row::Signal) -> Signal {
    Signal {
        id: signal.signal_id.clone(),
        position: signal.position,
        name: signal.name.clone(),
        payload: Json::from_valid(signal.payload.as_str()),
        metadata: Json::from_valid(signal.metadata.as_str()),
    }
}

/// The signals that the run's journal tells of and that no wait holds, oldest first. The others are still to come.
pub(crate) fn inbox(state: &RunState, queued: &[row::Signal]) -> VecDeque<Signal> {
    let held = |signal: &row::Signal| {
        let mut waits = state.steps.open().filter_map(|step| step.opening.as_ref()?.waiting()?.signal.as_ref());
        waits.any(|held| held.id == signal.signal_id)
    };
    queued.iter().filter(|signal| signal.noted && !held(signal)).map(received).collect()
}

/// A signal that a run sends.
pub(crate) fn sent(plan: &Workflow, state: &RunState, sent: &Sent, now: Timestamp) -> row::Sent {
    let source = format!("run {}", state.facts.exec_id);
    row::Sent {
        signal: row::NewSignal {
            signal_id: sent.signal_id.clone(),
            name: sent.name.clone(),
            payload: sent.payload.as_str().to_owned(),
            metadata: metadata(&sent.signal_id, Some(&plan.id), &source, now),
            dedupe_key: None,
        },
        target: sent.target.as_deref().map(Into::into),
    }
}

/// `.signal.metadata` of templates. `workflow_id` is that of the sender.
pub(crate) fn metadata(signal_id: &str, workflow_id: Option<&str>, source: &str, now: Timestamp) -> String {
    let metadata = json!({
        "signal_id": signal_id, "received_at_utc": now.to_rfc3339(), "workflow_id": workflow_id, "source": source,
    });
    metadata.to_string()
}
