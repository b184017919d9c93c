//! What every driver must do, as functions over any storage. A new driver adds one opener and no test.

mod bench;
mod control;
mod memory;
mod queue;
mod retention;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use compozy_engine::time::Timestamp;

use self::bench::demand;
pub(crate) use self::bench::{Bench, begin, event, finish, update};
use super::row::*;
use super::{Error, RequestOutcome, Storage};
use crate::id::{ExecId, NodeId};

/// Runs the whole suite; `open` gives an empty storage each time.
pub(super) async fn all<F, O>(open: F)
where
    F: Fn() -> O,
    O: Future<Output = Arc<dyn Storage>>,
{
    a_run_lives_and_ends(&Bench::new(open().await).await).await;
    fenced_writes_write_nothing(&Bench::new(open().await).await).await;
    statuses_move_only_forward(&Bench::new(open().await).await).await;
    idempotency_keys_start_one_run(&Bench::new(open().await).await).await;
    repeats_write_nothing_more(&Bench::new(open().await).await).await;
    one_failing_member_fails_alone(&Bench::new(open().await).await).await;
    claims_respect_time_priority_and_affinity(&Bench::new(open().await).await).await;
    hand_back_and_recover_free_runs(&Bench::new(open().await).await).await;
    cancel_is_recorded_once(&Bench::new(open().await).await).await;
    control::all(&open).await;
    queue::all(&open).await;
    schedule::all(&open).await;
    memory::all(&open).await;
    retention::all(&open).await;
    lists_page_both_ways(&Bench::new(open().await).await).await;
    large_texts_are_stored_once(&Bench::new(open().await).await).await;
    timers_are_set_and_cleared(&Bench::new(open().await).await).await;
    keys_and_values(&Bench::new(open().await).await).await;
    closed_is_unavailable(&Bench::new(open().await).await).await;
}

async fn a_run_lives_and_ends(bench: &Bench) {
    let storage = &bench.storage;
    let exec_id = bench.start().await;
    bench.commit(&exec_id, begin(&exec_id, 2, "greet#1")).await.unwrap();
    let loaded = storage.load(&exec_id).await.unwrap().unwrap();
    assert_eq!((loaded.run.status.as_str(), loaded.run.last_seq, loaded.steps.len()), ("RUNNING", 2, 1));
    assert_eq!(loaded.run.owner_node, Some(bench.node.clone()));
    bench.sound().await;
    bench.commit(&exec_id, finish(&exec_id, 3, "greet#1")).await.unwrap();
    let run = storage.run(&exec_id).await.unwrap().unwrap();
    assert_eq!((run.status.as_str(), run.last_seq, run.output.as_deref()), ("SUCCESS", 4, Some(r#""done""#)));
    assert_eq!((run.owner_node, run.finished_at), (None, Some(Timestamp(9))));
    assert_eq!(run.input, r#"{"name":"world"}"#);
    let steps = storage.steps(&exec_id).await.unwrap();
    assert_eq!(steps.iter().map(|step| step.output.as_deref()).collect::<Vec<_>>(), [Some(r#"{"z":1,"a":1.0}"#)]);
    let events = storage.journal(&exec_id, 1, 2).await.unwrap();
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(storage.definition("digest-1").await.unwrap().as_deref(), Some(r#"{"id":"hello"}"#));
    assert_eq!(storage.definition("digest-2").await.unwrap(), None);
    assert!(storage.run(&"nobody".into()).await.unwrap().is_none());
    assert!(storage.load(&"nobody".into()).await.unwrap().is_none());
    assert!(storage.ping().await.unwrap() < Duration::from_secs(10));
    bench.sound().await;
}

async fn fenced_writes_write_nothing(bench: &Bench) {
    let exec_id = bench.start().await;
    let other: NodeId = "other".into();
    for (node, epoch) in [(&other, 1), (&bench.node, 0), (&bench.node, 2)] {
        let result = bench.storage.commit(&exec_id, node, epoch, &begin(&exec_id, 2, "a#1")).await;
        assert!(matches!(result, Err(Error::Fenced)), "{node} {epoch}: {result:?}");
    }
    assert_eq!(bench.storage.journal(&exec_id, 0, 9).await.unwrap().len(), 1);
    assert!(bench.storage.steps(&exec_id).await.unwrap().is_empty());
    assert!(matches!(bench.commit(&"nobody".into(), begin(&exec_id, 1, "a#1")).await, Err(Error::Fenced)));
    // An end clears the owner: a late write is fenced.
    bench.commit(&exec_id, begin(&exec_id, 2, "a#1")).await.unwrap();
    bench.commit(&exec_id, finish(&exec_id, 3, "a#1")).await.unwrap();
    assert!(matches!(bench.commit(&exec_id, begin(&exec_id, 5, "b#1")).await, Err(Error::Fenced)));
    bench.sound().await;
}

async fn statuses_move_only_forward(bench: &Bench) {
    let exec_id = bench.start().await;
    let changes = |seq: i64, status: &str| Changes {
        run: Some(update(status)),
        journal: vec![event(seq, "workflow_status", &format!(r#"{{"status":"{status}"}}"#))],
        at: Timestamp(seq),
        ..Changes::default()
    };
    assert!(matches!(bench.commit(&exec_id, changes(2, "PENDING")).await, Err(Error::Conflict(_))));
    assert!(matches!(bench.commit(&exec_id, changes(3, "WAITING")).await, Err(Error::Conflict(_))), "seq 2 is missing");
    for (seq, status) in (2..).zip(["WAITING", "RUNNING", "RUNNING", "PAUSED", "WAITING", "RUNNING", "FAILED"]) {
        bench.commit(&exec_id, changes(seq, status)).await.unwrap();
        assert_eq!(bench.storage.run(&exec_id).await.unwrap().unwrap().status, status);
        if status != "FAILED" {
            bench.sound().await;
        }
    }
    let half = Changes { run: Some(RunUpdate { finished_at: None, ..update("FAILED") }), ..Changes::default() };
    assert!(matches!(bench.commit(&exec_id, half).await, Err(Error::Conflict(_))));
    bench.sound().await;
}

async fn idempotency_keys_start_one_run(bench: &Bench) {
    let keyed = |key: &str, hash: &str, expires_at: Timestamp| {
        let mut new = bench.new_run();
        let (scope, key, request_hash) = ("me".into(), key.into(), hash.into());
        new.idempotency = Some(Idempotency { scope, key, request_hash, expires_at });
        new
    };
    let later = Timestamp(i64::MAX);
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (storage, new) = (Arc::clone(&bench.storage), keyed("k", "h", later));
        starts.spawn(async move { storage.start(new).await.unwrap() });
    }
    let outcomes = starts.join_all().await;
    assert_eq!(outcomes.iter().filter(|started| **started == Started::New).count(), 1, "{outcomes:?}");
    let runs = bench.storage.runs(&RunFilter { limit: 50, ..RunFilter::default() }).await.unwrap().items;
    assert_eq!(runs.len(), 1);
    let replays = outcomes.iter().filter(|started| **started == Started::Replayed(runs[0].exec_id.clone())).count();
    assert_eq!(replays, 9);
    let mismatch = bench.storage.start(keyed("k", "other", later)).await;
    assert!(matches!(&mismatch, Err(Error::Conflict(code)) if code == "idempotency_mismatch"), "{mismatch:?}");
    // Past its time, but its run has not ended.
    let old = keyed("old", "h", Timestamp(1));
    let old_id = old.run.exec_id.clone();
    bench.storage.start(old).await.unwrap();
    let again = bench.storage.start(keyed("old", "h", later)).await.unwrap();
    assert_eq!(again, Started::Replayed(old_id.clone()));
    bench.commit(&old_id, begin(&old_id, 2, "a#1")).await.unwrap();
    bench.commit(&old_id, finish(&old_id, 3, "a#1")).await.unwrap();
    assert_eq!(bench.storage.start(keyed("old", "h2", later)).await.unwrap(), Started::New);
    // The key of a delivery is free at its time, whatever its run does.
    let delivered = |expires_at: Timestamp| {
        let mut new = keyed("d", "", expires_at);
        new.idempotency.as_mut().unwrap().scope = format!("{DELIVERY}hook");
        new
    };
    assert_eq!(bench.storage.start(delivered(Timestamp(1))).await.unwrap(), Started::New);
    assert_eq!(bench.storage.start(delivered(later)).await.unwrap(), Started::New);
    assert!(matches!(bench.storage.start(delivered(later)).await.unwrap(), Started::Replayed(_)));
    bench.sound().await;
}

async fn one_failing_member_fails_alone(bench: &Bench) {
    let (mut ids, mut commits) = (Vec::new(), tokio::task::JoinSet::new());
    for _ in 0..40 {
        ids.push(bench.start().await);
    }
    for (index, exec_id) in ids.iter().cloned().enumerate() {
        let (storage, node) = (Arc::clone(&bench.storage), bench.node.clone());
        let mut changes = begin(&exec_id, 2, "a#1");
        let mut epoch = 1;
        match index {
            7 => epoch = 5,
            20 => changes.steps[0].status = "SLEEPING".into(),
            _ => {}
        }
        commits.spawn(async move { (index, storage.commit(&exec_id, &node, epoch, &changes).await) });
    }
    for (index, result) in commits.join_all().await {
        match index {
            7 => assert!(matches!(result, Err(Error::Fenced)), "{result:?}"),
            20 => assert!(matches!(result, Err(Error::Driver(_))), "{result:?}"),
            _ => assert!(result.unwrap().is_empty()),
        }
    }
    for (index, exec_id) in ids.iter().enumerate() {
        let expected = if index == 7 || index == 20 { 1 } else { 2 };
        assert_eq!(bench.storage.journal(exec_id, 0, 9).await.unwrap().len(), expected, "{index}");
    }
    let mut again = bench.new_run();
    bench.storage.start(again.clone()).await.unwrap();
    again.run.created_at = Timestamp(again.run.created_at.0 + 1);
    assert!(matches!(bench.storage.start(again).await, Err(Error::Conflict(_))), "another start under this id");
    bench.sound().await;
}

/// A caller that was not told how a commit ended asks again (cli-and-api §9.3).
async fn repeats_write_nothing_more(bench: &Bench) {
    let storage = &bench.storage;
    let mut keyed = bench.new_run();
    let (scope, key, request_hash) = ("me".into(), "k".into(), "h".into());
    keyed.idempotency = Some(Idempotency { scope, key, request_hash, expires_at: Timestamp(i64::MAX) });
    for new in [bench.new_run(), bench.queued(), keyed] {
        for _ in 0..3 {
            assert_eq!(storage.start(new.clone()).await.unwrap(), Started::New);
        }
    }
    assert_eq!(storage.workflow_summaries().await.unwrap()[0].runs, 3);
    bench.sound().await;
    let exec_id = bench.start().await;
    for changes in [begin(&exec_id, 2, "a#1"), finish(&exec_id, 3, "a#1")] {
        for _ in 0..3 {
            bench.commit(&exec_id, changes.clone()).await.unwrap();
        }
    }
    let usage = storage.usage(&exec_id).await.unwrap();
    assert_eq!((usage[0].prompt_tokens, storage.journal(&exec_id, 0, 9).await.unwrap().len()), (3, 4));
    bench.sound().await;
    // Other events in the same places are no repeat, nor are the same ones under another epoch.
    let exec_id = bench.start().await;
    bench.commit(&exec_id, begin(&exec_id, 2, "a#1")).await.unwrap();
    let mut later = begin(&exec_id, 2, "a#1");
    later.journal[0].at = Timestamp(77);
    let longer = finish(&exec_id, 2, "a#1");
    for other in [begin(&exec_id, 2, "b#1"), later, longer] {
        assert!(matches!(bench.commit(&exec_id, other).await, Err(Error::Conflict(_))));
    }
    let same = begin(&exec_id, 2, "a#1");
    for (node, epoch) in [(&bench.node, 0), (&bench.node, 2), (&"other".into(), 2)] {
        assert!(matches!(storage.commit(&exec_id, node, epoch, &same).await, Err(Error::Fenced)), "{node} {epoch}");
    }
    storage.hand_back(&bench.node, bench.clock.now()).await.unwrap();
    bench.commit(&exec_id, same.clone()).await.unwrap();
    let claimed = storage.claim(&bench.node, 9, bench.clock.now()).await.unwrap();
    assert!(claimed.iter().any(|run| run.exec_id == exec_id && run.epoch == 2));
    assert!(matches!(bench.commit(&exec_id, same).await, Err(Error::Fenced)));
    bench.sound().await;
}

async fn claims_respect_time_priority_and_affinity(bench: &Bench) {
    let storage = &bench.storage;
    let now = bench.clock.now();
    assert!(storage.claim(&bench.node, 10, now).await.unwrap().is_empty());
    let embedded: NodeId = "embedded".into();
    bench.live(&embedded, "embedded", 60).await;
    let mut ids = Vec::new();
    for (priority, affinity, dead) in [(0, false, false), (5, false, false), (0, true, false), (0, false, true)] {
        let mut new = bench.queued();
        new.run.priority = priority;
        new.run.affinity_node = affinity.then(|| embedded.clone()).or_else(|| dead.then(|| "gone".into()));
        ids.push(new.run.exec_id.clone());
        storage.start(new).await.unwrap();
    }
    bench.sound().await;
    let due = Timestamp(bench.clock.now().0 + 1);
    assert!(storage.claim(&bench.node, 10, Timestamp(now.0 - 1_000_000)).await.unwrap().is_empty(), "not due");
    let first = storage.claim(&bench.node, 1, due).await.unwrap();
    assert_eq!(first.iter().map(|run| &run.exec_id).collect::<Vec<_>>(), [&ids[1]], "highest priority first");
    assert_eq!((first[0].epoch, first[0].owner_node.as_ref()), (1, Some(&bench.node)));
    let rest = storage.claim(&bench.node, 10, due).await.unwrap();
    assert_eq!(rest.iter().map(|run| &run.exec_id).collect::<Vec<_>>(), [&ids[0], &ids[3]], "not the foreign one");
    let own = storage.claim(&embedded, 10, due).await.unwrap();
    assert_eq!(own.iter().map(|run| &run.exec_id).collect::<Vec<_>>(), [&ids[2]]);
    bench.sound().await;
    // A run of a live node is not taken; one of a dead node is, under a new epoch that fences the old one.
    assert!(storage.claim_one(&bench.node, &ids[2], due).await.unwrap().is_none());
    bench.live(&embedded, "embedded", -1).await;
    let taken = storage.claim_one(&bench.node, &ids[2], due).await.unwrap().unwrap();
    assert_eq!((taken.epoch, taken.owner_node, taken.affinity_node), (2, Some(bench.node.clone()), None));
    let late = storage.commit(&ids[2], &embedded, 1, &Changes::default()).await;
    assert!(matches!(late, Err(Error::Fenced)), "{late:?}");
    assert!(storage.claim_one(&bench.node, &"nobody".into(), due).await.unwrap().is_none());
}

async fn hand_back_and_recover_free_runs(bench: &Bench) {
    let storage = &bench.storage;
    let now = bench.clock.now();
    let exec_id = bench.start().await;
    assert_eq!(storage.hand_back(&"other".into(), now).await.unwrap(), 0);
    assert_eq!(storage.hand_back(&bench.node, now).await.unwrap(), 1);
    bench.sound().await;
    assert!(matches!(bench.commit(&exec_id, begin(&exec_id, 2, "a#1")).await, Err(Error::Fenced)));
    assert_eq!(storage.claim(&bench.node, 1, now).await.unwrap()[0].epoch, 2);
    // `embedded` lives, `dead` does not; a successor alone on the database takes over the server's runs at once.
    let (next, embedded, dead): (NodeId, NodeId, NodeId) = ("next".into(), "embedded".into(), "dead".into());
    bench.live(&embedded, "embedded", 60).await;
    bench.live(&dead, "embedded", -60).await;
    for node in [&embedded, &dead] {
        let mut new = bench.new_run();
        (new.run.owner_node, new.run.affinity_node) = (Some(node.clone()), Some(node.clone()));
        storage.start(new).await.unwrap();
    }
    assert_eq!(storage.recover(&next, false, bench.clock.now()).await.unwrap(), 1, "the dead one");
    if storage.info().driver == "postgres" {
        assert_eq!(storage.recover(&next, true, bench.clock.now()).await.unwrap(), 0, "nobody is alone there");
        bench.die().await;
    }
    assert_eq!(storage.recover(&next, true, bench.clock.now()).await.unwrap(), 1, "the old server's");
    bench.sound().await;
    assert_eq!(storage.claim(&next, 10, bench.clock.now()).await.unwrap().len(), 2);
    assert_eq!(storage.recover(&next, true, bench.clock.now()).await.unwrap(), 0);
    storage.remove_node(&next).await.unwrap();
}

async fn cancel_is_recorded_once(bench: &Bench) {
    let storage = &bench.storage;
    let now = bench.clock.now();
    let exec_id = bench.start().await;
    let owner = Some(bench.node.clone());
    let outcome = storage.request(&demand(&exec_id, Wanted::Cancel, "ada", Some("enough")), now).await.unwrap();
    assert_eq!(outcome, RequestOutcome::Requested { owner: owner.clone() });
    let outcome = storage.request(&demand(&exec_id, Wanted::Cancel, "bob", None), now).await.unwrap();
    assert_eq!(outcome, RequestOutcome::Already { owner });
    let request = storage.run(&exec_id).await.unwrap().unwrap().cancel_request.unwrap();
    assert_eq!(request, format!(r#"{{"by":"ada","reason":"enough","at":{}}}"#, now.0));
    bench.sound().await;
    // A paused run without owner is put into the queue, so that a node carries the request out.
    let mut paused = bench.new_run();
    (paused.run.owner_node, paused.run.status) = (None, "PAUSED".into());
    paused.changes.journal = vec![event(1, "workflow_start", r#"{"status":"PAUSED"}"#)];
    let paused_id = paused.run.exec_id.clone();
    storage.start(paused).await.unwrap();
    assert!(storage.claim(&bench.node, 9, bench.clock.now()).await.unwrap().is_empty());
    let outcome = storage.request(&demand(&paused_id, Wanted::Cancel, "ada", None), now).await.unwrap();
    assert_eq!(outcome, RequestOutcome::Requested { owner: None });
    let claimed = storage.claim(&bench.node, 9, bench.clock.now()).await.unwrap();
    assert_eq!(claimed.iter().map(|run| &run.exec_id).collect::<Vec<_>>(), [&paused_id]);
    assert!(claimed[0].cancel_request.is_some());
    bench.commit(&exec_id, begin(&exec_id, 2, "a#1")).await.unwrap();
    bench.commit(&exec_id, finish(&exec_id, 3, "a#1")).await.unwrap();
    let late = storage.request(&demand(&exec_id, Wanted::Cancel, "ada", None), now).await;
    assert!(matches!(&late, Err(Error::Finished(status)) if status == "SUCCESS"), "{late:?}");
    assert!(matches!(
        storage.request(&demand(&"nobody".into(), Wanted::Cancel, "ada", None), now).await,
        Err(Error::NotFound(_))
    ));
}

async fn lists_page_both_ways(bench: &Bench) {
    let storage = &bench.storage;
    let mut ids = Vec::new();
    for index in 0..25 {
        let mut new = bench.new_run();
        new.run.workflow_id = if index % 5 == 0 { "rare" } else { "often" }.into();
        if index % 4 == 0 {
            new.run.status = "WAITING".into();
            new.changes.journal = vec![event(1, "workflow_start", r#"{"status":"WAITING"}"#)];
        }
        new.run.tags = format!(r#"{{"n":"{index}"}}"#);
        new.run.exec_id = format!("run-{index:02}").into();
        // Several of one microsecond: the id decides.
        new.run.created_at = Timestamp(1_000 + index / 3);
        ids.push(new.run.exec_id.clone());
        storage.start(new).await.unwrap();
    }
    let all = RunFilter { limit: 10, count: true, ..RunFilter::default() };
    let both = RunFilter { statuses: vec!["WAITING".into(), "RUNNING".into()], ..all.clone() };
    for (filter, ascending) in [(&all, false), (&all, true), (&both, false), (&both, true)] {
        let mut expected = ids.clone();
        if !ascending {
            expected.reverse();
        }
        let expected: Vec<Vec<ExecId>> = expected.chunks(10).map(<[_]>::to_vec).collect();
        let (mut cursor, mut pages) = (None, Vec::new());
        loop {
            let page = storage.runs(&RunFilter { cursor, ascending, ..filter.clone() }).await.unwrap();
            assert_eq!(page.total, Some(25));
            cursor = page.next.clone();
            pages.push(page);
            if cursor.is_none() {
                break;
            }
        }
        let got: Vec<Vec<ExecId>> =
            pages.iter().map(|page| page.items.iter().map(|run| run.exec_id.clone()).collect()).collect();
        assert_eq!(got, expected, "ascending {ascending}");
        assert!(pages[0].previous.is_none());
        let back = RunFilter { cursor: pages[2].previous.clone(), ascending, ..filter.clone() };
        let back = storage.runs(&back).await.unwrap();
        assert_eq!(back.items.iter().map(|run| run.exec_id.clone()).collect::<Vec<_>>(), expected[1]);
        let first = RunFilter { cursor: back.previous.clone(), ascending, ..filter.clone() };
        let first = storage.runs(&first).await.unwrap();
        assert_eq!(first.items[0].exec_id, expected[0][0]);
        assert!(first.previous.is_none() && first.next.is_some());
    }
    let count = async |filter: RunFilter| storage.runs(&RunFilter { limit: 100, ..filter }).await.unwrap().items.len();
    let any = RunFilter::default;
    assert_eq!(count(RunFilter { workflow_id: Some("rare".into()), ..any() }).await, 5);
    assert_eq!(count(RunFilter { statuses: vec!["RUNNING".into(), "FAILED".into()], ..any() }).await, 18);
    assert_eq!(count(RunFilter { statuses: vec!["FAILED".into()], ..any() }).await, 0);
    assert_eq!(count(RunFilter { tag: Some(("n".into(), "7".into())), ..any() }).await, 1);
    assert_eq!(count(RunFilter { since: Some(Timestamp(1_002)), until: Some(Timestamp(1_003)), ..any() }).await, 3);
    assert_eq!(count(RunFilter { parent: Some(ids[0].clone()), ..any() }).await, 0);
    let bad = storage.runs(&RunFilter { cursor: Some("nonsense".into()), limit: 1, ..any() }).await;
    assert!(matches!(bad, Err(Error::InvalidCursor)), "{bad:?}");
    let summaries = storage.workflow_summaries().await.unwrap();
    let summaries: Vec<_> =
        summaries.iter().map(|one| (one.workflow_id.as_str(), one.runs, &one.latest.exec_id)).collect();
    assert_eq!(summaries, [("often", 20, &ids[24]), ("rare", 5, &ids[20])]);
    assert_eq!(storage.active_counts().await.unwrap(), [("RUNNING".to_owned(), 18), ("WAITING".to_owned(), 7)]);
    let one = storage.runs_by_prefix(ids[3].as_str(), 10).await.unwrap();
    assert_eq!(one.iter().map(|run| &run.exec_id).collect::<Vec<_>>(), [&ids[3]]);
    assert_eq!(storage.runs_by_prefix("", 7).await.unwrap().len(), 7);
    assert!(storage.runs_by_prefix("~", 7).await.unwrap().is_empty());
    bench.sound().await;
}

async fn large_texts_are_stored_once(bench: &Bench) {
    let large = format!("\"{}\"", "ä".repeat(20_000));
    let mut new = bench.new_run();
    new.run.input = large.clone();
    let exec_id = new.run.exec_id.clone();
    bench.storage.start(new).await.unwrap();
    let mut changes = begin(&exec_id, 2, "a#1");
    changes.steps[0].input = Some(large.clone());
    bench.commit(&exec_id, changes).await.unwrap();
    let mut changes = finish(&exec_id, 3, "a#1");
    changes.steps[0].output = Some(large.clone());
    changes.journal[0].data = format!(r#"{{"step_key":"a#1","status":"SUCCESS","attempt":1,"output":{large}}}"#);
    bench.commit(&exec_id, changes).await.unwrap();
    let loaded = bench.storage.load(&exec_id).await.unwrap().unwrap();
    assert!(loaded.run.input == large && loaded.steps[0].output.as_ref() == Some(&large));
    assert!(bench.storage.journal(&exec_id, 2, 1).await.unwrap()[0].data.contains(&large));
    bench.sound().await;
}

async fn timers_are_set_and_cleared(bench: &Bench) {
    let exec_id = bench.start().await;
    let timer = |id: &str, due: i64| Timer {
        timer_id: id.into(),
        kind: "sleep".into(),
        step_key: Some("a#1".into()),
        due_at: Timestamp(due),
    };
    let timers_set = vec![timer("one", 30), timer("two", 20), timer("three", 10)];
    bench.commit(&exec_id, Changes { timers_set, ..begin(&exec_id, 2, "a#1") }).await.unwrap();
    let timers_cleared = vec!["three".into(), "missing".into()];
    let timers_set = vec![timer("one", 5)];
    bench.commit(&exec_id, Changes { timers_set, timers_cleared, ..Changes::default() }).await.unwrap();
    let timers = bench.storage.load(&exec_id).await.unwrap().unwrap().timers;
    let timers: Vec<_> = timers.iter().map(|timer| (timer.timer_id.as_str(), timer.due_at.0)).collect();
    assert_eq!(timers, [("one", 5), ("two", 20)]);
    bench.commit(&exec_id, finish(&exec_id, 3, "a#1")).await.unwrap();
    assert!(bench.storage.load(&exec_id).await.unwrap().unwrap().timers.is_empty());
    bench.sound().await;
}

async fn keys_and_values(bench: &Bench) {
    let storage = &bench.storage;
    let now = Timestamp(1_000);
    let entry = |key: &str, value: &str, expires_at: Option<i64>| KvEntry {
        space: "plugin".into(),
        key: key.into(),
        value: value.into(),
        expires_at: expires_at.map(Timestamp),
    };
    assert_eq!(storage.kv_get("plugin", "a", now).await.unwrap(), None);
    assert!(storage.kv_set(entry("a", "1", None), None, now).await.unwrap());
    assert!(!storage.kv_set(entry("a", "2", None), Some(None), now).await.unwrap(), "it is there");
    assert!(!storage.kv_set(entry("a", "2", None), Some(Some("9".into())), now).await.unwrap());
    assert!(storage.kv_set(entry("a", "2", None), Some(Some("1".into())), now).await.unwrap());
    assert_eq!(storage.kv_get("plugin", "a", now).await.unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(storage.kv_get("other", "a", now).await.unwrap(), None);
    assert!(storage.kv_set(entry("b", "1", Some(1_001)), None, now).await.unwrap());
    assert!(storage.kv_get("plugin", "b", now).await.unwrap().is_some());
    assert!(storage.kv_get("plugin", "b", Timestamp(1_001)).await.unwrap().is_none(), "expired");
    assert!(
        storage.kv_set(entry("b", "3", None), Some(None), Timestamp(1_001)).await.unwrap(),
        "an expired one is absent"
    );
    for key in ["ab", "aé", "a%", "B"] {
        storage.kv_set(entry(key, "", None), None, now).await.unwrap();
    }
    let keys = async |prefix: &str, after: Option<&str>, limit: u32| {
        storage.kv_keys("plugin", prefix, after, limit, now).await.unwrap()
    };
    assert_eq!(keys("", None, 9).await, ["B", "a", "a%", "ab", "aé", "b"]);
    assert_eq!(keys("a", Some("a"), 2).await, ["a%", "ab"]);
    assert_eq!(keys("a%", None, 9).await, ["a%"]);
    assert_eq!(storage.kv_bytes("plugin").await.unwrap(), 12, "a2 ab aé a% B b3: keys and values");
    assert_eq!(storage.kv_bytes("nobody").await.unwrap(), 0);
    assert!(storage.kv_delete("plugin", "a").await.unwrap());
    assert!(!storage.kv_delete("plugin", "a").await.unwrap());
}

async fn closed_is_unavailable(bench: &Bench) {
    let exec_id = bench.start().await;
    bench.storage.close().await;
    bench.storage.close().await;
    assert!(matches!(bench.storage.run(&exec_id).await, Err(Error::Unavailable(_))));
    let late = bench.commit(&exec_id, begin(&exec_id, 2, "a#1")).await;
    assert!(matches!(late, Err(Error::Unavailable(_))), "{late:?}");
}
