//! Export and import over every driver.

mod hostile;
mod moving;
mod verified;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use compozy_engine::time::Timestamp;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::*;
use crate::clock::Clock;
use crate::id::ExecId;
use crate::storage::Storage;
use crate::storage::postgres::tests::{fresh, server};
use crate::storage::row::*;
use crate::storage::sqlite::{self, Role};
use crate::storage::suite::{Bench, begin, event, finish, update};
use crate::storage::transfer::{RunChoice, Selection};

/// Empty databases of one driver.
pub(super) enum Driver {
    Sqlite(tempfile::TempDir, std::sync::atomic::AtomicU32),
    Postgres(std::sync::Mutex<Vec<String>>),
}

impl Driver {
    pub(super) fn all() -> Vec<Self> {
        let folder = tempfile::TempDir::new().unwrap();
        vec![Self::Sqlite(folder, 0.into()), Self::Postgres(std::sync::Mutex::default())]
    }

    pub(super) async fn open(&self) -> Arc<dyn Storage> {
        match self {
            Self::Sqlite(folder, count) => {
                let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let path = folder.path().join(format!("{number}.db"));
                let options = sqlite::Options::new(path.to_str().unwrap(), Role::Server, Clock::system());
                Arc::new(sqlite::open(options).await.unwrap())
            }
            Self::Postgres(made) => {
                let (url, storage) = fresh().await;
                made.lock().unwrap().push(url);
                storage
            }
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Self::Postgres(made) = self {
            made.get_mut().unwrap().iter().for_each(|url| server::drop_database(url));
        }
    }
}

pub(super) async fn memory() -> Arc<dyn Storage> {
    Arc::new(sqlite::open(sqlite::Options::new(":memory:", Role::Embedded, Clock::system())).await.unwrap())
}

pub(super) struct Collected(pub(super) Vec<u8>);

#[async_trait]
impl Sink for Collected {
    async fn write(&mut self, bytes: Vec<u8>) -> std::io::Result<()> {
        self.0.extend(bytes);
        Ok(())
    }
}

pub(super) async fn exported_as(storage: &Arc<dyn Storage>, form: Form, zstd: bool, runs: RunChoice) -> Vec<u8> {
    let clock = Clock::system();
    let request = ExportRequest {
        selection: Selection { include: usual(!runs.is_all()), runs },
        form,
        zstd,
        project: "test".into(),
        export_id: clock.ulid(),
        now: clock.now(),
    };
    let mut sink = Collected(Vec::new());
    export(&**storage, &request, &mut sink, &mut |_, _| {}).await.unwrap();
    sink.0
}

pub(super) async fn exported(storage: &Arc<dyn Storage>) -> String {
    String::from_utf8(exported_as(storage, Form::Ndjson, false, RunChoice::default()).await).unwrap()
}

pub(super) fn chunks(bytes: &[u8], size: usize) -> Chunks {
    let pieces: Vec<_> = bytes.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    futures_util::stream::iter(pieces).boxed()
}

pub(super) fn how(on_conflict: OnConflict, in_flight: InFlight) -> ImportRequest {
    ImportRequest { on_conflict, in_flight, verify: true, clock: Clock::system() }
}

pub(super) async fn imported_how(
    target: &Arc<dyn Storage>,
    bytes: &[u8],
    on_conflict: OnConflict,
    in_flight: InFlight,
) -> Result<Report, Error> {
    import(&**target, None, chunks(bytes, 1_000), &how(on_conflict, in_flight), &mut |_, _| {}).await
}

pub(super) async fn imported(target: &Arc<dyn Storage>, bytes: &[u8]) -> Result<Report, Error> {
    imported_how(target, bytes, OnConflict::Fail, InFlight::Pause).await
}

/// The hash of each table of an export.
pub(super) fn hashes(ndjson: &str) -> BTreeMap<String, String> {
    let lines = ndjson.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ends = lines.filter(|line| line["kind"] == "table_end");
    ends.map(|end| (end["table"].as_str().unwrap().into(), end["sha256"].as_str().unwrap().into())).collect()
}

pub(super) async fn sound(storage: &Arc<dyn Storage>) {
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
}

/// What nobody but the import may see of a database that holds nothing else.
pub(super) async fn looks_empty(storage: &Arc<dyn Storage>) {
    let node = "n".into();
    let now = Timestamp(i64::MAX / 2);
    let page = storage.runs(&RunFilter { limit: 500, count: true, ..RunFilter::default() }).await.unwrap();
    assert_eq!((page.items.len(), page.total), (0, Some(0)));
    assert!(storage.workflow_summaries().await.unwrap().is_empty());
    assert!(storage.active_counts().await.unwrap().iter().all(|(_, count)| *count == 0));
    assert_eq!(storage.queue_length().await.unwrap(), QueueLength::default());
    assert!(storage.claim(&node, 10, now).await.unwrap().is_empty());
    assert!(storage.schedules().await.unwrap().is_empty());
    assert_eq!(storage.memory("chat", "k", true).await.unwrap(), None);
    assert_eq!(storage.definition("digest-1").await.unwrap(), None);
}

/// The runs of [`populated`].
pub(super) struct Runs {
    pub(super) ended: ExecId,
    pub(super) under_way: ExecId,
    pub(super) queued: [ExecId; 2],
    pub(super) inner: ExecId,
}

async fn finished(bench: &Bench, exec_id: &ExecId) {
    bench.commit(exec_id, begin(exec_id, 2, "a#1")).await.unwrap();
    bench.commit(exec_id, finish(exec_id, 3, "a#1")).await.unwrap();
}

/// A database with something in every table that travels.
pub(super) async fn populated(storage: Arc<dyn Storage>) -> (Bench, Runs) {
    let bench = Bench::new(storage).await;
    let now = bench.clock.now();
    let mut new = bench.new_run();
    new.run.input = format!("{{\"text\":\"{}\",\"n\":1.0}}", "x".repeat(10_000));
    new.idempotency = Some(Idempotency {
        scope: "s".into(),
        key: "k".into(),
        request_hash: "h".into(),
        expires_at: Timestamp(now.0 + 1_000_000_000),
    });
    let ended = new.run.exec_id.clone();
    bench.storage.start(new).await.unwrap();
    finished(&bench, &ended).await;

    let under_way = bench.start().await;
    let mut changes = begin(&under_way, 2, "a#1");
    let (timer_id, kind) = ("retry/a#1".into(), "retry".into());
    changes.timers_set = vec![Timer { timer_id, kind, step_key: Some("a#1".into()), due_at: Timestamp(77) }];
    bench.commit(&under_way, changes).await.unwrap();
    for id in ["z", "y", "x"] {
        let signal = NewSignal {
            signal_id: id.into(),
            name: "paid".into(),
            payload: r#"{"a":1}"#.into(),
            metadata: "{}".into(),
            dedupe_key: Some(format!("d-{id}")),
        };
        bench.storage.put_signal(&under_way, signal, None, now).await.unwrap();
    }
    let mut new = bench.new_run();
    (new.run.parent_exec_id, new.run.root_exec_id) = (Some(under_way.clone()), under_way.clone());
    let inner = new.run.exec_id.clone();
    bench.storage.start(new).await.unwrap();
    finished(&bench, &inner).await;

    let mut queued = Vec::new();
    for _ in 0..2 {
        let mut new = bench.queued();
        new.run.concurrency = Some(Concurrency { key: "one".into(), limit: 1 });
        new.run.started_at = None;
        queued.push(new.run.exec_id.clone());
        bench.storage.start(new).await.unwrap();
    }
    let message = NewMessage { seq: None, role: "user".into(), content: "hi €".into(), tokens: 2, summary: false };
    let act = MemoryAct::Write { version: 0, cleared: false, dropped: vec![], added: vec![message], backup: false };
    let change = MemoryChange { memory: "chat".into(), key: "k".into(), writer: "w".into(), expires_at: None, act };
    bench.storage.change_memory(vec![change], now).await.unwrap();
    let declared = r#"{"cron":"0 0 * * *"}"#.to_owned();
    let declared = Declared { schedule_id: "hello".into(), workflow_id: "hello".into(), declared };
    bench.storage.declare_schedules(vec![declared], now).await.unwrap();
    bench.storage.set_schedule("hello", Some(r#"{"enabled":false}"#.into()), None, now).await.unwrap();
    let published = Published {
        event_id: "e1".into(),
        name: "ping".into(),
        payload: "{}".into(),
        source: "api".into(),
        metadata: "{}".into(),
        at: now,
        idempotency: None,
    };
    bench.storage.publish(published, vec![]).await.unwrap();
    let entry = KvEntry { space: "p".into(), key: "token".into(), value: b"kept-here".to_vec(), expires_at: None };
    bench.storage.kv_set(entry, None, now).await.unwrap();
    let queued = [queued[0].clone(), queued[1].clone()];
    (bench, Runs { ended, under_way, queued, inner })
}

/// One more event and status for a run, as its owner would write it.
pub(super) async fn goes_on(bench: &Bench, exec_id: &ExecId, seq: i64) {
    let changes = Changes {
        run: Some(update("WAITING")),
        journal: vec![event(seq, "workflow_status", r#"{"status":"WAITING"}"#)],
        at: Timestamp(seq),
        ..Changes::default()
    };
    bench.commit(exec_id, changes).await.unwrap();
}
