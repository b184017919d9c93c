//! Schedules: declared, set at run time, fired once.

use std::sync::Arc;

use compozy_engine::time::Timestamp;

use super::bench::Bench;
use crate::storage::row::*;
use crate::storage::{Error, Storage};

pub(super) async fn all<F, O>(open: &F)
where
    F: Fn() -> O,
    O: Future<Output = Arc<dyn Storage>>,
{
    what_is_set_survives_the_project(&Bench::new(open().await).await).await;
    a_time_fires_once(&Bench::new(open().await).await).await;
    a_buffered_time_fires_later(&Bench::new(open().await).await).await;
}

fn declared(id: &str, cron: &str) -> Declared {
    Declared { schedule_id: id.into(), workflow_id: "hello".into(), declared: format!(r#"{{"cron":"{cron}"}}"#) }
}

async fn ids(bench: &Bench) -> Vec<(String, bool, bool, Option<i64>)> {
    let schedules = bench.storage.schedules().await.unwrap();
    let row = |one: Schedule| {
        let next = one.next_fire_at.map(|time| time.0);
        (one.schedule_id, one.declared.is_some(), one.overriding.is_some(), next)
    };
    schedules.into_iter().map(row).collect()
}

async fn what_is_set_survives_the_project(bench: &Bench) {
    let (storage, now) = (&bench.storage, bench.clock.now());
    storage.declare_schedules(vec![declared("a", "1"), declared("b", "1")], now).await.unwrap();
    assert!(storage.plan_schedule("a", Some(Timestamp(50))).await.unwrap());
    let off = Some(r#"{"enabled":false}"#.to_owned());
    assert!(storage.set_schedule("b", off.clone(), None, now).await.unwrap());
    assert!(!storage.set_schedule("c", off, None, now).await.unwrap());
    assert!(!storage.plan_schedule("c", None).await.unwrap());
    // The same again keeps the plan; another cron wants a new one.
    storage.declare_schedules(vec![declared("a", "1"), declared("b", "1")], now).await.unwrap();
    let all = |a: Option<i64>| vec![("a".to_owned(), true, false, a), ("b".to_owned(), true, true, None)];
    assert_eq!(ids(bench).await, all(Some(50)));
    storage.declare_schedules(vec![declared("a", "2"), declared("b", "1")], now).await.unwrap();
    assert_eq!(ids(bench).await, all(None));
    storage.declare_schedules(Vec::new(), now).await.unwrap();
    assert_eq!(ids(bench).await, [("b".to_owned(), false, true, None)]);
    assert!(storage.set_schedule("b", None, None, now).await.unwrap());
    assert!(ids(bench).await.is_empty());
    bench.sound().await;
}

fn fire(bench: &Bench, fire_at: i64, state: &str) -> Fire {
    Fire {
        schedule_id: "a".into(),
        fire_at: Timestamp(fire_at),
        state: state.into(),
        start: (state == "started").then(|| bench.queued()),
        cancel: None,
        next_fire_at: Some(Timestamp(fire_at + 10)),
        at: bench.clock.now(),
    }
}

async fn a_time_fires_once(bench: &Bench) {
    let (storage, now) = (&bench.storage, bench.clock.now());
    let early = storage.fire(fire(bench, 10, "started")).await;
    assert!(matches!(early, Err(Error::NotFound(_))), "{early:?}");
    storage.declare_schedules(vec![declared("a", "1")], now).await.unwrap();
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (storage, fire) = (Arc::clone(storage), fire(bench, 10, "started"));
        nodes.spawn(async move { storage.fire(fire).await.unwrap().is_some() });
    }
    assert_eq!(nodes.join_all().await.into_iter().filter(|fired| *fired).count(), 1);
    let runs = storage.claim(&bench.node, 9, bench.clock.now()).await.unwrap();
    assert_eq!(runs.len(), 1);
    let schedule = storage.schedules().await.unwrap().remove(0);
    assert_eq!(schedule.last_exec_id.as_ref(), Some(&runs[0].exec_id));
    assert_eq!((schedule.last_fire_at, schedule.next_fire_at), (Some(Timestamp(10)), Some(Timestamp(20))));
    assert!(storage.fire(fire(bench, 20, "skipped")).await.unwrap().is_some());
    assert!(storage.fire(fire(bench, 20, "started")).await.unwrap().is_none(), "it was skipped");
    // A newer run replaces the one before.
    let cancel = Some(runs[0].exec_id.clone());
    let woken = storage.fire(Fire { cancel, ..fire(bench, 30, "started") }).await.unwrap().unwrap();
    assert_eq!(woken, [Woken { exec_id: runs[0].exec_id.clone(), owner: Some(bench.node.clone()) }]);
    assert!(storage.run(&runs[0].exec_id).await.unwrap().unwrap().cancel_request.is_some());
    let half = storage.fire(Fire { start: None, ..fire(bench, 40, "started") }).await;
    assert!(matches!(half, Err(Error::Conflict(_))), "{half:?}");
    bench.sound().await;
}

async fn a_buffered_time_fires_later(bench: &Bench) {
    let (storage, now) = (&bench.storage, bench.clock.now());
    storage.declare_schedules(vec![declared("a", "1")], now).await.unwrap();
    assert!(storage.fire(fire(bench, 10, "buffered")).await.unwrap().is_some());
    assert!(storage.fire(fire(bench, 10, "buffered")).await.unwrap().is_none());
    let kept = &storage.schedules().await.unwrap()[0];
    assert_eq!((kept.buffered_at, kept.last.clone()), (Some(Timestamp(10)), Some((Timestamp(10), "buffered".into()))));
    assert!(storage.fire(fire(bench, 10, "started")).await.unwrap().is_some());
    assert!(storage.fire(fire(bench, 10, "started")).await.unwrap().is_none());
    assert_eq!(storage.schedules().await.unwrap()[0].buffered_at, None);
    bench.sound().await;
}
