//! What only a PostgreSQL server can get wrong: several nodes, connections that go, servers that restart, spellings.

mod catalog;
mod nodes;
mod pooled;
#[path = "../../../../tests/support/pooler.rs"]
mod pooler;
#[path = "../../../../tests/support/postgres.rs"]
pub(crate) mod server;
mod server_gone;
mod spellings;
mod tls;
mod wakes;

use std::sync::Arc;
use std::sync::Mutex;

use compozy_lang::settings::{Database, Driver};

use super::super::row::{KvEntry, MemoryAct, MemoryChange, NewMessage};
use super::super::suite::{self, Bench, begin, finish};
use super::super::{Error, Storage};
use super::{Options, PgStorage, Role, open};
use crate::clock::Clock;

/// The settings for a URL, as a project would have them.
fn settings(url: &str) -> Database {
    Database { driver: Driver::Postgres, conn_string: Some(url.to_owned()), ..Database::default() }
}

async fn try_open(url: &str, role: Role) -> Result<PgStorage, Error> {
    open(Options::new(&settings(url), role, Clock::system()).unwrap()).await
}

pub(crate) async fn opened(url: &str) -> Arc<dyn Storage> {
    Arc::new(try_open(url, Role::Server).await.unwrap())
}

/// A database of its own, opened.
pub(crate) async fn fresh() -> (String, Arc<dyn Storage>) {
    let url = server::database();
    let storage = opened(&url).await;
    (url, storage)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_a_server() {
    let made = Mutex::new(Vec::new());
    suite::all(|| async {
        let url = server::database();
        made.lock().unwrap().push(url.clone());
        opened(&url).await
    })
    .await;
    for url in made.into_inner().unwrap() {
        server::drop_database(&url);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_may_migrate_at_once() {
    let url = server::database();
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let url = url.clone();
        nodes.spawn(async move { try_open(&url, Role::Server).await.unwrap() });
    }
    let nodes = nodes.join_all().await;
    let ids: std::collections::HashSet<_> = nodes.iter().map(|node| node.info().database_id.clone()).collect();
    assert_eq!(ids.len(), 1, "one database, one identity");
    let keys: std::collections::HashSet<_> = nodes.iter().map(|node| node.info().identity_key).collect();
    assert_eq!(keys.len(), 1);
    for node in nodes {
        node.close().await;
    }
    server::drop_database(&url);
}

#[tokio::test]
async fn what_is_not_ours_is_left_alone() {
    let url = server::database();
    assert!(matches!(try_open(&url, Role::ReadOnly).await, Err(Error::NotFound(_))), "looking makes no tables");
    server::execute(&url, "CREATE TABLE executions (id int)".into());
    let foreign = try_open(&url, Role::Server).await.unwrap_err();
    assert!(matches!(&foreign, Error::Unusable(text) if text.contains("another program")), "{foreign}");
    server::execute(&url, "DROP TABLE executions".into());
    opened(&url).await.close().await;
    server::execute(&url, "INSERT INTO migrations VALUES (999, 'future', 'x', 0)".into());
    let newer = try_open(&url, Role::Server).await.unwrap_err();
    assert!(matches!(&newer, Error::TooNew(text) if text.contains("schema version 999")), "{newer}");
    server::execute(&url, "DELETE FROM migrations WHERE version = 999; UPDATE migrations SET checksum = 'x'".into());
    let changed = try_open(&url, Role::ReadOnly).await.unwrap_err();
    assert!(matches!(&changed, Error::Unusable(text) if text.contains("not the one")), "{changed}");
    server::drop_database(&url);
}

#[tokio::test]
async fn a_reader_writes_nothing() {
    let url = server::database();
    let bench = Bench::new(opened(&url).await).await;
    let exec_id = bench.start().await;
    let reader = try_open(&url, Role::ReadOnly).await.unwrap();
    assert_eq!(reader.run(&exec_id).await.unwrap().unwrap().exec_id, exec_id);
    assert!(matches!(reader.hand_back(&bench.node, bench.clock.now()).await, Err(Error::Unavailable(_))));
    assert!(matches!(reader.start(bench.new_run()).await, Err(Error::Unavailable(_))));
    bench.storage.close().await;
    reader.close().await;
    server::drop_database(&url);
}

/// PostgreSQL stores no U+0000: escapes in JSON are no such thing, a real one in a text is refused or replaced.
#[tokio::test]
async fn a_nul_is_refused_or_replaced() {
    let url = server::database();
    let bench = Bench::new(opened(&url).await).await;
    let storage = &bench.storage;
    let entry = KvEntry { space: "s".into(), key: "a\0b".into(), value: vec![0, 1], expires_at: None };
    let refused = storage.kv_set(entry, None, bench.clock.now()).await.unwrap_err();
    assert!(matches!(&refused, Error::Driver(text) if text.contains("U+0000")), "{refused}");
    let message = NewMessage { seq: None, role: "user".into(), content: "a\0b".into(), tokens: 1, summary: false };
    let act = MemoryAct::Write { version: 0, cleared: false, dropped: Vec::new(), added: vec![message], backup: false };
    let (memory, key, writer) = ("m".into(), "k".into(), "w".into());
    let change = MemoryChange { memory, key, writer, expires_at: None, act };
    storage.change_memory(vec![change], bench.clock.now()).await.unwrap();
    let said = storage.memory("m", "k", true).await.unwrap().unwrap();
    assert_eq!(said.messages[0].content, "a\u{fffd}b");
    let mut new = bench.new_run();
    (new.run.input, new.run.tags) = (r#"{"a":"\u0000"}"#.into(), r#"{"t":"\u0000"}"#.into());
    let exec_id = new.run.exec_id.clone();
    storage.start(new).await.unwrap();
    let mut changes = begin(&exec_id, 2, "a#1");
    changes.steps[0].status = "WAITING".into();
    changes.journal[0].data = r#"{"step_key":"a#1","status":"WAITING","attempt":1}"#.into();
    changes.steps[0].waiting_for = Some(r#"{"kind":"signal","detail":"x\u0000y"}"#.into());
    bench.commit(&exec_id, changes).await.unwrap();
    assert_eq!(storage.run(&exec_id).await.unwrap().unwrap().input, r#"{"a":"\u0000"}"#);
    let tagged = super::super::row::RunFilter { tag: Some(("t".into(), "x".into())), limit: 5, ..Default::default() };
    assert!(storage.runs(&tagged).await.unwrap().items.is_empty());
    bench.sound().await;
    bench.commit(&exec_id, finish(&exec_id, 3, "a#1")).await.unwrap();
    bench.sound().await;
    storage.close().await;
    server::drop_database(&url);
}
