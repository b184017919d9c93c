//! Several nodes on one database.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use compozy_engine::time::Timestamp;

use super::*;
use crate::id::ExecId;
use crate::storage::row::{Changes, Concurrency, Durability, NewSignal, RunUpdate, Started};

/// Two nodes, each with connections of its own.
async fn two(url: &str) -> [Bench; 2] {
    [Bench::new(opened(url).await).await, Bench::new(opened(url).await).await]
}

async fn done(url: &str, benches: [Bench; 2]) {
    for bench in benches {
        bench.storage.close().await;
    }
    server::drop_database(url);
}

/// The end of a run that has only begun.
fn end(seq: i64) -> Changes {
    let run = RunUpdate {
        status: "SUCCESS".into(),
        reason: None,
        output: None,
        error: None,
        state: "{}".into(),
        started_at: None,
        finished_at: Some(Timestamp(9)),
    };
    let journal = vec![crate::storage::row::Journal {
        seq,
        at: Timestamp(seq),
        event: "complete".into(),
        task_id: None,
        data: r#"{"status":"SUCCESS"}"#.into(),
    }];
    Changes { run: Some(run), journal, at: Timestamp(9), ..Changes::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_past_its_lease_writes_nothing() {
    let url = server::database();
    let [one, two] = two(&url).await;
    let exec_id = one.start().await;
    assert_eq!(two.storage.recover(&two.node, false, two.clock.now()).await.unwrap(), 0, "it lives");
    assert_eq!(two.storage.recover(&two.node, true, two.clock.now()).await.unwrap(), 0, "nobody is alone");
    one.live(&one.node, "server", -1).await;
    assert_eq!(two.storage.recover(&two.node, false, two.clock.now()).await.unwrap(), 1);
    // Freed and not yet taken, then taken: the zombie is fenced either way, also once it has a lease again.
    let late = one.commit(&exec_id, begin(&exec_id, 2, "a#1")).await;
    assert!(matches!(late, Err(Error::Fenced)), "{late:?}");
    let claimed = two.storage.claim(&two.node, 9, two.clock.now()).await.unwrap();
    assert_eq!(claimed.iter().map(|run| (&run.exec_id, run.epoch)).collect::<Vec<_>>(), [(&exec_id, 2)]);
    one.live(&one.node, "server", 60).await;
    let late = one.commit(&exec_id, begin(&exec_id, 2, "a#1")).await;
    assert!(matches!(late, Err(Error::Fenced)), "{late:?}");
    assert_eq!(two.storage.journal(&exec_id, 0, 9).await.unwrap().len(), 1);
    two.storage.commit(&exec_id, &two.node, 2, &begin(&exec_id, 2, "a#1")).await.unwrap();
    one.sound().await;
    done(&url, [one, two]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_queued_run_is_claimed_once() {
    const RUNS: usize = 200;
    let url = server::database();
    let benches = two(&url).await;
    for _ in 0..RUNS {
        benches[0].storage.start(benches[0].queued()).await.unwrap();
    }
    let mut claims = tokio::task::JoinSet::new();
    for index in 0..6 {
        let (storage, node) = (Arc::clone(&benches[index % 2].storage), benches[index % 2].node.clone());
        let clock = benches[0].clock.clone();
        claims.spawn(async move {
            let (mut claimed, mut empty) = (Vec::new(), 0);
            while empty < 3 {
                let more = storage.claim(&node, 7, clock.now()).await.unwrap();
                empty = if more.is_empty() { empty + 1 } else { 0 };
                claimed.extend(more.into_iter().map(|run| (run.exec_id, run.epoch)));
            }
            claimed
        });
    }
    let claimed: Vec<(ExecId, i64)> = claims.join_all().await.into_iter().flatten().collect();
    let ids: std::collections::HashSet<_> = claimed.iter().map(|(exec_id, _)| exec_id).collect();
    assert_eq!((claimed.len(), ids.len()), (RUNS, RUNS));
    assert!(claimed.iter().all(|(_, epoch)| *epoch == 1));
    benches[0].sound().await;
    done(&url, benches).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concurrency_key_holds_over_nodes() {
    const RUNS: usize = 40;
    let url = server::database();
    let benches = two(&url).await;
    for index in 0..RUNS {
        let mut new = benches[index % 2].queued();
        new.run.concurrency = Some(Concurrency { key: "k".into(), limit: 3 });
        assert_eq!(benches[index % 2].storage.start(new).await.unwrap(), Started::New);
    }
    let (under_way, most) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let ended = Arc::new(AtomicUsize::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for index in 0..4 {
        let (storage, node) = (Arc::clone(&benches[index % 2].storage), benches[index % 2].node.clone());
        let (under_way, most, ended) = (Arc::clone(&under_way), Arc::clone(&most), Arc::clone(&ended));
        let clock = benches[0].clock.clone();
        workers.spawn(async move {
            while ended.load(Ordering::SeqCst) < RUNS {
                for run in storage.claim(&node, 5, clock.now()).await.unwrap() {
                    most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    storage.commit(&run.exec_id, &node, run.epoch, &end(2)).await.unwrap();
                    ended.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    workers.join_all().await;
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    benches[1].sound().await;
    done(&url, benches).await;
}

/// What another node wrote is noticed by looking, and nothing is noticed while nothing happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_others_are_noticed() {
    let url = server::database();
    let [one, two] = two(&url).await;
    let exec_id = one.start().await;
    one.storage.changed_elsewhere().await;
    let quiet = tokio::time::timeout(Duration::from_millis(1_500), one.storage.changed_elsewhere()).await;
    assert!(quiet.is_err(), "nothing has happened");
    let since = Instant::now();
    let (id, name, payload, metadata) = ("s-1".into(), "paid".into(), "1".into(), "{}".into());
    let signal = NewSignal { signal_id: id, name, payload, metadata, dedupe_key: None };
    two.storage.put_signal(&exec_id, signal, None, two.clock.now()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), one.storage.changed_elsewhere()).await.expect("a signal");
    assert_eq!(one.storage.news(&one.node).await.unwrap(), [exec_id]);
    two.storage.start(two.queued()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), one.storage.changed_elsewhere()).await.expect("a queued run");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    done(&url, [one, two]).await;
}

/// Many writers on two nodes, of both levels, one of them always too late: every event is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_many_levels_share_flushes() {
    let url = server::database();
    let benches = two(&url).await;
    let mut writers = tokio::task::JoinSet::new();
    for index in 0..32 {
        let (storage, node) = (Arc::clone(&benches[index % 2].storage), benches[index % 2].node.clone());
        let mut new = benches[index % 2].new_run();
        new.run.durability = if index % 3 == 0 { Durability::Normal } else { Durability::Full };
        writers.spawn(async move {
            let exec_id = new.run.exec_id.clone();
            storage.start(new).await.unwrap();
            for seq in 2..12 {
                storage.commit(&exec_id, &node, 1, &begin(&exec_id, seq, &format!("s{seq}#1"))).await.unwrap();
                let late = storage.commit(&exec_id, &node, 7, &begin(&exec_id, seq, "x#1")).await;
                assert!(matches!(late, Err(Error::Fenced)), "{late:?}");
            }
            storage.journal(&exec_id, 0, 99).await.unwrap().len()
        });
    }
    assert!(writers.join_all().await.into_iter().all(|events| events == 11));
    benches[0].sound().await;
    done(&url, benches).await;
}
