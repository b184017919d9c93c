//! The statements of a batch, with as many rows each as the batch has.
//!
//! sqlx hands each call to the connection's thread, so a statement per row would cost more in hops than in work. A batch
//! is therefore a few calls, a small one exactly one: `BEGIN IMMEDIATE; …; COMMIT` as one string, whose prepared
//! statements sqlx keeps. Values are bound, never pasted.

use std::fmt::Write;
use std::sync::Arc;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteArgumentsBuffer, SqliteTypeInfo};
use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, SqliteConnection, Type};

/// One bound value; cheap to clone, so that a batch can be run again one by one.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Text(Arc<str>),
    Blob(Arc<[u8]>),
}

impl Type<Sqlite> for Value {
    fn type_info() -> SqliteTypeInfo {
        // Asked of columns only; a value brings its own type.
        <str as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for Value {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Integer(number) => Encode::<Sqlite>::encode_by_ref(number, buffer),
            Value::Text(text) => Encode::<Sqlite>::encode(Arc::clone(text), buffer),
            Value::Blob(bytes) => Encode::<Sqlite>::encode(Arc::clone(bytes), buffer),
        }
    }
}

/// Where rows go, in the order the statements of a batch run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// The run's row, when its status or owner does not change: touches no index.
    Advance,
    /// The run's row, when its status changes.
    Move,
    Definition,
    Head,
    Execution,
    WorkflowRuns,
    Idempotency,
    Ready,
    Payload,
    Journal,
    Step,
    Attempt,
    Timer,
    ClearedTimer,
    Usage,
    EndedReady,
    EndedTimer,
}

impl Slot {
    /// Every slot in order.
    pub(super) const ALL: [Self; 17] = [
        Self::Advance,
        Self::Move,
        Self::Definition,
        Self::Head,
        Self::Execution,
        Self::WorkflowRuns,
        Self::Idempotency,
        Self::Ready,
        Self::Payload,
        Self::Journal,
        Self::Step,
        Self::Attempt,
        Self::Timer,
        Self::ClearedTimer,
        Self::Usage,
        Self::EndedReady,
        Self::EndedTimer,
    ];

    /// SQL before the rows, number of columns, SQL after the rows.
    fn sql(self) -> (&'static str, usize, &'static str) {
        match self {
            Self::Advance => (
                "UPDATE executions AS e SET last_seq = coalesce(v.column5, e.last_seq), updated_at = v.column6, \
                 reason = CASE WHEN v.column7 IS NULL THEN e.reason ELSE v.column8 END, \
                 output = coalesce(v.column9, e.output), error = coalesce(v.column10, e.error), \
                 state = coalesce(v.column11, e.state), started_at = coalesce(v.column12, e.started_at) FROM (VALUES ",
                12,
                ") AS v WHERE e.exec_id = v.column1 AND e.owner_node = v.column2 AND e.epoch = v.column3 \
                 AND e.last_seq = coalesce(v.column4, e.last_seq) AND e.status = coalesce(v.column7, e.status)",
            ),
            Self::Move => (
                "UPDATE executions AS e SET last_seq = coalesce(v.column5, e.last_seq), updated_at = v.column6, \
                 status = v.column7, reason = v.column8, \
                 output = coalesce(v.column9, e.output), error = coalesce(v.column10, e.error), \
                 state = coalesce(v.column11, e.state), started_at = coalesce(v.column12, e.started_at), \
                 finished_at = v.column13, owner_node = iif(v.column13 IS NULL, e.owner_node, NULL), \
                 affinity_node = iif(v.column13 IS NULL, e.affinity_node, NULL) FROM (VALUES ",
                13,
                ") AS v WHERE e.exec_id = v.column1 AND e.owner_node = v.column2 AND e.epoch = v.column3 \
                 AND e.last_seq = coalesce(v.column4, e.last_seq) AND (e.status = v.column7 \
                 OR (e.status IN ('PENDING', 'RUNNING', 'WAITING', 'PAUSED') \
                 AND v.column7 IN ('SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')) \
                 OR (e.status = 'PENDING' AND v.column7 = 'RUNNING') \
                 OR (e.status = 'RUNNING' AND v.column7 IN ('WAITING', 'PAUSED')) \
                 OR (e.status = 'WAITING' AND v.column7 IN ('RUNNING', 'PAUSED')) \
                 OR (e.status = 'PAUSED' AND v.column7 IN ('RUNNING', 'WAITING')))",
            ),
            Self::Definition => (
                "INSERT INTO definitions (digest, kind, id, content, created_at) VALUES ",
                5,
                " ON CONFLICT DO NOTHING",
            ),
            Self::Head => (
                "INSERT INTO definition_heads (kind, id, digest, updated_at) VALUES ",
                4,
                " ON CONFLICT (kind, id) DO UPDATE SET digest = excluded.digest, updated_at = excluded.updated_at \
                 WHERE digest <> excluded.digest",
            ),
            Self::Execution => (
                "INSERT INTO executions (exec_id, component, workflow_id, definition_digest, status, reason, input, \
                 output, error, \"trigger\", tags, parent_exec_id, root_exec_id, forked_from, durability, priority, \
                 deadline, state, owner_node, affinity_node, epoch, last_seq, cancel_request, created_at, started_at, \
                 updated_at, finished_at) VALUES ",
                27,
                "",
            ),
            Self::WorkflowRuns => (
                "INSERT INTO workflow_runs (workflow_id, runs) VALUES ",
                2,
                " ON CONFLICT (workflow_id) DO UPDATE SET runs = runs + excluded.runs",
            ),
            Self::Idempotency => {
                ("INSERT INTO idempotency_keys (scope, key, request_hash, exec_id, expires_at) VALUES ", 5, "")
            }
            Self::Ready => ("INSERT INTO ready (exec_id, not_before, priority, affinity_node) VALUES ", 4, ""),
            Self::Payload => {
                ("INSERT INTO payloads (hash, data, created_at) VALUES ", 3, " ON CONFLICT (hash) DO NOTHING")
            }
            Self::Journal => ("INSERT INTO journal (exec_id, seq, at, event, task_id, data) VALUES ", 6, ""),
            Self::Step => (
                "INSERT INTO steps (exec_id, step_key, task_exec_id, task_id, kind, status, attempt, parent, position, \
                 input, output, error, waiting_for, state, result_seq, started_at, finished_at) VALUES ",
                17,
                " ON CONFLICT (exec_id, step_key) DO UPDATE SET status = excluded.status, attempt = excluded.attempt, \
                 input = excluded.input, output = excluded.output, error = excluded.error, \
                 waiting_for = excluded.waiting_for, state = excluded.state, result_seq = excluded.result_seq, \
                 started_at = excluded.started_at, finished_at = excluded.finished_at",
            ),
            Self::Attempt => (
                "INSERT INTO attempts (task_exec_id, attempt, node, epoch, outcome, error, started_at, finished_at) \
                 VALUES ",
                8,
                " ON CONFLICT (task_exec_id, attempt) DO UPDATE SET node = excluded.node, epoch = excluded.epoch, \
                 outcome = excluded.outcome, error = excluded.error, started_at = excluded.started_at, \
                 finished_at = excluded.finished_at",
            ),
            Self::Timer => (
                "INSERT INTO timers (exec_id, timer_id, kind, step_key, due_at) VALUES ",
                5,
                " ON CONFLICT (exec_id, timer_id) DO UPDATE SET kind = excluded.kind, step_key = excluded.step_key, \
                 due_at = excluded.due_at",
            ),
            Self::ClearedTimer => (
                // A plain list of row values would be looked up by reading the whole table.
                "DELETE FROM timers WHERE (exec_id, timer_id) IN (SELECT column1, column2 FROM (VALUES ",
                2,
                "))",
            ),
            Self::Usage => (
                "INSERT INTO usage (exec_id, step_key, provider, model, prompt_tokens, completion_tokens) VALUES ",
                6,
                " ON CONFLICT (exec_id, step_key, provider, model) DO UPDATE SET \
                 prompt_tokens = prompt_tokens + excluded.prompt_tokens, \
                 completion_tokens = completion_tokens + excluded.completion_tokens",
            ),
            Self::EndedReady => ("DELETE FROM ready WHERE exec_id IN (VALUES ", 1, ")"),
            Self::EndedTimer => ("DELETE FROM timers WHERE exec_id IN (VALUES ", 1, ")"),
        }
    }

    /// Number of values of one row.
    pub(super) fn columns(self) -> usize {
        self.sql().1
    }

    /// Every row must match: one that does not is fenced, and the whole batch must stop.
    fn must_match(self) -> bool {
        matches!(self, Self::Advance | Self::Move)
    }
}

/// Values bound by one call; more rows go into further calls, so that only a few sizes of each statement exist.
const VALUES_PER_CALL: usize = 1_536;
/// A batch of at most this many values is a single call.
const SINGLE_CALL: usize = 512;

/// Calls to run one after the other.
#[derive(Debug, Default)]
pub(super) struct Calls {
    done: Vec<(String, SqliteArguments)>,
    sql: String,
    arguments: SqliteArguments,
    single: bool,
    /// Rows that the last statement must have changed; the next one checks it.
    unchecked: Option<usize>,
}

/// An expression that is `value` if the statement before changed as many rows as it must, and an error if not.
///
/// `abs` of the smallest integer is an error (<https://www.sqlite.org/lang_corefunc.html#abs>): the only way for plain SQL
/// to stop a string of statements. It rides in a statement that is there anyway, since each costs a message.
struct Check {
    expected: usize,
    value: &'static str,
}

impl std::fmt::Display for Check {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "iif(changes() = {}, {}, abs(-9223372036854775808))", self.expected, self.value)
    }
}

impl Calls {
    /// Calls for a batch with `values` values in all.
    pub(super) fn new(values: usize) -> Self {
        Self { single: values <= SINGLE_CALL, ..Self::default() }
    }

    /// Adds a statement without values.
    pub(super) fn push(&mut self, sql: &str) {
        self.check();
        self.sql.push_str(sql);
        self.sql.push(';');
    }

    /// Adds statements that write `values`, whole rows of `slot`.
    pub(super) fn rows(&mut self, slot: Slot, values: &[Value]) -> Result<(), BoxDynError> {
        let (head, columns, tail) = slot.sql();
        let mut rest = values;
        while !rest.is_empty() {
            let rows = self.rows_of_next(rest.len() / columns, columns);
            let (now, later) = rest.split_at((rows * columns).min(rest.len()));
            rest = later;
            let check = self.unchecked.take();
            self.sql.push_str(head);
            for row in 0..rows {
                self.sql.push_str(if row == 0 { "(" } else { ",(" });
                for column in 0..columns {
                    match check.filter(|_| row == 0 && column == 0) {
                        Some(expected) => write!(self.sql, "{}", Check { expected, value: "?" })?,
                        None => self.sql.push_str(if column == 0 { "?" } else { ",?" }),
                    }
                }
                self.sql.push(')');
            }
            self.sql.push_str(tail);
            self.sql.push(';');
            for value in now {
                self.arguments.add(value)?;
            }
            self.unchecked = slot.must_match().then_some(rows);
            if !self.single {
                self.cut();
            }
        }
        Ok(())
    }

    /// Powers of two, so that few sizes of each statement are ever prepared.
    fn rows_of_next(&self, rows: usize, columns: usize) -> usize {
        if self.single {
            return rows;
        }
        let fits = (VALUES_PER_CALL / columns).max(1).min(rows);
        1 << fits.ilog2()
    }

    /// Checks the last statement if no other does.
    fn check(&mut self) {
        if let Some(expected) = self.unchecked.take() {
            self.push(&format!("SELECT {}", Check { expected, value: "0" }));
        }
    }

    fn cut(&mut self) {
        if !self.sql.is_empty() {
            self.done.push((std::mem::take(&mut self.sql), std::mem::take(&mut self.arguments)));
        }
    }

    /// Runs everything in order; stops at the first error and leaves the transaction as it is then.
    pub(super) async fn run(mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.check();
        self.cut();
        for (sql, arguments) in self.done {
            sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *connection).await?;
        }
        Ok(())
    }
}
