//! Lists: runs by filter and cursor, workflows with their latest run.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, QueryBuilder, Row};

use super::super::Error;
use super::super::row::{Page, QueueLength, Run, RunFilter, WorkflowSummary};
use super::super::work::columns;
use super::super::work::cursor::{Cursor, PAGE};
use super::error::from_sqlx;
use super::read::RUN;
use super::sql;
use crate::id::{ExecId, NodeId};

/// A page of runs.
pub(super) async fn runs(connection: &mut PgConnection, filter: &RunFilter) -> Result<Page<Run>, Error> {
    let cursor = filter.cursor.as_deref().map(Cursor::parse).transpose()?;
    let limit = filter.limit.clamp(1, PAGE) as usize;
    let backwards = cursor.as_ref().is_some_and(|cursor| cursor.backwards);
    // A page before a place is read towards the other end and turned round.
    let ascending = filter.ascending != backwards;
    let end = End { cursor, ascending, rows: i64::try_from(limit + 1).unwrap_or(i64::MAX) };
    let mut query = QueryBuilder::<Postgres>::new(format!("SELECT {RUN} FROM executions AS e WHERE TRUE"));
    if filter.statuses.len() > 1 {
        // Each status has its order in the index; together they would have to be sorted, all of them.
        query.push(" AND e.exec_id IN (");
        for (index, status) in filter.statuses.iter().enumerate() {
            let one = RunFilter { statuses: vec![status.clone()], ..filter.clone() };
            query.push(if index == 0 { "" } else { " UNION " });
            query.push("SELECT * FROM (SELECT e.exec_id FROM executions AS e WHERE TRUE");
            restrict(&mut query, &one);
            end.push(&mut query);
            query.push(") AS one");
        }
        query.push(")");
    } else {
        restrict(&mut query, filter);
    }
    end.push(&mut query);
    let rows = query.build().fetch_all(&mut *connection).await.map_err(from_sqlx)?;
    let more = rows.len() > limit;
    let mut items: Vec<Run> = rows.iter().take(limit).map(columns::run).collect::<Result<_, _>>()?;
    if backwards {
        items.reverse();
    }
    // Where the page came from there is always something; on the other side only if one row more was found.
    let after = if backwards { true } else { more };
    let before = if backwards { more } else { end.cursor.is_some() };
    let total = if filter.count { Some(count(connection, filter).await?) } else { None };
    Ok(Page {
        next: items.last().filter(|_| after).map(|run| Cursor::at(run, false)),
        previous: items.first().filter(|_| before).map(|run| Cursor::at(run, true)),
        items,
        total,
    })
}

/// Where a page starts, its order and its length.
struct End {
    cursor: Option<Cursor>,
    ascending: bool,
    rows: i64,
}

impl End {
    fn push(&self, query: &mut QueryBuilder<Postgres>) {
        let (compare, order) = if self.ascending { (">", "") } else { ("<", " DESC") };
        if let Some(cursor) = &self.cursor {
            query.push(format!(" AND (e.created_at, e.exec_id) {compare} ("));
            query.push_bind(cursor.created_at).push(", ").push_bind(cursor.exec_id.clone()).push(")");
        }
        query.push(format!(" ORDER BY e.created_at{order}, e.exec_id{order} LIMIT ")).push_bind(self.rows);
    }
}

fn restrict(query: &mut QueryBuilder<Postgres>, filter: &RunFilter) {
    if let Some(workflow_id) = &filter.workflow_id {
        query.push(" AND e.workflow_id = ").push_bind(workflow_id.clone());
    }
    if !filter.statuses.is_empty() {
        let mut list = query.push(" AND e.status IN (").separated(", ");
        for status in &filter.statuses {
            list.push_bind(status.clone());
        }
        query.push(")");
    }
    if let Some(since) = filter.since {
        query.push(" AND e.created_at >= ").push_bind(since.0);
    }
    if let Some(until) = filter.until {
        query.push(" AND e.created_at < ").push_bind(until.0);
    }
    if let Some((tag, value)) = &filter.tag {
        // A tag with U+0000, which PostgreSQL takes for no JSON, is not looked for.
        query.push(" AND CASE WHEN position('\\u0000' IN e.tags) > 0 THEN FALSE ELSE EXISTS ");
        query.push("(SELECT 1 FROM json_each_text(e.tags::json) AS t WHERE t.key = ").push_bind(tag.clone());
        query.push(" AND t.value = ").push_bind(value.clone()).push(") END");
    }
    if let Some(parent) = &filter.parent {
        query.push(" AND e.parent_exec_id = ").push_bind(parent.as_str().to_owned());
    }
}

async fn count(connection: &mut PgConnection, filter: &RunFilter) -> Result<u64, Error> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT count(*) FROM executions AS e WHERE TRUE");
    restrict(&mut query, filter);
    let row = query.build().fetch_one(connection).await.map_err(from_sqlx)?;
    let count: i64 = row.try_get(0).map_err(from_sqlx)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Runs whose id starts with `prefix`, newest first.
pub(super) async fn by_prefix(connection: &mut PgConnection, prefix: &str, limit: u32) -> Result<Vec<Run>, Error> {
    // Ids are ASCII: everything that starts with the prefix lies between it and the prefix with DEL appended.
    let sql = format!(
        "SELECT {RUN} FROM executions AS e WHERE e.exec_id >= $1 AND e.exec_id < $1 || chr(127) \
         ORDER BY e.created_at DESC, e.exec_id DESC LIMIT $2"
    );
    let rows = sql::query(AssertSqlSafe(sql)).bind(prefix).bind(i64::from(limit)).fetch_all(connection).await;
    rows.map_err(from_sqlx)?.iter().map(columns::run).collect()
}

/// Every workflow that has runs, by id.
pub(super) async fn workflow_summaries(connection: &mut PgConnection) -> Result<Vec<WorkflowSummary>, Error> {
    let sql = format!(
        "SELECT {RUN}, w.runs FROM workflow_runs AS w JOIN executions AS e ON e.exec_id = \
         (SELECT l.exec_id FROM executions AS l WHERE l.workflow_id = w.workflow_id \
          ORDER BY l.created_at DESC, l.exec_id DESC LIMIT 1) WHERE w.runs > 0 ORDER BY w.workflow_id"
    );
    let rows = sql::query(AssertSqlSafe(sql)).fetch_all(connection).await.map_err(from_sqlx)?;
    let summary = |row: &PgRow| {
        let latest = columns::run(row)?;
        let runs: i64 = row.try_get("runs").map_err(from_sqlx)?;
        Ok(WorkflowSummary { workflow_id: latest.workflow_id.clone(), runs: u64::try_from(runs).unwrap_or(0), latest })
    };
    rows.iter().map(summary).collect()
}

/// Runs that have not ended, by status.
pub(super) async fn active_counts(connection: &mut PgConnection) -> Result<Vec<(String, u64)>, Error> {
    let sql = "SELECT status, count(*) FROM executions \
               WHERE status IN ('PENDING', 'RUNNING', 'WAITING', 'PAUSED') GROUP BY status ORDER BY status";
    let rows = sql::query(sql).fetch_all(connection).await.map_err(from_sqlx)?;
    let one = |row: &PgRow| {
        let count: i64 = row.try_get(1).map_err(from_sqlx)?;
        Ok((row.try_get(0).map_err(from_sqlx)?, u64::try_from(count).unwrap_or(0)))
    };
    rows.iter().map(one).collect()
}

/// How many runs wait in the queue.
pub(super) async fn queue_length(connection: &mut PgConnection) -> Result<QueueLength, Error> {
    let sql = "SELECT (SELECT count(*) FROM ready WHERE gated = 0), (SELECT count(*) FROM ready WHERE gated = 1)";
    let row = sql::query(sql).fetch_one(connection).await.map_err(from_sqlx)?;
    let count = |column: usize| -> Result<u64, Error> {
        let count: i64 = row.try_get(column).map_err(from_sqlx)?;
        Ok(u64::try_from(count).unwrap_or(0))
    };
    Ok(QueueLength { claimable: count(0)?, gated: count(1)? })
}

/// Runs of a node that were asked for something, have a queued signal, or wait for a sub-run that has ended.
pub(super) async fn news(connection: &mut PgConnection, node: &NodeId) -> Result<Vec<ExecId>, Error> {
    let sql = concat!(
        "SELECT e.exec_id FROM executions AS e WHERE e.owner_node = $1 AND (e.cancel_request IS NOT NULL ",
        "OR (e.pause_request IS NOT NULL) <> (e.status = 'PAUSED') ",
        "OR EXISTS (SELECT 1 FROM signals AS q WHERE q.exec_id = e.exec_id AND q.state = 'queued') ",
        "OR EXISTS (SELECT 1 FROM executions AS c JOIN steps AS s ON ",
        "s.status = 'WAITING' AND s.waiting_for::json ->> 'kind' = 'child' AND s.waiting_for::json ->> 'detail' = c.exec_id ",
        "WHERE c.parent_exec_id = e.exec_id AND c.finished_at IS NOT NULL AND s.exec_id = e.exec_id))"
    );
    let rows = sql::query(sql).bind(node.as_str()).fetch_all(connection).await.map_err(from_sqlx)?;
    rows.iter().map(|row| row.try_get::<String, _>(0).map(Into::into).map_err(from_sqlx)).collect()
}
