//! Schedules: what the project says, what was set at run time, and which of their times have come.

use compozy_engine::time::Timestamp;
use rusqlite::{Connection, params};
use sqlx::SqliteConnection;

use super::super::row::{Declared, Demand, Fire, Schedule, Wanted, Woken};
use super::super::work::columns;
use super::super::work::operation::{Outcome, list};
use super::super::work::schedule::{EncodedFire, SCHEDULER, Setting};
use super::super::{Error, RequestOutcome};
use super::control::{self, Unmet};
use super::error::{from_sqlite, from_sqlx};
use super::known::Known;
use crate::id::ExecId;

/// Makes `declared` what the project says.
pub(super) fn declare(connection: &Connection, declared: &[Declared], now: Timestamp) -> rusqlite::Result<Outcome> {
    let put = "INSERT INTO schedules (schedule_id, workflow_id, declared, updated_at) VALUES (?, ?, ?, ?) \
               ON CONFLICT (schedule_id) DO UPDATE SET workflow_id = excluded.workflow_id, \
               declared = excluded.declared, updated_at = excluded.updated_at, next_fire_at = NULL \
               WHERE declared IS NOT excluded.declared OR workflow_id <> excluded.workflow_id";
    for one in declared {
        connection.prepare_cached(put)?.execute(params![one.schedule_id, one.workflow_id, one.declared, now.0])?;
    }
    let ids: Vec<&str> = declared.iter().map(|one| one.schedule_id.as_str()).collect();
    let ids = list(&ids);
    // What is no longer declared does not fire; what was set at run time is kept for the day it comes back.
    for sql in [
        "DELETE FROM schedules WHERE override IS NULL AND schedule_id NOT IN (SELECT value FROM json_each(?1))",
        "UPDATE schedules SET declared = NULL, next_fire_at = NULL \
         WHERE declared IS NOT NULL AND schedule_id NOT IN (SELECT value FROM json_each(?1))",
    ] {
        connection.execute(sql, [&ids])?;
    }
    Ok(Outcome::Done)
}

/// Sets what overrides a schedule, and when it fires next. One that neither the project nor anybody else names goes.
pub(super) fn set(
    connection: &Connection,
    schedule_id: &str,
    setting: &Setting,
    next_fire_at: Option<Timestamp>,
) -> rusqlite::Result<Outcome> {
    let next = next_fire_at.map(|time| time.0);
    let changed = match setting {
        Setting::Next => {
            let sql = "UPDATE schedules SET next_fire_at = ?2 WHERE schedule_id = ?1";
            connection.prepare_cached(sql)?.execute(params![schedule_id, next])?
        }
        Setting::Override { overriding: None, now } => {
            let gone = "DELETE FROM schedules WHERE schedule_id = ? AND declared IS NULL";
            let sql = "UPDATE schedules SET override = NULL, next_fire_at = ?2, updated_at = ?3 WHERE schedule_id = ?1";
            connection.prepare_cached(gone)?.execute([schedule_id])?
                + connection.prepare_cached(sql)?.execute(params![schedule_id, next, now.0])?
        }
        Setting::Override { overriding, now } => {
            let sql = "UPDATE schedules SET override = ?2, next_fire_at = ?3, updated_at = ?4 WHERE schedule_id = ?1";
            connection.prepare_cached(sql)?.execute(params![schedule_id, overriding, next, now.0])?
        }
    };
    Ok(Outcome::Flag(changed > 0))
}

/// Records that a time has come, once.
///
/// # Errors
/// [`Error::NotFound`] without such a schedule; [`Error::Conflict`] when the run does not fit.
pub(super) fn fire(connection: &Connection, known: &Known, encoded: &EncodedFire) -> Result<Outcome, Error> {
    let EncodedFire { fire, start } = encoded;
    let exec_id = start.as_ref().map(|start| start.exec_id.as_str());
    if !record(connection, fire, exec_id).map_err(from_sqlite)? {
        return Ok(Outcome::Told(None));
    }
    let plan = "UPDATE schedules SET next_fire_at = ?2, last_fire_at = iif(?3 IS NULL, last_fire_at, ?4), \
                last_exec_id = coalesce(?3, last_exec_id) WHERE schedule_id = ?1";
    let row = params![fire.schedule_id, fire.next_fire_at.map(|time| time.0), exec_id, fire.fire_at.0];
    let planned = connection.prepare_cached(plan).and_then(|mut statement| statement.execute(row));
    if planned.map_err(from_sqlite)? == 0 {
        return Err(Error::NotFound(format!("schedule {}", fire.schedule_id)));
    }
    let mut woken = Vec::new();
    if let Some(other) = &fire.cancel {
        woken.extend(cancel(connection, known, other, fire.at)?);
    }
    woken.extend(control::begin(connection, known, start.as_slice())?);
    Ok(Outcome::Told(Some(woken)))
}

/// The row of a fire; false when this time was dealt with before.
fn record(connection: &Connection, fire: &Fire, exec_id: Option<&str>) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO schedule_fires (schedule_id, fire_at, state, exec_id, recorded_at) VALUES (?, ?, ?, ?, ?) \
               ON CONFLICT (schedule_id, fire_at) DO UPDATE SET state = excluded.state, exec_id = excluded.exec_id, \
               recorded_at = excluded.recorded_at WHERE state = 'buffered' AND excluded.state <> 'buffered'";
    let row = params![fire.schedule_id, fire.fire_at.0, fire.state, exec_id, fire.at.0];
    Ok(connection.prepare_cached(sql)?.execute(row)? > 0)
}

fn cancel(connection: &Connection, known: &Known, exec_id: &ExecId, now: Timestamp) -> Result<Option<Woken>, Error> {
    let reason = Some("a newer run of the schedule replaces it".to_owned());
    let demand = Demand { exec_id: exec_id.clone(), wanted: Wanted::Cancel, by: SCHEDULER.into(), reason };
    match control::request(connection, known.turns(), &demand, now) {
        Ok(RequestOutcome::Requested { owner }) => Ok(Some(Woken { exec_id: exec_id.clone(), owner })),
        Ok(RequestOutcome::Already { .. }) | Err(Unmet::Gone(_)) => Ok(None),
        Err(Unmet::Sqlite(error)) => Err(from_sqlite(error)),
    }
}

/// Every schedule, by id.
pub(super) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Schedule>, Error> {
    let sql = "SELECT s.schedule_id, workflow_id, declared, override, next_fire_at, last_fire_at, last_exec_id, \
               (SELECT min(f.fire_at) FROM schedule_fires AS f \
                WHERE f.schedule_id = s.schedule_id AND f.state = 'buffered'), l.fire_at, l.state \
               FROM schedules AS s LEFT JOIN schedule_fires AS l ON l.schedule_id = s.schedule_id AND l.fire_at = \
               (SELECT max(f.fire_at) FROM schedule_fires AS f WHERE f.schedule_id = s.schedule_id) \
               ORDER BY s.schedule_id";
    let rows = sqlx::query(sql).fetch_all(connection).await.map_err(from_sqlx)?;
    rows.iter().map(columns::schedule).collect()
}
