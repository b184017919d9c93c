//! Behind a pooler in transaction mode.

use super::pooler::Pooler;
use super::*;
use crate::storage::row::{Demand, Wanted};

async fn behind(pooler: &Pooler) -> Arc<dyn Storage> {
    let options = Options::new(&settings(&pooler.url()), Role::Server, Clock::system()).unwrap();
    Arc::new(open(options.notifying(false)).await.unwrap())
}

/// Two clients on two connections, so that each gets sessions that the other has used.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_session_is_relied_on() {
    let server = server::Postgres::start();
    let pooler = Pooler::start(&server.url("postgres"), 2);
    let benches = [Bench::new(behind(&pooler).await).await, Bench::new(behind(&pooler).await).await];
    let mut workers = tokio::task::JoinSet::new();
    for index in 0..12 {
        let (storage, node) = (Arc::clone(&benches[index % 2].storage), benches[index % 2].node.clone());
        let new = benches[index % 2].new_run();
        let now = benches[0].clock.now();
        workers.spawn(async move {
            let exec_id = new.run.exec_id.clone();
            storage.start(new).await.unwrap();
            for seq in 2..8 {
                storage.commit(&exec_id, &node, 1, &begin(&exec_id, seq, &format!("s{seq}#1"))).await.unwrap();
                assert!(matches!(
                    storage.commit(&exec_id, &node, 7, &begin(&exec_id, seq, "x#1")).await,
                    Err(Error::Fenced)
                ));
                assert_eq!(storage.load(&exec_id).await.unwrap().unwrap().run.last_seq, seq);
            }
            let asked = Demand { exec_id: exec_id.clone(), wanted: Wanted::Cancel, by: "me".into(), reason: None };
            storage.request(&asked, now).await.unwrap();
            assert!(storage.news(&node).await.unwrap().contains(&exec_id));
        });
    }
    workers.join_all().await;
    benches[0].sound().await;
    assert!(pooler.transactions() > 100, "{}", pooler.transactions());
    for bench in benches {
        bench.storage.close().await;
    }
    // Nothing was left in a session: neither a setting nor a statement, a lock, a table or a listener.
    let left = "DO $$ BEGIN IF EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory') \
                OR (SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'listen%') > 0 \
                THEN RAISE 'left'; END IF; END $$";
    super::server::execute(&server.url("postgres"), left.into());
    let prepared = "DO $$ BEGIN IF (SELECT count(*) FROM pg_prepared_statements WHERE name <> '') > 0 \
                    OR current_setting('statement_timeout') <> '0' THEN RAISE 'left in the session'; END IF; END $$";
    for _ in 0..2 {
        super::server::execute_simply(&pooler.url(), prepared.into());
    }
}

#[test]
fn how_a_pooler_is_announced() {
    for (query, notify, expected) in [
        ("", true, false),
        ("", false, true),
        ("?pgbouncer=true", true, true),
        ("?pgbouncer=false", false, false),
        ("?sslmode=disable&statement_cache_capacity=0", true, true),
        ("?statement-cache-capacity=50", false, false),
        ("?default_query_exec_mode=simple_protocol", true, true),
        ("?prepareThreshold=0&sslmode=disable", true, true),
    ] {
        let database = settings(&format!("postgres://u@h/d{query}"));
        let options = Options::new(&database, Role::Server, Clock::system()).unwrap().notifying(notify);
        assert_eq!((options.is_pooled(), options.notifies()), (expected, notify && !expected), "{query} {notify}");
    }
}

/// Every statement is made in `sql.rs`, so that none is named where that means nothing.
#[test]
fn statements_are_made_in_one_place() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/src/storage/postgres");
    for file in std::fs::read_dir(folder).unwrap().flatten().filter(|file| file.file_name() != "sql.rs") {
        let Ok(text) = std::fs::read_to_string(file.path()) else { continue };
        for word in ["query(", "query_as(", "query_as::", "query_scalar"] {
            assert!(!text.contains(&format!("sqlx::{word}")), "{}: sqlx::{word}", file.path().display());
        }
    }
}
