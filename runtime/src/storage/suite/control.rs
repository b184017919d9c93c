//! Signals, pauses, sub-runs and publications.

use std::sync::Arc;

use compozy_engine::time::Timestamp;

use super::bench::{Bench, begin, demand, event, finish, update};
use crate::id::{ExecId, NodeId};
use crate::storage::row::*;
use crate::storage::{Error, RequestOutcome, Storage};

pub(super) async fn all<F, O>(open: &F)
where
    F: Fn() -> O,
    O: Future<Output = Arc<dyn Storage>>,
{
    signals_are_kept_in_order_and_settled_once(&Bench::new(open().await).await).await;
    repeated_signals_change_nothing(&Bench::new(open().await).await).await;
    a_signal_frees_nobody_twice(&Bench::new(open().await).await).await;
    sent_signals_reach_who_waits(&Bench::new(open().await).await).await;
    an_end_ignores_what_was_not_taken(&Bench::new(open().await).await).await;
    a_pause_is_kept_and_lifted(&Bench::new(open().await).await).await;
    sub_runs_begin_with_their_parent_or_not_at_all(&Bench::new(open().await).await).await;
    the_end_of_a_sub_run_wakes_its_parent(&Bench::new(open().await).await).await;
    demands_reach_sub_runs(&Bench::new(open().await).await).await;
    publications_happen_once(&Bench::new(open().await).await).await;
    a_publication_keeps_the_key_of_its_request(&Bench::new(open().await).await).await;
}

fn signal(id: &str, name: &str) -> NewSignal {
    NewSignal {
        signal_id: id.into(),
        name: name.into(),
        payload: format!(r#"{{"from":"{id}"}}"#),
        metadata: "{}".into(),
        dedupe_key: None,
    }
}

/// A step that waits, as event `seq`.
pub(super) fn wait(exec_id: &ExecId, seq: i64, key: &str, kind: &str, detail: &str) -> Changes {
    let mut changes = begin(exec_id, seq, key);
    changes.steps[0].status = "WAITING".into();
    changes.steps[0].waiting_for = Some(format!(r#"{{"kind":"{kind}","detail":"{detail}","since":"x"}}"#));
    let data = format!(r#"{{"step_key":"{key}","status":"WAITING","attempt":1}}"#);
    changes.journal =
        vec![event(seq, "task_status", &data), event(seq + 1, "workflow_status", r#"{"status":"WAITING"}"#)];
    changes.run = Some(update("WAITING"));
    changes
}

/// A run of `bench` that waits.
async fn waiting(bench: &Bench, kind: &str, detail: &str) -> ExecId {
    let exec_id = bench.start().await;
    bench.commit(&exec_id, wait(&exec_id, 2, "hold#1", kind, detail)).await.unwrap();
    exec_id
}

/// Makes the runs of the node claimable, and takes away those that wait in the queue.
async fn leave(bench: &Bench) {
    bench.storage.hand_back(&bench.node, bench.clock.now()).await.unwrap();
}

async fn claimable(bench: &Bench) -> Vec<ExecId> {
    let now = Timestamp(bench.clock.now().0 + 1_000);
    bench.storage.claim(&bench.node, 99, now).await.unwrap().into_iter().map(|run| run.exec_id).collect()
}

fn settled(id: &str, state: &str) -> Settled {
    Settled { signal_id: id.into(), state: state.into(), step_key: Some("hold#1".into()) }
}

async fn put(bench: &Bench, exec_id: &ExecId, signal: NewSignal) -> SignalOutcome {
    bench.storage.put_signal(exec_id, signal, None, bench.clock.now()).await.unwrap()
}

async fn signals_are_kept_in_order_and_settled_once(bench: &Bench) {
    let storage = &bench.storage;
    let exec_id = bench.start().await;
    for id in ["c", "a", "b"] {
        let outcome = put(bench, &exec_id, signal(id, "paid")).await;
        assert_eq!(outcome, SignalOutcome::Queued { owner: Some(bench.node.clone()) });
    }
    let loaded = storage.load(&exec_id).await.unwrap().unwrap().signals;
    let ids: Vec<_> = loaded.iter().map(|signal| signal.signal_id.as_str()).collect();
    assert_eq!(ids, ["c", "a", "b"]);
    assert_eq!((loaded[1].payload.as_str(), loaded[1].state.as_str()), (r#"{"from":"a"}"#, "queued"));
    assert_eq!(storage.news(&bench.node).await.unwrap(), std::slice::from_ref(&exec_id));
    bench.sound().await;
    let settled = vec![settled("c", "consumed"), settled("a", "ignored")];
    let changes = Changes { settled, noted: vec!["b".into()], at: Timestamp(5), ..Changes::default() };
    bench.commit(&exec_id, changes.clone()).await.unwrap();
    let twice = bench.commit(&exec_id, changes).await;
    assert!(matches!(twice, Err(Error::Conflict(_))), "{twice:?}");
    let all = storage.signals(&exec_id, false).await.unwrap();
    let all: Vec<_> = all.iter().map(|one| (one.signal_id.as_str(), one.state.as_str())).collect();
    assert_eq!(all, [("c", "consumed"), ("a", "ignored"), ("b", "queued")]);
    let queued = storage.signals(&exec_id, true).await.unwrap();
    assert_eq!(queued.iter().map(|one| (one.signal_id.as_str(), one.noted)).collect::<Vec<_>>(), [("b", true)]);
    assert_eq!(storage.signals(&exec_id, false).await.unwrap()[0].consumed_by.as_deref(), Some("hold#1"));
    bench.sound().await;
}

async fn repeated_signals_change_nothing(bench: &Bench) {
    let storage = &bench.storage;
    let exec_id = bench.start().await;
    let keyed = |id: &str| NewSignal { dedupe_key: Some("order-7".into()), ..signal(id, "paid") };
    assert!(matches!(put(bench, &exec_id, keyed("a")).await, SignalOutcome::Queued { .. }));
    let known = |state: &str| SignalOutcome::Duplicate { signal_id: "a".into(), state: state.into() };
    assert_eq!(put(bench, &exec_id, keyed("b")).await, known("queued"));
    assert_eq!(put(bench, &exec_id, signal("a", "other")).await, known("queued"));
    bench.commit(&exec_id, Changes { settled: vec![settled("a", "consumed")], ..Changes::default() }).await.unwrap();
    assert_eq!(put(bench, &exec_id, keyed("c")).await, known("consumed"));
    // The key belongs to the run.
    let other = bench.start().await;
    assert!(matches!(put(bench, &other, keyed("a")).await, SignalOutcome::Queued { .. }));
    // An idempotency key stands for one request.
    let now = bench.clock.now();
    let asked = |hash: &str| Idempotency {
        scope: "me".into(),
        key: "k".into(),
        request_hash: hash.into(),
        expires_at: Timestamp(i64::MAX),
    };
    let mut send = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (storage, exec_id, key) = (Arc::clone(storage), exec_id.clone(), asked("h"));
        let signal = signal(&format!("n{number}"), "paid");
        send.spawn(async move { storage.put_signal(&exec_id, signal, Some(key), now).await.unwrap() });
    }
    let outcomes = send.join_all().await;
    let queued = outcomes.iter().filter(|outcome| matches!(outcome, SignalOutcome::Queued { .. })).count();
    assert_eq!(queued, 1, "{outcomes:?}");
    assert_eq!(storage.signals(&exec_id, true).await.unwrap().len(), 1);
    let other = storage.put_signal(&exec_id, signal("z", "paid"), Some(asked("other")), now).await;
    assert!(matches!(&other, Err(Error::Conflict(code)) if code == "idempotency_mismatch"), "{other:?}");
    bench.commit(&exec_id, begin(&exec_id, 2, "a#1")).await.unwrap();
    bench.commit(&exec_id, finish(&exec_id, 3, "a#1")).await.unwrap();
    // The recorded answer outlives the run.
    let again = storage.put_signal(&exec_id, signal("y", "paid"), Some(asked("h")), now).await.unwrap();
    assert!(matches!(&again, SignalOutcome::Duplicate { state, .. } if state == "ignored"), "{again:?}");
    let late = storage.put_signal(&exec_id, signal("z", "paid"), None, now).await;
    assert!(matches!(&late, Err(Error::Finished(status)) if status == "SUCCESS"), "{late:?}");
    let nobody = storage.put_signal(&"nobody".into(), signal("z", "paid"), None, now).await;
    assert!(matches!(nobody, Err(Error::NotFound(_))));
    bench.sound().await;
}

async fn a_signal_frees_nobody_twice(bench: &Bench) {
    let exec_id = waiting(bench, "signal", "paid").await;
    leave(bench).await;
    assert_eq!(put(bench, &exec_id, signal("a", "paid")).await, SignalOutcome::Queued { owner: None });
    bench.sound().await;
    assert_eq!(claimable(bench).await, std::slice::from_ref(&exec_id));
    assert!(claimable(bench).await.is_empty());
    let large = format!("\"{}\"", "ä".repeat(20_000));
    put(bench, &exec_id, NewSignal { payload: large.clone(), ..signal("b", "paid") }).await;
    assert_eq!(bench.storage.signals(&exec_id, true).await.unwrap()[1].payload, large);
    bench.sound().await;
}

async fn sent_signals_reach_who_waits(bench: &Bench) {
    let storage = &bench.storage;
    let sender = bench.start().await;
    let free = waiting(bench, "signal", "paid").await;
    leave(bench).await;
    storage.claim_one(&bench.node, &sender, bench.clock.now()).await.unwrap().unwrap();
    let owned = waiting(bench, "signal", "paid").await;
    let (other, deaf) = (waiting(bench, "signal", "shipped").await, bench.start().await);
    let sent = |id: &str, target: Option<&ExecId>| Sent { signal: signal(id, "paid"), target: target.cloned() };
    let sent =
        vec![sent("all", None), sent("all", None), sent("one", Some(&deaf)), sent("lost", Some(&"nobody".into()))];
    let changes = Changes { sent, at: Timestamp(9), ..begin(&sender, 2, "tell#1") };
    let mut woken = storage.commit(&sender, &bench.node, 2, &changes).await.unwrap();
    woken.sort_by(|left, right| left.exec_id.as_str().cmp(right.exec_id.as_str()));
    let mine = |exec_id: &ExecId| Woken { exec_id: exec_id.clone(), owner: Some(bench.node.clone()) };
    let mut expected = vec![Woken { exec_id: free.clone(), owner: None }, mine(&owned), mine(&deaf)];
    expected.sort_by(|left, right| left.exec_id.as_str().cmp(right.exec_id.as_str()));
    assert_eq!(woken, expected);
    let ids = async |exec_id: &ExecId| {
        let signals = storage.signals(exec_id, true).await.unwrap();
        signals.into_iter().map(|signal| signal.signal_id).collect::<Vec<_>>()
    };
    assert_eq!((ids(&free).await, ids(&owned).await), (vec!["all".to_owned()], vec!["all".to_owned()]));
    assert_eq!((ids(&deaf).await, ids(&other).await), (vec!["one".to_owned()], Vec::new()));
    // Should the answer have been lost, nobody knows of it yet.
    let mut again = storage.commit(&sender, &bench.node, 2, &changes).await.unwrap();
    again.sort_by(|left, right| left.exec_id.as_str().cmp(right.exec_id.as_str()));
    again.dedup();
    assert_eq!(again, expected);
    assert_eq!((ids(&owned).await, ids(&deaf).await), (vec!["all".to_owned()], vec!["one".to_owned()]));
    bench.sound().await;
    // A fenced sender sends nothing.
    let changes =
        Changes { sent: vec![Sent { signal: signal("late", "shipped"), target: None }], ..Changes::default() };
    assert!(matches!(storage.commit(&sender, &bench.node, 1, &changes).await, Err(Error::Fenced)));
    assert!(ids(&other).await.is_empty());
}

async fn an_end_ignores_what_was_not_taken(bench: &Bench) {
    let exec_id = bench.start().await;
    put(bench, &exec_id, signal("a", "paid")).await;
    put(bench, &exec_id, signal("b", "paid")).await;
    bench.commit(&exec_id, begin(&exec_id, 2, "a#1")).await.unwrap();
    let end = Changes { settled: vec![settled("b", "consumed")], ..finish(&exec_id, 3, "a#1") };
    assert_eq!(bench.commit(&exec_id, end).await.unwrap(), []);
    let signals = bench.storage.signals(&exec_id, false).await.unwrap();
    let states: Vec<_> = signals.iter().map(|signal| signal.state.as_str()).collect();
    assert_eq!(states, ["ignored", "consumed"]);
    bench.sound().await;
}

async fn a_pause_is_kept_and_lifted(bench: &Bench) {
    let storage = &bench.storage;
    let now = bench.clock.now();
    let exec_id = bench.start().await;
    let owner = Some(bench.node.clone());
    let ask = async |wanted: Wanted| storage.request(&demand(&exec_id, wanted, "ada", None), now).await.unwrap();
    assert_eq!(ask(Wanted::Resume).await, RequestOutcome::Already { owner: owner.clone() });
    assert_eq!(ask(Wanted::Pause).await, RequestOutcome::Requested { owner: owner.clone() });
    assert_eq!(ask(Wanted::Pause).await, RequestOutcome::Already { owner: owner.clone() });
    assert_eq!(storage.news(&bench.node).await.unwrap(), std::slice::from_ref(&exec_id));
    let request = storage.run(&exec_id).await.unwrap().unwrap().pause_request.unwrap();
    assert_eq!(request, format!(r#"{{"by":"ada","at":{}}}"#, now.0));
    let paused = Changes {
        run: Some(update("PAUSED")),
        journal: vec![event(2, "workflow_status", r#"{"status":"PAUSED"}"#)],
        ..Changes::default()
    };
    bench.commit(&exec_id, paused).await.unwrap();
    assert!(storage.news(&bench.node).await.unwrap().is_empty());
    // Nobody takes it up until it is resumed, whatever else comes.
    leave(bench).await;
    put(bench, &exec_id, signal("a", "paid")).await;
    bench.sound().await;
    assert!(claimable(bench).await.is_empty());
    assert_eq!(ask(Wanted::Resume).await, RequestOutcome::Requested { owner: None });
    bench.sound().await;
    // Changed its mind before anyone took it up, and again.
    ask(Wanted::Pause).await;
    assert!(claimable(bench).await.is_empty());
    bench.sound().await;
    ask(Wanted::Resume).await;
    assert_eq!(claimable(bench).await, std::slice::from_ref(&exec_id));
    assert_eq!(storage.news(&bench.node).await.unwrap(), std::slice::from_ref(&exec_id), "it is still PAUSED");
    // A node that dies before it resumed the run leaves it to the next one.
    let next: NodeId = "next".into();
    bench.die().await;
    storage.recover(&next, true, now).await.unwrap();
    bench.sound().await;
    assert_eq!(claimable(bench).await, [exec_id]);
}

/// A sub-run of `parent` that the node owns.
fn child_of(bench: &Bench, parent: &ExecId) -> NewRun {
    let mut new = bench.new_run();
    new.run.workflow_id = "sub".into();
    (new.run.parent_exec_id, new.run.root_exec_id) = (Some(parent.clone()), parent.clone());
    new
}

async fn sub_runs_begin_with_their_parent_or_not_at_all(bench: &Bench) {
    let storage = &bench.storage;
    let parent = bench.start().await;
    let (one, two) = (child_of(bench, &parent), child_of(bench, &parent));
    let ids = [one.run.exec_id.clone(), two.run.exec_id.clone()];
    let with = |starts: Vec<NewRun>| Changes { starts, ..wait(&parent, 2, "sub#1", "child", ids[0].as_str()) };
    // Twice the same run does not fit: neither the step nor a run is there.
    let refused = bench.commit(&parent, with(vec![one.clone(), one.clone()])).await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert!(storage.run(&ids[0]).await.unwrap().is_none() && storage.steps(&parent).await.unwrap().is_empty());
    let fenced = storage.commit(&parent, &bench.node, 7, &with(vec![one.clone()])).await;
    assert!(matches!(fenced, Err(Error::Fenced)) && storage.run(&ids[0]).await.unwrap().is_none());
    bench.commit(&parent, with(vec![one, two])).await.unwrap();
    bench.sound().await;
    let children = RunFilter { parent: Some(parent.clone()), limit: 9, ..RunFilter::default() };
    assert_eq!(storage.runs(&children).await.unwrap().items.len(), 2);
    let summaries = storage.workflow_summaries().await.unwrap();
    let counts: Vec<_> = summaries.iter().map(|one| (one.workflow_id.as_str(), one.runs)).collect();
    assert_eq!(counts, [("hello", 1), ("sub", 2)]);
    assert_eq!(storage.load(&ids[1]).await.unwrap().unwrap().run.root_exec_id, parent);
}

async fn the_end_of_a_sub_run_wakes_its_parent(bench: &Bench) {
    let storage = &bench.storage;
    let parent = bench.start().await;
    let child = child_of(bench, &parent);
    let child_id = child.run.exec_id.clone();
    let opened = wait(&parent, 2, "sub#1", "child", child_id.as_str());
    bench.commit(&parent, Changes { starts: vec![child], ..opened }).await.unwrap();
    leave(bench).await;
    assert_eq!(claimable(bench).await.len(), 2);
    // The parent's node goes away; only the parent is put back by hand, as a crash between two commits would.
    assert!(storage.news(&bench.node).await.unwrap().is_empty());
    storage.commit(&child_id, &bench.node, 2, &begin(&child_id, 2, "a#1")).await.unwrap();
    let woken = storage.commit(&child_id, &bench.node, 2, &finish(&child_id, 3, "a#1")).await.unwrap();
    assert_eq!(woken, [Woken { exec_id: parent.clone(), owner: Some(bench.node.clone()) }]);
    assert_eq!(storage.news(&bench.node).await.unwrap(), std::slice::from_ref(&parent));
    bench.sound().await;
    leave(bench).await;
    assert_eq!(claimable(bench).await, [parent]);
    bench.sound().await;
}

async fn demands_reach_sub_runs(bench: &Bench) {
    let storage = &bench.storage;
    let parent = bench.start().await;
    let mut child = child_of(bench, &parent);
    (child.run.owner_node, child.run.epoch, child.queue) = (None, 0, true);
    let child_id = child.run.exec_id.clone();
    let opened = wait(&parent, 2, "sub#1", "child", child_id.as_str());
    bench.commit(&parent, Changes { starts: vec![child], ..opened }).await.unwrap();
    let order = async |wanted: Wanted| {
        let gone = demand(&"nobody".into(), wanted, "parent", None);
        let demands = vec![gone, demand(&child_id, wanted, "parent", Some("it was paused"))];
        bench.commit(&parent, Changes { demands, ..Changes::default() }).await.unwrap()
    };
    let told = [Woken { exec_id: child_id.clone(), owner: None }];
    assert_eq!(order(Wanted::Pause).await, told);
    assert!(storage.run(&child_id).await.unwrap().unwrap().pause_request.is_some());
    assert_eq!(order(Wanted::Pause).await, []);
    assert_eq!(order(Wanted::Resume).await, told);
    assert!(storage.run(&child_id).await.unwrap().unwrap().pause_request.is_none());
    assert_eq!(order(Wanted::Cancel).await, told);
    assert!(storage.run(&child_id).await.unwrap().unwrap().cancel_request.is_some());
    bench.sound().await;
}

async fn publications_happen_once(bench: &Bench) {
    let storage = &bench.storage;
    let (exec_id, deaf) = (waiting(bench, "signal", "paid").await, waiting(bench, "signal", "shipped").await);
    let event = Published {
        event_id: "e1".into(),
        name: "paid".into(),
        payload: r#"{"order":7}"#.into(),
        source: "api".into(),
        metadata: r#"{"source":"api"}"#.into(),
        at: bench.clock.now(),
        idempotency: None,
    };
    let mut start = bench.queued();
    start.definition = Some(("workflow".into(), "hello".into(), r#"{"id":"hello","v":2}"#.into()));
    start.run.definition_digest = "digest-2".into();
    let started = start.run.exec_id.clone();
    let outcome = storage.publish(event.clone(), vec![start.clone()]).await.unwrap();
    let woken = vec![Woken { exec_id: exec_id.clone(), owner: Some(bench.node.clone()) }];
    assert_eq!(outcome, PublishOutcome::Published(woken));
    let kept = storage.signals(&exec_id, true).await.unwrap();
    assert_eq!((kept[0].signal_id.as_str(), kept[0].payload.as_str()), ("e1", r#"{"order":7}"#));
    assert!(storage.signals(&deaf, false).await.unwrap().is_empty());
    let repeated = PublishOutcome::Repeated { event_id: "e1".into() };
    assert_eq!(storage.publish(event.clone(), vec![bench.queued()]).await.unwrap(), repeated);
    let clash = storage.publish(Published { event_id: "e2".into(), ..event }, vec![start]).await;
    assert!(matches!(clash, Err(Error::Conflict(_))), "{clash:?}");
    assert_eq!(storage.signals(&exec_id, true).await.unwrap().len(), 1, "nothing of it was written");
    assert_eq!(claimable(bench).await, [started]);
    assert!(storage.definition("digest-2").await.unwrap().is_some());
    bench.sound().await;
}

async fn a_publication_keeps_the_key_of_its_request(bench: &Bench) {
    let storage = &bench.storage;
    let now = bench.clock.now();
    let keyed = |event_id: &str, hash: &str, at: Timestamp| Published {
        event_id: event_id.into(),
        name: "paid".into(),
        payload: "null".into(),
        source: "api".into(),
        metadata: "{}".into(),
        at,
        idempotency: Some(Idempotency {
            scope: "me|events".into(),
            key: "k".into(),
            request_hash: hash.into(),
            expires_at: Timestamp(at.0 + 10),
        }),
    };
    let repeated = PublishOutcome::Repeated { event_id: "e1".into() };
    let published = PublishOutcome::Published(Vec::new());
    let start = bench.queued();
    assert_eq!(storage.publish(keyed("e1", "h", now), vec![start.clone()]).await.unwrap(), published);
    assert_eq!(storage.publish(keyed("e2", "h", Timestamp(now.0 + 9)), vec![bench.queued()]).await.unwrap(), repeated);
    let mismatch = storage.publish(keyed("e3", "other", now), Vec::new()).await;
    assert!(matches!(&mismatch, Err(Error::Conflict(code)) if code == "idempotency_mismatch"), "{mismatch:?}");
    assert_eq!(claimable(bench).await, std::slice::from_ref(&start.run.exec_id));
    // Past its time the key is free again; the row that fails leaves it so.
    let later = Timestamp(now.0 + 11);
    let clash = storage.publish(keyed("e4", "other", later), vec![start.clone()]).await;
    assert!(matches!(clash, Err(Error::Conflict(_))), "{clash:?}");
    assert_eq!(storage.publish(keyed("e5", "other", later), Vec::new()).await.unwrap(), published);
    bench.sound().await;
}
