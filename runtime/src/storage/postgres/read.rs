//! Reading: rows as values.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::super::Error;
use super::super::row::{EndedRun, Journal, LoadedRun, Run, Signal, Step, Usage};
use super::super::work::columns::{self, Cells, Columns};
use super::error::from_sqlx;
use super::sql;
use crate::id::ExecId;

/// A JSON column of a table with the alias `e`, its reference resolved.
macro_rules! json {
    ($column:literal) => {
        concat!(
            "CASE WHEN e.",
            $column,
            " LIKE '@sha256:%' THEN (SELECT convert_from(data, 'UTF8') FROM payloads WHERE hash = substr(e.",
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
    "e.finished_at IS NULL AND EXISTS (SELECT 1 FROM nodes AS n WHERE n.lease_until > ",
    now!(),
    " AND (n.node_id = e.owner_node ",
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
    ", e.metadata, e.state, e.noted <> 0, e.consumed_by, e.received_at"
);

pub(super) const JOURNAL: &str = concat!("e.seq, e.at, e.event, e.task_id, ", json!("data"));

/// One run.
pub(super) async fn run(connection: &mut PgConnection, exec_id: &ExecId) -> Result<Option<Run>, Error> {
    let sql = format!("SELECT {RUN} FROM executions AS e WHERE e.exec_id = $1");
    let row = sql::query(AssertSqlSafe(sql)).bind(exec_id.as_str()).fetch_optional(connection).await;
    row.map_err(from_sqlx)?.as_ref().map(columns::run).transpose()
}

/// Runs by id, highest priority first, then oldest.
pub(super) async fn runs_of(connection: &mut PgConnection, ids: &[&str]) -> Result<Vec<Run>, Error> {
    let sql = format!(
        "SELECT {RUN} FROM executions AS e WHERE e.exec_id = ANY($1) ORDER BY e.priority DESC, e.created_at, e.exec_id"
    );
    let rows = sql::query(AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await.map_err(from_sqlx)?;
    rows.iter().map(columns::run).collect()
}

/// Those of `runs` that have ended.
pub(super) async fn ended(connection: &mut PgConnection, runs: &[ExecId]) -> Result<Vec<EndedRun>, Error> {
    let sql = concat!(
        "SELECT e.exec_id, e.status, ",
        json!("output"),
        ", ",
        json!("error"),
        ", e.state FROM executions AS e WHERE e.exec_id = ANY($1) AND e.finished_at IS NOT NULL"
    );
    let ids: Vec<&str> = runs.iter().map(ExecId::as_str).collect();
    let rows = sql::query(sql).bind(ids).fetch_all(connection).await.map_err(from_sqlx)?;
    let run = |row: &PgRow| {
        let mut columns = Columns::of(row);
        Ok(EndedRun {
            exec_id: columns.text()?.into(),
            status: columns.text()?,
            output: columns.text_option()?,
            error: columns.text_option()?,
            retryable: is_retryable(&columns.text()?),
        })
    };
    rows.iter().map(run).collect()
}

/// Read here: PostgreSQL takes no JSON apart that holds U+0000 anywhere.
fn is_retryable(state: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct State {
        #[serde(default)]
        retryable: bool,
    }
    serde_json::from_str::<State>(state).is_ok_and(|state| state.retryable)
}

/// A run, its steps, its timers and its queued signals at one moment.
pub(super) async fn load(connection: &mut PgConnection, exec_id: &ExecId) -> Result<Option<LoadedRun>, Error> {
    let mut snapshot = sql::snapshot(connection).await.map_err(from_sqlx)?;
    let Some(run) = run(&mut snapshot, exec_id).await? else { return Ok(None) };
    let steps = steps(&mut snapshot, exec_id).await?;
    let sql = "SELECT timer_id, kind, step_key, due_at FROM timers WHERE exec_id = $1 ORDER BY due_at, timer_id";
    let rows = sql::query(sql).bind(exec_id.as_str()).fetch_all(&mut *snapshot).await.map_err(from_sqlx)?;
    let timers = rows.iter().map(columns::timer).collect::<Result<_, _>>()?;
    let signals = signals(&mut snapshot, exec_id, true).await?;
    snapshot.rollback().await.map_err(from_sqlx)?;
    Ok(Some(LoadedRun { run, steps, timers, signals }))
}

/// The steps of a run in the order they started.
pub(super) async fn steps(connection: &mut PgConnection, exec_id: &ExecId) -> Result<Vec<Step>, Error> {
    let sql = format!("SELECT {STEP} FROM steps AS e WHERE e.exec_id = $1 ORDER BY e.position, e.step_key");
    let query = sql::query(AssertSqlSafe(sql)).bind(exec_id.as_str());
    query.fetch_all(connection).await.map_err(from_sqlx)?.iter().map(columns::step).collect()
}

/// Signals of a run in the order they came.
pub(super) async fn signals(
    connection: &mut PgConnection,
    exec_id: &ExecId,
    queued: bool,
) -> Result<Vec<Signal>, Error> {
    let only = if queued { "AND e.state = 'queued'" } else { "" };
    let sql = format!("SELECT {SIGNAL} FROM signals AS e WHERE e.exec_id = $1 {only} ORDER BY e.position");
    let query = sql::query(AssertSqlSafe(sql)).bind(exec_id.as_str());
    query.fetch_all(connection).await.map_err(from_sqlx)?.iter().map(columns::signal).collect()
}

/// Tokens used by a run.
pub(super) async fn usage(connection: &mut PgConnection, exec_id: &ExecId) -> Result<Vec<Usage>, Error> {
    let sql = "SELECT step_key, provider, model, prompt_tokens, completion_tokens FROM usage WHERE exec_id = $1 \
               ORDER BY step_key, provider, model";
    let query = sql::query(sql).bind(exec_id.as_str());
    query.fetch_all(connection).await.map_err(from_sqlx)?.iter().map(columns::usage).collect()
}

/// Events of a run after a seq.
pub(super) async fn journal(
    connection: &mut PgConnection,
    exec_id: &ExecId,
    after: i64,
    limit: u32,
) -> Result<Vec<Journal>, Error> {
    let sql = format!("SELECT {JOURNAL} FROM journal AS e WHERE e.exec_id = $1 AND e.seq > $2 ORDER BY e.seq LIMIT $3");
    let query = sql::query(AssertSqlSafe(sql)).bind(exec_id.as_str()).bind(after).bind(i64::from(limit));
    query.fetch_all(connection).await.map_err(from_sqlx)?.iter().map(columns::journal).collect()
}

impl Cells for PgRow {
    fn text_at(&self, index: usize) -> Result<Option<String>, Error> {
        self.try_get_unchecked(index).map_err(from_sqlx)
    }

    fn number_at(&self, index: usize) -> Result<Option<i64>, Error> {
        self.try_get_unchecked(index).map_err(from_sqlx)
    }

    fn flag_at(&self, index: usize) -> Result<Option<bool>, Error> {
        self.try_get_unchecked(index).map_err(from_sqlx)
    }
}
