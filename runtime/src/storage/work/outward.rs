//! What a transaction of one run does to others, as data.

use compozy_engine::time::Timestamp;

use super::super::Error;
use super::super::row::{Changes, Demand, Durability, MemoryChange, NewSignal, Sent};
use super::encode::{self, Encoded, Stored, text};
use super::slot::Value;
use crate::id::ExecId;

/// What a transaction does to other runs.
#[derive(Debug)]
pub(in crate::storage) struct Outward {
    pub(in crate::storage) sent: Vec<(Option<ExecId>, EncodedSignal)>,
    pub(in crate::storage) starts: Vec<Encoded>,
    pub(in crate::storage) demands: Vec<Demand>,
    pub(in crate::storage) memory: Vec<MemoryChange>,
    pub(in crate::storage) at: Timestamp,
}

impl Outward {
    /// `None` for changes that concern their own run only.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a run to start does not fit together.
    pub(in crate::storage) fn of(changes: &Changes) -> Result<Option<Self>, Error> {
        let Changes { sent, starts, demands, memory, .. } = changes;
        if sent.is_empty() && starts.is_empty() && demands.is_empty() && memory.is_empty() {
            return Ok(None);
        }
        let sent = changes.sent.iter().map(|Sent { signal, target }| (target.clone(), EncodedSignal::new(signal)));
        let starts = changes.starts.iter().cloned().map(encode::start).collect::<Result<_, _>>()?;
        let (demands, memory) = (demands.clone(), memory.clone());
        Ok(Some(Self { sent: sent.collect(), starts, demands, memory, at: changes.at }))
    }

    /// The level it needs, at least `own`.
    pub(in crate::storage) fn level(&self, own: Durability) -> Durability {
        level_of(&self.starts, own)
    }
}

/// The level that `starts` need, at least `own`.
pub(in crate::storage) fn level_of(starts: &[Encoded], own: Durability) -> Durability {
    starts.iter().filter_map(|start| Some(start.started.as_ref()?.durability)).fold(own, Durability::max)
}

/// A signal as it is stored.
#[derive(Debug)]
pub(in crate::storage) struct EncodedSignal {
    pub(in crate::storage) signal_id: Value,
    pub(in crate::storage) name: Value,
    pub(in crate::storage) payload: Stored,
    pub(in crate::storage) metadata: Value,
    pub(in crate::storage) dedupe_key: Value,
}

impl EncodedSignal {
    pub(in crate::storage) fn new(signal: &NewSignal) -> Self {
        Self {
            signal_id: text(signal.signal_id.as_str()),
            name: text(signal.name.as_str()),
            payload: Stored::new(&signal.payload),
            metadata: text(signal.metadata.as_str()),
            dedupe_key: signal.dedupe_key.as_deref().map_or(Value::Null, text),
        }
    }
}
