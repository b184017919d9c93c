//! What a transaction of one run does to others: signals, starts, demands, memories, and telling the parent of its end.
//!
//! Whoever looks at the owner of another run holds the lock of its row: an owner that changes meanwhile would be told in
//! vain, and the new one not at all.

use compozy_engine::time::Timestamp;
use sqlx::PgConnection;

use super::super::row::Woken;
use super::super::work::encode::TERMINAL;
use super::super::work::outward::{EncodedSignal, Outward};
use super::super::{Error, RequestOutcome};
use super::batch::Flush;
use super::error::Refused;
use super::known::Known;
use super::sql;
use super::{control, memory, rows};
use crate::id::{ExecId, NodeId};

/// Writes it and adds the runs that it wakes.
///
/// # Errors
/// [`Refused`] when a row does not fit.
pub(super) async fn write(
    connection: &mut PgConnection,
    known: &Known,
    outward: &Outward,
    flush: Flush,
    woken: &mut Vec<Woken>,
) -> Result<(), Refused> {
    memory::write(connection, &outward.memory, outward.at).await?;
    for start in &outward.starts {
        woken.extend(rows::write(connection, known, start, flush).await?);
    }
    for (target, signal) in &outward.sent {
        match target {
            Some(exec_id) => woken.extend(deliver(connection, exec_id, signal, outward.at).await?),
            None => broadcast(connection, signal, outward.at, woken).await?,
        }
    }
    for demand in &outward.demands {
        match control::request(connection, known, demand, outward.at).await {
            Ok(RequestOutcome::Requested { owner }) => woken.push(Woken { exec_id: demand.exec_id.clone(), owner }),
            // It is so already, or there is nobody left to want it of.
            Ok(RequestOutcome::Already { .. }) | Err(Refused::Storage(Error::NotFound(_) | Error::Finished(_))) => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(())
}

/// Adds the runs that have something to look at once this is written, those that it started apart.
pub(super) async fn woken(
    connection: &mut PgConnection,
    outward: &Outward,
    woken: &mut Vec<Woken>,
) -> Result<(), sqlx::Error> {
    let mut runs: Vec<ExecId> = outward.touched().cloned().collect();
    for (_, signal) in outward.sent.iter().filter(|(target, _)| target.is_none()) {
        runs.extend(waiting_for(connection, signal).await?);
    }
    for exec_id in runs {
        let query = sql::query_as::<_, (Option<String>,)>("SELECT owner_node FROM executions WHERE exec_id = $1");
        let found = query.bind(exec_id.as_str()).fetch_optional(&mut *connection).await?;
        woken.extend(found.map(|(owner,)| Woken { exec_id, owner: owner.map(NodeId::from) }));
    }
    Ok(())
}

/// Keeps a signal for a run; false when it is known there.
pub(super) async fn keep(
    connection: &mut PgConnection,
    signal: &EncodedSignal,
    exec_id: &ExecId,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let sql = "INSERT INTO signals (exec_id, signal_id, name, payload, metadata, dedupe_key, received_at, state) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, 'queued') ON CONFLICT DO NOTHING";
    let query = sql::query(sql)
        .bind(exec_id.as_str())
        .bind(signal.signal_id.text())
        .bind(signal.name.text())
        .bind(signal.payload.value.text())
        .bind(signal.metadata.text())
        .bind(signal.dedupe_key.text())
        .bind(now.0);
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    if let Some((hash, bytes)) = &signal.payload.large {
        let sql = "INSERT INTO payloads (hash, data, created_at) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING";
        sql::query(sql).bind(&**hash).bind(&**bytes).bind(now.0).execute(&mut *connection).await?;
        let sql = "INSERT INTO payload_refs (hash, exec_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        sql::query(sql).bind(&**hash).bind(exec_id.as_str()).execute(connection).await?;
    }
    Ok(true)
}

/// Sends a signal to one run. `None`: it has ended, is gone, or knows the signal.
async fn deliver(
    connection: &mut PgConnection,
    exec_id: &ExecId,
    signal: &EncodedSignal,
    now: Timestamp,
) -> Result<Option<Woken>, sqlx::Error> {
    let sql = "SELECT status, owner_node FROM executions WHERE exec_id = $1 FOR NO KEY UPDATE";
    let query = sql::query_as::<_, (String, Option<String>)>(sql).bind(exec_id.as_str());
    let found = query.fetch_optional(&mut *connection).await?;
    let Some((_, owner)) = found.filter(|(status, _)| !TERMINAL.contains(&status.as_str())) else { return Ok(None) };
    if !keep(connection, signal, exec_id, now).await? {
        return Ok(None);
    }
    if owner.is_none() {
        wake(connection, exec_id.as_str(), now).await?;
    }
    Ok(Some(Woken { exec_id: exec_id.clone(), owner: owner.map(NodeId::from) }))
}

/// Sends a signal to every run that waits for its name.
pub(super) async fn broadcast(
    connection: &mut PgConnection,
    signal: &EncodedSignal,
    now: Timestamp,
    woken: &mut Vec<Woken>,
) -> Result<(), sqlx::Error> {
    for exec_id in waiting_for(connection, signal).await? {
        woken.extend(deliver(connection, &exec_id, signal, now).await?);
    }
    Ok(())
}

/// Every run that waits for the signal's name.
async fn waiting_for(connection: &mut PgConnection, signal: &EncodedSignal) -> Result<Vec<ExecId>, sqlx::Error> {
    let sql = "SELECT DISTINCT s.exec_id FROM steps AS s WHERE s.status = 'WAITING' \
               AND s.waiting_for::json ->> 'kind' = 'signal' AND s.waiting_for::json ->> 'detail' = $1 \
               ORDER BY s.exec_id";
    let found: Vec<(String,)> = sql::query_as(sql).bind(signal.name.text()).fetch_all(connection).await?;
    Ok(found.into_iter().map(|(exec_id,)| exec_id.into()).collect())
}

/// The parent of a run that has just ended, if it goes on. Its row is locked.
pub(super) async fn tell_parent(
    connection: &mut PgConnection,
    exec_id: &ExecId,
    now: Timestamp,
) -> Result<Option<Woken>, sqlx::Error> {
    let sql = "SELECT p.exec_id, p.owner_node FROM executions AS c JOIN executions AS p ON p.exec_id = c.parent_exec_id \
               WHERE c.exec_id = $1 AND p.finished_at IS NULL";
    let query = sql::query_as::<_, (String, Option<String>)>(sql).bind(exec_id.as_str());
    let Some((parent, owner)) = query.fetch_optional(&mut *connection).await? else { return Ok(None) };
    if owner.is_none() {
        wake(connection, &parent, now).await?;
    }
    Ok(Some(Woken { exec_id: parent.into(), owner: owner.map(NodeId::from) }))
}

/// Makes a run without owner claimable. One that is to stay paused waits for `resume`.
pub(super) async fn wake(connection: &mut PgConnection, exec_id: &str, now: Timestamp) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO ready AS r (exec_id, not_before, priority, concurrency_key, workflow_id) \
               SELECT exec_id, $2, priority, concurrency_key, workflow_id FROM executions WHERE exec_id = $1 \
               AND owner_node IS NULL AND (status IN ('PENDING', 'RUNNING', 'WAITING') \
               OR (status = 'PAUSED' AND (pause_request IS NULL OR cancel_request IS NOT NULL))) \
               ON CONFLICT (exec_id) DO UPDATE SET not_before = least(r.not_before, excluded.not_before)";
    sql::query(sql).bind(exec_id).bind(now.0).execute(connection).await.map(|_| ())
}

impl Outward {
    /// The runs that it names.
    pub(super) fn touched(&self) -> impl Iterator<Item = &ExecId> {
        let targets = self.sent.iter().filter_map(|(target, _)| target.as_ref());
        targets.chain(self.demands.iter().map(|demand| &demand.exec_id))
    }
}
