//! What is asked of a run from outside: cancel, pause, resume, signals, and what is published to many.

use compozy_engine::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::row::{Demand, Idempotency, PublishOutcome, SignalOutcome, Wanted, Woken};
use super::super::work::control::{NO_RUN, NewlySent, Publication, note};
use super::super::work::encode::{Encoded, TERMINAL};
use super::super::work::operation::{Outcome, same_request};
use super::super::work::slot::Value;
use super::super::work::turns::Turns;
use super::super::{Error, RequestOutcome};
use super::error::from_sqlite;
use super::known::Known;
use super::outward;
use super::{gate, operation, rows};
use crate::id::{ExecId, NodeId};

/// Why a request was not recorded.
#[derive(Debug)]
pub(super) enum Unmet {
    /// There is no such run, or it has ended.
    Gone(Error),
    /// What SQLite said.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Unmet {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Unmet> for Error {
    fn from(unmet: Unmet) -> Self {
        match unmet {
            Unmet::Gone(error) => error,
            Unmet::Sqlite(error) => from_sqlite(error),
        }
    }
}

/// A run that goes on.
struct Found {
    status: String,
    owner: Option<NodeId>,
    cancel: bool,
    pause: bool,
}

fn find(connection: &Connection, exec_id: &ExecId) -> Result<Found, Unmet> {
    let sql = "SELECT status, owner_node, cancel_request IS NOT NULL, pause_request IS NOT NULL \
               FROM executions WHERE exec_id = ?";
    let row = |row: &Row<'_>| {
        let owner: Option<String> = row.get(1)?;
        Ok(Found { status: row.get(0)?, owner: owner.map(NodeId::from), cancel: row.get(2)?, pause: row.get(3)? })
    };
    let found = connection.prepare_cached(sql)?.query_row([exec_id.as_str()], row).optional()?;
    let found = found.ok_or_else(|| Unmet::Gone(Error::NotFound(format!("run {exec_id}"))))?;
    if TERMINAL.contains(&found.status.as_str()) {
        return Err(Unmet::Gone(Error::Finished(found.status)));
    }
    Ok(found)
}

/// Records what is wanted of a run.
///
/// # Errors
/// [`Unmet`].
pub(super) fn request(
    connection: &Connection,
    turns: &Turns,
    demand: &Demand,
    now: Timestamp,
) -> Result<RequestOutcome, Unmet> {
    let exec_id = &demand.exec_id;
    let Found { status, owner, cancel, pause } = find(connection, exec_id)?;
    let (already, sql) = match demand.wanted {
        Wanted::Cancel => (cancel, "UPDATE executions SET cancel_request = ?2, updated_at = ?3 WHERE exec_id = ?1"),
        Wanted::Pause => (pause, "UPDATE executions SET pause_request = ?2, updated_at = ?3 WHERE exec_id = ?1"),
        Wanted::Resume => (!pause, "UPDATE executions SET pause_request = NULL, updated_at = ?3 WHERE exec_id = ?1"),
    };
    if already {
        return Ok(RequestOutcome::Already { owner });
    }
    connection.prepare_cached(sql)?.execute(params![exec_id.as_str(), note(demand, now), now.0])?;
    if owner.is_none() {
        match demand.wanted {
            Wanted::Cancel => {
                outward::wake(connection, exec_id.as_str(), now)?;
                // Those it lets through find themselves in the queue, which is looked at after this.
                gate::pass(connection, turns, exec_id)?;
            }
            Wanted::Resume => outward::wake(connection, exec_id.as_str(), now)?,
            // Nobody has begun to resume it, and nobody shall.
            Wanted::Pause if status == "PAUSED" => {
                let sql = "DELETE FROM ready WHERE exec_id = ?1 AND NOT EXISTS \
                           (SELECT 1 FROM executions WHERE exec_id = ?1 AND cancel_request IS NOT NULL)";
                connection.prepare_cached(sql)?.execute([exec_id.as_str()])?;
            }
            // It is in the queue; whoever claims it pauses it.
            Wanted::Pause => {}
        }
    }
    Ok(RequestOutcome::Requested { owner })
}

/// Keeps a signal for a run.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Finished`]; [`Error::Conflict`] for an idempotency key of another request.
pub(super) fn put_signal(connection: &Connection, sent: &NewlySent) -> Result<Outcome, Error> {
    let NewlySent { exec_id, signal, idempotency, now } = sent;
    let (idempotency, now) = (idempotency.as_ref(), *now);
    if let Some(signal_id) = idempotency.map(|key| answered(connection, key, now)).transpose()?.flatten()
        && let Some(known) = known_signal(connection, exec_id, &text(signal_id), &Value::Null).map_err(from_sqlite)?
    {
        return Ok(Outcome::Signal(known));
    }
    let found = find(connection, exec_id)?;
    let known = known_signal(connection, exec_id, &signal.signal_id, &signal.dedupe_key).map_err(from_sqlite)?;
    if let Some(known) = known {
        return Ok(Outcome::Signal(known));
    }
    let keep = || {
        signal.keep(connection, exec_id, now)?;
        if let Some(key) = idempotency {
            answer(connection, key, exec_id.as_str(), &signal.signal_id)?;
        }
        if found.owner.is_none() {
            outward::wake(connection, exec_id.as_str(), now)?;
        }
        Ok(())
    };
    keep().map_err(from_sqlite)?;
    Ok(Outcome::Signal(SignalOutcome::Queued { owner: found.owner }))
}

fn text(text: String) -> Value {
    Value::Text(text.into())
}

/// Keeps what a request with this key is answered.
fn answer(connection: &Connection, key: &Idempotency, exec_id: &str, answer: &Value) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO idempotency_keys (scope, key, request_hash, exec_id, expires_at, answer) \
               VALUES (?, ?, ?, ?, ?, ?)";
    let row = params![key.scope, key.key, key.request_hash, exec_id, key.expires_at.0, answer];
    connection.prepare_cached(sql)?.execute(row).map(|_| ())
}

/// What a request with this key was answered.
fn answered(connection: &Connection, key: &Idempotency, now: Timestamp) -> Result<Option<String>, Error> {
    let sql = concat!(
        "SELECT request_hash, answer FROM idempotency_keys AS k WHERE scope = ?1 AND key = ?2 AND answer IS NOT NULL ",
        "AND (expires_at > ?3 OR EXISTS (SELECT 1 FROM executions AS e ",
        "WHERE e.exec_id = k.exec_id AND e.finished_at IS NULL))"
    );
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let found = connection.query_row(sql, params![key.scope, key.key, now.0], row).optional().map_err(from_sqlite)?;
    same_request(found, &key.request_hash)
}

/// A signal of the run with this id or this dedupe key.
fn known_signal(
    connection: &Connection,
    exec_id: &ExecId,
    signal_id: &Value,
    dedupe_key: &Value,
) -> rusqlite::Result<Option<SignalOutcome>> {
    let sql = "SELECT signal_id, state FROM signals WHERE exec_id = ?1 AND signal_id = ?2 \
               UNION ALL SELECT signal_id, state FROM signals WHERE exec_id = ?1 AND dedupe_key = ?3 LIMIT 1";
    let row = |row: &Row<'_>| Ok(SignalOutcome::Duplicate { signal_id: row.get(0)?, state: row.get(1)? });
    connection.prepare_cached(sql)?.query_row(params![exec_id.as_str(), signal_id, dedupe_key], row).optional()
}

/// Records a published event, the runs that it starts, and sends it to those that wait.
///
/// # Errors
/// [`Error::Conflict`] when a run to start does not fit, or for an idempotency key of another request.
pub(super) fn publish(connection: &Connection, known: &Known, publication: &Publication) -> Result<Outcome, Error> {
    let Publication { event, signal, starts } = publication;
    let repeated = |event_id| Ok(Outcome::Published(PublishOutcome::Repeated { event_id }));
    let key = event.idempotency.as_ref();
    if let Some(event_id) = key.map(|key| answered(connection, key, event.at)).transpose()?.flatten() {
        return repeated(event_id);
    }
    let sql = "INSERT INTO events (event_id, name, payload, source, published_at) VALUES (?, ?, ?, ?, ?) \
               ON CONFLICT DO NOTHING";
    let row = params![event.event_id, event.name, event.payload, event.source, event.at.0];
    let inserted = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(row));
    if inserted.map_err(from_sqlite)? == 0 {
        return repeated(event.event_id.clone());
    }
    if let Some(key) = key {
        answer(connection, key, NO_RUN, &signal.signal_id).map_err(from_sqlite)?;
    }
    let mut woken = begin(connection, known, starts)?;
    outward::broadcast(connection, signal, event.at, &mut woken).map_err(from_sqlite)?;
    Ok(Outcome::Published(PublishOutcome::Published(woken)))
}

/// Writes runs that an operation starts.
///
/// # Errors
/// [`Error::Conflict`] when one does not fit.
pub(super) fn begin(connection: &Connection, known: &Known, starts: &[Encoded]) -> Result<Vec<Woken>, Error> {
    let mut woken = Vec::new();
    for start in starts {
        match rows::write(connection, known, start, false) {
            Ok(more) => woken.extend(more),
            Err(refused) => return Err(operation::diagnose(connection, start, refused)),
        }
    }
    Ok(woken)
}
