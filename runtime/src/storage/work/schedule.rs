//! What is recorded of schedules, as data.

use compozy_engine::time::Timestamp;

use super::super::Error;
use super::super::row::Fire;
use super::encode::{self, Encoded};

/// Who cancels the run that a new one replaces.
pub(in crate::storage) const SCHEDULER: &str = "schedule";

/// What is set of a schedule beside its next time.
#[derive(Debug)]
pub(in crate::storage) enum Setting {
    /// Nothing.
    Next,
    /// What overrides the project.
    Override { overriding: Option<String>, now: Timestamp },
}

/// A time that has come, its run as rows.
#[derive(Debug)]
pub(in crate::storage) struct EncodedFire {
    pub(in crate::storage) fire: Fire,
    pub(in crate::storage) start: Option<Encoded>,
}

impl EncodedFire {
    /// # Errors
    /// [`Error::Conflict`] when the run does not fit together, or is there although nothing starts.
    pub(in crate::storage) fn new(mut fire: Fire) -> Result<Self, Error> {
        let start = fire.start.take().map(encode::start).transpose()?;
        if start.is_some() != (fire.state == "started") {
            return Err(Error::Conflict(format!("schedule {}: a fire that is started needs a run", fire.schedule_id)));
        }
        Ok(Self { fire, start })
    }
}
