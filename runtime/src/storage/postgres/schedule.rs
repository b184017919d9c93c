//! Schedules: what the project says, what was set at run time, and which of their times have come.

use compozy_engine::time::Timestamp;
use sqlx::PgConnection;

use super::super::row::{Declared, Demand, Fire, Schedule, Wanted, Woken};
use super::super::work::columns;
use super::super::work::operation::Outcome;
use super::super::work::schedule::{EncodedFire, SCHEDULER, Setting};
use super::super::{Error, RequestOutcome};
use super::error::{Refused, from_sqlx};
use super::known::Known;
use super::sql;
use super::{control, gate};
use crate::id::ExecId;

/// Makes `declared` what the project says. Nodes that begin at the same time take turns.
pub(super) async fn declare(
    connection: &mut PgConnection,
    declared: &[Declared],
    now: Timestamp,
) -> Result<Outcome, sqlx::Error> {
    gate::lock(connection, "schedules", "").await?;
    let put = "INSERT INTO schedules AS s (schedule_id, workflow_id, declared, updated_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (schedule_id) DO UPDATE SET workflow_id = excluded.workflow_id, \
               declared = excluded.declared, updated_at = excluded.updated_at, next_fire_at = NULL \
               WHERE s.declared IS DISTINCT FROM excluded.declared OR s.workflow_id <> excluded.workflow_id";
    for one in declared {
        let query = sql::query(put).bind(&one.schedule_id).bind(&one.workflow_id).bind(&one.declared).bind(now.0);
        query.execute(&mut *connection).await?;
    }
    let ids: Vec<&str> = declared.iter().map(|one| one.schedule_id.as_str()).collect();
    // What is no longer declared does not fire; what was set at run time is kept for the day it comes back.
    for sql in [
        "DELETE FROM schedules WHERE override IS NULL AND schedule_id <> ALL ($1)",
        "UPDATE schedules SET declared = NULL, next_fire_at = NULL \
         WHERE declared IS NOT NULL AND schedule_id <> ALL ($1)",
    ] {
        sql::query(sql).bind(&ids).execute(&mut *connection).await?;
    }
    Ok(Outcome::Done)
}

/// Sets what overrides a schedule, and when it fires next. One that neither the project nor anybody else names goes.
pub(super) async fn set(
    connection: &mut PgConnection,
    schedule_id: &str,
    setting: &Setting,
    next_fire_at: Option<Timestamp>,
) -> Result<Outcome, sqlx::Error> {
    let next = next_fire_at.map(|time| time.0);
    let changed = match setting {
        Setting::Next => {
            let sql = "UPDATE schedules SET next_fire_at = $2 WHERE schedule_id = $1";
            sql::query(sql).bind(schedule_id).bind(next).execute(connection).await?.rows_affected()
        }
        Setting::Override { overriding: None, now } => {
            let gone = "DELETE FROM schedules WHERE schedule_id = $1 AND declared IS NULL";
            let gone = sql::query(gone).bind(schedule_id).execute(&mut *connection).await?.rows_affected();
            let sql = "UPDATE schedules SET override = NULL, next_fire_at = $2, updated_at = $3 WHERE schedule_id = $1";
            let query = sql::query(sql).bind(schedule_id).bind(next).bind(now.0);
            gone + query.execute(connection).await?.rows_affected()
        }
        Setting::Override { overriding, now } => {
            let sql = "UPDATE schedules SET override = $2, next_fire_at = $3, updated_at = $4 WHERE schedule_id = $1";
            let query = sql::query(sql).bind(schedule_id).bind(overriding).bind(next).bind(now.0);
            query.execute(connection).await?.rows_affected()
        }
    };
    Ok(Outcome::Flag(changed > 0))
}

/// Records that a time has come, once.
///
/// # Errors
/// [`Error::NotFound`] without such a schedule; [`Error::Conflict`] when the run does not fit.
pub(super) async fn fire(
    connection: &mut PgConnection,
    known: &Known,
    encoded: &EncodedFire,
) -> Result<Outcome, Refused> {
    let EncodedFire { fire, start } = encoded;
    let exec_id = start.as_ref().map(|start| start.exec_id.as_str());
    if !record(connection, fire, exec_id).await? {
        return Ok(Outcome::Told(None));
    }
    let plan = "UPDATE schedules SET next_fire_at = $2, \
                last_fire_at = CASE WHEN $3::text IS NULL THEN last_fire_at ELSE $4 END, \
                last_exec_id = coalesce($3, last_exec_id) WHERE schedule_id = $1";
    let query = sql::query(plan).bind(&fire.schedule_id).bind(fire.next_fire_at.map(|time| time.0)).bind(exec_id);
    if query.bind(fire.fire_at.0).execute(&mut *connection).await?.rows_affected() == 0 {
        return Err(Error::NotFound(format!("schedule {}", fire.schedule_id)).into());
    }
    let mut woken = Vec::new();
    if let Some(other) = &fire.cancel {
        woken.extend(cancel(connection, known, other, fire.at).await?);
    }
    woken.extend(control::begin(connection, known, start.as_slice()).await?);
    Ok(Outcome::Told(Some(woken)))
}

/// The row of a fire; false when this time was dealt with before, by this node or another.
async fn record(connection: &mut PgConnection, fire: &Fire, exec_id: Option<&str>) -> Result<bool, sqlx::Error> {
    let sql = "INSERT INTO schedule_fires AS f (schedule_id, fire_at, state, exec_id, recorded_at) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (schedule_id, fire_at) DO UPDATE SET state = excluded.state, \
               exec_id = excluded.exec_id, recorded_at = excluded.recorded_at \
               WHERE f.state = 'buffered' AND excluded.state <> 'buffered'";
    let query = sql::query(sql).bind(&fire.schedule_id).bind(fire.fire_at.0).bind(&fire.state).bind(exec_id);
    Ok(query.bind(fire.at.0).execute(connection).await?.rows_affected() > 0)
}

async fn cancel(
    connection: &mut PgConnection,
    known: &Known,
    exec_id: &ExecId,
    now: Timestamp,
) -> Result<Option<Woken>, Refused> {
    let reason = Some("a newer run of the schedule replaces it".to_owned());
    let demand = Demand { exec_id: exec_id.clone(), wanted: Wanted::Cancel, by: SCHEDULER.into(), reason };
    match control::request(connection, known, &demand, now).await {
        Ok(RequestOutcome::Requested { owner }) => Ok(Some(Woken { exec_id: exec_id.clone(), owner })),
        Ok(RequestOutcome::Already { .. }) | Err(Refused::Storage(Error::NotFound(_) | Error::Finished(_))) => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// Every schedule, by id.
pub(super) async fn all(connection: &mut PgConnection) -> Result<Vec<Schedule>, Error> {
    let sql = "SELECT s.schedule_id, workflow_id, declared, override, next_fire_at, last_fire_at, last_exec_id, \
               (SELECT min(f.fire_at) FROM schedule_fires AS f \
                WHERE f.schedule_id = s.schedule_id AND f.state = 'buffered'), l.fire_at, l.state \
               FROM schedules AS s LEFT JOIN schedule_fires AS l ON l.schedule_id = s.schedule_id AND l.fire_at = \
               (SELECT max(f.fire_at) FROM schedule_fires AS f WHERE f.schedule_id = s.schedule_id) \
               ORDER BY s.schedule_id";
    let rows = sql::query(sql).fetch_all(connection).await.map_err(from_sqlx)?;
    rows.iter().map(columns::schedule).collect()
}
