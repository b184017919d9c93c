//! What to do when nobody knows whether a commit happened: read back before any retry (cli-and-api §9.3).

use rusqlite::{Connection, params, params_from_iter};

use super::super::row::Woken;
use super::super::work::encode::Encoded;
use super::super::work::slot::Slot;
use super::outward;

/// Whether exactly the events of `member` are recorded already, under the epoch it writes with. Its other rows were
/// written with them, and nobody has written to the run since under another epoch.
pub(super) fn is_recorded(connection: &Connection, member: &Encoded) -> rusqlite::Result<bool> {
    let exec_id = member.exec_id.as_str();
    let run_is_there = match (&member.update, &member.started) {
        (Some(update), _) => connection
            .prepare_cached("SELECT 1 FROM executions WHERE exec_id = ? AND epoch = ?")?
            .exists(params![exec_id, update.epoch])?,
        (None, Some(start)) => connection
            .prepare_cached("SELECT 1 FROM executions WHERE exec_id = ? AND workflow_id = ? AND created_at = ?")?
            .exists(params![exec_id, &*start.workflow_id, start.at.0])?,
        (None, None) => false,
    };
    let events = member.rows.iter().find(|(slot, _)| *slot == Slot::Journal);
    // A queued start has no event yet; an update without one has nothing to be known by.
    if !run_is_there || (events.is_none() && member.started.is_none()) {
        return Ok(false);
    }
    let mut events = events.iter().flat_map(|(slot, values)| values.chunks(slot.columns()));
    let sql =
        "SELECT 1 FROM journal WHERE exec_id = ? AND seq = ? AND at = ? AND event = ? AND task_id IS ? AND data = ?";
    let mut statement = connection.prepare_cached(sql)?;
    events.try_fold(true, |recorded, event| Ok(recorded && statement.exists(params_from_iter(event))?))
}

/// Whom a recorded transaction woke: nobody was told. To be told in vain costs a look.
pub(super) fn woken(connection: &Connection, member: &Encoded) -> rusqlite::Result<Vec<Woken>> {
    let mut woken = Vec::new();
    if let Some(outward) = &member.outward {
        outward.woken(connection, &mut woken)?;
    }
    if let Some(update) = member.update.as_ref().filter(|update| update.ends) {
        woken.extend(outward::tell_parent(connection, &member.exec_id, update.at)?);
    }
    Ok(woken)
}
