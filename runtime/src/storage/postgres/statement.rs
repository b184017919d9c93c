//! The text of a statement that writes many rows: one part per kind of row, over arrays.

use std::fmt::Write as _;

use super::super::work::slot::Slot;

/// A part of the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The guarded rows of runs; `plain` refuses an end that concerns other runs.
    Runs {
        /// See [`super::batch::Guard`].
        plain: bool,
    },
    /// Rows of this kind.
    Rows(Slot),
}

/// How rows of a kind are written.
struct Kind {
    /// A type for each column: `t`ext, `i`nteger, `b`ytes.
    types: &'static str,
    /// What comes before the rows; `u` with columns `c1`, `c2`… are the rows.
    head: &'static str,
    /// What comes after them.
    tail: &'static str,
}

/// Types of the columns of a kind, a letter each: `t`ext, `i`nteger, `b`ytes.
pub(super) fn types(slot: Slot) -> &'static str {
    kind(slot).types
}

/// The statement of these parts. The parameters are the columns of each part in order, and last the number of runs.
pub(super) fn text(parts: &[Part], guarded: bool, flush_later: bool) -> String {
    let mut sql = String::with_capacity(4_096);
    let mut next = 1;
    for (index, part) in parts.iter().enumerate() {
        let slot = match part {
            Part::Runs { .. } => Slot::Move,
            Part::Rows(slot) => *slot,
        };
        let Kind { types, head, tail } = kind(slot);
        let name = if slot == Slot::Move { "moved".to_owned() } else { format!("part{index}") };
        let comma = if index == 0 { "WITH " } else { ", " };
        let plain = match part {
            Part::Runs { plain: true } => {
                " AND (u.c13 IS NULL OR (e.parent_exec_id IS NULL AND e.concurrency_key IS NULL))"
            }
            _ => "",
        };
        let returning = if slot == Slot::Move { " RETURNING 1" } else { "" };
        let (arrays, columns) = rows(types, &mut next);
        // A `String` takes everything.
        let _infallible =
            write!(sql, "{comma}{name} AS ({head}unnest({arrays}) AS u ({columns}){tail}{plain}{returning})");
    }
    let check = if guarded {
        format!("1 / (CASE WHEN (SELECT count(*) FROM moved) = ${next} THEN 1 ELSE 0 END)")
    } else {
        "1".to_owned()
    };
    let later = if flush_later { ", set_config('synchronous_commit', 'off', true)" } else { "" };
    let _infallible = write!(sql, " SELECT {check}{later}");
    sql
}

/// A statement of its own for rows of one kind.
pub(super) fn alone(slot: Slot) -> String {
    let Kind { types, head, tail } = kind(slot);
    let (arrays, columns) = rows(types, &mut 1);
    format!("{head}unnest({arrays}) AS u ({columns}){tail}")
}

/// The arrays and what their columns are called.
fn rows(types: &str, next: &mut usize) -> (String, String) {
    let (mut arrays, mut columns) = (Vec::new(), Vec::new());
    for (index, kind) in types.chars().enumerate() {
        let name = match kind {
            't' => "text",
            'b' => "bytea",
            _ => "bigint",
        };
        arrays.push(format!("${next}::{name}[]"));
        columns.push(format!("c{}", index + 1));
        *next += 1;
    }
    (arrays.join(", "), columns.join(", "))
}

fn kind(slot: Slot) -> Kind {
    let (types, head, tail) = match slot {
        Slot::Advance | Slot::Move => (
            "ttiiiitttttii",
            "UPDATE executions AS e SET last_seq = coalesce(u.c5, e.last_seq), updated_at = u.c6, \
             status = coalesce(u.c7, e.status), reason = CASE WHEN u.c7 IS NULL THEN e.reason ELSE u.c8 END, \
             output = coalesce(u.c9, e.output), error = coalesce(u.c10, e.error), state = coalesce(u.c11, e.state), \
             started_at = coalesce(u.c12, e.started_at), finished_at = CASE WHEN u.c7 IS NULL THEN e.finished_at ELSE u.c13 END, \
             owner_node = CASE WHEN u.c13 IS NULL THEN e.owner_node END, \
             affinity_node = CASE WHEN u.c13 IS NULL THEN e.affinity_node END FROM ",
            " WHERE e.exec_id = u.c1 AND e.owner_node = u.c2 AND e.epoch = u.c3 \
             AND e.last_seq = coalesce(u.c4, e.last_seq) AND (u.c7 IS NULL OR e.status = u.c7 \
             OR (e.status IN ('PENDING', 'RUNNING', 'WAITING', 'PAUSED') \
             AND u.c7 IN ('SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')) \
             OR (e.status = 'PENDING' AND u.c7 = 'RUNNING') \
             OR (e.status = 'RUNNING' AND u.c7 IN ('WAITING', 'PAUSED')) \
             OR (e.status = 'WAITING' AND u.c7 IN ('RUNNING', 'PAUSED')) \
             OR (e.status = 'PAUSED' AND u.c7 IN ('RUNNING', 'WAITING')))",
        ),
        Slot::Definition => (
            "tttti",
            "INSERT INTO definitions (digest, kind, id, content, created_at) SELECT * FROM ",
            " ON CONFLICT DO NOTHING",
        ),
        Slot::Head => (
            "ttti",
            "INSERT INTO definition_heads AS h (kind, id, digest, updated_at) SELECT * FROM ",
            " ON CONFLICT (kind, id) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at \
             WHERE h.digest <> excluded.digest",
        ),
        Slot::Execution => (
            "tttttttttttttttiitttiittiiiiti",
            "INSERT INTO executions (exec_id, component, workflow_id, definition_digest, status, reason, input, output, \
             error, \"trigger\", tags, parent_exec_id, root_exec_id, forked_from, durability, priority, deadline, state, \
             owner_node, affinity_node, epoch, last_seq, cancel_request, pause_request, created_at, started_at, \
             updated_at, finished_at, concurrency_key, concurrency_limit) SELECT * FROM ",
            "",
        ),
        Slot::WorkflowRuns => (
            "ti",
            "INSERT INTO workflow_runs AS w (workflow_id, runs) SELECT * FROM ",
            " ON CONFLICT (workflow_id) DO UPDATE SET runs = w.runs + excluded.runs",
        ),
        Slot::Idempotency => {
            ("tttti", "INSERT INTO idempotency_keys (scope, key, request_hash, exec_id, expires_at) SELECT * FROM ", "")
        }
        Slot::Ready => (
            "tiittti",
            "INSERT INTO ready (exec_id, not_before, priority, affinity_node, workflow_id, concurrency_key, \
             concurrency_limit, gated) SELECT u.*, CASE WHEN u.c6 IS NULL THEN 0 ELSE 1 END FROM ",
            "",
        ),
        Slot::Payload => {
            ("tbi", "INSERT INTO payloads (hash, data, created_at) SELECT * FROM ", " ON CONFLICT (hash) DO NOTHING")
        }
        Slot::PayloadRef => {
            ("tt", "INSERT INTO payload_refs (hash, exec_id) SELECT * FROM ", " ON CONFLICT DO NOTHING")
        }
        Slot::Journal => ("tiittt", "INSERT INTO journal (exec_id, seq, at, event, task_id, data) SELECT * FROM ", ""),
        Slot::Step => (
            "ttttttititttttiii",
            "INSERT INTO steps (exec_id, step_key, task_exec_id, task_id, kind, status, attempt, parent, position, \
             input, output, error, waiting_for, state, result_seq, started_at, finished_at) SELECT * FROM ",
            " ON CONFLICT (exec_id, step_key) DO UPDATE SET status = excluded.status, attempt = excluded.attempt, \
             input = excluded.input, output = excluded.output, error = excluded.error, \
             waiting_for = excluded.waiting_for, state = excluded.state, result_seq = excluded.result_seq, \
             started_at = excluded.started_at, finished_at = excluded.finished_at",
        ),
        Slot::Attempt => (
            "titittii",
            "INSERT INTO attempts (task_exec_id, attempt, node, epoch, outcome, error, started_at, finished_at) \
             SELECT * FROM ",
            " ON CONFLICT (task_exec_id, attempt) DO UPDATE SET node = excluded.node, epoch = excluded.epoch, \
             outcome = excluded.outcome, error = excluded.error, started_at = excluded.started_at, \
             finished_at = excluded.finished_at",
        ),
        Slot::Timer => (
            "tttti",
            "INSERT INTO timers (exec_id, timer_id, kind, step_key, due_at) SELECT * FROM ",
            " ON CONFLICT (exec_id, timer_id) DO UPDATE SET kind = excluded.kind, step_key = excluded.step_key, \
             due_at = excluded.due_at",
        ),
        Slot::ClearedTimer => ("tt", "DELETE FROM timers AS t USING ", " WHERE t.exec_id = u.c1 AND t.timer_id = u.c2"),
        Slot::Usage => (
            "ttttii",
            "INSERT INTO usage AS g (exec_id, step_key, provider, model, prompt_tokens, completion_tokens) SELECT * FROM ",
            " ON CONFLICT (exec_id, step_key, provider, model) DO UPDATE SET \
             prompt_tokens = g.prompt_tokens + excluded.prompt_tokens, \
             completion_tokens = g.completion_tokens + excluded.completion_tokens",
        ),
        Slot::NotedSignal => {
            ("tt", "UPDATE signals AS s SET noted = 1 FROM ", " WHERE s.exec_id = u.c1 AND s.signal_id = u.c2")
        }
        Slot::SettledSignal => (
            "tttti",
            "UPDATE signals AS s SET state = u.c3, consumed_by = u.c4, settled_at = u.c5 FROM ",
            " WHERE s.exec_id = u.c1 AND s.signal_id = u.c2 AND s.state = 'queued'",
        ),
        Slot::EndedReady => ("t", "DELETE FROM ready AS r USING ", " WHERE r.exec_id = u.c1"),
        Slot::EndedTimer => ("t", "DELETE FROM timers AS t USING ", " WHERE t.exec_id = u.c1"),
        Slot::EndedSignal => (
            "ti",
            "UPDATE signals AS s SET state = 'ignored', settled_at = u.c2 FROM ",
            " WHERE s.exec_id = u.c1 AND s.state = 'queued'",
        ),
        Slot::Signal => (
            "tttttti",
            "INSERT INTO signals (exec_id, signal_id, name, payload, metadata, dedupe_key, received_at, state) \
             SELECT u.*, 'queued' FROM ",
            " ON CONFLICT DO NOTHING",
        ),
    };
    Kind { types, head, tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_type() {
        let slots = [
            Slot::Move,
            Slot::Definition,
            Slot::Head,
            Slot::Execution,
            Slot::WorkflowRuns,
            Slot::Idempotency,
            Slot::Ready,
            Slot::Payload,
            Slot::PayloadRef,
            Slot::Journal,
            Slot::Step,
            Slot::Attempt,
            Slot::Timer,
            Slot::ClearedTimer,
            Slot::Usage,
            Slot::NotedSignal,
            Slot::SettledSignal,
            Slot::EndedReady,
            Slot::EndedTimer,
            Slot::EndedSignal,
            Slot::Signal,
        ];
        for slot in slots {
            assert_eq!(types(slot).len(), slot.columns(), "{slot:?}");
        }
    }
}
