//! What only a SQLite file can get wrong: files, modes, locks, damage, other processes.

use std::path::Path;
use std::sync::Arc;

use sqlx::Connection as _;
use tempfile::TempDir;

use super::super::row::Retention;
use super::super::suite::{self, Bench};
use super::super::{Error, Storage};
use super::{Options, Role, open};
use crate::clock::Clock;
use crate::id::ExecId;

fn options(path: &Path, role: Role) -> Options {
    Options::new(path.to_str().unwrap(), role, Clock::system())
}

async fn file(path: &Path, role: Role) -> Arc<dyn Storage> {
    Arc::new(open(options(path, role)).await.unwrap())
}

async fn memory() -> Arc<dyn Storage> {
    Arc::new(open(Options::new(":memory:", Role::Embedded, Clock::system())).await.unwrap())
}

/// Runs SQL behind the storage's back.
async fn plant(path: &Path, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_a_file() {
    let folder = TempDir::new().unwrap();
    let count = std::sync::atomic::AtomicU32::new(0);
    suite::all(|| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = folder.path().join(format!("{number}.db"));
        async move { file(&path, Role::Server).await }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_in_memory() {
    suite::all(memory).await;
}

#[tokio::test]
async fn memory_is_private() {
    let (one, two) = (Bench::new(memory().await).await, Bench::new(memory().await).await);
    let exec_id = one.start().await;
    assert!(two.storage.run(&exec_id).await.unwrap().is_none());
    assert!(one.storage.info().ephemeral);
    assert_ne!(one.storage.info().database_id, two.storage.info().database_id);
}

#[cfg(unix)]
#[tokio::test]
async fn files_belong_to_their_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/deep/compozy.db");
    let bench = Bench::new(file(&path, Role::Server).await).await;
    bench.start().await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in ["compozy.db", "compozy.db-wal", "compozy.db-shm", "compozy.db.lock", "compozy.db.server"] {
        assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
    }
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    bench.storage.close().await;
    assert!(!path.with_file_name("compozy.db-wal").exists(), "the log is finished");
}

#[tokio::test]
async fn a_database_is_kept_over_processes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("compozy.db");
    let bench = Bench::new(file(&path, Role::Server).await).await;
    let exec_id = bench.start().await;
    let info = bench.storage.info().clone();
    bench.storage.close().await;
    let again = file(&path, Role::ReadOnly).await;
    assert_eq!(again.run(&exec_id).await.unwrap().unwrap().exec_id, exec_id);
    assert_eq!((&again.info().database_id, again.info().identity_key), (&info.database_id, info.identity_key));
    assert!(matches!(again.hand_back(&"n".into(), Default::default()).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text.db"), "This is not a database, and it is long enough to have a header. ".repeat(99))
        .unwrap();
    plant(&path("foreign.db"), "CREATE TABLE customers (id INTEGER)").await;
    file(&path("newer.db"), Role::Server).await.close().await;
    plant(&path("newer.db"), "INSERT INTO migrations VALUES (999, 'future', 'x', 0)").await;
    file(&path("changed.db"), Role::Server).await.close().await;
    plant(&path("changed.db"), "UPDATE migrations SET checksum = 'x'").await;
    file(&path("damaged.db"), Role::Server).await.close().await;
    let mut bytes = std::fs::read(path("damaged.db")).unwrap();
    let middle = bytes.len() / 2;
    bytes[4_096..middle].fill(0xa5);
    std::fs::write(path("damaged.db"), bytes).unwrap();
    for (name, expected) in [
        ("text.db", "not a SQLite database"),
        ("foreign.db", "another program"),
        ("newer.db", "newer than this program"),
        ("changed.db", "not the one this program knows"),
        ("damaged.db", "damaged"),
    ] {
        let before = std::fs::read(path(name)).unwrap();
        for role in [Role::Server, Role::Embedded, Role::ReadOnly] {
            let error = open(options(&path(name), role)).await.unwrap_err();
            let newer = matches!(&error, Error::TooNew(_));
            assert!(newer || matches!(&error, Error::Unusable(_)), "{name} {role:?}: {error}");
            assert!(newer == (name == "newer.db") && error.to_string().contains(expected), "{name} {role:?}: {error}");
        }
        assert!(std::fs::read(path(name)).unwrap() == before, "{name} was written");
    }
    let missing = open(options(&path("missing.db"), Role::ReadOnly)).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound(_)), "{missing}");
    assert!(!path("missing.db").exists());
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = open(options(&folder.path().join("file/x/compozy.db"), Role::Server)).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("file/x")), "{error}");
}

#[tokio::test]
async fn there_is_one_server() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("compozy.db");
    let first = file(&path, Role::Server).await;
    first.announce("process 42 at http://127.0.0.1:8080").unwrap();
    let error = open(options(&path, Role::Server)).await.unwrap_err();
    let expected = "already served by process 42 at http://127.0.0.1:8080";
    assert!(matches!(&error, Error::Conflict(text) if text.ends_with(expected)), "{error}");
    // A command may still work beside it.
    file(&path, Role::Embedded).await.close().await;
    first.close().await;
    file(&path, Role::Server).await.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_share_one_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("compozy.db");
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let path = path.clone();
        // All make or migrate the file at once, and none hears of the others' locks.
        writers.spawn(async move {
            let bench = Bench::new(file(&path, Role::Embedded).await).await;
            for _ in 0..10 {
                let exec_id: ExecId = bench.start().await;
                bench.commit(&exec_id, suite::begin(&exec_id, 2, "a#1")).await.unwrap();
            }
            bench.storage.close().await;
        });
    }
    writers.join_all().await;
    let storage = file(&path, Role::ReadOnly).await;
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
    assert_eq!(storage.workflow_summaries().await.unwrap()[0].runs, 80);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_others_are_noticed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("compozy.db");
    let server = file(&path, Role::Server).await;
    let waiter = Arc::clone(&server);
    let noticed = tokio::spawn(async move { waiter.changed_elsewhere().await });
    let own = Bench::new(Arc::clone(&server)).await;
    own.start().await;
    let other = Bench::new(file(&path, Role::Embedded).await).await;
    while !noticed.is_finished() {
        other.start().await;
        tokio::task::yield_now().await;
    }
    noticed.await.unwrap();
}

#[tokio::test]
async fn check_finds_what_was_planted() {
    let folder = TempDir::new().unwrap();
    for (number, (sql, expected)) in [
        ("DELETE FROM journal WHERE seq = 1", "misses event 1 before event 2"),
        ("DELETE FROM journal WHERE seq = 2", "has last_seq 2 but its journal ends at 1"),
        ("UPDATE steps SET status = 'SUCCESS'", "is SUCCESS in attempt 1 but the journal says RUNNING in attempt 1"),
        ("UPDATE steps SET attempt = 2", "is RUNNING in attempt 2 but the journal says RUNNING in attempt 1"),
        ("DELETE FROM steps", "is in the journal but not stored"),
        ("UPDATE executions SET owner_node = NULL", "nothing will ever continue it"),
        ("UPDATE executions SET status = 'SUCCESS', finished_at = 1", "has ended but node"),
        ("UPDATE executions SET status = 'PAUSED'", "is PAUSED but its journal says RUNNING"),
        (
            "INSERT INTO ready (exec_id, not_before, priority) SELECT exec_id, 0, 0 FROM executions",
            "and waits in the queue",
        ),
        ("UPDATE executions SET input = '@sha256:00'", "refers to a payload of input that is not stored"),
        ("UPDATE steps SET result_seq = 77", "has result event 77 that is not in the journal"),
        ("UPDATE workflow_runs SET runs = 5", "counts 5 runs and has 1"),
        ("DELETE FROM definitions WHERE FALSE; DELETE FROM executions", "which does not exist"),
        ("UPDATE executions SET journal_from = 2", "but its journal begins at 2"),
        ("UPDATE executions SET owner_node = NULL, status = 'PAUSED'", "nothing will ever continue it"),
        (
            "UPDATE executions SET owner_node = NULL; UPDATE steps SET status = 'WAITING', \
             waiting_for = '{\"kind\":\"signal\",\"detail\":\"paid\"}'; \
             INSERT INTO signals (exec_id, signal_id, name, payload, metadata, state, received_at) \
             SELECT exec_id, 's', 'paid', '1', '{}', 'queued', 1 FROM executions",
            "which has come, and nobody will tell it",
        ),
        (
            "UPDATE steps SET status = 'WAITING', waiting_for = '{\"kind\":\"child\",\"detail\":\"lost\"}'",
            "waits for run lost, which does not exist",
        ),
        (
            "UPDATE executions SET status = 'SUCCESS', finished_at = 1; \
             INSERT INTO signals (exec_id, signal_id, name, payload, metadata, state, received_at) \
             SELECT exec_id, 's', 'paid', '1', '{}', 'queued', 1 FROM executions",
            "keeps signal s for a wait",
        ),
        (
            "INSERT INTO payloads VALUES ('00', x'31', 1); UPDATE executions SET input = '@sha256:00'",
            "that retention may remove",
        ),
        ("UPDATE executions SET parent_exec_id = 'gone'", "has parent gone, which does not exist"),
        (
            "UPDATE journal SET data = '{\"step_key\":\"a#1\",\"status\":\"SUCCESS\"}' WHERE seq = 1; \
          UPDATE journal SET event = 'task_status' WHERE seq = 1",
            "was recorded as SUCCESS and then as RUNNING",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(format!("{number}.db"));
        let bench = Bench::new(file(&path, Role::Server).await).await;
        let exec_id = bench.start().await;
        bench.commit(&exec_id, suite::begin(&exec_id, 2, "a#1")).await.unwrap();
        bench.sound().await;
        plant(&path, sql).await;
        let found = bench.storage.check().await.unwrap();
        assert!(found.iter().any(|sentence| sentence.contains(expected)), "{sql}: {found:#?}");
    }
}

/// A second process must get its turn beside a server that writes all the time (cli-and-api §4.3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_writer_leaves_others_their_turn() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("compozy.db");
    let server = Arc::new(Bench::new(file(&path, Role::Server).await).await);
    let other = Bench::new(file(&path, Role::Embedded).await).await;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (server, done) = (Arc::clone(&server), Arc::clone(&done));
        writers.spawn(async move {
            let mut started = 0_u32;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                server.start().await;
                started += 1;
            }
            started
        });
    }
    for _ in 0..50 {
        other.start().await;
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let meanwhile: u32 = writers.join_all().await.iter().sum();
    assert!(meanwhile >= 50, "the server went on writing: {meanwhile}");
    server.sound().await;
}

#[tokio::test]
async fn an_older_database_is_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("compozy.db");
    let bench = Bench::new(file(&path, Role::Server).await).await;
    let mut new = bench.new_run();
    new.run.input = format!("\"{}\"", "x".repeat(10_000));
    let (exec_id, input) = (new.run.exec_id.clone(), new.run.input.clone());
    bench.storage.start(new).await.unwrap();
    bench.storage.close().await;
    plant(
        &path,
        "DROP VIEW v_memory_instances; DROP VIEW v_memory_messages; DROP TABLE memory_instances; \
         DROP TABLE memory_messages; DROP VIEW v_signals; DROP VIEW v_schedules; DROP VIEW v_schedule_fires; DROP TABLE signals; DROP TABLE events; \
         DROP TABLE schedules; DROP TABLE schedule_fires; DROP TABLE payload_refs; DROP INDEX steps_waiting; \
         DROP INDEX executions_untrimmed; DROP INDEX idempotency_expiry; \
         ALTER TABLE executions DROP COLUMN trimmed_at; ALTER TABLE executions DROP COLUMN journal_from; \
         ALTER TABLE idempotency_keys DROP COLUMN answer; DROP TABLE concurrency_holders; DROP INDEX ready_turn; \
         DROP INDEX ready_age; DROP INDEX ready_gate; DROP INDEX ready_gate_age; ALTER TABLE ready DROP COLUMN gated; \
         ALTER TABLE ready DROP COLUMN workflow_id; ALTER TABLE ready DROP COLUMN concurrency_limit; \
         ALTER TABLE executions DROP COLUMN concurrency_limit; DROP TABLE import_progress; DROP TABLE import_rows; \
         DROP INDEX executions_root; ALTER TABLE executions DROP COLUMN import_hash; \
         CREATE INDEX ready_order ON ready (priority DESC, not_before, exec_id); \
         DELETE FROM migrations WHERE version > 1",
    )
    .await;
    let error = open(options(&path, Role::ReadOnly)).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict(text) if text.contains("older schema version 1")), "{error}");
    let again = file(&path, Role::Server).await;
    assert_eq!(again.run(&exec_id).await.unwrap().unwrap().input, input);
    assert_eq!(again.check().await.unwrap(), Vec::<String>::new(), "its payload is needed");
}

/// What a sweep frees goes back to the file system in small steps, and the writer says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swept_file_becomes_smaller() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("compozy.db");
    let bench = Bench::new(file(&path, Role::Server).await).await;
    for _ in 0..600 {
        let mut new = bench.new_run();
        new.run.tags = format!(r#"{{"pad":"{}"}}"#, "x".repeat(7_000));
        let exec_id = new.run.exec_id.clone();
        bench.storage.start(new).await.unwrap();
        bench.commit(&exec_id, suite::begin(&exec_id, 2, "a#1")).await.unwrap();
        bench.commit(&exec_id, suite::finish(&exec_id, 3, "a#1")).await.unwrap();
    }
    bench.storage.close().await;
    let before = std::fs::metadata(&path).unwrap().len();
    let storage = file(&path, Role::Server).await;
    assert_eq!(storage.shrunk_to(), None);
    let none = std::time::Duration::ZERO;
    let retention = Retention { success: none, failed: none, journal: none, keep_last: 0 };
    let (mut cursor, mut runs, mut pages, mut steps) = (None, 0, 0, 0);
    loop {
        let later = compozy_engine::time::Timestamp(i64::MAX / 2);
        let swept = storage.sweep(&retention, cursor.as_deref(), later).await.unwrap();
        assert!(swept.pages <= 70, "{swept:?}, some of them of the map of pages");
        (runs, pages, steps, cursor) = (runs + swept.runs, pages + swept.pages, steps + 1, swept.next);
        if cursor.is_none() {
            break;
        }
    }
    assert!(runs == 600 && pages > 500 && steps > 12, "{runs} runs, {pages} pages, {steps} steps");
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
    let shrunk = storage.shrunk_to().unwrap();
    storage.close().await;
    let after = std::fs::metadata(&path).unwrap().len();
    assert!(after >= shrunk && after < before / 2, "{before} bytes became {after}, no fewer than {shrunk}");
}

/// The cost of a claim does not grow with the queue, nor that of letting the next run of a key through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_costs_the_same_in_a_long_queue() {
    let folder = TempDir::new().unwrap();
    let mut took = Vec::new();
    for (number, rows) in [1_000, 100_000].into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.db"));
        let bench = Bench::new(file(&path, Role::Server).await).await;
        bench.start().await;
        let fill = if rows == 1_000 { FILL_SHORT } else { FILL_LONG };
        plant(&path, fill).await;
        assert_eq!(bench.storage.queue_length().await.unwrap().claimable, rows);
        let mut times = Vec::new();
        for _ in 0..40 {
            let since = std::time::Instant::now();
            let claimed = bench.storage.claim(&bench.node, 8, bench.clock.now()).await.unwrap();
            times.push(since.elapsed());
            assert_eq!(claimed.len(), 8);
            let workflows: std::collections::BTreeSet<_> = claimed.iter().map(|run| &run.workflow_id).collect();
            assert!(workflows.len() > 4, "workflows in turn: {workflows:?}");
        }
        times.sort();
        took.push(times[times.len() / 2]);
    }
    let (short, long) = (took[0], took[1]);
    assert!(long < short * 3, "a claim takes {short:?} in a short queue and {long:?} in a long one");
}

/// Runs of ten workflows and three priorities, and as many again of one concurrency key.
macro_rules! fill {
    ($rows:literal) => {
        concat!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ",
            $rows,
            ") INSERT INTO executions (exec_id, component, workflow_id, definition_digest, status, input, \"trigger\", \
             tags, root_exec_id, durability, priority, state, epoch, last_seq, created_at, updated_at) \
             SELECT 'run-' || i, 'workflow', 'w' || (i % 10), 'd', 'PENDING', '{}', '{}', '{}', 'run-' || i, 'normal', \
             i % 3, '{}', 0, 0, i, i FROM n; \
             INSERT INTO ready (exec_id, not_before, priority, workflow_id) \
             SELECT exec_id, created_at, priority, workflow_id FROM executions WHERE status = 'PENDING'; \
             INSERT INTO ready (exec_id, not_before, priority, workflow_id, concurrency_key, gated) \
             SELECT 'gated-' || exec_id, created_at, priority, workflow_id, 'k', 1 FROM executions \
             WHERE status = 'PENDING'"
        )
    };
}
const FILL_SHORT: &str = fill!("1000");
const FILL_LONG: &str = fill!("100000");
