//! Retention: removing what is past its age, a little at a time (cli-and-api §9.5), by one node at a time.
//!
//! What may go is found by a reader; a transaction of its own removes at most [`ROWS`] rows or for [`SPAN`]. A run tree
//! goes children first and its root last, each run's journal before its row, so that a sweep that is cut off leaves what
//! it began where the next one finds it. Free pages are the server's business.

use std::time::Instant;

use compozy_engine::time::Timestamp;
use sqlx::PgConnection;

use super::super::Error;
use super::super::row::{Retention, Swept};
use super::super::work::encode::TERMINAL;
use super::super::work::operation::{Operation, Outcome};
use super::super::work::sweep::{PAYLOAD_AGE, PAYLOADS, Phase, ROWS, RUNS, Removed, SPAN, Sweep, before};
use super::error::from_sqlx;
use super::sql;
use super::{PgStorage, memory};

/// Held by the node that removes, until its transaction ends: `SWEP` as a number.
const LOCK: i64 = 0x5357_4550;

type Step = (Swept, Option<Phase>);

/// One step of a sweep.
pub(super) async fn step(
    storage: &PgStorage,
    retention: &Retention,
    cursor: Option<&str>,
    now: Timestamp,
) -> Result<Swept, Error> {
    let phase = cursor.map_or(Ok(Phase::Journals), Phase::parse)?;
    if storage.is_loaded() {
        return Ok(Swept { next: Some(phase.text()), postponed: true, ..Swept::default() });
    }
    let (swept, next) = match phase {
        Phase::Journals => journals(storage, now, before(now, retention.journal)).await?,
        Phase::Runs { status, after } => {
            let age = if status == 0 { retention.success } else { retention.failed };
            runs(storage, status, after, before(now, age), retention.keep_last).await?
        }
        Phase::Notes => {
            let (events, fires) = (before(now, retention.success), before(now, retention.failed));
            let removed = storage.remove(Sweep::Notes { now, events, fires }).await?;
            let next = if removed.more { Phase::Notes } else { Phase::Payloads { after: String::new() } };
            (Swept { rows: removed.rows, ..Swept::default() }, Some(next))
        }
        Phase::Payloads { after } => payloads(storage, after, before(now, PAYLOAD_AGE)).await?,
        Phase::Pages => (Swept::default(), None),
    };
    Ok(Swept { next: next.map(|phase| phase.text()), ..swept })
}

async fn journals(storage: &PgStorage, now: Timestamp, ended: Timestamp) -> Result<Step, Error> {
    let sql = "SELECT exec_id FROM executions WHERE finished_at IS NOT NULL AND trimmed_at IS NULL \
               AND finished_at <= $1 ORDER BY finished_at LIMIT $2";
    let query = sql::query_as(sql).bind(ended.0).bind(i64::from(RUNS));
    let rows: Vec<(String,)> = query.fetch_all(&mut *storage.reader().await?).await.map_err(from_sqlx)?;
    if rows.is_empty() {
        return Ok((Swept::default(), Some(Phase::runs(0))));
    }
    let ids: Vec<String> = rows.into_iter().map(|(exec_id,)| exec_id).collect();
    let last = ids.len() < RUNS as usize;
    let found = ids.len();
    let removed = storage.remove(Sweep::Journals { ids, now }).await?;
    let next = if last && removed.done == found { Phase::runs(0) } else { Phase::Journals };
    Ok((Swept { rows: removed.rows, ..Swept::default() }, Some(next)))
}

/// A run tree that may go.
struct Tree {
    /// The place in the list just before its root.
    before: (i64, String),
    /// Children first.
    ids: Vec<String>,
}

async fn runs(
    storage: &PgStorage,
    status: usize,
    after: (i64, String),
    ended: Timestamp,
    keep_last: u32,
) -> Result<Step, Error> {
    let Some(word) = TERMINAL.get(status) else { return Err(Error::InvalidCursor) };
    let mut connection = storage.reader().await?;
    let sql = "SELECT exec_id, created_at, root_exec_id = exec_id AND finished_at <= $2 FROM executions \
               WHERE status = $1 AND created_at <= $2 AND (created_at, exec_id) > ($3, $4) \
               ORDER BY created_at, exec_id LIMIT $5";
    let query = sql::query_as(sql).bind(word).bind(ended.0).bind(after.0).bind(after.1.clone()).bind(i64::from(RUNS));
    let rows: Vec<(String, i64, Option<bool>)> = query.fetch_all(&mut *connection).await.map_err(from_sqlx)?;
    let ends = rows.len() < RUNS as usize;
    let (mut place, mut trees, mut runs) = (after, Vec::new(), 0);
    for (exec_id, created_at, is_root) in rows {
        if is_root == Some(true)
            && let Some(ids) = tree(&mut connection, &exec_id, keep_last).await.map_err(from_sqlx)?
        {
            runs += ids.len();
            trees.push(Tree { before: place, ids });
        }
        place = (created_at, exec_id);
        // A transaction gets no further than this, whatever these runs hold.
        if runs as u64 >= ROWS {
            break;
        }
    }
    drop(connection);
    let ends = ends && (runs as u64) < ROWS;
    let mut next = if ends { Phase::runs(status + 1) } else { Phase::Runs { status, after: place } };
    if trees.is_empty() {
        return Ok((Swept::default(), Some(next)));
    }
    let ids = trees.iter().flat_map(|tree| tree.ids.iter().cloned()).collect();
    let removed = storage.remove(Sweep::Runs(ids)).await?;
    let mut left = removed.done;
    for tree in trees {
        if tree.ids.len() > left {
            next = Phase::Runs { status, after: tree.before };
            break;
        }
        left -= tree.ids.len();
    }
    Ok((Swept { runs: removed.done as u64, rows: removed.rows, ..Swept::default() }, Some(next)))
}

/// The runs of a tree, children first, if all have ended and none is one of the newest of its workflow.
async fn tree(connection: &mut PgConnection, root: &str, keep_last: u32) -> Result<Option<Vec<String>>, sqlx::Error> {
    let sql = "WITH RECURSIVE tree (exec_id, depth) AS (SELECT $1 COLLATE \"C\", 0 UNION ALL \
               SELECT c.exec_id, t.depth + 1 FROM tree AS t JOIN executions AS c ON c.parent_exec_id = t.exec_id) \
               SELECT e.exec_id, e.finished_at IS NULL OR (SELECT count(*) FROM (SELECT 1 FROM executions AS l \
               WHERE l.workflow_id = e.workflow_id AND (l.created_at, l.exec_id) > (e.created_at, e.exec_id) \
               LIMIT $2) AS newer) < $2 FROM tree AS t JOIN executions AS e ON e.exec_id = t.exec_id \
               ORDER BY t.depth DESC";
    let query = sql::query_as(sql).bind(root).bind(i64::from(keep_last));
    let rows: Vec<(String, bool)> = query.fetch_all(connection).await?;
    let stays = rows.iter().any(|(_, stays)| *stays);
    Ok((!stays).then(|| rows.into_iter().map(|(exec_id, _)| exec_id).collect()))
}

async fn payloads(storage: &PgStorage, after: String, before: Timestamp) -> Result<Step, Error> {
    let sql = "SELECT p.hash, EXISTS (SELECT 1 FROM payload_refs AS r WHERE r.hash = p.hash) FROM payloads AS p \
               WHERE p.hash > $1 ORDER BY p.hash LIMIT $2";
    let query = sql::query_as(sql).bind(after.clone()).bind(i64::from(PAYLOADS));
    let rows: Vec<(String, bool)> = query.fetch_all(&mut *storage.reader().await?).await.map_err(from_sqlx)?;
    let (mut last, mut hashes) = (after, Vec::new());
    let ends = rows.len() < PAYLOADS as usize;
    for (hash, needed) in rows {
        last.clone_from(&hash);
        if !needed {
            hashes.push(hash);
        }
    }
    let mut next = if ends { Phase::Pages } else { Phase::Payloads { after: last } };
    if hashes.is_empty() {
        return Ok((Swept::default(), Some(next)));
    }
    let resume = hashes.clone();
    let removed = storage.remove(Sweep::Payloads { hashes, before }).await?;
    if removed.done < resume.len() {
        // What was looked at stays where it is or is gone: go on after the last one that was dealt with.
        let after = removed.done.checked_sub(1).and_then(|index| resume.get(index).cloned()).unwrap_or_default();
        next = Phase::Payloads { after };
    }
    Ok((Swept { rows: removed.rows, ..Swept::default() }, Some(next)))
}

impl PgStorage {
    async fn remove(&self, sweep: Sweep) -> Result<Removed, Error> {
        match self.operation(Operation::Sweep(sweep)).await? {
            Outcome::Removed(removed) => Ok(removed),
            other => super::unexpected(&other),
        }
    }
}

/// What is left of a transaction.
struct Budget {
    removed: Removed,
    since: Instant,
}

impl Budget {
    fn rows(&self) -> i64 {
        let left = if self.since.elapsed() >= SPAN { 0 } else { ROWS.saturating_sub(self.removed.rows) };
        i64::try_from(left).unwrap_or(0)
    }

    fn is_spent(&self) -> bool {
        self.rows() == 0
    }

    /// Removes at most what is left, with a statement over `$1` and a limit `$2`. Whether that was all there was.
    async fn some(
        &mut self,
        connection: &mut PgConnection,
        sql: &'static str,
        exec_id: &str,
    ) -> Result<bool, sqlx::Error> {
        let left = self.rows();
        if left == 0 {
            return Ok(false);
        }
        let removed = sql::query(sql).bind(exec_id).bind(left).execute(connection).await?.rows_affected();
        self.removed.rows += removed;
        Ok(i64::try_from(removed).unwrap_or(i64::MAX) < left)
    }
}

/// Removes inside a transaction. While another node does so nothing is removed here.
pub(super) async fn run(connection: &mut PgConnection, sweep: &Sweep) -> Result<Removed, sqlx::Error> {
    let mut budget = Budget { removed: Removed::default(), since: Instant::now() };
    let query = sql::query_as("SELECT pg_try_advisory_xact_lock($1)").bind(LOCK);
    let (alone,): (bool,) = query.fetch_one(&mut *connection).await?;
    if !alone {
        return Ok(budget.removed);
    }
    match sweep {
        Sweep::Journals { ids, now } => {
            for exec_id in ids {
                if !trim(connection, &mut budget, exec_id, *now).await? {
                    break;
                }
                budget.removed.done += 1;
            }
        }
        Sweep::Runs(ids) => {
            for exec_id in ids {
                if !remove_run(connection, &mut budget, exec_id).await? {
                    break;
                }
                budget.removed.done += 1;
            }
        }
        Sweep::Notes { now, events, fires } => remove_notes(connection, &mut budget, [*now, *events, *fires]).await?,
        Sweep::Payloads { hashes, before } => {
            let sql = "DELETE FROM payloads WHERE hash = $1 AND created_at <= $2 \
                       AND NOT EXISTS (SELECT 1 FROM payload_refs AS r WHERE r.hash = $1)";
            for hash in hashes {
                if budget.is_spent() {
                    break;
                }
                let query = sql::query(sql).bind(hash).bind(before.0);
                budget.removed.rows += query.execute(&mut *connection).await?.rows_affected();
                budget.removed.done += 1;
            }
        }
        Sweep::Pages => {}
    }
    Ok(budget.removed)
}

/// Removes the oldest events of an ended run, but not the last one. Whether that was all.
async fn trim(
    connection: &mut PgConnection,
    budget: &mut Budget,
    exec_id: &str,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let sql = "SELECT last_seq, journal_from FROM executions WHERE exec_id = $1 FOR NO KEY UPDATE";
    let found: Option<(i64, i64)> = sql::query_as(sql).bind(exec_id).fetch_optional(&mut *connection).await?;
    let Some((last, from)) = found else { return Ok(true) };
    let left = budget.rows();
    if left == 0 {
        return Ok(false);
    }
    let to = last.min(from.saturating_add(left)).max(from);
    let sql = "DELETE FROM journal WHERE exec_id = $1 AND seq < $2";
    budget.removed.rows += sql::query(sql).bind(exec_id).bind(to).execute(&mut *connection).await?.rows_affected();
    let done = to >= last;
    let sql = "UPDATE executions SET journal_from = $2, trimmed_at = $3 WHERE exec_id = $1";
    sql::query(sql).bind(exec_id).bind(to).bind(done.then_some(now.0)).execute(connection).await?;
    Ok(done)
}

/// Removes a run, from its journal to its row. Whether it is gone.
async fn remove_run(connection: &mut PgConnection, budget: &mut Budget, exec_id: &str) -> Result<bool, sqlx::Error> {
    if !trim(connection, budget, exec_id, Timestamp(0)).await? {
        return Ok(false);
    }
    // Without its beginning a journal is not compared with the steps, which may go one by one.
    for sql in [
        "UPDATE executions SET journal_from = greatest(last_seq, 2) WHERE exec_id = $1",
        "DELETE FROM journal WHERE exec_id = $1",
    ] {
        sql::query(sql).bind(exec_id).execute(&mut *connection).await?;
    }
    let pieces = [
        "DELETE FROM attempts WHERE (task_exec_id, attempt) IN (SELECT a.task_exec_id, a.attempt FROM steps AS s \
         JOIN attempts AS a ON a.task_exec_id = s.task_exec_id WHERE s.exec_id = $1 LIMIT $2)",
        "DELETE FROM steps WHERE (exec_id, step_key) IN \
         (SELECT exec_id, step_key FROM steps WHERE exec_id = $1 LIMIT $2)",
        "DELETE FROM usage WHERE (exec_id, step_key, provider, model) IN \
         (SELECT exec_id, step_key, provider, model FROM usage WHERE exec_id = $1 LIMIT $2)",
        "DELETE FROM signals WHERE position IN (SELECT position FROM signals WHERE exec_id = $1 LIMIT $2)",
        "DELETE FROM payload_refs WHERE (hash, exec_id) IN \
         (SELECT hash, exec_id FROM payload_refs WHERE exec_id = $1 LIMIT $2)",
    ];
    for sql in pieces {
        if !budget.some(connection, sql, exec_id).await? {
            return Ok(false);
        }
    }
    if budget.is_spent() {
        return Ok(false);
    }
    let count = "UPDATE workflow_runs SET runs = runs - 1 \
                 WHERE workflow_id = (SELECT workflow_id FROM executions WHERE exec_id = $1)";
    for sql in [count, "DELETE FROM executions WHERE exec_id = $1"] {
        sql::query(sql).bind(exec_id).execute(&mut *connection).await?;
    }
    budget.removed.rows += 1;
    Ok(true)
}

/// Removes expired keys, also those of memories, and events and fires from before two times.
async fn remove_notes(
    connection: &mut PgConnection,
    budget: &mut Budget,
    [now, events, fires]: [Timestamp; 3],
) -> Result<(), sqlx::Error> {
    let statements = [
        (
            now,
            "DELETE FROM idempotency_keys WHERE (scope, key) IN (SELECT scope, key FROM idempotency_keys AS k \
             WHERE k.expires_at <= $1 AND NOT EXISTS (SELECT 1 FROM executions AS e \
             WHERE e.exec_id = k.exec_id AND e.finished_at IS NULL) LIMIT $2)",
        ),
        (
            events,
            "DELETE FROM events WHERE event_id IN (SELECT event_id FROM events WHERE published_at <= $1 LIMIT $2)",
        ),
        (
            fires,
            "DELETE FROM schedule_fires WHERE (schedule_id, fire_at) IN (SELECT f.schedule_id, f.fire_at \
             FROM schedules AS s JOIN schedule_fires AS f ON f.schedule_id = s.schedule_id AND f.fire_at <= $1 \
             WHERE f.state <> 'buffered' LIMIT $2)",
        ),
        (now, memory::EXPIRED[0]),
        (now, memory::EXPIRED[1]),
    ];
    for (time, sql) in statements {
        let left = budget.rows();
        if left == 0 {
            break;
        }
        let query = sql::query(sql).bind(time.0).bind(left);
        budget.removed.rows += query.execute(&mut *connection).await?.rows_affected();
    }
    budget.removed.more = budget.is_spent();
    Ok(())
}
