//! Logical transactions that read before they write: claims, cancel requests, nodes, key-value entries.

use compozy_engine::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::super::row::{KvEntry, Node, Started};
use super::super::{CancelOutcome, Error};
use super::encode::{Encoded, TERMINAL};
use super::error::from_sqlx;
use super::read;
use super::writer::Outcome;
use crate::id::{ExecId, NodeId};

/// A run that has not ended.
macro_rules! active {
    () => {
        "status IN ('PENDING', 'RUNNING', 'WAITING', 'PAUSED')"
    };
}

/// Logical transactions other than starts and commits.
#[derive(Debug)]
pub(super) enum Operation {
    Claim { node: NodeId, limit: u32, now: Timestamp },
    ClaimOne { node: NodeId, exec_id: ExecId, now: Timestamp },
    HandBack { node: NodeId, now: Timestamp },
    Cancel { exec_id: ExecId, request: String, now: Timestamp },
    PutNode(Node),
    RemoveNode(NodeId),
    Recover { me: NodeId, sole: bool, now: Timestamp },
    KvSet { entry: KvEntry, expected: Option<Option<Vec<u8>>>, now: Timestamp },
    KvDelete { space: String, key: String },
    Ping,
}

/// Carries one out inside the writer's transaction.
pub(super) async fn run(operation: &Operation, connection: &mut SqliteConnection) -> Result<Outcome, Error> {
    match operation {
        Operation::Claim { node, limit, now } => claim(connection, node, *limit, *now).await,
        Operation::ClaimOne { node, exec_id, now } => claim_one(connection, node, exec_id, *now).await,
        Operation::HandBack { node, now } => hand_back(connection, node, *now).await,
        Operation::Cancel { exec_id, request, now } => cancel(connection, exec_id, request, *now).await,
        Operation::PutNode(node) => put_node(connection, node).await,
        Operation::RemoveNode(node) => {
            let query = sqlx::query("DELETE FROM nodes WHERE node_id = ?").bind(node.as_str());
            query.execute(connection).await.map_err(from_sqlx)?;
            Ok(Outcome::Done)
        }
        Operation::Recover { me, sole, now } => recover(connection, me, *sole, *now).await,
        Operation::KvSet { entry, expected, now } => kv_set(connection, entry, expected.as_ref(), *now).await,
        Operation::KvDelete { space, key } => {
            let query =
                sqlx::query("DELETE FROM kv WHERE space = ? AND key = ?").bind(space.as_str()).bind(key.as_str());
            let done = query.execute(connection).await.map_err(from_sqlx)?;
            Ok(Outcome::Flag(done.rows_affected() > 0))
        }
        // An empty transaction of SQLite writes nothing; reading tells that the connection lives.
        Operation::Ping => {
            sqlx::query("SELECT count(*) FROM meta").execute(connection).await.map_err(from_sqlx)?;
            Ok(Outcome::Done)
        }
    }
}

async fn claim(connection: &mut SqliteConnection, node: &NodeId, limit: u32, now: Timestamp) -> Result<Outcome, Error> {
    let query = sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM ready WHERE exec_id IN ({}) RETURNING exec_id",
        claimable("exec_id", "ORDER BY priority DESC, not_before, exec_id LIMIT ?3")
    )));
    let rows =
        query.bind(now.0).bind(node.as_str()).bind(limit).fetch_all(&mut *connection).await.map_err(from_sqlx)?;
    let ids = rows.iter().map(|row| row.try_get_unchecked::<String, _>(0)).collect::<Result<Vec<_>, _>>();
    take(connection, node, &ids.map_err(from_sqlx)?, now).await
}

/// A query of `ready` rows due at `?1` that node `?2` may take.
pub(super) fn claimable(columns: &str, rest: &str) -> String {
    format!(
        "SELECT {columns} FROM ready AS r WHERE not_before <= ?1 AND (affinity_node IS NULL OR affinity_node = ?2 \
         OR NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.node_id = r.affinity_node AND n.lease_until > ?1)) {rest}"
    )
}

async fn claim_one(
    connection: &mut SqliteConnection,
    node: &NodeId,
    exec_id: &ExecId,
    now: Timestamp,
) -> Result<Outcome, Error> {
    let free = sqlx::query(concat!(
        "SELECT 1 FROM executions AS e WHERE exec_id = ?1 AND ",
        active!(),
        " AND NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.node_id = e.owner_node AND n.lease_until > ?2)"
    ));
    let free =
        free.bind(exec_id.as_str()).bind(now.0).fetch_optional(&mut *connection).await.map_err(from_sqlx)?.is_some();
    if !free {
        return Ok(Outcome::Runs(Vec::new()));
    }
    let query = sqlx::query("DELETE FROM ready WHERE exec_id = ?").bind(exec_id.as_str());
    query.execute(&mut *connection).await.map_err(from_sqlx)?;
    take(connection, node, &[exec_id.as_str().to_owned()], now).await
}

/// Makes `node` the owner of `ids` under a new epoch.
async fn take(
    connection: &mut SqliteConnection,
    node: &NodeId,
    ids: &[String],
    now: Timestamp,
) -> Result<Outcome, Error> {
    if ids.is_empty() {
        return Ok(Outcome::Runs(Vec::new()));
    }
    let list = serde_json::to_string(ids).map_err(|error| Error::Driver(error.to_string()))?;
    let update = sqlx::query(concat!(
        "UPDATE executions SET owner_node = ?1, epoch = epoch + 1, updated_at = ?2, ",
        "affinity_node = iif(affinity_node = ?1, ?1, NULL) ",
        "WHERE exec_id IN (SELECT value FROM json_each(?3)) AND ",
        active!()
    ));
    update.bind(node.as_str()).bind(now.0).bind(list.as_str()).execute(&mut *connection).await.map_err(from_sqlx)?;
    let runs = read::runs_of(connection, &list).await?;
    Ok(Outcome::Runs(runs))
}

async fn hand_back(connection: &mut SqliteConnection, node: &NodeId, now: Timestamp) -> Result<Outcome, Error> {
    let which = ["owner_node = ?2", "owner_node IS NULL AND affinity_node = ?2"];
    let freed = free(connection, which, node.as_str(), now).await?;
    Ok(Outcome::Count(freed))
}

async fn recover(connection: &mut SqliteConnection, me: &NodeId, sole: bool, now: Timestamp) -> Result<Outcome, Error> {
    // Alone on the database, only a command that runs its own workflow may still live.
    let alive = if sole { "kind = 'embedded' AND lease_until > ?1" } else { "lease_until > ?1" };
    let dead = |column: &str| {
        format!(
            "({column} IS NOT NULL AND {column} <> ?2 \
             AND NOT EXISTS (SELECT 1 FROM nodes WHERE node_id = {column} AND {alive}))"
        )
    };
    let which = [dead("owner_node"), format!("owner_node IS NULL AND {}", dead("affinity_node"))];
    let freed = free(connection, which.each_ref().map(String::as_str), me.as_str(), now).await?;
    let query = sqlx::query(AssertSqlSafe(format!("DELETE FROM nodes WHERE node_id <> ?2 AND NOT ({alive})")));
    query.bind(now.0).bind(me.as_str()).execute(connection).await.map_err(from_sqlx)?;
    Ok(Outcome::Count(freed))
}

/// Makes the runs that match one of `which` (over `?1` now and `?2` a node) claimable by anyone. Each is a query of its
/// own, so that each uses its index.
async fn free(connection: &mut SqliteConnection, which: [&str; 2], node: &str, now: Timestamp) -> Result<u64, Error> {
    let [owner, affinity] = which.map(|condition| format!("SELECT exec_id FROM executions WHERE {condition}"));
    let rows = sqlx::query(AssertSqlSafe(format!("{owner} UNION {affinity}")));
    let rows = rows.bind(now.0).bind(node).fetch_all(&mut *connection).await.map_err(from_sqlx)?;
    let ids = rows.iter().map(|row| row.try_get_unchecked::<String, _>(0)).collect::<Result<Vec<_>, _>>();
    let ids = ids.map_err(from_sqlx)?;
    if ids.is_empty() {
        return Ok(0);
    }
    let list = serde_json::to_string(&ids).map_err(|error| Error::Driver(error.to_string()))?;
    // A paused run waits for `resume`, not for a node.
    let statements = [
        concat!(
            "INSERT INTO ready (exec_id, not_before, priority, concurrency_key) ",
            "SELECT exec_id, ?1, priority, concurrency_key FROM executions ",
            "WHERE exec_id IN (SELECT value FROM json_each(?2)) AND status IN ('PENDING', 'RUNNING', 'WAITING') ",
            "ON CONFLICT (exec_id) DO UPDATE SET affinity_node = NULL"
        ),
        "UPDATE executions SET owner_node = NULL, affinity_node = NULL, updated_at = ?1 \
         WHERE exec_id IN (SELECT value FROM json_each(?2))",
    ];
    for sql in statements {
        sqlx::query(sql).bind(now.0).bind(list.as_str()).execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    Ok(ids.len() as u64)
}

async fn cancel(
    connection: &mut SqliteConnection,
    exec_id: &ExecId,
    request: &str,
    now: Timestamp,
) -> Result<Outcome, Error> {
    let query = sqlx::query("SELECT status, owner_node, cancel_request IS NOT NULL FROM executions WHERE exec_id = ?");
    let row = query.bind(exec_id.as_str()).fetch_optional(&mut *connection).await.map_err(from_sqlx)?;
    let Some(row) = row else { return Err(Error::NotFound(format!("run {exec_id}"))) };
    let (status, owner, already): (String, Option<String>, bool) =
        (column(&row, 0)?, column(&row, 1)?, column(&row, 2)?);
    if TERMINAL.contains(&status.as_str()) {
        return Err(Error::Finished(status));
    }
    let free = owner.is_none();
    let owner = owner.map(NodeId::from);
    if already {
        return Ok(Outcome::Cancel(CancelOutcome::Already { owner }));
    }
    let statements: &[&'static str] = &[
        "UPDATE executions SET cancel_request = ?2, updated_at = ?3 WHERE exec_id = ?1",
        "INSERT INTO ready (exec_id, not_before, priority, concurrency_key) \
         SELECT exec_id, ?3, priority, concurrency_key FROM executions WHERE exec_id = ?1 \
         ON CONFLICT (exec_id) DO UPDATE SET not_before = min(not_before, excluded.not_before)",
    ];
    for sql in statements.iter().take(if free { 2 } else { 1 }) {
        let query = sqlx::query(*sql).bind(exec_id.as_str()).bind(request).bind(now.0);
        query.execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    Ok(Outcome::Cancel(CancelOutcome::Requested { owner }))
}

async fn put_node(connection: &mut SqliteConnection, node: &Node) -> Result<Outcome, Error> {
    let query = sqlx::query(
        "INSERT INTO nodes (node_id, kind, version, pid, lease_until) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (node_id) DO UPDATE SET lease_until = excluded.lease_until",
    );
    let query = query.bind(node.node_id.as_str()).bind(node.kind.as_str()).bind(node.version.as_str());
    query.bind(node.pid).bind(node.lease_until.0).execute(connection).await.map_err(from_sqlx)?;
    Ok(Outcome::Done)
}

async fn kv_set(
    connection: &mut SqliteConnection,
    entry: &KvEntry,
    expected: Option<&Option<Vec<u8>>>,
    now: Timestamp,
) -> Result<Outcome, Error> {
    if let Some(expected) = expected {
        let query = sqlx::query("SELECT value FROM kv WHERE space = ? AND key = ? AND coalesce(expires_at > ?, TRUE)");
        let query = query.bind(entry.space.as_str()).bind(entry.key.as_str()).bind(now.0);
        let row = query.fetch_optional(&mut *connection).await.map_err(from_sqlx)?;
        let present: Option<Vec<u8>> = row.map(|row| column(&row, 0)).transpose()?;
        if present != *expected {
            return Ok(Outcome::Flag(false));
        }
    }
    let query = sqlx::query(
        "INSERT INTO kv (space, key, value, expires_at) VALUES (?, ?, ?, ?) \
         ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at",
    );
    let query = query.bind(entry.space.as_str()).bind(entry.key.as_str()).bind(entry.value.as_slice());
    query.bind(entry.expires_at.map(|time| time.0)).execute(connection).await.map_err(from_sqlx)?;
    Ok(Outcome::Flag(true))
}

/// The run that an idempotency key of `member` stands for; a key that is past its time and whose run has ended is
/// removed instead.
///
/// # Errors
/// [`Error::Conflict`] when the key was used with another request.
pub(super) async fn replayed(connection: &mut SqliteConnection, member: &Encoded) -> Result<Option<Started>, Error> {
    let known = known(connection, member).await?;
    if let (None, Some(key)) = (&known, member.started.as_ref().and_then(|start| start.idempotency.as_ref())) {
        let query = sqlx::query("DELETE FROM idempotency_keys WHERE scope = ? AND key = ?");
        query.bind(&*key.scope).bind(&*key.key).execute(connection).await.map_err(from_sqlx)?;
    }
    Ok(known)
}

/// As [`replayed`], without touching anything.
pub(super) async fn known(connection: &mut SqliteConnection, member: &Encoded) -> Result<Option<Started>, Error> {
    let Some((start, key)) = member.started.as_ref().and_then(|start| Some((start, start.idempotency.as_ref()?)))
    else {
        return Ok(None);
    };
    let query = sqlx::query(concat!(
        "SELECT request_hash, exec_id FROM idempotency_keys AS k WHERE scope = ?1 AND key = ?2 AND (expires_at > ?3 ",
        "OR EXISTS (SELECT 1 FROM executions AS e WHERE e.exec_id = k.exec_id AND ",
        active!(),
        "))"
    ));
    let query = query.bind(&*key.scope).bind(&*key.key).bind(start.at.0);
    let Some(row) = query.fetch_optional(connection).await.map_err(from_sqlx)? else { return Ok(None) };
    let (hash, exec_id): (String, String) = (column(&row, 0)?, column(&row, 1)?);
    if hash != *key.request_hash {
        return Err(Error::Conflict("idempotency_mismatch".into()));
    }
    Ok(Some(Started::Replayed(exec_id.into())))
}

/// Why the rows of `member` were refused with `error`.
pub(super) async fn diagnose(connection: &mut SqliteConnection, member: &Encoded, error: sqlx::Error) -> Error {
    let exec_id = &member.exec_id;
    let unique = error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation);
    let Some(update) = &member.update else {
        if unique {
            return Error::Conflict(format!("run {exec_id} or one of its rows exists already"));
        }
        return from_sqlx(error);
    };
    let query = sqlx::query("SELECT owner_node, epoch, status FROM executions WHERE exec_id = ?");
    let row = match query.bind(exec_id.as_str()).fetch_optional(connection).await {
        Ok(row) => row,
        Err(error) => return from_sqlx(error),
    };
    let owned = row.as_ref().is_some_and(|row| {
        row.try_get_unchecked::<Option<String>, _>(0).ok().flatten().as_deref() == Some(update.node.as_str())
            && row.try_get_unchecked::<i64, _>(1).ok() == Some(update.epoch)
    });
    let Some(row) = row.filter(|_| owned) else { return Error::Fenced };
    // The only error the guard itself raises is that of `abs`.
    if error.as_database_error().is_some_and(|database| database.message() == "integer overflow") {
        let status: String = row.try_get_unchecked(2).unwrap_or_default();
        let to = update.status.as_deref().unwrap_or(status.as_str());
        return Error::Conflict(format!(
            "run {exec_id} cannot go from {status} to {to}, or its events do not follow the last one recorded"
        ));
    }
    if unique { Error::Conflict(format!("run {exec_id}: a row exists already")) } else { from_sqlx(error) }
}

fn column<'r, T>(row: &'r SqliteRow, index: usize) -> Result<T, Error>
where
    T: sqlx::Decode<'r, sqlx::Sqlite>,
{
    row.try_get_unchecked(index).map_err(from_sqlx)
}
