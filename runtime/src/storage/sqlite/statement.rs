//! Where rows go: one prepared statement per kind of row, run once for each.
//!
//! These run on the writer's own connection and thread. Handing every statement to another thread, as a pool of
//! connections does, costs several times what SQLite itself needs for a row.

use rusqlite::types::{Null, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::super::work::slot::{Slot, Value};

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null => Null.to_sql(),
            Self::Integer(number) => number.to_sql(),
            Self::Text(text) => Ok(ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))),
            Self::Blob(bytes) => Ok(ToSqlOutput::Borrowed(ValueRef::Blob(bytes))),
        }
    }
}

/// Why a row could not be written.
#[derive(Debug)]
pub(super) enum Refused {
    /// The guard of the run's row did not match.
    Guard,
    /// A memory is not as it was when its change was decided.
    Stale,
    /// What SQLite said.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Slot {
    /// Writes whole rows.
    ///
    /// # Errors
    /// [`Refused::Guard`] when the run is not where, or whose, the row says, or its signal was settled before.
    pub(super) fn write(self, connection: &Connection, values: &[Value]) -> Result<(), Refused> {
        let sql = self.sql();
        let mut statement = connection.prepare_cached(sql)?;
        for row in values.chunks(self.columns()) {
            let changed = statement.execute(params_from_iter(row))?;
            if changed == 0 && matches!(self, Self::Advance | Self::Move | Self::SettledSignal) {
                return Err(Refused::Guard);
            }
        }
        Ok(())
    }

    /// Writes one row; false when it changed nothing.
    pub(super) fn write_one(self, connection: &Connection, row: &[Value]) -> rusqlite::Result<bool> {
        Ok(connection.prepare_cached(self.sql())?.execute(params_from_iter(row))? > 0)
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Advance => {
                "UPDATE executions SET last_seq = coalesce(?5, last_seq), updated_at = ?6, \
                 reason = CASE WHEN ?7 IS NULL THEN reason ELSE ?8 END, output = coalesce(?9, output), \
                 error = coalesce(?10, error), state = coalesce(?11, state), started_at = coalesce(?12, started_at) \
                 WHERE exec_id = ?1 AND owner_node = ?2 AND epoch = ?3 AND last_seq = coalesce(?4, last_seq) \
                 AND status = coalesce(?7, status)"
            }
            Self::Move => {
                "UPDATE executions SET last_seq = coalesce(?5, last_seq), updated_at = ?6, status = ?7, reason = ?8, \
                 output = coalesce(?9, output), error = coalesce(?10, error), state = coalesce(?11, state), \
                 started_at = coalesce(?12, started_at), finished_at = ?13, \
                 owner_node = iif(?13 IS NULL, owner_node, NULL), affinity_node = iif(?13 IS NULL, affinity_node, NULL) \
                 WHERE exec_id = ?1 AND owner_node = ?2 AND epoch = ?3 AND last_seq = coalesce(?4, last_seq) \
                 AND (status = ?7 \
                 OR (status IN ('PENDING', 'RUNNING', 'WAITING', 'PAUSED') \
                 AND ?7 IN ('SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')) \
                 OR (status = 'PENDING' AND ?7 = 'RUNNING') \
                 OR (status = 'RUNNING' AND ?7 IN ('WAITING', 'PAUSED')) \
                 OR (status = 'WAITING' AND ?7 IN ('RUNNING', 'PAUSED')) \
                 OR (status = 'PAUSED' AND ?7 IN ('RUNNING', 'WAITING')))"
            }
            Self::Definition => {
                "INSERT INTO definitions (digest, kind, id, content, created_at) VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT DO NOTHING"
            }
            Self::Head => {
                "INSERT INTO definition_heads (kind, id, digest, updated_at) VALUES (?, ?, ?, ?) \
                 ON CONFLICT (kind, id) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at \
                 WHERE digest <> excluded.digest"
            }
            Self::Execution => {
                "INSERT INTO executions (exec_id, component, workflow_id, definition_digest, status, reason, input, \
                 output, error, \"trigger\", tags, parent_exec_id, root_exec_id, forked_from, durability, priority, \
                 deadline, state, owner_node, affinity_node, epoch, last_seq, cancel_request, pause_request, \
                 created_at, started_at, updated_at, finished_at, concurrency_key, concurrency_limit) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            }
            Self::WorkflowRuns => {
                "INSERT INTO workflow_runs (workflow_id, runs) VALUES (?, ?) \
                 ON CONFLICT (workflow_id) DO UPDATE SET runs = runs + excluded.runs"
            }
            Self::Idempotency => {
                "INSERT INTO idempotency_keys (scope, key, request_hash, exec_id, expires_at) VALUES (?, ?, ?, ?, ?)"
            }
            Self::Ready => {
                "INSERT INTO ready (exec_id, not_before, priority, affinity_node, workflow_id, concurrency_key, \
                 concurrency_limit, gated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6 IS NOT NULL)"
            }
            Self::Payload => {
                "INSERT INTO payloads (hash, data, created_at) VALUES (?, ?, ?) ON CONFLICT (hash) DO NOTHING"
            }
            Self::PayloadRef => "INSERT INTO payload_refs (hash, exec_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
            Self::Journal => "INSERT INTO journal (exec_id, seq, at, event, task_id, data) VALUES (?, ?, ?, ?, ?, ?)",
            Self::Step => {
                "INSERT INTO steps (exec_id, step_key, task_exec_id, task_id, kind, status, attempt, parent, position, \
                 input, output, error, waiting_for, state, result_seq, started_at, finished_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT (exec_id, step_key) DO UPDATE SET status = excluded.status, attempt = excluded.attempt, \
                 input = excluded.input, output = excluded.output, error = excluded.error, \
                 waiting_for = excluded.waiting_for, state = excluded.state, result_seq = excluded.result_seq, \
                 started_at = excluded.started_at, finished_at = excluded.finished_at"
            }
            Self::Attempt => {
                "INSERT INTO attempts (task_exec_id, attempt, node, epoch, outcome, error, started_at, finished_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT (task_exec_id, attempt) DO UPDATE SET node = excluded.node, epoch = excluded.epoch, \
                 outcome = excluded.outcome, error = excluded.error, started_at = excluded.started_at, \
                 finished_at = excluded.finished_at"
            }
            Self::Timer => {
                "INSERT INTO timers (exec_id, timer_id, kind, step_key, due_at) VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT (exec_id, timer_id) DO UPDATE SET kind = excluded.kind, step_key = excluded.step_key, \
                 due_at = excluded.due_at"
            }
            Self::ClearedTimer => "DELETE FROM timers WHERE exec_id = ? AND timer_id = ?",
            Self::Usage => {
                "INSERT INTO usage (exec_id, step_key, provider, model, prompt_tokens, completion_tokens) \
                 VALUES (?, ?, ?, ?, ?, ?) \
                 ON CONFLICT (exec_id, step_key, provider, model) DO UPDATE SET \
                 prompt_tokens = prompt_tokens + excluded.prompt_tokens, \
                 completion_tokens = completion_tokens + excluded.completion_tokens"
            }
            Self::EndedReady => "DELETE FROM ready WHERE exec_id = ?",
            Self::EndedTimer => "DELETE FROM timers WHERE exec_id = ?",
            Self::NotedSignal => "UPDATE signals SET noted = 1 WHERE exec_id = ? AND signal_id = ?",
            Self::SettledSignal => {
                "UPDATE signals SET state = ?3, consumed_by = ?4, settled_at = ?5 \
                 WHERE exec_id = ?1 AND signal_id = ?2 AND state = 'queued'"
            }
            Self::EndedSignal => {
                "UPDATE signals SET state = 'ignored', settled_at = ?2 WHERE exec_id = ?1 AND state = 'queued'"
            }
            Self::Signal => {
                "INSERT INTO signals (exec_id, signal_id, name, payload, metadata, dedupe_key, received_at, state) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, 'queued') ON CONFLICT DO NOTHING"
            }
        }
    }
}
