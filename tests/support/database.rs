//! Looks into a database, a SQLite file through a copy while no process has it open, and checks what must hold at every commit boundary.
//!
//! It knows the tables only by their documented columns (cli-and-api §9.1) and shares no code with `doctor --deep`, so
//! that each can catch the other being wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor as _, PgConnection, Row, SqliteConnection};

/// What a database held.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Status of every run.
    pub(crate) runs: BTreeMap<String, String>,
    /// Idempotency keys of the steps whose result is recorded.
    pub(crate) recorded: BTreeSet<String>,
    /// Everything that must not be, one line each.
    pub(crate) violations: Vec<String>,
}

const TERMINAL: &str = "('SUCCESS', 'FAILED', 'TIMED_OUT', 'CANCELED')";

/// A name, and a query whose rows (one text column) are violations.
const RULES: &[(&str, &str)] = &[
    (
        "the journal of a run is contiguous from 1 to its last_seq",
        "SELECT e.exec_id FROM executions e LEFT JOIN journal j USING (exec_id) GROUP BY e.exec_id
         HAVING count(j.seq) <> e.last_seq OR coalesce(max(j.seq), 0) <> e.last_seq OR coalesce(min(j.seq), 1) <> 1",
    ),
    (
        "a run that goes on has something to go on with",
        "SELECT exec_id FROM executions e WHERE status NOT IN {terminal} AND status <> 'PAUSED'
         AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.exec_id = e.exec_id AND s.status NOT IN {terminal})
         AND NOT EXISTS (SELECT 1 FROM timers t WHERE t.exec_id = e.exec_id)
         AND NOT (e.status = 'PENDING' AND (e.owner_node IS NOT NULL
         OR EXISTS (SELECT 1 FROM ready r WHERE r.exec_id = e.exec_id)))",
    ),
    (
        "a run that ended has neither owner nor open step, timer or place in the queue",
        "SELECT exec_id FROM executions e WHERE status IN {terminal} AND (owner_node IS NOT NULL
         OR EXISTS (SELECT 1 FROM steps s WHERE s.exec_id = e.exec_id AND s.status NOT IN {terminal})
         OR EXISTS (SELECT 1 FROM timers t WHERE t.exec_id = e.exec_id)
         OR EXISTS (SELECT 1 FROM ready r WHERE r.exec_id = e.exec_id))",
    ),
    (
        "a step has one recorded result",
        "SELECT exec_id || ' ' || json_extract(data, '$.step_key') FROM journal WHERE event = 'task_status'
         AND json_extract(data, '$.status') IN {terminal} GROUP BY 1 HAVING count(*) > 1",
    ),
    (
        "a signal is queued only for a run that goes on",
        "SELECT exec_id || ' ' || signal_id FROM signals JOIN executions USING (exec_id)
         WHERE signals.state = 'queued' AND status IN {terminal}",
    ),
    (
        "a time of a schedule starts a run of its own",
        "SELECT min(schedule_id) || ' ' || exec_id FROM schedule_fires WHERE exec_id IS NOT NULL
         GROUP BY exec_id HAVING count(*) > 1
         UNION ALL SELECT schedule_id || ' ' || exec_id FROM schedule_fires
         WHERE exec_id IS NOT NULL AND exec_id NOT IN (SELECT exec_id FROM executions)",
    ),
    (
        "a step that ended says where in the journal",
        "SELECT s.exec_id || ' ' || s.step_key FROM steps s LEFT JOIN journal j ON j.exec_id = s.exec_id
         AND j.seq = s.result_seq AND j.event = 'task_status' WHERE s.status IN {terminal} AND j.seq IS NULL",
    ),
    (
        "no more runs of a concurrency key are under way than its limit, and whoever is under way holds it",
        "SELECT concurrency_key FROM executions e WHERE concurrency_key IS NOT NULL AND status NOT IN {terminal}
         AND epoch > 0 GROUP BY 1 HAVING count(*) > max(concurrency_limit)
         OR count(*) > (SELECT count(*) FROM concurrency_holders h WHERE h.concurrency_key = e.concurrency_key)",
    ),
    (
        "what refers to a run refers to one that exists",
        // The key of an event concerns no single run.
        "SELECT exec_id FROM (SELECT exec_id FROM steps UNION SELECT exec_id FROM journal UNION SELECT exec_id FROM timers
         UNION SELECT exec_id FROM ready UNION SELECT exec_id FROM idempotency_keys WHERE exec_id <> '')
         AS named WHERE exec_id NOT IN (SELECT exec_id FROM executions)",
    ),
    (
        "an epoch of a run is one node's",
        "SELECT s.exec_id || ' ' || a.epoch FROM attempts a JOIN steps s USING (task_exec_id)
         GROUP BY s.exec_id, a.epoch HAVING count(DISTINCT a.node) > 1
         UNION ALL SELECT s.exec_id || ' ' || a.epoch FROM attempts a JOIN steps s USING (task_exec_id)
         JOIN executions e USING (exec_id) WHERE a.epoch > e.epoch",
    ),
    (
        "whoever lost a run writes nothing to it any more: in the order of the journal epochs only grow",
        "SELECT exec_id || ' ' || result_seq FROM (SELECT s.exec_id, s.result_seq, a.epoch,
         max(a.epoch) OVER (PARTITION BY s.exec_id ORDER BY s.result_seq) AS latest FROM steps s
         JOIN attempts a ON a.task_exec_id = s.task_exec_id AND a.attempt = s.attempt
         WHERE s.result_seq IS NOT NULL) AS recorded WHERE epoch < latest",
    ),
];

impl Snapshot {
    /// Copies the file with its WAL and looks into the copy. No process may have the database open.
    pub(crate) fn of(database: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("copy.db");
        for suffix in ["", "-wal"] {
            let from = format!("{}{suffix}", database.display());
            if Path::new(&from).exists() {
                std::fs::copy(&from, format!("{}{suffix}", copy.display())).expect("copy the database");
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection = SqliteConnectOptions::new().filename(&copy).connect().await.expect("open the copy");
            read(&mut connection).await.expect("read the copy")
        })
    }
}

impl Snapshot {
    /// Looks into a database of a PostgreSQL server, at one moment, whoever else writes.
    pub(crate) fn of_server(url: &str) -> Self {
        let url = url.to_owned();
        super::postgres::blocking(async move {
            let mut connection = PgConnection::connect(&url).await.expect("connect");
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.expect("a transaction");
            let snapshot = read_server(&mut connection).await.expect("read");
            connection.close().await.expect("close");
            snapshot
        })
    }
}

/// What a query of one column of texts gives on a PostgreSQL server.
pub(crate) fn server_column(url: &str, query: &str) -> Vec<String> {
    let (url, query) = (url.to_owned(), query.to_owned());
    super::postgres::blocking(async move {
        let mut connection = PgConnection::connect(&url).await.expect("connect");
        let texts = server_texts(&mut connection, &query).await.expect("read");
        connection.close().await.expect("close");
        texts
    })
}

async fn read_server(connection: &mut PgConnection) -> Result<Snapshot, sqlx::Error> {
    let mut snapshot = Snapshot::default();
    let made = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'executions'";
    if server_texts(connection, made).await?.is_empty() {
        return Ok(snapshot);
    }
    for row in sqlx::query("SELECT exec_id, status FROM executions").fetch_all(&mut *connection).await? {
        snapshot.runs.insert(row.get(0), row.get(1));
    }
    snapshot.recorded = server_texts(connection, &recorded()).await?.into_iter().collect();
    for (rule, query) in RULES {
        let query = query.replace("{terminal}", TERMINAL);
        let query = FIELDS.iter().fold(query, |query, (ours, theirs)| query.replace(ours, theirs));
        for row in server_texts(connection, &query).await? {
            snapshot.violations.push(format!("{rule}: {row}"));
        }
    }
    Ok(snapshot)
}

/// How PostgreSQL spells what the rules read of a document.
const FIELDS: [(&str, &str); 2] = [
    ("json_extract(data, '$.step_key')", "(data::json ->> 'step_key')"),
    ("json_extract(data, '$.status')", "(data::json ->> 'status')"),
];

async fn server_texts(connection: &mut PgConnection, query: &str) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(connection).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The keys of all recorded steps.
fn recorded() -> String {
    format!("SELECT exec_id || ':' || replace(step_key, '#', ':') FROM steps WHERE status IN {TERMINAL}")
}

/// Executes one statement on a database file, which is made if there is none; others may have it open.
pub(crate) fn execute(database: &Path, statement: &str) {
    std::fs::create_dir_all(database.parent().expect("a parent")).expect("a folder");
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = options.connect().await.expect("open");
        connection.execute(AssertSqlSafe(statement)).await.expect("execute");
    });
}

async fn read(connection: &mut SqliteConnection) -> Result<Snapshot, sqlx::Error> {
    let mut snapshot = Snapshot::default();
    if texts(connection, "SELECT name FROM sqlite_schema WHERE name = 'executions'").await?.is_empty() {
        // Killed before the first migration was committed.
        return Ok(snapshot);
    }
    let damage = texts(connection, "PRAGMA integrity_check").await?;
    if damage != ["ok"] {
        snapshot.violations.push(format!("integrity_check: {damage:?}"));
    }
    for row in sqlx::query("SELECT exec_id, status FROM executions").fetch_all(&mut *connection).await? {
        snapshot.runs.insert(row.get(0), row.get(1));
    }
    snapshot.recorded = texts(connection, &recorded()).await?.into_iter().collect();
    for (rule, query) in RULES {
        for row in texts(connection, &query.replace("{terminal}", TERMINAL)).await? {
            snapshot.violations.push(format!("{rule}: {row}"));
        }
    }
    Ok(snapshot)
}

async fn texts(connection: &mut SqliteConnection, query: &str) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(connection).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
