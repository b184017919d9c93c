//! Memories: changed in a run's commit or alone, once, in order.

use std::sync::Arc;
use std::time::Duration;

use compozy_engine::time::Timestamp;

use super::bench::{Bench, begin, finish};
use crate::storage::row::*;
use crate::storage::{Error, Storage};

pub(super) async fn all<F, O>(open: &F)
where
    F: Fn() -> O,
    O: Future<Output = Arc<dyn Storage>>,
{
    messages_come_and_go(&Bench::new(open().await).await).await;
    a_stale_change_writes_nothing(&Bench::new(open().await).await).await;
    a_commit_changes_a_memory_once(&Bench::new(open().await).await).await;
    everybodys_messages_survive(&Bench::new(open().await).await).await;
    expired_keys_are_swept(&Bench::new(open().await).await).await;
}

fn message(content: &str) -> NewMessage {
    let tokens = content.len().div_ceil(4) as u64;
    NewMessage { seq: None, role: "user".into(), content: content.into(), tokens, summary: false }
}

fn change(writer: &str, act: MemoryAct) -> MemoryChange {
    MemoryChange { memory: "chat".into(), key: "k".into(), writer: writer.into(), expires_at: None, act }
}

fn write(writer: &str, version: i64, dropped: &[i64], added: &[&str]) -> MemoryChange {
    let (dropped, added) = (dropped.to_vec(), added.iter().map(|text| message(text)).collect());
    change(writer, MemoryAct::Write { version, cleared: false, dropped, added, backup: false })
}

async fn state(bench: &Bench) -> MemoryState {
    bench.storage.memory("chat", "k", true).await.unwrap().unwrap_or_default()
}

async fn seen(bench: &Bench) -> Vec<(i64, String)> {
    state(bench).await.messages.into_iter().map(|message| (message.seq, message.content)).collect()
}

async fn put(bench: &Bench, changes: Vec<MemoryChange>) -> Result<(), Error> {
    bench.storage.change_memory(changes, bench.clock.now()).await
}

fn listed(expected: &[(i64, &str)]) -> Vec<(i64, String)> {
    expected.iter().map(|(seq, text)| (*seq, (*text).to_owned())).collect()
}

async fn messages_come_and_go(bench: &Bench) {
    assert_eq!(bench.storage.memory("chat", "k", true).await.unwrap(), None);
    put(bench, vec![write("1", 0, &[], &["one", "two", "drei €"])]).await.unwrap();
    let first = state(bench).await;
    let last = &first.messages[2];
    assert_eq!((last.seq, last.role.as_str(), last.bytes, last.tokens), (3, "user", 8, 2));
    let without = bench.storage.memory("chat", "k", false).await.unwrap().unwrap();
    assert!(without.messages.iter().all(|message| message.content.is_empty()));
    assert_eq!((without.messages[2].bytes, without.version), (8, first.version));
    // A summary takes the place of the last message it stands for.
    let mut next = write("2", first.version, &[1, 2, 9], &["four"]);
    let MemoryAct::Write { added, .. } = &mut next.act else { panic!("a write") };
    added.insert(0, NewMessage { seq: Some(2), summary: true, ..message("sum") });
    put(bench, vec![next]).await.unwrap();
    assert_eq!(seen(bench).await, listed(&[(2, "sum"), (3, "drei €"), (4, "four")]));
    bench.sound().await;
    let totals = bench.storage.memory_totals(bench.clock.now()).await.unwrap();
    assert_eq!(totals, [MemoryTotals { memory: "chat".into(), keys: 1, messages: 3, tokens: 4 }]);
    // Reading is noted; a key that is not there stays so.
    let used = MemoryChange { expires_at: Some(Timestamp(i64::MAX)), ..change("3", MemoryAct::Used) };
    put(bench, vec![used.clone(), MemoryChange { key: "other".into(), ..used }]).await.unwrap();
    let read = state(bench).await;
    assert_eq!(read.expires_at, Some(Timestamp(i64::MAX)));
    assert!(read.messages.iter().all(|message| message.used_at >= first.messages[0].used_at));
    assert!(bench.storage.memory("chat", "other", false).await.unwrap().is_none());
    let (version, dropped, added) = (read.version, Vec::new(), vec![message("new")]);
    let replaced = MemoryAct::Write { version, cleared: true, dropped, added, backup: true };
    put(bench, vec![change("4", replaced)]).await.unwrap();
    assert_eq!((seen(bench).await, state(bench).await.backup), (listed(&[(5, "new")]), true));
    bench.sound().await;
    put(bench, vec![change("5", MemoryAct::Delete { version: state(bench).await.version })]).await.unwrap();
    assert_eq!(bench.storage.memory("chat", "k", true).await.unwrap(), None);
    put(bench, vec![change("5", MemoryAct::Delete { version: 1 })]).await.unwrap();
    bench.sound().await;
}

async fn a_stale_change_writes_nothing(bench: &Bench) {
    put(bench, vec![write("1", 0, &[], &["one"])]).await.unwrap();
    let version = state(bench).await.version;
    // What is written twice by the same counts once, whatever it was decided on.
    put(bench, vec![write("1", 0, &[], &["one"])]).await.unwrap();
    put(bench, vec![write("2", version, &[], &["two"])]).await.unwrap();
    let other = MemoryChange { key: "l".into(), ..write("x", 0, &[], &["l"]) };
    for stale in
        [write("3", version, &[1], &["three"]), write("3", 0, &[], &[]), change("3", MemoryAct::Delete { version })]
    {
        let refused = put(bench, vec![other.clone(), stale]).await;
        assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    }
    assert_eq!(seen(bench).await, listed(&[(1, "one"), (2, "two")]));
    assert!(bench.storage.memory("chat", "l", false).await.unwrap().is_none(), "all or nothing");
    // A key that comes back is another one.
    put(bench, vec![change("4", MemoryAct::Delete { version: version + 1 })]).await.unwrap();
    put(bench, vec![write("5", 0, &[], &["again"])]).await.unwrap();
    let late = put(bench, vec![write("6", version, &[], &["late"])]).await;
    assert!(matches!(late, Err(Error::Conflict(_))), "{late:?}");
    bench.sound().await;
}

async fn a_commit_changes_a_memory_once(bench: &Bench) {
    let exec_id = bench.start().await;
    bench.commit(&exec_id, begin(&exec_id, 2, "a#1")).await.unwrap();
    let with = |memory| Changes { memory, ..finish(&exec_id, 3, "a#1") };
    // Nothing of a commit is written without its change of the memory.
    let refused = bench.commit(&exec_id, with(vec![write("w", 9, &[], &["x"])])).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    let run = bench.storage.run(&exec_id).await.unwrap().unwrap();
    assert_eq!((run.status.as_str(), run.last_seq), ("RUNNING", 2));
    assert_eq!(bench.storage.memory("chat", "k", true).await.unwrap(), None);
    // And a fenced one changes no memory.
    let changes = with(vec![write("a#1:1", 0, &[], &["x"])]);
    let fenced = bench.storage.commit(&exec_id, &bench.node, 2, &changes).await;
    assert!(matches!(fenced, Err(Error::Fenced)), "{fenced:?}");
    assert_eq!(bench.storage.memory("chat", "k", true).await.unwrap(), None);
    bench.commit(&exec_id, changes.clone()).await.unwrap();
    // Its answer was lost: it is found in the journal, also when others have changed the memory since.
    put(bench, vec![write("y", state(bench).await.version, &[], &["y"])]).await.unwrap();
    bench.commit(&exec_id, changes).await.unwrap();
    assert_eq!(seen(bench).await, listed(&[(1, "x"), (2, "y")]));
    bench.sound().await;
}

/// Sixteen writers at once, each looking again when another one was faster.
async fn everybodys_messages_survive(bench: &Bench) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let (storage, clock) = (Arc::clone(&bench.storage), bench.clock.clone());
        writers.spawn(async move {
            for number in 0..10 {
                let text = format!("{writer}-{number}");
                loop {
                    let state = storage.memory("chat", "k", false).await.unwrap().unwrap_or_default();
                    let change = write(&text, state.version, &[], &[&text]);
                    match storage.change_memory(vec![change], clock.now()).await {
                        Ok(()) => break,
                        Err(Error::Conflict(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    writers.join_all().await;
    let messages = seen(bench).await;
    assert!(messages.iter().map(|(seq, _)| *seq).eq(1..=160), "one after the other");
    for writer in 0..16 {
        let own = messages.iter().filter_map(|(_, text)| text.strip_prefix(&format!("{writer}-")));
        assert!(own.eq((0..10).map(|number| number.to_string())), "those of one are in its order");
    }
    bench.sound().await;
}

async fn expired_keys_are_swept(bench: &Bench) {
    let now = bench.clock.now();
    let until = |key: &str, expires_at, texts: &[&str]| MemoryChange {
        key: key.into(),
        expires_at,
        ..write(key, 0, &[], texts)
    };
    let past = Timestamp(now.0 - 1);
    let texts = vec!["x"; 600];
    put(bench, vec![until("old", Some(past), &texts), until("k", Some(now.after(Duration::from_secs(60))), &["k"])])
        .await
        .unwrap();
    put(bench, vec![until("ever", None, &["e"])]).await.unwrap();
    assert_eq!(bench.storage.memory_totals(now).await.unwrap()[0].keys, 2);
    let age = Duration::from_secs(3_600);
    let retention = Retention { success: age, failed: age, journal: age, keep_last: 1 };
    let (mut cursor, mut steps) = (None, 0);
    loop {
        let swept = bench.storage.sweep(&retention, cursor.as_deref(), now).await.unwrap();
        assert!(swept.rows <= 500);
        bench.sound().await;
        (cursor, steps) = (swept.next, steps + 1);
        if cursor.is_none() || steps > 50 {
            break;
        }
    }
    for (key, is_there) in [("old", false), ("k", true), ("ever", true)] {
        assert_eq!(bench.storage.memory("chat", key, false).await.unwrap().is_some(), is_there, "{key}");
    }
}
