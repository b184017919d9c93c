//! Which queued runs a node gets: the highest priority first, and within one priority the workflows in turn.
//!
//! Neither can starve the rest: one claim of [`OLDEST_EVERY`] goes to whoever has waited longest. The cost of a claim
//! does not grow with the queue: each statement reads the beginning of an index.

use std::collections::VecDeque;

use compozy_engine::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::work::turns::Turns;
use crate::id::NodeId;

/// Rows of `ready` due at `?1` that node `?2` may take, by an index.
macro_rules! claimable {
    ($index:literal) => {
        concat!(
            "FROM ready AS r INDEXED BY ",
            $index,
            " WHERE gated = 0 AND not_before <= ?1 AND (affinity_node IS NULL OR affinity_node = ?2 ",
            "OR NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.node_id = r.affinity_node AND n.lease_until > ?1))"
        )
    };
}

/// Whether there is anything at `?1` that node `?2` may take.
pub(super) const ANY: &str = concat!("SELECT 1 ", claimable!("ready_age"), " LIMIT 1");

/// Takes at most `limit` runs out of the queue.
pub(super) fn choose(
    connection: &Connection,
    turns: &Turns,
    node: &NodeId,
    limit: u32,
    now: Timestamp,
) -> rusqlite::Result<Vec<String>> {
    let limit = u64::from(limit);
    let queue = Queue { connection, turns, node, now };
    let mut taken = Vec::new();
    loop {
        let left = limit.saturating_sub(taken.len() as u64);
        if left == 0 {
            return Ok(taken);
        }
        let before = taken.len();
        match turns.before_the_oldest() {
            0 => {
                turns.passed();
                taken.extend(queue.oldest()?);
            }
            turns_left => queue.highest(turns_left.min(left), &mut taken)?,
        }
        if taken.len() == before {
            return Ok(taken);
        }
    }
}

struct Queue<'a> {
    connection: &'a Connection,
    turns: &'a Turns,
    node: &'a NodeId,
    now: Timestamp,
}

impl Queue<'_> {
    fn oldest(&self) -> rusqlite::Result<Option<String>> {
        let sql = concat!(
            "DELETE FROM ready WHERE exec_id = (SELECT exec_id ",
            claimable!("ready_age"),
            " ORDER BY not_before, exec_id LIMIT 1) RETURNING exec_id"
        );
        let row = params![self.now.0, self.node.as_str()];
        self.connection.prepare_cached(sql)?.query_row(row, |row| row.get(0)).optional()
    }

    /// Takes at most `count` runs of the highest priority there is, its workflows in turn.
    fn highest(&self, count: u64, taken: &mut Vec<String>) -> rusqlite::Result<()> {
        let sql = concat!("SELECT priority ", claimable!("ready_turn"), " ORDER BY priority DESC LIMIT 1");
        let mut statement = self.connection.prepare_cached(sql)?;
        let found: Option<i64> =
            statement.query_row(params![self.now.0, self.node.as_str()], |row| row.get(0)).optional()?;
        let Some(priority) = found else { return Ok(()) };
        let mut workflows = self.workflows(priority)?;
        let mut left = count;
        while left > 0
            && let Some(workflow_id) = workflows.pop_front()
        {
            // One alone needs no turns.
            let share = if workflows.is_empty() { left } else { 1 };
            let before = taken.len();
            self.take(priority, &workflow_id, share, taken)?;
            let took = (taken.len() - before) as u64;
            if took > 0 {
                self.turns.took(&workflow_id, took);
                left = left.saturating_sub(took);
                workflows.push_back(workflow_id);
            }
        }
        Ok(())
    }

    /// Workflows that have runs of this priority in the queue, the one whose turn is longest ago first.
    fn workflows(&self, priority: i64) -> rusqlite::Result<VecDeque<String>> {
        let sql = "WITH RECURSIVE w (id) AS (\
                   SELECT (SELECT workflow_id FROM ready INDEXED BY ready_turn WHERE gated = 0 AND priority = ?1 \
                   ORDER BY workflow_id LIMIT 1) \
                   UNION ALL SELECT (SELECT workflow_id FROM ready INDEXED BY ready_turn WHERE gated = 0 \
                   AND priority = ?1 AND workflow_id > w.id ORDER BY workflow_id LIMIT 1) FROM w WHERE w.id IS NOT NULL) \
                   SELECT id FROM w WHERE id IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut ids: Vec<String> = statement.query_map([priority], |row| row.get(0))?.collect::<Result<_, _>>()?;
        ids.sort_by_cached_key(|id| self.turns.of(id));
        Ok(ids.into())
    }

    fn take(&self, priority: i64, workflow_id: &str, count: u64, taken: &mut Vec<String>) -> rusqlite::Result<()> {
        let sql = concat!(
            "DELETE FROM ready WHERE exec_id IN (SELECT exec_id ",
            claimable!("ready_turn"),
            " AND priority = ?3 AND workflow_id = ?4 ORDER BY not_before, exec_id LIMIT ?5) RETURNING exec_id"
        );
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let row = params![self.now.0, self.node.as_str(), priority, workflow_id, count];
        let mut statement = self.connection.prepare_cached(sql)?;
        for exec_id in statement.query_map(row, |row| row.get(0))? {
            taken.push(exec_id?);
        }
        Ok(())
    }
}
