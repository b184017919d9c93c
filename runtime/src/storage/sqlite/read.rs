//! Reading: connections of their own, and rows as values.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Connection as _, Row, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::OwnedMutexGuard;

use super::super::Error;
use super::super::row::{EndedRun, Journal, LoadedRun, Run, Signal, Step, Usage};
use super::super::work::columns::{self, Cells};
use super::super::work::operation::list;
use super::error::from_sqlx;
use super::writer::Gate;
use crate::id::ExecId;

/// A JSON column of a table with the alias `e`, its reference resolved.
macro_rules! json {
    ($column:literal) => {
        concat!(
            "CASE WHEN e.",
            $column,
            " GLOB '@sha256:*' THEN (SELECT CAST(data AS TEXT) FROM payloads WHERE hash = substr(e.",
            $column,
            ", 9)) ELSE e.",
            $column,
            " END"
        )
    };
}

/// Columns of a run, from `executions AS e`.
pub(super) const RUN: &str = concat!(
    "e.exec_id, e.component, e.workflow_id, e.definition_digest, e.status, e.reason, ",
    json!("input"),
    ", ",
    json!("output"),
    ", ",
    json!("error"),
    ", e.\"trigger\", e.tags, e.parent_exec_id, e.root_exec_id, e.forked_from, e.durability, e.priority, e.deadline, ",
    "e.state, e.owner_node, e.affinity_node, e.epoch, e.last_seq, e.cancel_request, e.pause_request, e.created_at, ",
    "e.started_at, e.updated_at, e.finished_at, e.concurrency_key, e.concurrency_limit, ",
    "e.finished_at IS NULL AND EXISTS (SELECT 1 FROM ready AS r WHERE r.exec_id = e.exec_id AND r.gated = 1), ",
    "e.finished_at IS NULL AND EXISTS (SELECT 1 FROM nodes AS n ",
    "WHERE n.lease_until > CAST(unixepoch('subsec') * 1000000 AS INTEGER) AND (n.node_id = e.owner_node ",
    "OR (e.owner_node IS NULL AND (n.kind = 'server' OR n.node_id = e.affinity_node))))"
);

const STEP: &str = concat!(
    "e.step_key, e.task_exec_id, e.task_id, e.kind, e.status, e.attempt, e.parent, e.position, ",
    json!("input"),
    ", ",
    json!("output"),
    ", ",
    json!("error"),
    ", e.waiting_for, e.state, e.result_seq, e.started_at, e.finished_at"
);

const SIGNAL: &str = concat!(
    "e.position, e.signal_id, e.name, ",
    json!("payload"),
    ", e.metadata, e.state, e.noted, e.consumed_by, e.received_at"
);

pub(super) const JOURNAL: &str = concat!("e.seq, e.at, e.event, e.task_id, ", json!("data"));

/// Where reads come from.
#[derive(Debug)]
pub(super) struct Reader {
    /// Connections that do not write.
    pub(super) pool: SqlitePool,
    /// Held by each read of a database in memory, which unlike a write-ahead log cannot be read while it is written.
    pub(super) gate: Option<Gate>,
}

/// A connection to read with, given back when dropped.
pub(super) struct Reading {
    connection: PoolConnection<Sqlite>,
    _gate: Option<OwnedMutexGuard<()>>,
}

impl Reader {
    pub(super) async fn get(&self) -> Result<Reading, Error> {
        let gate = match &self.gate {
            Some(gate) => Some(Arc::clone(gate).lock_owned().await),
            None => None,
        };
        let connection = self.pool.acquire().await.map_err(from_sqlx)?;
        Ok(Reading { connection, _gate: gate })
    }
}

impl Deref for Reading {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

/// One run.
pub(super) async fn run(connection: &mut SqliteConnection, exec_id: &ExecId) -> Result<Option<Run>, Error> {
    let sql = format!("SELECT {RUN} FROM executions AS e WHERE e.exec_id = ?");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(exec_id.as_str()).fetch_optional(connection).await;
    row.map_err(from_sqlx)?.as_ref().map(columns::run).transpose()
}

/// The runs of a JSON array of ids, highest priority first, then oldest.
pub(super) async fn runs_of(connection: &mut SqliteConnection, ids: &str) -> Result<Vec<Run>, Error> {
    let sql = format!(
        "SELECT {RUN} FROM executions AS e WHERE e.exec_id IN (SELECT value FROM json_each(?)) \
         ORDER BY e.priority DESC, e.created_at, e.exec_id"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await.map_err(from_sqlx)?;
    rows.iter().map(columns::run).collect()
}

/// Those of `runs` that have ended.
pub(super) async fn ended(connection: &mut SqliteConnection, runs: &[ExecId]) -> Result<Vec<EndedRun>, Error> {
    let sql = concat!(
        "SELECT e.exec_id, e.status, ",
        json!("output"),
        ", ",
        json!("error"),
        ", coalesce(e.state ->> '$.retryable', 0) FROM json_each(?) AS wanted CROSS JOIN executions AS e ON e.exec_id = wanted.value ",
        "WHERE e.finished_at IS NOT NULL"
    );
    let ids: Vec<&str> = runs.iter().map(ExecId::as_str).collect();
    let query = sqlx::query(sql).bind(list(&ids));
    let rows = query.fetch_all(connection).await.map_err(from_sqlx)?;
    let run = |row: &SqliteRow| {
        let exec_id: String = row.try_get_unchecked(0)?;
        let (status, output, error) = (row.try_get_unchecked(1)?, row.try_get_unchecked(2)?, row.try_get_unchecked(3)?);
        let retryable = row.try_get_unchecked(4)?;
        Ok(EndedRun { exec_id: exec_id.into(), status, output, error, retryable })
    };
    rows.iter().map(|row| run(row).map_err(from_sqlx)).collect()
}

/// A run, its steps, its timers and its queued signals at one moment.
pub(super) async fn load(connection: &mut SqliteConnection, exec_id: &ExecId) -> Result<Option<LoadedRun>, Error> {
    let mut snapshot = connection.begin().await.map_err(from_sqlx)?;
    let Some(run) = run(&mut snapshot, exec_id).await? else { return Ok(None) };
    let steps = steps(&mut snapshot, exec_id).await?;
    let query =
        sqlx::query("SELECT timer_id, kind, step_key, due_at FROM timers WHERE exec_id = ? ORDER BY due_at, timer_id");
    let rows = query.bind(exec_id.as_str()).fetch_all(&mut *snapshot).await.map_err(from_sqlx)?;
    let timers = rows.iter().map(columns::timer).collect::<Result<_, _>>()?;
    let signals = signals(&mut snapshot, exec_id, true).await?;
    snapshot.rollback().await.map_err(from_sqlx)?;
    Ok(Some(LoadedRun { run, steps, timers, signals }))
}

/// The steps of a run in the order they started.
pub(super) async fn steps(connection: &mut SqliteConnection, exec_id: &ExecId) -> Result<Vec<Step>, Error> {
    let sql = format!("SELECT {STEP} FROM steps AS e WHERE e.exec_id = ? ORDER BY e.position, e.step_key");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(exec_id.as_str());
    query.fetch_all(connection).await.map_err(from_sqlx)?.iter().map(columns::step).collect()
}

/// Signals of a run in the order they came.
pub(super) async fn signals(
    connection: &mut SqliteConnection,
    exec_id: &ExecId,
    queued: bool,
) -> Result<Vec<Signal>, Error> {
    let only = if queued { "AND e.state = 'queued'" } else { "" };
    let sql = format!("SELECT {SIGNAL} FROM signals AS e WHERE e.exec_id = ? {only} ORDER BY e.position");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(exec_id.as_str());
    query.fetch_all(connection).await.map_err(from_sqlx)?.iter().map(columns::signal).collect()
}

/// Tokens used by a run.
pub(super) async fn usage(connection: &mut SqliteConnection, exec_id: &ExecId) -> Result<Vec<Usage>, Error> {
    let sql = "SELECT step_key, provider, model, prompt_tokens, completion_tokens FROM usage WHERE exec_id = ? \
               ORDER BY step_key, provider, model";
    let query = sqlx::query(sql).bind(exec_id.as_str());
    query.fetch_all(connection).await.map_err(from_sqlx)?.iter().map(columns::usage).collect()
}

/// Events of a run after a seq.
pub(super) async fn journal(
    connection: &mut SqliteConnection,
    exec_id: &ExecId,
    after: i64,
    limit: u32,
) -> Result<Vec<Journal>, Error> {
    let sql = format!("SELECT {JOURNAL} FROM journal AS e WHERE e.exec_id = ? AND e.seq > ? ORDER BY e.seq LIMIT ?");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(exec_id.as_str()).bind(after).bind(limit);
    query.fetch_all(connection).await.map_err(from_sqlx)?.iter().map(columns::journal).collect()
}

/// SQLite has no truth values but 0 and 1.
impl Cells for SqliteRow {
    fn text_at(&self, index: usize) -> Result<Option<String>, Error> {
        self.try_get_unchecked(index).map_err(from_sqlx)
    }

    fn number_at(&self, index: usize) -> Result<Option<i64>, Error> {
        self.try_get_unchecked(index).map_err(from_sqlx)
    }

    fn flag_at(&self, index: usize) -> Result<Option<bool>, Error> {
        Ok(self.number_at(index)?.map(|number| number != 0))
    }
}
