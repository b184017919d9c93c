//! Retention: removing what is past its age, a little at a time (cli-and-api §9.5).
//!
//! What may go is found by a reader; the writer only removes it, at most [`ROWS`] rows or [`SPAN`] in a transaction. A
//! run tree goes children first and its root last, each run's journal before its row, so that a sweep that is cut off
//! leaves what it began where the next one finds it. What a reader found stays true: an ended tree does not grow, and no
//! run becomes one of the newest of its workflow again.

use std::sync::atomic::Ordering;
use std::time::Instant;

use compozy_engine::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use sqlx::{Row as _, SqliteConnection};

use super::super::Error;
use super::super::row::{Retention, Swept};
use super::super::work::encode::TERMINAL;
use super::super::work::operation::{Operation, Outcome};
use super::super::work::sweep::{
    FREE_PAGES, PAGES, PAYLOAD_AGE, PAYLOADS, Phase, ROWS, RUNS, Removed, SPAN, Sweep, before,
};
use super::SqliteStorage;
use super::error::from_sqlx;
use super::memory;

/// One step of a sweep.
pub(super) async fn step(
    storage: &SqliteStorage,
    retention: &Retention,
    cursor: Option<&str>,
    now: Timestamp,
) -> Result<Swept, Error> {
    let phase = cursor.map_or(Ok(Phase::Journals), Phase::parse)?;
    if storage.desk.as_ref().is_some_and(|desk| desk.is_loaded()) {
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
        Phase::Pages => {
            let removed = storage.remove(Sweep::Pages).await?;
            if removed.pages > 0 {
                storage.shrunk_to.fetch_min(removed.bytes, Ordering::Relaxed);
            }
            (Swept { pages: removed.pages, ..Swept::default() }, removed.more.then_some(Phase::Pages))
        }
    };
    Ok(Swept { next: next.map(|phase| phase.text()), ..swept })
}

type Step = (Swept, Option<Phase>);

async fn journals(storage: &SqliteStorage, now: Timestamp, ended: Timestamp) -> Result<Step, Error> {
    let sql = "SELECT exec_id FROM executions WHERE finished_at IS NOT NULL AND trimmed_at IS NULL \
               AND finished_at <= ? ORDER BY finished_at LIMIT ?";
    let rows = sqlx::query(sql).bind(ended.0).bind(RUNS).fetch_all(&mut *storage.reader.get().await?).await;
    let rows = rows.map_err(from_sqlx)?;
    let ids = rows.iter().map(|row| row.try_get_unchecked(0).map_err(from_sqlx)).collect::<Result<Vec<_>, _>>()?;
    if ids.is_empty() {
        return Ok((Swept::default(), Some(Phase::runs(0))));
    }
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
    storage: &SqliteStorage,
    status: usize,
    after: (i64, String),
    ended: Timestamp,
    keep_last: u32,
) -> Result<Step, Error> {
    let Some(word) = TERMINAL.get(status) else { return Err(Error::InvalidCursor) };
    let mut connection = storage.reader.get().await?;
    let sql = "SELECT exec_id, created_at, root_exec_id = exec_id AND finished_at <= ?2 FROM executions \
               WHERE status = ?1 AND created_at <= ?2 AND (created_at, exec_id) > (?3, ?4) \
               ORDER BY created_at, exec_id LIMIT ?5";
    let query = sqlx::query(sql).bind(word).bind(ended.0).bind(after.0).bind(&after.1).bind(RUNS);
    let rows = query.fetch_all(&mut *connection).await.map_err(from_sqlx)?;
    let (mut place, mut trees, mut runs) = (after, Vec::new(), 0);
    for row in &rows {
        let exec_id: String = row.try_get_unchecked(0).map_err(from_sqlx)?;
        let created_at = row.try_get_unchecked(1).map_err(from_sqlx)?;
        if row.try_get_unchecked(2).map_err(from_sqlx)?
            && let Some(ids) = tree(&mut connection, &exec_id, keep_last).await?
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
    let ends = rows.len() < RUNS as usize && (runs as u64) < ROWS;
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
async fn tree(connection: &mut SqliteConnection, root: &str, keep_last: u32) -> Result<Option<Vec<String>>, Error> {
    let sql = "WITH RECURSIVE tree (exec_id, depth) AS (SELECT ?1, 0 UNION ALL \
               SELECT c.exec_id, t.depth + 1 FROM tree AS t JOIN executions AS c ON c.parent_exec_id = t.exec_id) \
               SELECT e.exec_id, e.finished_at IS NULL OR (SELECT count(*) FROM (SELECT 1 FROM executions AS l \
               WHERE l.workflow_id = e.workflow_id AND (l.created_at, l.exec_id) > (e.created_at, e.exec_id) \
               LIMIT ?2)) < ?2 FROM tree AS t JOIN executions AS e ON e.exec_id = t.exec_id ORDER BY t.depth DESC";
    let rows = sqlx::query(sql).bind(root).bind(keep_last).fetch_all(connection).await.map_err(from_sqlx)?;
    let mut ids = Vec::with_capacity(rows.len());
    for row in &rows {
        if row.try_get_unchecked(1).map_err(from_sqlx)? {
            return Ok(None);
        }
        ids.push(row.try_get_unchecked(0).map_err(from_sqlx)?);
    }
    Ok(Some(ids))
}

async fn payloads(storage: &SqliteStorage, after: String, before: Timestamp) -> Result<Step, Error> {
    let sql = "SELECT p.hash, EXISTS (SELECT 1 FROM payload_refs AS r WHERE r.hash = p.hash) FROM payloads AS p \
               WHERE p.hash > ? ORDER BY p.hash LIMIT ?";
    let query = sqlx::query(sql).bind(&after).bind(PAYLOADS);
    let rows = query.fetch_all(&mut *storage.reader.get().await?).await.map_err(from_sqlx)?;
    let (mut last, mut hashes) = (after, Vec::new());
    for row in &rows {
        last = row.try_get_unchecked(0).map_err(from_sqlx)?;
        let needed: bool = row.try_get_unchecked(1).map_err(from_sqlx)?;
        if !needed {
            hashes.push(last.clone());
        }
    }
    let mut next = if rows.len() < PAYLOADS as usize { Phase::Pages } else { Phase::Payloads { after: last } };
    if hashes.is_empty() {
        return Ok((Swept::default(), Some(next)));
    }
    let resume: Vec<String> = hashes.clone();
    let removed = storage.remove(Sweep::Payloads { hashes, before }).await?;
    if removed.done < resume.len() {
        // What was looked at stays where it is or is gone: go on after the last one that was dealt with.
        let after = removed.done.checked_sub(1).and_then(|index| resume.get(index).cloned()).unwrap_or_default();
        next = Phase::Payloads { after };
    }
    Ok((Swept { rows: removed.rows, ..Swept::default() }, Some(next)))
}

impl SqliteStorage {
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

    /// Removes at most what is left, with a statement over `?1` and a limit `?2`. Whether that was all there was.
    fn some(&mut self, connection: &Connection, sql: &str, exec_id: &str) -> rusqlite::Result<bool> {
        let left = self.rows();
        if left == 0 {
            return Ok(false);
        }
        let removed = connection.prepare_cached(sql)?.execute(params![exec_id, left])?;
        self.removed.rows += removed as u64;
        Ok((removed as i64) < left)
    }
}

/// Removes inside the writer's transaction.
pub(super) fn run(connection: &Connection, sweep: &Sweep) -> rusqlite::Result<Removed> {
    let mut budget = Budget { removed: Removed::default(), since: Instant::now() };
    match sweep {
        Sweep::Journals { ids, now } => {
            for exec_id in ids {
                if !trim(connection, &mut budget, exec_id, *now)? {
                    break;
                }
                budget.removed.done += 1;
            }
        }
        Sweep::Runs(ids) => {
            for exec_id in ids {
                if !remove_run(connection, &mut budget, exec_id)? {
                    break;
                }
                budget.removed.done += 1;
            }
        }
        Sweep::Notes { now, events, fires } => remove_notes(connection, &mut budget, [*now, *events, *fires])?,
        Sweep::Payloads { hashes, before } => {
            let sql = "DELETE FROM payloads WHERE hash = ?1 AND created_at <= ?2 \
                       AND NOT EXISTS (SELECT 1 FROM payload_refs AS r WHERE r.hash = ?1)";
            for hash in hashes.iter() {
                if budget.is_spent() {
                    break;
                }
                budget.removed.rows += connection.prepare_cached(sql)?.execute(params![hash, before.0])? as u64;
                budget.removed.done += 1;
            }
        }
        Sweep::Pages => give_back(connection, &mut budget.removed)?,
    }
    Ok(budget.removed)
}

/// Removes the oldest events of an ended run, but not the last one. Whether that was all.
fn trim(connection: &Connection, budget: &mut Budget, exec_id: &str, now: Timestamp) -> rusqlite::Result<bool> {
    let sql = "SELECT last_seq, journal_from FROM executions WHERE exec_id = ?";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
    let Some((last, from)) = connection.prepare_cached(sql)?.query_row([exec_id], read).optional()? else {
        return Ok(true);
    };
    let left = budget.rows();
    if left == 0 {
        return Ok(false);
    }
    let to = last.min(from.saturating_add(left)).max(from);
    let sql = "DELETE FROM journal WHERE exec_id = ?1 AND seq < ?2";
    budget.removed.rows += connection.prepare_cached(sql)?.execute(params![exec_id, to])? as u64;
    let done = to >= last;
    let sql = "UPDATE executions SET journal_from = ?2, trimmed_at = iif(?3, ?4, NULL) WHERE exec_id = ?1";
    connection.prepare_cached(sql)?.execute(params![exec_id, to, done, now.0])?;
    Ok(done)
}

/// Removes a run, from its journal to its row. Whether it is gone.
fn remove_run(connection: &Connection, budget: &mut Budget, exec_id: &str) -> rusqlite::Result<bool> {
    if !trim(connection, budget, exec_id, Timestamp(0))? {
        return Ok(false);
    }
    // Without its beginning a journal is not compared with the steps, which may go one by one.
    for sql in [
        "UPDATE executions SET journal_from = max(last_seq, 2) WHERE exec_id = ?",
        "DELETE FROM journal WHERE exec_id = ?",
    ] {
        connection.prepare_cached(sql)?.execute([exec_id])?;
    }
    let pieces = [
        "DELETE FROM attempts WHERE (task_exec_id, attempt) IN (SELECT a.task_exec_id, a.attempt FROM steps AS s \
         JOIN attempts AS a ON a.task_exec_id = s.task_exec_id WHERE s.exec_id = ?1 LIMIT ?2)",
        "DELETE FROM steps WHERE rowid IN (SELECT rowid FROM steps WHERE exec_id = ?1 LIMIT ?2)",
        "DELETE FROM usage WHERE (exec_id, step_key, provider, model) IN \
         (SELECT exec_id, step_key, provider, model FROM usage WHERE exec_id = ?1 LIMIT ?2)",
        "DELETE FROM signals WHERE position IN (SELECT position FROM signals WHERE exec_id = ?1 LIMIT ?2)",
        "DELETE FROM payload_refs WHERE (hash, exec_id) IN \
         (SELECT hash, exec_id FROM payload_refs WHERE exec_id = ?1 LIMIT ?2)",
    ];
    for sql in pieces {
        if !budget.some(connection, sql, exec_id)? {
            return Ok(false);
        }
    }
    if budget.is_spent() {
        return Ok(false);
    }
    let count = "UPDATE workflow_runs SET runs = runs - 1 \
                 WHERE workflow_id = (SELECT workflow_id FROM executions WHERE exec_id = ?)";
    for sql in [count, "DELETE FROM executions WHERE exec_id = ?"] {
        connection.prepare_cached(sql)?.execute([exec_id])?;
    }
    budget.removed.rows += 1;
    Ok(true)
}

/// Removes expired keys, also those of memories, and events and fires from before two times.
fn remove_notes(
    connection: &Connection,
    budget: &mut Budget,
    [now, events, fires]: [Timestamp; 3],
) -> rusqlite::Result<()> {
    let statements = [
        (
            now,
            "DELETE FROM idempotency_keys WHERE (scope, key) IN (SELECT scope, key FROM idempotency_keys AS k \
             WHERE k.expires_at <= ?1 AND NOT EXISTS (SELECT 1 FROM executions AS e \
             WHERE e.exec_id = k.exec_id AND e.finished_at IS NULL) LIMIT ?2)",
        ),
        (
            events,
            "DELETE FROM events WHERE event_id IN (SELECT event_id FROM events WHERE published_at <= ?1 LIMIT ?2)",
        ),
        (
            fires,
            "DELETE FROM schedule_fires WHERE (schedule_id, fire_at) IN (SELECT f.schedule_id, f.fire_at \
             FROM schedules AS s CROSS JOIN schedule_fires AS f ON f.schedule_id = s.schedule_id AND f.fire_at <= ?1 \
             WHERE f.state <> 'buffered' LIMIT ?2)",
        ),
        (now, memory::EXPIRED[0]),
        (now, memory::EXPIRED[1]),
    ];
    for (time, sql) in statements {
        let left = budget.rows();
        if left == 0 {
            break;
        }
        budget.removed.rows += connection.prepare_cached(sql)?.execute(params![time.0, left])? as u64;
    }
    budget.removed.more = budget.is_spent();
    Ok(())
}

/// Cuts free pages off the file, as far as there are more than are kept.
fn give_back(connection: &Connection, removed: &mut Removed) -> rusqlite::Result<()> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let number = |sql: &str| number(sql).map(|number| u64::try_from(number).unwrap_or(0));
    let free = number("PRAGMA freelist_count")?;
    // 2 is `INCREMENTAL`; a database in memory is not made so.
    if free <= FREE_PAGES || number("PRAGMA auto_vacuum")? != 2 {
        return Ok(());
    }
    let pages = PAGES.min(free - FREE_PAGES);
    let before = number("PRAGMA page_count")?;
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = statement.query([])?;
    while steps.next()?.is_some() {}
    drop(steps);
    let after = number("PRAGMA page_count")?;
    removed.pages = before.saturating_sub(after);
    removed.bytes = after * number("PRAGMA page_size")?;
    removed.more = removed.pages > 0 && free - pages > FREE_PAGES;
    Ok(())
}
