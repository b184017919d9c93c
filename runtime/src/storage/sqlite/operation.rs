//! Logical transactions that read before they write: claims, nodes, key-value entries, and a list of the others.

use compozy_engine::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::Error;
use super::super::row::{KvEntry, Node, Started};
use super::super::work::encode::Encoded;
use super::super::work::operation::{Claimed, Operation, Outcome, list, replay};
use super::super::work::turns::Turns;
use super::error::{from_sqlite, is_unique};
use super::known::Known;
use super::statement::Refused;
use super::{claim, control, import, memory, schedule, sweep};
use crate::id::{ExecId, NodeId};

/// A run that has not ended.
macro_rules! active {
    () => {
        "status IN ('PENDING', 'RUNNING', 'WAITING', 'PAUSED')"
    };
}

/// Carries one out inside the writer's transaction.
pub(super) fn run(operation: &Operation, connection: &Connection, known: &Known) -> Result<Outcome, Error> {
    let outcome = match operation {
        Operation::Claim { node, limit, now } => claim(connection, known.turns(), node, *limit, *now),
        Operation::ClaimOne { node, exec_id, now } => claim_one(connection, node, exec_id, *now),
        Operation::ClaimAnew { node, exec_id, now } => claim_anew(connection, node, exec_id, *now),
        Operation::Claimed { node, now } => claimed_at(connection, node, *now),
        Operation::HandBack { node, now } => hand_back(connection, node, *now),
        Operation::Request { demand, now } => {
            return Ok(Outcome::Requested(control::request(connection, known.turns(), demand, *now)?));
        }
        Operation::Signal(sent) => return control::put_signal(connection, sent),
        Operation::Publish(publication) => return control::publish(connection, known, publication),
        Operation::Fire(fire) => return schedule::fire(connection, known, fire),
        Operation::Memory { changes, now } => return memory::change(connection, changes, *now).map(|()| Outcome::Done),
        Operation::Declare { declared, now } => schedule::declare(connection, declared, *now),
        Operation::SetSchedule { schedule_id, setting, next_fire_at } => {
            schedule::set(connection, schedule_id, setting, *next_fire_at)
        }
        Operation::Import(import) => return import::run(connection, known.turns(), import),
        Operation::Sweep(sweep) => sweep::run(connection, sweep).map(Outcome::Removed),
        Operation::PutNode(node) => put_node(connection, node),
        Operation::RemoveNode(node) => {
            execute(connection, "DELETE FROM nodes WHERE node_id = ?", [node.as_str()]).map(|_| Outcome::Done)
        }
        Operation::Recover { me, sole, now } => recover(connection, me, *sole, *now),
        Operation::KvSet { entry, expected, now } => kv_set(connection, entry, expected.as_ref(), *now),
        Operation::KvDelete { space, key } => {
            let removed = execute(connection, "DELETE FROM kv WHERE space = ? AND key = ?", [space, key]);
            removed.map(|removed| Outcome::Flag(removed > 0))
        }
        // An empty transaction of SQLite writes nothing; reading tells that the connection lives.
        Operation::Ping => connection.query_row("SELECT count(*) FROM meta", [], |_| Ok(())).map(|()| Outcome::Done),
    };
    outcome.map_err(from_sqlite)
}

fn execute(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

/// The first column of every row.
fn texts(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<Vec<String>> {
    connection.prepare_cached(sql)?.query_map(params, |row| row.get(0))?.collect()
}

fn claim(
    connection: &Connection,
    turns: &Turns,
    node: &NodeId,
    limit: u32,
    now: Timestamp,
) -> rusqlite::Result<Outcome> {
    let ids = claim::choose(connection, turns, node, limit, now)?;
    take(connection, node, &ids, now)
}

fn claim_one(connection: &Connection, node: &NodeId, exec_id: &ExecId, now: Timestamp) -> rusqlite::Result<Outcome> {
    let free = concat!(
        "SELECT 1 FROM executions AS e WHERE exec_id = ?1 AND ",
        active!(),
        " AND NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.node_id = e.owner_node AND n.lease_until > ?2) ",
        "AND NOT EXISTS (SELECT 1 FROM ready AS r WHERE r.exec_id = e.exec_id AND r.gated = 1)"
    );
    if !connection.prepare_cached(free)?.exists(params![exec_id.as_str(), now.0])? {
        return Ok(Outcome::Claimed(Vec::new()));
    }
    execute(connection, "DELETE FROM ready WHERE exec_id = ?", [exec_id.as_str()])?;
    take(connection, node, &[exec_id.as_str().to_owned()], now)
}

/// Takes one run that `node` owns already under a new epoch.
fn claim_anew(connection: &Connection, node: &NodeId, exec_id: &ExecId, now: Timestamp) -> rusqlite::Result<Outcome> {
    let own = "SELECT 1 FROM executions WHERE exec_id = ? AND owner_node = ?";
    if !connection.prepare_cached(own)?.exists([exec_id.as_str(), node.as_str()])? {
        return Ok(Outcome::Claimed(Vec::new()));
    }
    take(connection, node, &[exec_id.as_str().to_owned()], now)
}

/// The runs that `node` claimed at `now`. One that it started then has begun, under its first epoch.
fn claimed_at(connection: &Connection, node: &NodeId, now: Timestamp) -> rusqlite::Result<Outcome> {
    let sql = concat!(
        "SELECT exec_id, status, durability FROM executions WHERE owner_node = ?1 AND updated_at = ?2 AND ",
        active!(),
        " AND (status = 'PENDING' OR epoch > 1)"
    );
    let mut statement = connection.prepare_cached(sql)?;
    let claimed = statement.query_map(params![node.as_str(), now.0], claimed)?.collect::<rusqlite::Result<_>>()?;
    Ok(Outcome::Claimed(claimed))
}

fn claimed(row: &Row<'_>) -> rusqlite::Result<Claimed> {
    let (exec_id, status, durability): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(Claimed { exec_id: exec_id.into(), status: status.into(), durability })
}

/// Makes `node` the owner of `ids` under a new epoch.
fn take(connection: &Connection, node: &NodeId, ids: &[String], now: Timestamp) -> rusqlite::Result<Outcome> {
    if ids.is_empty() {
        return Ok(Outcome::Claimed(Vec::new()));
    }
    let update = concat!(
        "UPDATE executions SET owner_node = ?1, epoch = epoch + 1, updated_at = ?2, ",
        "affinity_node = iif(affinity_node = ?1, ?1, NULL) ",
        // By id: the index of statuses would be read for every run that has not ended.
        "WHERE exec_id IN (SELECT value FROM json_each(?3)) AND finished_at IS NULL ",
        "RETURNING exec_id, status, durability"
    );
    let claimed = connection
        .prepare_cached(update)?
        .query_map(params![node.as_str(), now.0, list(ids)], claimed)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Outcome::Claimed(claimed))
}

fn hand_back(connection: &Connection, node: &NodeId, now: Timestamp) -> rusqlite::Result<Outcome> {
    let which = ["owner_node = ?2", "owner_node IS NULL AND affinity_node = ?2"];
    free(connection, which, node.as_str(), now).map(Outcome::Count)
}

fn recover(connection: &Connection, me: &NodeId, sole: bool, now: Timestamp) -> rusqlite::Result<Outcome> {
    // Alone on the database, only a command that runs its own workflow may still live.
    let alive = if sole { "kind = 'embedded' AND lease_until > ?1" } else { "lease_until > ?1" };
    let dead = |column: &str| {
        format!(
            "({column} IS NOT NULL AND {column} <> ?2 \
             AND NOT EXISTS (SELECT 1 FROM nodes WHERE node_id = {column} AND {alive}))"
        )
    };
    let which = [dead("owner_node"), format!("owner_node IS NULL AND {}", dead("affinity_node"))];
    let freed = free(connection, which.each_ref().map(String::as_str), me.as_str(), now)?;
    let forget = format!("DELETE FROM nodes WHERE node_id <> ?2 AND NOT ({alive})");
    execute(connection, &forget, params![now.0, me.as_str()])?;
    Ok(Outcome::Count(freed))
}

/// Makes the runs that match one of `which` (over `?1` now and `?2` a node) claimable by anyone. Each is a query of its
/// own, so that each uses its index.
fn free(connection: &Connection, which: [&str; 2], node: &str, now: Timestamp) -> rusqlite::Result<u64> {
    let [owner, affinity] = which.map(|condition| format!("SELECT exec_id FROM executions WHERE {condition}"));
    let sql = format!("{owner} UNION {affinity}");
    let ids = texts(connection, &sql, params![now.0, node])?;
    if ids.is_empty() {
        return Ok(0);
    }
    let list = list(&ids);
    // A run that is to stay paused waits for `resume`, not for a node. What was under way goes on before what is new.
    let statements = [
        concat!(
            "INSERT INTO ready (exec_id, not_before, priority, concurrency_key, workflow_id) ",
            "SELECT exec_id, min(?1, created_at), priority, concurrency_key, workflow_id FROM executions ",
            "WHERE exec_id IN (SELECT value FROM json_each(?2)) AND (status IN ('PENDING', 'RUNNING', 'WAITING') ",
            "OR (status = 'PAUSED' AND (pause_request IS NULL OR cancel_request IS NOT NULL))) ",
            "ON CONFLICT (exec_id) DO UPDATE SET affinity_node = NULL"
        ),
        "UPDATE executions SET owner_node = NULL, affinity_node = NULL, updated_at = ?1 \
         WHERE exec_id IN (SELECT value FROM json_each(?2))",
    ];
    for sql in statements {
        execute(connection, sql, params![now.0, list])?;
    }
    Ok(ids.len() as u64)
}

fn put_node(connection: &Connection, node: &Node) -> rusqlite::Result<Outcome> {
    let sql = "INSERT INTO nodes (node_id, kind, version, pid, lease_until) VALUES (?, ?, ?, ?, ?) \
               ON CONFLICT (node_id) DO UPDATE SET lease_until = excluded.lease_until";
    let row = params![node.node_id.as_str(), node.kind, node.version, node.pid, node.lease_until.0];
    execute(connection, sql, row).map(|_| Outcome::Done)
}

fn kv_set(
    connection: &Connection,
    entry: &KvEntry,
    expected: Option<&Option<Vec<u8>>>,
    now: Timestamp,
) -> rusqlite::Result<Outcome> {
    if let Some(expected) = expected {
        let sql = "SELECT value FROM kv WHERE space = ? AND key = ? AND coalesce(expires_at > ?, TRUE)";
        let key = params![entry.space, entry.key, now.0];
        let present: Option<Vec<u8>> = connection.query_row(sql, key, |row| row.get(0)).optional()?;
        if present != *expected {
            return Ok(Outcome::Flag(false));
        }
    }
    let sql = "INSERT INTO kv (space, key, value, expires_at) VALUES (?, ?, ?, ?) \
               ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
    let row = params![entry.space, entry.key, entry.value, entry.expires_at.map(|time| time.0)];
    execute(connection, sql, row).map(|_| Outcome::Flag(true))
}

/// Which run an idempotency key (`?1` scope, `?2` key) stands for at `?3`. Keys of deliveries
/// ([`DELIVERY`](super::super::row::DELIVERY)) are forgotten in time, though their run goes on.
pub(super) const KNOWN_KEY: &str = concat!(
    "SELECT request_hash, exec_id FROM idempotency_keys AS k WHERE scope = ?1 AND key = ?2 AND (expires_at > ?3 ",
    "OR scope NOT LIKE 'delivery|%' AND EXISTS (SELECT 1 FROM executions AS e WHERE e.exec_id = k.exec_id AND ",
    active!(),
    "))"
);

/// The run that an idempotency key of `member` stands for; a key that is past its time and whose run has ended is
/// removed instead.
///
/// # Errors
/// [`Error::Conflict`] when the key was used with another request.
pub(super) fn replayed(connection: &Connection, member: &Encoded) -> Result<Option<Started>, Error> {
    let Some((start, key)) = member.key() else { return Ok(None) };
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let found = connection.query_row(KNOWN_KEY, params![&*key.scope, &*key.key, start.at.0], row).optional();
    let known = replay(found.map_err(from_sqlite)?, &key.request_hash, &member.exec_id)?;
    if known.is_none() {
        let forget = "DELETE FROM idempotency_keys WHERE scope = ? AND key = ?";
        execute(connection, forget, [&*key.scope, &*key.key]).map_err(from_sqlite)?;
    }
    Ok(known)
}

/// Why the rows of `member` were refused.
pub(super) fn diagnose(connection: &Connection, member: &Encoded, refused: Refused) -> Error {
    let refused = match refused {
        // The run's row has been changed by then, and says nothing about who owns it.
        Refused::Stale => return memory::stale(),
        refused => refused,
    };
    let exec_id = &member.exec_id;
    let unique = matches!(&refused, Refused::Sqlite(error) if is_unique(error));
    let Some(update) = &member.update else {
        return match refused {
            Refused::Sqlite(error) if !unique => from_sqlite(error),
            _ => Error::Conflict(format!("run {exec_id} or one of its rows exists already")),
        };
    };
    let sql = "SELECT owner_node, epoch, status FROM executions WHERE exec_id = ?";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let found: Option<(Option<String>, i64, String)> =
        match connection.query_row(sql, [exec_id.as_str()], row).optional() {
            Ok(found) => found,
            Err(error) => return from_sqlite(error),
        };
    let owned =
        found.filter(|(owner, epoch, _)| owner.as_deref() == Some(update.node.as_str()) && *epoch == update.epoch);
    let Some((_, _, status)) = owned else { return Error::Fenced };
    match refused {
        Refused::Guard | Refused::Stale => {
            let to = update.status.as_deref().unwrap_or(status.as_str());
            Error::Conflict(format!(
                "run {exec_id} cannot go from {status} to {to}, its events do not follow the last one recorded, or it \
                 settles a signal twice"
            ))
        }
        Refused::Sqlite(_) if unique => Error::Conflict(format!("run {exec_id}: a row exists already")),
        Refused::Sqlite(error) => from_sqlite(error),
    }
}
