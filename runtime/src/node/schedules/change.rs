//! What people do to a schedule: change it, take the change back, switch it off.

use compozy_engine::time::Timestamp;
use compozy_lang::plan::{Project, Schedule};

use super::effective::{Effective, Override};
use super::{declarations, find};
use crate::node::{Error, Node};
use crate::storage::Storage;

/// What is to be set. `None` leaves a part alone, `Some(None)` makes it what the project says again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Switch it on or off.
    pub enabled: Option<Option<bool>>,
    /// Another expression.
    pub cron: Option<Option<String>>,
    /// Another time zone.
    pub timezone: Option<Option<String>>,
}

impl Change {
    /// Back to what the project says.
    #[must_use]
    pub fn reset() -> Self {
        Self { enabled: Some(None), cron: Some(None), timezone: Some(None) }
    }

    /// `set` with this change in it. What is as the project says is no change.
    fn apply(&self, declared: &Schedule, set: Override) -> Override {
        let enabled = self.enabled.unwrap_or(set.enabled);
        let cron = self.cron.clone().unwrap_or(set.cron);
        let timezone = self.timezone.clone().unwrap_or(set.timezone);
        Override {
            enabled: enabled.filter(|enabled| *enabled != declared.enabled),
            cron: cron.filter(|cron| *cron != declared.cron),
            timezone: timezone.filter(|timezone| *timezone != declared.timezone),
        }
    }
}

/// Changes a schedule of the project; durable when it returns.
///
/// # Errors
/// [`Error::ScheduleNotFound`], [`Error::ScheduleInvalid`], [`Error::Storage`].
pub async fn change(
    storage: &dyn Storage,
    project: &Project,
    id: &str,
    change: &Change,
    now: Timestamp,
) -> Result<(), Error> {
    let declared = find(project, id)?;
    let set = change.apply(declared, stored(storage, id).await?);
    put(storage, project, declared, &set, now).await
}

/// Takes back what was set of a schedule; one of which nothing was set is switched off. Durable when it returns.
///
/// # Errors
/// As [`change`].
pub async fn remove(storage: &dyn Storage, project: &Project, id: &str, now: Timestamp) -> Result<(), Error> {
    let declared = match find(project, id) {
        Ok(declared) => declared,
        // What was set of a schedule that the project no longer has is kept until it is taken back.
        Err(unknown) => return if storage.set_schedule(id, None, None, now).await? { Ok(()) } else { Err(unknown) },
    };
    let nothing = Override::default();
    let set = match stored(storage, id).await? {
        set if set == nothing => Override { enabled: declared.enabled.then_some(false), ..nothing },
        _ => nothing,
    };
    put(storage, project, declared, &set, now).await
}

async fn stored(storage: &dyn Storage, id: &str) -> Result<Override, Error> {
    let rows = storage.schedules().await?;
    Ok(Override::read(rows.iter().find(|row| row.schedule_id == id).and_then(|row| row.overriding.as_deref())))
}

async fn put(
    storage: &dyn Storage,
    project: &Project,
    declared: &Schedule,
    set: &Override,
    now: Timestamp,
) -> Result<(), Error> {
    let effective = Effective::new(declared, set).map_err(|invalid| Error::ScheduleInvalid { invalid })?;
    let next = effective.planned(now);
    if !storage.set_schedule(&declared.id, set.text(), next, now).await? {
        // No server has written this project's schedules down yet.
        storage.declare_schedules(declarations(project), now).await?;
        storage.set_schedule(&declared.id, set.text(), next, now).await?;
    }
    Ok(())
}

impl Node {
    /// Changes a schedule; durable and in force when this returns.
    ///
    /// # Errors
    /// As [`change`].
    pub async fn change_schedule(&self, id: &str, wanted: &Change) -> Result<(), Error> {
        let schedules = &self.worker.schedules;
        let _turn = schedules.turn.lock().await;
        change(&*self.worker.storage, &self.project(), id, wanted, self.worker.clock.now()).await?;
        schedules.look();
        Ok(())
    }

    /// Takes back what was set of a schedule, or switches it off; durable and in force when this returns.
    ///
    /// # Errors
    /// As [`remove`].
    pub async fn remove_schedule(&self, id: &str) -> Result<(), Error> {
        let schedules = &self.worker.schedules;
        let _turn = schedules.turn.lock().await;
        remove(&*self.worker.storage, &self.project(), id, self.worker.clock.now()).await?;
        schedules.look();
        Ok(())
    }
}
