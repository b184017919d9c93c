//! What is asked of a run from outside: cancel, pause, resume, signals, and what is published to many.

use compozy_engine::time::Timestamp;
use sqlx::PgConnection;

use super::super::row::{Demand, Idempotency, PublishOutcome, SignalOutcome, Wanted, Woken};
use super::super::work::control::{NO_RUN, NewlySent, Publication, note};
use super::super::work::encode::{Encoded, TERMINAL};
use super::super::work::operation::{Outcome, same_request};
use super::super::{Error, RequestOutcome};
use super::batch::Flush;
use super::error::Refused;
use super::known::Known;
use super::sql;
use super::{gate, outward, rows};
use crate::id::{ExecId, NodeId};

/// A run that goes on.
struct Found {
    status: String,
    owner: Option<NodeId>,
    cancel: bool,
    pause: bool,
}

/// Looks at a run and locks its row.
async fn find(connection: &mut PgConnection, exec_id: &ExecId) -> Result<Found, Refused> {
    let sql = "SELECT status, owner_node, cancel_request IS NOT NULL, pause_request IS NOT NULL \
               FROM executions WHERE exec_id = $1 FOR NO KEY UPDATE";
    let query = sql::query_as::<_, (String, Option<String>, bool, bool)>(sql).bind(exec_id.as_str());
    let found = query.fetch_optional(connection).await?;
    let (status, owner, cancel, pause) = found.ok_or_else(|| Error::NotFound(format!("run {exec_id}")))?;
    if TERMINAL.contains(&status.as_str()) {
        return Err(Error::Finished(status).into());
    }
    Ok(Found { status, owner: owner.map(NodeId::from), cancel, pause })
}

const PAUSE: &str = "UPDATE executions SET pause_request = $2, updated_at = $3 WHERE exec_id = $1";

/// Records what is wanted of a run.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Finished`].
pub(super) async fn request(
    connection: &mut PgConnection,
    known: &Known,
    demand: &Demand,
    now: Timestamp,
) -> Result<RequestOutcome, Refused> {
    let exec_id = &demand.exec_id;
    let Found { status, owner, cancel, pause } = find(connection, exec_id).await?;
    let (already, sql) = match demand.wanted {
        Wanted::Cancel => (cancel, "UPDATE executions SET cancel_request = $2, updated_at = $3 WHERE exec_id = $1"),
        Wanted::Pause => (pause, PAUSE),
        Wanted::Resume => (!pause, PAUSE),
    };
    if already {
        return Ok(RequestOutcome::Already { owner });
    }
    let note = (demand.wanted != Wanted::Resume).then(|| note(demand, now));
    let query = sql::query(sql).bind(exec_id.as_str()).bind(note).bind(now.0);
    query.execute(&mut *connection).await?;
    if owner.is_none() {
        match demand.wanted {
            Wanted::Cancel => {
                outward::wake(connection, exec_id.as_str(), now).await?;
                // Those it lets through find themselves in the queue, which is looked at after this.
                gate::pass(connection, known, exec_id).await?;
            }
            Wanted::Resume => outward::wake(connection, exec_id.as_str(), now).await?,
            // Nobody has begun to resume it, and nobody shall.
            Wanted::Pause if status == "PAUSED" => {
                let sql = "DELETE FROM ready WHERE exec_id = $1 AND NOT EXISTS \
                           (SELECT 1 FROM executions WHERE exec_id = $1 AND cancel_request IS NOT NULL)";
                sql::query(sql).bind(exec_id.as_str()).execute(connection).await?;
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
pub(super) async fn put_signal(connection: &mut PgConnection, sent: &NewlySent) -> Result<Outcome, Refused> {
    let NewlySent { exec_id, signal, idempotency, now } = sent;
    if let Some(key) = idempotency
        && let Some(signal_id) = answered(connection, key, *now).await?
        && let Some(known) = known_signal(connection, exec_id, Some(&signal_id), None).await?
    {
        return Ok(Outcome::Signal(known));
    }
    let found = find(connection, exec_id).await?;
    let known = known_signal(connection, exec_id, signal.signal_id.text(), signal.dedupe_key.text()).await?;
    if let Some(known) = known {
        return Ok(Outcome::Signal(known));
    }
    outward::keep(connection, signal, exec_id, *now).await?;
    if let Some(key) = idempotency {
        answer(connection, key, exec_id.as_str(), signal.signal_id.text()).await?;
    }
    if found.owner.is_none() {
        outward::wake(connection, exec_id.as_str(), *now).await?;
    }
    Ok(Outcome::Signal(SignalOutcome::Queued { owner: found.owner }))
}

/// Keeps what a request with this key is answered.
async fn answer(
    connection: &mut PgConnection,
    key: &Idempotency,
    exec_id: &str,
    answer: Option<&str>,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO idempotency_keys (scope, key, request_hash, exec_id, expires_at, answer) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (scope, key) DO UPDATE SET \
               request_hash = excluded.request_hash, exec_id = excluded.exec_id, expires_at = excluded.expires_at, \
               answer = excluded.answer";
    let query = sql::query(sql).bind(&key.scope).bind(&key.key).bind(&key.request_hash).bind(exec_id);
    query.bind(key.expires_at.0).bind(answer).execute(connection).await.map(|_| ())
}

/// What a request with this key was answered. Another one with this key waits until the transaction ends.
async fn answered(connection: &mut PgConnection, key: &Idempotency, now: Timestamp) -> Result<Option<String>, Refused> {
    gate::lock(connection, "key", &format!("{}|{}", key.scope, key.key)).await?;
    let sql = "SELECT request_hash, answer FROM idempotency_keys AS k WHERE scope = $1 AND key = $2 \
               AND answer IS NOT NULL AND (expires_at > $3 OR EXISTS (SELECT 1 FROM executions AS e \
               WHERE e.exec_id = k.exec_id AND e.finished_at IS NULL))";
    let query = sql::query_as(sql).bind(&key.scope).bind(&key.key).bind(now.0);
    Ok(same_request(query.fetch_optional(connection).await?, &key.request_hash)?)
}

/// A signal of the run with this id or this dedupe key.
async fn known_signal(
    connection: &mut PgConnection,
    exec_id: &ExecId,
    signal_id: Option<&str>,
    dedupe_key: Option<&str>,
) -> Result<Option<SignalOutcome>, sqlx::Error> {
    let sql = "SELECT signal_id, state FROM signals WHERE exec_id = $1 AND signal_id = $2 \
               UNION ALL SELECT signal_id, state FROM signals WHERE exec_id = $1 AND dedupe_key = $3 LIMIT 1";
    let query = sql::query_as::<_, (String, String)>(sql).bind(exec_id.as_str()).bind(signal_id).bind(dedupe_key);
    let found = query.fetch_optional(connection).await?;
    Ok(found.map(|(signal_id, state)| SignalOutcome::Duplicate { signal_id, state }))
}

/// Records a published event, the runs that it starts, and sends it to those that wait.
///
/// # Errors
/// [`Error::Conflict`] when a run to start does not fit, or for an idempotency key of another request.
pub(super) async fn publish(
    connection: &mut PgConnection,
    known: &Known,
    publication: &Publication,
) -> Result<Outcome, Refused> {
    let Publication { event, signal, starts } = publication;
    let repeated = |event_id| Ok(Outcome::Published(PublishOutcome::Repeated { event_id }));
    if let Some(key) = &event.idempotency
        && let Some(event_id) = answered(connection, key, event.at).await?
    {
        return repeated(event_id);
    }
    let sql = "INSERT INTO events (event_id, name, payload, source, published_at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT DO NOTHING";
    let query = sql::query(sql).bind(&event.event_id).bind(&event.name).bind(&event.payload).bind(&event.source);
    if query.bind(event.at.0).execute(&mut *connection).await?.rows_affected() == 0 {
        return repeated(event.event_id.clone());
    }
    if let Some(key) = &event.idempotency {
        answer(connection, key, NO_RUN, signal.signal_id.text()).await?;
    }
    let mut woken = begin(connection, known, starts).await?;
    outward::broadcast(connection, signal, event.at, &mut woken).await?;
    Ok(Outcome::Published(PublishOutcome::Published(woken)))
}

/// Writes runs that an operation starts.
///
/// # Errors
/// [`Error::Conflict`] when one does not fit.
pub(super) async fn begin(
    connection: &mut PgConnection,
    known: &Known,
    starts: &[Encoded],
) -> Result<Vec<Woken>, Refused> {
    let mut woken = Vec::new();
    for start in starts {
        let written = rows::write(connection, known, start, Flush::Wait).await;
        woken.extend(written.map_err(|refused| match refused {
            refused if refused.is_unique() => {
                let exec_id = &start.exec_id;
                Error::Conflict(format!("run {exec_id} or one of its rows exists already")).into()
            }
            refused => refused,
        })?);
    }
    Ok(woken)
}
