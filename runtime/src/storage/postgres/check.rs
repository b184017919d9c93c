//! The invariants of cli-and-api §9.2, checked over the whole database at one moment.

use sqlx::{AssertSqlSafe, PgConnection};

use super::super::Error;
use super::super::work::columns::Columns;
use super::super::work::replay::{self, Event, Stated, Stood};
use super::error::from_sqlx;
use super::read::JOURNAL;
use super::sql;

/// Runs replayed at a time.
const PAGE: i64 = 256;

const ACTIVE: &str = "status IN ('PENDING', 'RUNNING', 'WAITING', 'PAUSED')";
const ENDED: &str = "status IN ('SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')";

/// A run in progress that no node owns and none will claim. One that is to stay paused hears of everything later.
const LEFT: &str = "e.finished_at IS NULL AND e.owner_node IS NULL \
                    AND NOT (e.status = 'PAUSED' AND e.pause_request IS NOT NULL) \
                    AND NOT EXISTS (SELECT 1 FROM ready AS r WHERE r.exec_id = e.exec_id)";

/// Concurrency keys: whoever may be under way holds its key, nobody else does, and nobody waits for a key that is free.
const GATES: [&str; 5] = [
    "SELECT 'run ' || exec_id || ' has ended but holds concurrency key ' || h.concurrency_key \
     FROM executions AS e JOIN concurrency_holders AS h USING (exec_id) WHERE e.finished_at IS NOT NULL",
    "SELECT 'run ' || exec_id || ' holds concurrency key ' || h.concurrency_key || ', which is not its own' \
     FROM executions AS e JOIN concurrency_holders AS h USING (exec_id) WHERE e.concurrency_key IS DISTINCT FROM h.concurrency_key",
    "SELECT 'run ' || exec_id || ' is under way without its concurrency key ' || e.concurrency_key FROM executions AS e \
     WHERE e.concurrency_key IS NOT NULL AND e.finished_at IS NULL AND e.cancel_request IS NULL \
     AND NOT EXISTS (SELECT 1 FROM concurrency_holders AS h WHERE h.exec_id = e.exec_id) \
     AND NOT EXISTS (SELECT 1 FROM ready AS r WHERE r.exec_id = e.exec_id AND r.gated = 1)",
    "SELECT 'run ' || exec_id || ' waits for concurrency key ' || r.concurrency_key || ' and holds it' \
     FROM ready AS r JOIN concurrency_holders AS h USING (exec_id) WHERE r.gated = 1",
    "SELECT 'concurrency key ' || concurrency_key || ' is free but run ' || min(exec_id) || ' waits for it' \
     FROM ready AS r WHERE gated = 1 GROUP BY concurrency_key HAVING min(coalesce(concurrency_limit, 1)) > \
     (SELECT count(*) FROM concurrency_holders AS h WHERE h.concurrency_key = r.concurrency_key)",
];

/// A step that waits for a signal or a run.
const WAITING: &str = "s.status = 'WAITING' AND s.waiting_for::json ->> 'kind' IN ('signal', 'child')";

/// What is wrong with memories, one sentence each. A key that has expired may be half removed.
const MEMORIES: [&str; 2] = [
    "SELECT 'memory ' || i.ref || ' counts ' || i.message_count || ' messages and ' || i.token_count || ' tokens under ' \
     || i.key || ' and has ' || count(m.seq) || ' and ' || coalesce(sum(m.tokens), 0) FROM memory_instances AS i \
     LEFT JOIN memory_messages AS m ON m.ref = i.ref AND m.key = i.key \
     WHERE coalesce(i.expires_at > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, TRUE) GROUP BY i.ref, i.key \
     HAVING i.message_count <> count(m.seq) OR i.token_count <> coalesce(sum(m.tokens), 0) \
     OR i.byte_count <> coalesce(sum(octet_length(m.content)), 0) \
     OR i.next_seq <= coalesce(max(m.seq), 0)",
    "SELECT DISTINCT 'memory ' || ref || ' has messages under ' || key || ', which does not exist' \
     FROM memory_messages AS m \
     WHERE NOT EXISTS (SELECT 1 FROM memory_instances AS i WHERE i.ref = m.ref AND i.key = m.key)",
];

/// Columns that may hold a reference to a payload.
const REFERENCES: [(&str, &str, &str); 9] = [
    ("executions", "exec_id", "input"),
    ("executions", "exec_id", "output"),
    ("executions", "exec_id", "error"),
    ("steps", "exec_id || '/' || step_key", "input"),
    ("steps", "exec_id || '/' || step_key", "output"),
    ("steps", "exec_id || '/' || step_key", "error"),
    ("attempts", "task_exec_id || '/' || attempt", "error"),
    ("journal", "exec_id || '/' || seq", "data"),
    ("signals", "exec_id || '/' || signal_id", "payload"),
];

/// Every violation, one sentence each.
pub(super) async fn check(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    let mut snapshot = sql::snapshot(connection).await.map_err(from_sqlx)?;
    let mut found = Vec::new();
    rows(&mut snapshot, &mut found).await?;
    replay_all(&mut snapshot, &mut found).await?;
    snapshot.rollback().await.map_err(from_sqlx)?;
    Ok(found)
}

/// What one statement each can find.
async fn rows(connection: &mut PgConnection, found: &mut Vec<String>) -> Result<(), Error> {
    let mut checks = vec![
        format!("SELECT 'run ' || exec_id || ' has ended but node ' || owner_node || ' owns it' \
                 FROM executions WHERE {ENDED} AND owner_node IS NOT NULL"),
        format!("SELECT 'run ' || exec_id || ' has ended but waits in the queue' \
                 FROM executions JOIN ready USING (exec_id) WHERE {ENDED}"),
        format!("SELECT 'run ' || exec_id || ' has ended but timer ' || timer_id || ' is pending' \
                 FROM executions JOIN timers USING (exec_id) WHERE {ENDED}"),
        format!("SELECT 'run ' || e.exec_id || ' has ended but step ' || s.step_key || ' is ' || s.status \
                 FROM executions AS e JOIN steps AS s USING (exec_id) WHERE e.{ENDED} AND s.{ACTIVE}"),
        format!("SELECT 'run ' || exec_id || ' has ended without a time' FROM executions \
                 WHERE {ENDED} AND finished_at IS NULL"),
        format!("SELECT 'run ' || exec_id || ' is ' || status || ' but nothing will ever continue it' \
                 FROM executions AS e WHERE {ACTIVE} AND owner_node IS NULL \
                 AND NOT (status = 'PAUSED' AND pause_request IS NOT NULL) \
                 AND NOT EXISTS (SELECT 1 FROM ready AS r WHERE r.exec_id = e.exec_id) \
                 AND NOT EXISTS (SELECT 1 FROM timers AS t WHERE t.exec_id = e.exec_id) \
                 AND NOT EXISTS (SELECT 1 FROM steps AS s WHERE s.exec_id = e.exec_id AND s.status = 'WAITING') \
                 AND NOT EXISTS (SELECT 1 FROM executions AS c WHERE c.parent_exec_id = e.exec_id AND c.{ACTIVE})"),
        format!("SELECT 'run ' || exec_id || ' has ended but keeps signal ' || signal_id || ' for a wait' \
                 FROM executions JOIN signals AS q USING (exec_id) WHERE {ENDED} AND q.state = 'queued'"),
        format!("SELECT 'step ' || e.exec_id || '/' || s.step_key || ' waits for run ' || c.exec_id || ', which has ended, \
                 and nobody will tell it' FROM executions AS e JOIN steps AS s USING (exec_id) \
                 JOIN executions AS c ON c.exec_id = s.waiting_for::json ->> 'detail' \
                 WHERE {LEFT} AND {} AND s.waiting_for::json ->> 'kind' = 'child' AND c.finished_at IS NOT NULL", WAITING),
        format!("SELECT 'step ' || e.exec_id || '/' || s.step_key || ' waits for signal ' || q.signal_id || ', which has come, \
                 and nobody will tell it' FROM executions AS e JOIN steps AS s USING (exec_id) JOIN signals AS q USING (exec_id) \
                 WHERE {LEFT} AND {} AND s.waiting_for::json ->> 'kind' = 'signal' \
                 AND s.waiting_for::json ->> 'detail' = q.name AND q.state = 'queued'", WAITING),
        format!("SELECT 'step ' || s.exec_id || '/' || s.step_key || ' waits for run ' || (s.waiting_for::json ->> 'detail') || \
                 ', which does not exist' FROM steps AS s WHERE {} AND s.waiting_for::json ->> 'kind' = 'child' \
                 AND EXISTS (SELECT 1 FROM executions AS e WHERE e.exec_id = s.exec_id) \
                 AND NOT EXISTS (SELECT 1 FROM executions AS c WHERE c.exec_id = s.waiting_for::json ->> 'detail')", WAITING),
        "SELECT 'signal ' || exec_id || '/' || signal_id || ' is ' || state || ' but has ' || \
         CASE WHEN settled_at IS NULL THEN 'no' ELSE 'a' END || ' time for that' FROM signals WHERE (state = 'queued') = (settled_at IS NOT NULL)".to_owned(),
        "SELECT 'run ' || c.exec_id || ' has parent ' || c.parent_exec_id || ', which does not exist' FROM executions AS c \
         WHERE c.parent_exec_id IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM executions AS p WHERE p.exec_id = c.parent_exec_id)".to_owned(),
        "SELECT 'run ' || exec_id || ' is owned by node ' || owner_node || ' and waits in the queue' \
         FROM executions JOIN ready USING (exec_id) WHERE owner_node IS NOT NULL".to_owned(),
        "SELECT 'step ' || s.exec_id || '/' || s.step_key || ' has result event ' || s.result_seq || ' that is not in the journal' \
         FROM steps AS s WHERE s.result_seq IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM journal AS j WHERE j.exec_id = s.exec_id AND j.seq = s.result_seq) \
         AND s.result_seq >= (SELECT e.journal_from FROM executions AS e WHERE e.exec_id = s.exec_id)".to_owned(),
        "SELECT 'task execution ' || task_exec_id || ' belongs to ' || count(*) || ' steps' \
         FROM steps GROUP BY task_exec_id HAVING count(*) > 1".to_owned(),
        "SELECT 'attempt ' || a.task_exec_id || '/' || a.attempt || ' has epoch ' || a.epoch || ' after epoch ' || e.epoch || ' of its run' \
         FROM attempts AS a JOIN steps AS s USING (task_exec_id) JOIN executions AS e ON e.exec_id = s.exec_id \
         WHERE a.epoch > e.epoch".to_owned(),
        "SELECT 'run ' || exec_id || ' is owned without an epoch' FROM executions \
         WHERE owner_node IS NOT NULL AND epoch < 1".to_owned(),
        "SELECT 'workflow ' || coalesce(w.workflow_id, e.workflow_id) || ' counts ' || coalesce(w.runs, 0) || ' runs and has ' || coalesce(e.runs, 0) \
         FROM workflow_runs AS w FULL JOIN (SELECT workflow_id, count(*) AS runs FROM executions GROUP BY workflow_id) AS e \
         ON e.workflow_id = w.workflow_id WHERE coalesce(w.runs, 0) <> coalesce(e.runs, 0)".to_owned(),
        "SELECT 'run ' || e.exec_id || ' has definition ' || e.definition_digest || ' that is not stored' FROM executions AS e \
         WHERE EXISTS (SELECT 1 FROM definitions) \
         AND NOT EXISTS (SELECT 1 FROM definitions AS d WHERE d.digest = e.definition_digest)".to_owned(),
    ];
    checks.extend(MEMORIES.map(str::to_owned));
    checks.extend(GATES.map(str::to_owned));
    for table in ["journal", "steps", "timers", "ready", "usage", "signals", "payload_refs", "concurrency_holders"] {
        checks.push(format!(
            "SELECT DISTINCT '{table} has rows of run ' || exec_id || ', which does not exist' FROM {table} AS t \
             WHERE NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.exec_id = t.exec_id) \
             AND NOT EXISTS (SELECT 1 FROM import_rows AS i WHERE i.table_name = 'executions' AND i.name = t.exec_id)"
        ));
    }
    for (table, key, column) in REFERENCES {
        checks.push(format!(
            "SELECT '{table} ' || {key} || ' refers to a payload of {column} that is not stored' FROM {table} AS t \
             WHERE {column} LIKE '@sha256:%' \
             AND NOT EXISTS (SELECT 1 FROM payloads AS p WHERE p.hash = substr(t.{column}, 9))"
        ));
        if table != "attempts" {
            checks.push(format!(
                "SELECT '{table} ' || {key} || ' refers to a payload of {column} that retention may remove' \
                 FROM {table} AS t WHERE {column} LIKE '@sha256:%' AND NOT EXISTS \
                 (SELECT 1 FROM payload_refs AS r WHERE r.hash = substr(t.{column}, 9) AND r.exec_id = t.exec_id)"
            ));
        }
    }
    for sql in checks {
        found.extend(sentences(connection, sql).await?);
    }
    Ok(())
}

async fn sentences(connection: &mut PgConnection, sql: String) -> Result<Vec<String>, Error> {
    let rows = sql::query(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await.map_err(from_sqlx)?;
    rows.iter().map(|row| Columns::of(row).text()).collect()
}

/// Rebuilds every run from its journal and compares.
async fn replay_all(connection: &mut PgConnection, found: &mut Vec<String>) -> Result<(), Error> {
    let mut after = String::new();
    loop {
        let query = sql::query(
            "SELECT exec_id, status, last_seq, journal_from FROM executions WHERE exec_id > $1 ORDER BY exec_id LIMIT $2",
        );
        let rows = query.bind(after.clone()).bind(PAGE).fetch_all(&mut *connection).await.map_err(from_sqlx)?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            let mut columns = Columns::of(row);
            let run = Stated {
                exec_id: columns.text()?,
                status: columns.text()?,
                last_seq: columns.number()?,
                journal_from: columns.number()?,
            };
            replay_one(connection, &run, found).await?;
            after = run.exec_id;
        }
    }
}

async fn replay_one(connection: &mut PgConnection, run: &Stated, found: &mut Vec<String>) -> Result<(), Error> {
    let sql = format!("SELECT {JOURNAL} FROM journal AS e WHERE e.exec_id = $1 ORDER BY e.seq");
    let query = sql::query(AssertSqlSafe(sql)).bind(&run.exec_id);
    let mut events = Vec::new();
    for row in &query.fetch_all(&mut *connection).await.map_err(from_sqlx)? {
        let mut columns = Columns::of(row);
        let (seq, _at, event, _task) = (columns.number()?, columns.number()?, columns.text()?, columns.text_option()?);
        events.push(Event { seq, event, data: columns.text_option()? });
    }
    let query = sql::query("SELECT step_key, status, attempt FROM steps WHERE exec_id = $1 ORDER BY position");
    let mut steps = Vec::new();
    for row in &query.bind(&run.exec_id).fetch_all(connection).await.map_err(from_sqlx)? {
        let mut columns = Columns::of(row);
        steps.push(Stood { step_key: columns.text()?, status: columns.text()?, attempt: columns.number()? });
    }
    replay::compare(run, &events, &steps, found);
    Ok(())
}
