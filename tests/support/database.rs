//! Looks into a database whose process is dead, through a copy, and checks what must hold at every commit boundary.
//!
//! It knows the tables only by their documented columns (cli-and-api §9.1) and shares no code with `doctor --deep`, so
//! that each can catch the other being wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};

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
         WHERE exec_id NOT IN (SELECT exec_id FROM executions)",
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

/// Executes one statement on a database file, which is made if there is none; others may have it open.
pub(crate) fn execute(database: &Path, statement: &str) {
    use sqlx::Executor;
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
    let steps = format!("SELECT exec_id || ':' || replace(step_key, '#', ':') FROM steps WHERE status IN {TERMINAL}");
    snapshot.recorded = texts(connection, &steps).await?.into_iter().collect();
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
