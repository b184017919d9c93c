//! `compozy:host/log`: structured records of a plugin, capped and masked.

use crate::plugin::bindings::lent::compozy::host::log::{Host, Level};
use crate::plugin::error::{printable, shortened};
use crate::plugin::state::State;

/// Bytes of one message or field value; the rest is cut off.
const MESSAGE_BYTES: usize = 8 << 10;

/// Fields of one record; further ones are dropped.
const FIELDS: usize = 32;

/// Bytes of all records of one call; further records are dropped and counted.
const CALL_BYTES: usize = 64 << 10;

/// What a call has logged so far.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    used: usize,
    dropped: u64,
}

impl LogBudget {
    /// Whether a record of `bytes` still fits; counts it either way.
    fn admits(&mut self, bytes: usize) -> bool {
        let fits = self.used.saturating_add(bytes) <= CALL_BYTES;
        if fits {
            self.used += bytes;
        } else {
            self.dropped += 1;
        }
        fits
    }

    /// Says how many records were dropped. Called once, when the call ends.
    pub(crate) fn close(&mut self, plugin_id: &str) {
        if self.dropped > 0 {
            tracing::warn!(plugin.id = plugin_id, dropped = self.dropped, "plugin logged more than its share");
        }
    }
}

impl Host for State {
    fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        let call = self.enter()?;
        let bytes = message.len().min(MESSAGE_BYTES)
            + fields.iter().take(FIELDS).map(|(key, value)| key.len() + value.len().min(MESSAGE_BYTES)).sum::<usize>()
            + RECORD_BYTES;
        if !call.log.admits(bytes) {
            return Ok(());
        }
        let mask = call.binding.grants.mask();
        let clean = |text: &str| {
            let masked = mask.apply(text);
            printable(shortened(&masked, MESSAGE_BYTES))
        };
        let text = clean(&message);
        let fields: String =
            fields.iter().take(FIELDS).map(|(key, value)| format!(" {}={:?}", clean(key), clean(value))).collect();
        write(level, &call.binding.plugin_id, call.run.as_deref().map(|run| run.exec_id.as_str()), &text, &fields);
        Ok(())
    }
}

/// What a record costs beside its text.
const RECORD_BYTES: usize = 64;

fn write(level: Level, plugin_id: &str, run_id: Option<&str>, text: &str, fields: &str) {
    macro_rules! record {
        ($level:ident) => {
            tracing::event!(
                target: "compozy::plugin::guest",
                tracing::Level::$level,
                plugin.id = plugin_id,
                run.id = run_id,
                "{text}{fields}"
            )
        };
    }
    match level {
        Level::Trace => record!(TRACE),
        Level::Debug => record!(DEBUG),
        Level::Info => record!(INFO),
        Level::Warn => record!(WARN),
        Level::Error => record!(ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::{CALL_BYTES, LogBudget};

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let mut budget = LogBudget::default();
        assert!(budget.admits(CALL_BYTES - 1));
        assert!(!budget.admits(2));
        assert!(budget.admits(1));
        assert!((0..1_000).all(|_| !budget.admits(1)));
        assert_eq!(budget.dropped, 1_001);
    }
}
