//! Who is claimed first, and concurrency keys.

use std::sync::Arc;

use compozy_engine::time::Timestamp;

use super::bench::{Bench, begin, demand, finish};
use crate::id::ExecId;
use crate::storage::row::*;
use crate::storage::{Error, Storage};

pub(super) async fn all<F, O>(open: &F)
where
    F: Fn() -> O,
    O: Future<Output = Arc<dyn Storage>>,
{
    the_highest_priority_goes_first(&Bench::new(open().await).await).await;
    nobody_waits_for_ever(&Bench::new(open().await).await).await;
    workflows_take_turns(&Bench::new(open().await).await).await;
    what_was_under_way_goes_on_first(&Bench::new(open().await).await).await;
    what_is_owned_is_claimed_anew(&Bench::new(open().await).await).await;
    at_most_so_many_of_a_key_are_under_way(&Bench::new(open().await).await).await;
    a_key_is_kept_over_the_death_of_a_node(&Bench::new(open().await).await).await;
    what_waits_for_a_key_can_be_canceled(&Bench::new(open().await).await).await;
    keys_are_for_outermost_runs_that_are_queued(&Bench::new(open().await).await).await;
}

/// Queues a run of `workflow` that was created `age` microseconds after the first.
async fn queue(bench: &Bench, workflow: &str, priority: i64, age: i64) -> ExecId {
    put(bench, workflow, priority, age, None).await
}

async fn keyed(bench: &Bench, age: i64, priority: i64, key: &str, limit: u32) -> ExecId {
    put(bench, "hello", priority, age, Some(Concurrency { key: key.into(), limit })).await
}

async fn put(bench: &Bench, workflow: &str, priority: i64, age: i64, concurrency: Option<Concurrency>) -> ExecId {
    let mut new = bench.queued();
    new.run.workflow_id = workflow.into();
    new.run.priority = priority;
    new.run.created_at = Timestamp(1_000_000 + age);
    new.run.concurrency = concurrency;
    let exec_id = new.run.exec_id.clone();
    bench.storage.start(new).await.unwrap();
    exec_id
}

/// Claims one after the other, as slots become free.
async fn claims(bench: &Bench, count: usize) -> Vec<ExecId> {
    let mut claimed = Vec::new();
    for _ in 0..count {
        let runs = bench.storage.claim(&bench.node, 1, bench.clock.now()).await.unwrap();
        claimed.extend(runs.into_iter().map(|run| run.exec_id));
    }
    claimed
}

async fn end(bench: &Bench, exec_id: &ExecId) {
    let run = bench.storage.run(exec_id).await.unwrap().unwrap();
    let commit = async |changes: Changes| bench.storage.commit(exec_id, &bench.node, run.epoch, &changes).await;
    commit(begin(exec_id, run.last_seq + 1, "a#1")).await.unwrap();
    commit(finish(exec_id, run.last_seq + 2, "a#1")).await.unwrap();
}

async fn the_highest_priority_goes_first(bench: &Bench) {
    let low = queue(bench, "a", -5, 0).await;
    let (first, second) = (queue(bench, "a", 0, 1).await, queue(bench, "a", 0, 2).await);
    let high = queue(bench, "a", i64::MAX, 3).await;
    assert_eq!(bench.storage.queue_length().await.unwrap(), QueueLength { claimable: 4, gated: 0 });
    assert_eq!(claims(bench, 9).await, [high, first, second, low]);
    assert_eq!(bench.storage.queue_length().await.unwrap(), QueueLength::default());
    bench.sound().await;
}

/// A stream of starts of high priority that never ends.
async fn nobody_waits_for_ever(bench: &Bench) {
    let low = queue(bench, "a", 0, 0).await;
    let mut before = 0;
    loop {
        queue(bench, "b", 9, before + 1).await;
        queue(bench, "b", 9, before + 1).await;
        if claims(bench, 1).await.contains(&low) {
            break;
        }
        before += 1;
        assert!(before < 20, "it starves");
    }
    assert_eq!(before, 7, "one of eight goes by age");
}

async fn workflows_take_turns(bench: &Bench) {
    for age in 0..200 {
        queue(bench, "many", 0, age).await;
    }
    let mut few = Vec::new();
    for age in 0..4 {
        few.push(queue(bench, "few", 0, 1_000 + age).await);
    }
    let claimed = claims(bench, 12).await;
    let places: Vec<_> = few.iter().map(|exec_id| claimed.iter().position(|other| other == exec_id)).collect();
    assert!(places.iter().all(Option::is_some), "each second one is for them: {places:?}");
    assert!(places.is_sorted(), "in their order: {places:?}");
    // In one batch, too.
    let other = queue(bench, "other", 0, 2_000).await;
    let batch = bench.storage.claim(&bench.node, 4, bench.clock.now()).await.unwrap();
    assert!(batch.iter().any(|run| run.exec_id == other));
    assert_eq!(batch.len(), 4);
    bench.sound().await;
}

/// Whoever drove it before writes nothing more, also in the same node.
async fn what_is_owned_is_claimed_anew(bench: &Bench) {
    let (storage, now) = (&bench.storage, bench.clock.now());
    let (run, ended, other) = (bench.start().await, bench.start().await, bench.clock.node_id());
    let queued = queue(bench, "a", 0, 0).await;
    end(bench, &ended).await;
    bench.live(&other, "server", 60).await;
    assert_eq!(storage.owned(&bench.node).await.unwrap(), std::slice::from_ref(&run));
    assert!(storage.owned(&other).await.unwrap().is_empty());
    for (node, exec_id) in
        [(&other, &run), (&bench.node, &ended), (&bench.node, &queued), (&bench.node, &other.as_str().into())]
    {
        assert!(storage.claim_anew(node, exec_id, now).await.unwrap().is_none(), "{exec_id}");
    }
    let again = storage.claim_anew(&bench.node, &run, now).await.unwrap().unwrap();
    assert_eq!((&again.exec_id, again.epoch, again.owner_node.as_ref()), (&run, 2, Some(&bench.node)));
    let late = storage.commit(&run, &bench.node, 1, &begin(&run, 2, "a#1")).await;
    assert!(matches!(late, Err(Error::Fenced)), "{late:?}");
    storage.commit(&run, &bench.node, 2, &begin(&run, 2, "a#1")).await.unwrap();
    assert_eq!(storage.claim_anew(&bench.node, &run, now).await.unwrap().unwrap().epoch, 3);
    bench.sound().await;
}

async fn what_was_under_way_goes_on_first(bench: &Bench) {
    let old = bench.start().await;
    let new = queue(bench, "hello", 0, 10_000_000_000_000_000).await;
    bench.storage.hand_back(&bench.node, bench.clock.now()).await.unwrap();
    let later = Timestamp(10_000_000_000_000_000 * 2);
    let claimed = bench.storage.claim(&bench.node, 1, later).await.unwrap();
    assert_eq!(claimed.first().map(|run| &run.exec_id), Some(&old));
    let claimed = bench.storage.claim(&bench.node, 1, later).await.unwrap();
    assert_eq!(claimed.first().map(|run| &run.exec_id), Some(&new));
}

async fn at_most_so_many_of_a_key_are_under_way(bench: &Bench) {
    let mut ids = Vec::new();
    for age in 0..5 {
        ids.push(keyed(bench, age, 0, "k", 2).await);
    }
    let (urgent, other) = (keyed(bench, 9, 3, "k", 2).await, keyed(bench, 10, 0, "other", 1).await);
    let free = queue(bench, "hello", -1, 11).await;
    bench.sound().await;
    assert_eq!(bench.storage.queue_length().await.unwrap(), QueueLength { claimable: 4, gated: 4 });
    let run = bench.storage.run(&urgent).await.unwrap().unwrap();
    assert_eq!((run.gated, run.concurrency), (true, Some(Concurrency { key: "k".into(), limit: 2 })));
    assert_eq!(claims(bench, 9).await, [ids[0].clone(), ids[1].clone(), other.clone(), free]);
    assert!(claims(bench, 1).await.is_empty(), "the key is taken");
    assert!(bench.storage.claim_one(&bench.node, &urgent, bench.clock.now()).await.unwrap().is_none());
    end(bench, &other).await;
    assert!(claims(bench, 1).await.is_empty(), "another key");
    // The end of one lets the next one through, in the same transaction.
    for next in [&urgent, &ids[2], &ids[3], &ids[4]] {
        let holder = bench.storage.runs(&RunFilter { limit: 99, ascending: true, ..RunFilter::default() }).await;
        let holder =
            holder.unwrap().items.into_iter().find(|run| run.owner_node.is_some() && run.finished_at.is_none());
        end(bench, &holder.unwrap().exec_id).await;
        bench.sound().await;
        assert_eq!(claims(bench, 9).await, std::slice::from_ref(next));
    }
    bench.sound().await;
}

async fn a_key_is_kept_over_the_death_of_a_node(bench: &Bench) {
    let (first, second) = (keyed(bench, 0, 0, "k", 1).await, keyed(bench, 1, 0, "k", 1).await);
    assert_eq!(claims(bench, 9).await, std::slice::from_ref(&first));
    bench.die().await;
    bench.storage.recover(&"next".into(), true, bench.clock.now()).await.unwrap();
    bench.sound().await;
    bench.live(&bench.node, "server", 60).await;
    assert_eq!(claims(bench, 9).await, std::slice::from_ref(&first), "and not the one that waits");
    end(bench, &first).await;
    assert_eq!(claims(bench, 9).await, [second]);
    bench.sound().await;
}

async fn what_waits_for_a_key_can_be_canceled(bench: &Bench) {
    let mut ids = Vec::new();
    for (age, limit) in [(0, 1), (1, 1), (2, 2)] {
        ids.push(keyed(bench, age, 0, "k", limit).await);
    }
    claims(bench, 9).await;
    bench.storage.request(&demand(&ids[1], Wanted::Cancel, "ada", None), bench.clock.now()).await.unwrap();
    bench.sound().await;
    // The one behind it may have two at once.
    assert_eq!(claims(bench, 9).await, ids[1..]);
    bench.sound().await;
}

async fn keys_are_for_outermost_runs_that_are_queued(bench: &Bench) {
    let concurrency = Some(Concurrency { key: "k".into(), limit: 1 });
    let mut owned = bench.new_run();
    owned.run.concurrency = concurrency.clone();
    assert!(matches!(bench.storage.start(owned.clone()).await, Err(Error::Conflict(_))));
    let parent = bench.start().await;
    owned.run.parent_exec_id = Some(parent);
    bench.storage.start(owned.clone()).await.unwrap();
    let inner = bench.storage.run(&owned.run.exec_id).await.unwrap().unwrap();
    assert_eq!(inner.concurrency, None, "it is under way with its parent");
    bench.sound().await;
}
