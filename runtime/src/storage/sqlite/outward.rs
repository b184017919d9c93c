//! What a transaction of one run does to others: signals, starts, demands, memories, and telling the parent of its end.
//!
//! A run that has something new to look at is claimable after the same transaction, or its owner is told after it. A
//! parent that waits for a sub-run needs no note of its own: the ended sub-run is one, and whoever loads the parent looks
//! at it.

use compozy_engine::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::RequestOutcome;
use super::super::row::Woken;
use super::super::work::encode::{TERMINAL, integer, text};
use super::super::work::outward::{EncodedSignal, Outward};
use super::super::work::slot::Slot;
use super::control;
use super::known::Known;
use super::memory;
use super::rows;
use super::statement::Refused;
use crate::id::{ExecId, NodeId};

impl Outward {
    /// Writes it and adds the runs that it wakes.
    ///
    /// # Errors
    /// [`Refused`] when a row does not fit.
    pub(super) fn write(&self, connection: &Connection, known: &Known, woken: &mut Vec<Woken>) -> Result<(), Refused> {
        memory::write(connection, &self.memory, self.at)?;
        for start in &self.starts {
            woken.extend(rows::write(connection, known, start, false)?);
        }
        for (target, signal) in &self.sent {
            match target {
                Some(exec_id) => woken.extend(deliver(connection, exec_id, signal, self.at)?),
                None => broadcast(connection, signal, self.at, woken)?,
            }
        }
        for demand in &self.demands {
            match control::request(connection, known.turns(), demand, self.at) {
                Ok(RequestOutcome::Requested { owner }) => {
                    woken.push(Woken { exec_id: demand.exec_id.clone(), owner });
                }
                // It is so already, or there is nobody left to want it of.
                Ok(RequestOutcome::Already { .. }) | Err(control::Unmet::Gone(_)) => {}
                Err(control::Unmet::Sqlite(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The runs that have something to look at once this is written, those that it started apart.
    pub(super) fn woken(&self, connection: &Connection, woken: &mut Vec<Woken>) -> rusqlite::Result<()> {
        let targets = self.sent.iter().filter_map(|(target, _)| target.clone());
        let mut runs: Vec<ExecId> = targets.chain(self.demands.iter().map(|demand| demand.exec_id.clone())).collect();
        for (_, signal) in self.sent.iter().filter(|(target, _)| target.is_none()) {
            runs.extend(waiting_for(connection, signal)?);
        }
        let mut owner = connection.prepare_cached("SELECT owner_node FROM executions WHERE exec_id = ?")?;
        for exec_id in runs {
            let found: Option<Option<String>> = owner.query_row([exec_id.as_str()], |row| row.get(0)).optional()?;
            woken.extend(found.map(|owner| Woken { exec_id, owner: owner.map(NodeId::from) }));
        }
        Ok(())
    }
}

impl EncodedSignal {
    /// Keeps it for a run; false when it is known there.
    pub(super) fn keep(&self, connection: &Connection, exec_id: &ExecId, now: Timestamp) -> rusqlite::Result<bool> {
        let exec = text(exec_id.as_str());
        let row = [
            exec.clone(),
            self.signal_id.clone(),
            self.name.clone(),
            self.payload.value.clone(),
            self.metadata.clone(),
            self.dedupe_key.clone(),
            integer(now.0),
        ];
        if !Slot::Signal.write_one(connection, &row)? {
            return Ok(false);
        }
        if let Some((payload, reference)) = self.payload.rows(&exec, now) {
            Slot::Payload.write_one(connection, &payload)?;
            Slot::PayloadRef.write_one(connection, &reference)?;
        }
        Ok(true)
    }
}

/// Sends a signal to one run. `None`: it has ended, is gone, or knows the signal.
fn deliver(
    connection: &Connection,
    exec_id: &ExecId,
    signal: &EncodedSignal,
    now: Timestamp,
) -> rusqlite::Result<Option<Woken>> {
    let sql = "SELECT status, owner_node FROM executions WHERE exec_id = ?";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let mut statement = connection.prepare_cached(sql)?;
    let found: Option<(String, Option<String>)> = statement.query_row([exec_id.as_str()], row).optional()?;
    let Some((_, owner)) = found.filter(|(status, _)| !TERMINAL.contains(&status.as_str())) else { return Ok(None) };
    if !signal.keep(connection, exec_id, now)? {
        return Ok(None);
    }
    if owner.is_none() {
        wake(connection, exec_id.as_str(), now)?;
    }
    Ok(Some(Woken { exec_id: exec_id.clone(), owner: owner.map(NodeId::from) }))
}

/// Steps that wait, as the index `steps_waiting` has them.
macro_rules! waiting {
    () => {
        "s.status = 'WAITING' AND s.waiting_for ->> '$.kind' IN ('signal', 'child')"
    };
}
pub(super) use waiting;

/// Sends a signal to every run that waits for its name.
pub(super) fn broadcast(
    connection: &Connection,
    signal: &EncodedSignal,
    now: Timestamp,
    woken: &mut Vec<Woken>,
) -> rusqlite::Result<()> {
    for exec_id in waiting_for(connection, signal)? {
        woken.extend(deliver(connection, &exec_id, signal, now)?);
    }
    Ok(())
}

/// Every run that waits for the signal's name.
fn waiting_for(connection: &Connection, signal: &EncodedSignal) -> rusqlite::Result<Vec<ExecId>> {
    let sql = concat!(
        "SELECT DISTINCT s.exec_id FROM steps AS s WHERE ",
        waiting!(),
        " AND s.waiting_for ->> '$.kind' = 'signal' AND s.waiting_for ->> '$.detail' = ? ORDER BY s.exec_id"
    );
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement.query_map([&signal.name], |row| row.get::<_, String>(0))?;
    ids.map(|id| id.map(ExecId::from)).collect()
}

/// The parent of a run that has just ended, if it goes on.
pub(super) fn tell_parent(
    connection: &Connection,
    exec_id: &ExecId,
    now: Timestamp,
) -> rusqlite::Result<Option<Woken>> {
    let sql = "SELECT p.exec_id, p.owner_node FROM executions AS c JOIN executions AS p ON p.exec_id = c.parent_exec_id \
               WHERE c.exec_id = ? AND p.finished_at IS NULL";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let mut statement = connection.prepare_cached(sql)?;
    let found: Option<(String, Option<String>)> = statement.query_row([exec_id.as_str()], row).optional()?;
    let Some((parent, owner)) = found else { return Ok(None) };
    if owner.is_none() {
        wake(connection, &parent, now)?;
    }
    Ok(Some(Woken { exec_id: parent.into(), owner: owner.map(NodeId::from) }))
}

/// Makes a run without owner claimable. One that is to stay paused waits for `resume`.
pub(super) fn wake(connection: &Connection, exec_id: &str, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT INTO ready (exec_id, not_before, priority, concurrency_key, workflow_id) \
               SELECT exec_id, ?2, priority, concurrency_key, workflow_id FROM executions WHERE exec_id = ?1 \
               AND owner_node IS NULL AND (status IN ('PENDING', 'RUNNING', 'WAITING') \
               OR (status = 'PAUSED' AND (pause_request IS NULL OR cancel_request IS NOT NULL))) \
               ON CONFLICT (exec_id) DO UPDATE SET not_before = min(not_before, excluded.not_before)";
    connection.prepare_cached(sql)?.execute(params![exec_id, now.0]).map(|_| ())
}
