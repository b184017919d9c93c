//! Which queued runs a node gets: the highest priority first, and within one priority the workflows in turn.
//!
//! Neither can starve the rest: one claim of eight goes to whoever has waited longest. The cost of a claim does not grow
//! with the queue: each statement reads the beginning of an index. Rows that another node is about to take, or that
//! somebody is writing to, are passed over; the lock of the run's row is what keeps others away until the claim is
//! committed.

use std::collections::VecDeque;

use compozy_engine::time::Timestamp;
use sqlx::PgConnection;

use super::known::Known;
use super::sql;
use crate::id::NodeId;

/// Rows of `ready` due at `$1` that node `$2` may take.
macro_rules! claimable {
    () => {
        concat!(
            "FROM ready AS r JOIN executions AS e ON e.exec_id = r.exec_id WHERE r.gated = 0 AND r.not_before <= $1 ",
            "AND (r.affinity_node IS NULL OR r.affinity_node = $2 OR NOT EXISTS (SELECT 1 FROM nodes AS n ",
            "WHERE n.node_id = r.affinity_node AND n.lease_until > ",
            now!(),
            "))"
        )
    };
}

/// Whether there is anything at `$1` that node `$2` may take.
pub(super) const ANY: &str = concat!("SELECT 1 ", claimable!(), " LIMIT 1");

/// Takes at most `limit` runs out of the queue. Their rows are locked.
pub(super) async fn choose(
    connection: &mut PgConnection,
    known: &Known,
    node: &NodeId,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<String>, sqlx::Error> {
    let limit = u64::from(limit);
    let mut queue = Queue { connection, known, node, now };
    let mut taken = Vec::new();
    loop {
        let left = limit.saturating_sub(taken.len() as u64);
        if left == 0 {
            return Ok(taken);
        }
        let before = taken.len();
        let turns_left = known.turns().before_the_oldest();
        if turns_left == 0 {
            known.turns().passed();
            queue.oldest(&mut taken).await?;
        } else {
            queue.highest(turns_left.min(left), &mut taken).await?;
        }
        if taken.len() == before {
            return Ok(taken);
        }
    }
}

struct Queue<'a> {
    connection: &'a mut PgConnection,
    known: &'a Known,
    node: &'a NodeId,
    now: Timestamp,
}

impl Queue<'_> {
    async fn oldest(&mut self, taken: &mut Vec<String>) -> Result<(), sqlx::Error> {
        let sql = concat!(
            "WITH chosen AS (SELECT r.exec_id ",
            claimable!(),
            " ORDER BY r.not_before, r.exec_id LIMIT 1 FOR NO KEY UPDATE OF r, e SKIP LOCKED) ",
            "DELETE FROM ready AS r USING chosen WHERE r.exec_id = chosen.exec_id RETURNING r.exec_id"
        );
        let query = sql::query_as::<_, (String,)>(sql).bind(self.now.0).bind(self.node.as_str());
        let found = query.fetch_all(&mut *self.connection).await?;
        taken.extend(found.into_iter().map(|(exec_id,)| exec_id));
        Ok(())
    }

    /// Takes at most `count` runs of the highest priority there is, its workflows in turn.
    async fn highest(&mut self, count: u64, taken: &mut Vec<String>) -> Result<(), sqlx::Error> {
        let sql = concat!("SELECT r.priority ", claimable!(), " ORDER BY r.priority DESC LIMIT 1");
        let query = sql::query_as::<_, (i64,)>(sql).bind(self.now.0).bind(self.node.as_str());
        let Some((priority,)) = query.fetch_optional(&mut *self.connection).await? else { return Ok(()) };
        let mut workflows = self.workflows(priority).await?;
        let mut left = count;
        while left > 0
            && let Some(workflow_id) = workflows.pop_front()
        {
            // One alone needs no turns.
            let share = if workflows.is_empty() { left } else { 1 };
            let took = self.take(priority, &workflow_id, share, taken).await?;
            if took > 0 {
                self.known.turns().took(&workflow_id, took);
                left = left.saturating_sub(took);
                workflows.push_back(workflow_id);
            }
        }
        Ok(())
    }

    /// Workflows that have runs of this priority in the queue, the one whose turn is longest ago first.
    async fn workflows(&mut self, priority: i64) -> Result<VecDeque<String>, sqlx::Error> {
        let sql = "WITH RECURSIVE w (id) AS (\
                   SELECT (SELECT workflow_id FROM ready WHERE gated = 0 AND priority = $1 \
                   ORDER BY workflow_id LIMIT 1) \
                   UNION ALL SELECT (SELECT workflow_id FROM ready WHERE gated = 0 \
                   AND priority = $1 AND workflow_id > w.id ORDER BY workflow_id LIMIT 1) FROM w WHERE w.id IS NOT NULL) \
                   SELECT id FROM w WHERE id IS NOT NULL";
        let found: Vec<(String,)> = sql::query_as(sql).bind(priority).fetch_all(&mut *self.connection).await?;
        let mut ids: Vec<String> = found.into_iter().map(|(id,)| id).collect();
        let turns = self.known.turns();
        ids.sort_by_cached_key(|id| turns.of(id));
        drop(turns);
        Ok(ids.into())
    }

    async fn take(
        &mut self,
        priority: i64,
        workflow_id: &str,
        count: u64,
        taken: &mut Vec<String>,
    ) -> Result<u64, sqlx::Error> {
        let sql = concat!(
            "WITH chosen AS (SELECT r.exec_id ",
            claimable!(),
            " AND r.priority = $3 AND r.workflow_id = $4 ORDER BY r.not_before, r.exec_id LIMIT $5 ",
            "FOR NO KEY UPDATE OF r, e SKIP LOCKED), ",
            "gone AS (DELETE FROM ready AS r USING chosen WHERE r.exec_id = chosen.exec_id ",
            "RETURNING r.not_before, r.exec_id) SELECT exec_id FROM gone ORDER BY not_before, exec_id"
        );
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let query = sql::query_as::<_, (String,)>(sql).bind(self.now.0).bind(self.node.as_str()).bind(priority);
        let found = query.bind(workflow_id).bind(count).fetch_all(&mut *self.connection).await?;
        let took = found.len() as u64;
        taken.extend(found.into_iter().map(|(exec_id,)| exec_id));
        Ok(took)
    }
}
