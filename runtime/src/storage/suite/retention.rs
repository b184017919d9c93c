//! What a sweep removes, and what it leaves.

use std::sync::Arc;
use std::time::Duration;

use compozy_engine::time::Timestamp;

use super::bench::{Bench, begin, event, finish};
use super::control::wait;
use crate::id::ExecId;
use crate::storage::Storage;
use crate::storage::row::*;

const DAY: i64 = 24 * 60 * 60 * 1_000_000;

pub(super) async fn all<F, O>(open: &F)
where
    F: Fn() -> O,
    O: Future<Output = Arc<dyn Storage>>,
{
    old_runs_go_and_the_last_stay(&Bench::new(open().await).await).await;
    a_tree_goes_as_a_whole(&Bench::new(open().await).await).await;
    journals_go_before_their_runs(&Bench::new(open().await).await).await;
    large_runs_go_in_pieces_and_payloads_after_them(&Bench::new(open().await).await).await;
}

fn days(days: i64) -> Duration {
    Duration::from_micros(u64::try_from(days * DAY).unwrap())
}

fn policy() -> Retention {
    Retention { success: days(30), failed: days(90), journal: days(7), keep_last: 2 }
}

/// Everything at once; each step on the way leaves the database sound.
async fn sweep(bench: &Bench, retention: &Retention, now: Timestamp) -> Swept {
    let (mut all, mut cursor) = (Swept::default(), None);
    loop {
        let swept = bench.storage.sweep(retention, cursor.as_deref(), now).await.unwrap();
        assert!(!swept.postponed);
        assert!(swept.rows <= 1_000, "{swept:?}");
        bench.sound().await;
        all.runs += swept.runs;
        all.rows += swept.rows;
        all.pages += swept.pages;
        cursor = swept.next;
        if cursor.is_none() {
            return all;
        }
    }
}

/// A run of `workflow` that was created and ended at `at`.
async fn ended(bench: &Bench, workflow: &str, status: &str, at: i64) -> ExecId {
    let mut new = bench.new_run();
    new.run.workflow_id = workflow.into();
    new.run.created_at = Timestamp(at);
    let exec_id = new.run.exec_id.clone();
    bench.storage.start(new).await.unwrap();
    end(bench, &exec_id, status, at).await;
    exec_id
}

async fn end(bench: &Bench, exec_id: &ExecId, status: &str, at: i64) {
    let seq = bench.storage.run(exec_id).await.unwrap().unwrap().last_seq;
    bench.commit(exec_id, begin(exec_id, seq + 1, "a#1")).await.unwrap();
    let mut changes = finish(exec_id, seq + 2, "a#1");
    if status != "SUCCESS" {
        changes.journal[1] = event(seq + 3, "error", &format!(r#"{{"status":"{status}"}}"#));
    }
    let run = changes.run.as_mut().unwrap();
    (run.status, run.finished_at) = (status.into(), Some(Timestamp(at)));
    bench.commit(exec_id, changes).await.unwrap();
}

async fn left(bench: &Bench) -> Vec<ExecId> {
    let filter = RunFilter { limit: 500, ascending: true, ..RunFilter::default() };
    bench.storage.runs(&filter).await.unwrap().items.into_iter().map(|run| run.exec_id).collect()
}

async fn old_runs_go_and_the_last_stay(bench: &Bench) {
    let mut ids = Vec::new();
    for (workflow, status, day) in [
        ("often", "SUCCESS", 1),
        ("often", "FAILED", 2),
        ("often", "SUCCESS", 3),
        ("rare", "SUCCESS", 4),
        ("often", "CANCELED", 5),
        ("often", "SUCCESS", 71),
        ("often", "SUCCESS", 72),
        ("often", "SUCCESS", 73),
    ] {
        ids.push(ended(bench, workflow, status, day * DAY).await);
    }
    let active = bench.start().await;
    assert_eq!(sweep(bench, &policy(), Timestamp(10 * DAY)).await.runs, 0);
    // At day 93: successes up to day 63 and failures up to day 3, but not the last two of each workflow.
    assert_eq!(sweep(bench, &policy(), Timestamp(93 * DAY)).await.runs, 3);
    let stay = |which: &[usize]| {
        let stay = which.iter().map(|index| ids[*index].clone()).chain([active.clone()]);
        stay.collect::<Vec<_>>()
    };
    assert_eq!(left(bench).await, stay(&[3, 4, 5, 6, 7]));
    let counts = bench.storage.workflow_summaries().await.unwrap();
    let counts: Vec<_> = counts.iter().map(|one| (one.workflow_id.as_str(), one.runs)).collect();
    assert_eq!(counts, [("hello", 1), ("often", 4), ("rare", 1)]);
    assert_eq!(sweep(bench, &policy(), Timestamp(999 * DAY)).await.runs, 2);
    assert_eq!(left(bench).await, stay(&[3, 6, 7]));
    let none = Retention { keep_last: 0, ..policy() };
    assert_eq!(sweep(bench, &none, Timestamp(999 * DAY)).await.runs, 3);
    assert_eq!(left(bench).await, [active]);
}

async fn a_tree_goes_as_a_whole(bench: &Bench) {
    let parent = bench.start().await;
    let child = |parent: &ExecId| {
        let mut new = bench.new_run();
        new.run.workflow_id = "sub".into();
        (new.run.parent_exec_id, new.run.root_exec_id) = (Some(parent.clone()), parent.clone());
        new
    };
    let (one, two) = (child(&parent), child(&parent));
    let (first, second) = (one.run.exec_id.clone(), two.run.exec_id.clone());
    let mut opened = wait(&parent, 2, "sub#1", "child", first.as_str());
    opened.starts = vec![one, two];
    bench.commit(&parent, opened).await.unwrap();
    end(bench, &first, "SUCCESS", DAY).await;
    let mut closed = finish(&parent, 4, "sub#1");
    closed.steps[0].task_exec_id = format!("{parent}-sub#1");
    bench.commit(&parent, closed).await.unwrap();
    let none = Retention { keep_last: 0, ..policy() };
    let later = Timestamp(bench.clock.now().0 + 200 * DAY);
    assert_eq!(sweep(bench, &none, later).await.runs, 0, "one of its sub-runs goes on");
    end(bench, &second, "FAILED", 2 * DAY).await;
    let swept = sweep(bench, &Retention { keep_last: 1, ..policy() }, later).await;
    assert_eq!(swept.runs, 0, "one is the last of its workflow");
    assert_eq!(sweep(bench, &none, later).await.runs, 3);
    assert!(left(bench).await.is_empty());
}

async fn journals_go_before_their_runs(bench: &Bench) {
    let exec_id = ended(bench, "hello", "SUCCESS", 10 * DAY).await;
    let active = bench.start().await;
    let events = async |exec_id: &ExecId| {
        let events = bench.storage.journal(exec_id, 0, 99).await.unwrap();
        events.into_iter().map(|event| (event.seq, event.event)).collect::<Vec<_>>()
    };
    sweep(bench, &policy(), Timestamp(16 * DAY)).await;
    assert_eq!(events(&exec_id).await.len(), 4);
    assert_eq!(sweep(bench, &policy(), Timestamp(18 * DAY)).await.rows, 3);
    assert_eq!(events(&exec_id).await, [(4, "complete".to_owned())]);
    assert_eq!(bench.storage.steps(&exec_id).await.unwrap().len(), 1);
    assert_eq!(events(&active).await.len(), 1);
    assert_eq!(sweep(bench, &policy(), Timestamp(18 * DAY)).await.rows, 0);
}

async fn large_runs_go_in_pieces_and_payloads_after_them(bench: &Bench) {
    let mut runs = Vec::new();
    let shared = format!("\"{}\"", "s".repeat(10_000));
    for run in 0..2 {
        let mut new = bench.new_run();
        new.run.input = shared.clone();
        new.run.created_at = Timestamp(DAY * (run + 1));
        let exec_id = new.run.exec_id.clone();
        bench.storage.start(new).await.unwrap();
        runs.push(exec_id);
    }
    for number in 0..700 {
        let key = format!("many#{number}");
        let mut changes = begin(&runs[0], number + 2, &key);
        changes.steps[0].status = "SUCCESS".into();
        changes.steps[0].output =
            Some(format!("\"{number}{}\"", "x".repeat(if number % 50 == 0 { 10_000 } else { 9 })));
        changes.at = Timestamp(40 * DAY);
        changes.journal[0].event = "task_status".into();
        changes.journal[0].data = format!(r#"{{"step_key":"{key}","status":"SUCCESS","attempt":1}}"#);
        bench.commit(&runs[0], changes).await.unwrap();
    }
    end(bench, &runs[0], "SUCCESS", DAY).await;
    end(bench, &runs[1], "SUCCESS", 50 * DAY).await;
    let none = Retention { keep_last: 0, ..policy() };
    let swept = sweep(bench, &none, Timestamp(40 * DAY)).await;
    // Its journal, steps and row; payloads are younger than a day.
    assert_eq!((swept.runs, swept.rows >= 1_400), (1, true), "{swept:?}");
    assert_eq!(bench.storage.run(&runs[1]).await.unwrap().unwrap().input, shared, "it is shared");
    let later = Timestamp(bench.clock.now().0 + 2 * DAY);
    let keep = Retention { success: days(99_999), journal: days(99_999), ..none };
    assert_eq!(sweep(bench, &keep, later).await.rows, 14, "the payloads of what is gone");
    assert_eq!(bench.storage.run(&runs[1]).await.unwrap().unwrap().input, shared);
    sweep(bench, &none, later).await;
    assert!(left(bench).await.is_empty());
}
