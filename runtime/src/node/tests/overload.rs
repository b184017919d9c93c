//! More starts than a node can take.

use std::time::Duration;

use serde_json::json;

use super::{launch_limited, memory, project, start, task, workflow};
use crate::node::{Error, StartRequest};
use crate::storage::row::{QueueLength, RunFilter};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_stores_nothing() {
    let storage = memory().await;
    let endless = || workflow(vec![task("loop", "endless_loop", &json!({}))]);
    let node = launch_limited(storage.clone(), project([endless()]), (1, 3)).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(node.submit(start()).await.unwrap().exec_id);
    }
    for _ in 0..3 {
        let refused = node.submit(start()).await;
        assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    }
    let stored = || async { storage.runs(&RunFilter { limit: 99, ..RunFilter::default() }).await.unwrap().items.len() };
    assert_eq!(stored().await, 4);
    assert_eq!(storage.queue_length().await.unwrap(), QueueLength { claimable: 3, gated: 0 });
    // The next process knows how many wait without having taken them.
    node.shutdown(Duration::ZERO).await;
    let next = launch_limited(storage.clone(), project([endless()]), (1, 2)).await;
    let refused = next.submit(start()).await;
    assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    assert_eq!(stored().await, 4);
    for exec_id in &ids {
        next.cancel(exec_id, "a test", None).await.unwrap();
    }
    for exec_id in &ids {
        let run = next.wait(exec_id, Some(Duration::from_secs(20))).await.unwrap().expect("the run ends");
        assert_eq!(run.status, "CANCELED");
    }
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
}

/// Starts that keep coming do not overtake those that wait.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_comes_before_who_comes() {
    let storage = memory().await;
    let quick = workflow(vec![task("nap", "sleep", &json!({"milliseconds": 5}))]);
    let node = launch_limited(storage.clone(), project([quick]), (1, 1_000)).await;
    let first = node.submit(start()).await.unwrap().exec_id;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(node.submit(start()).await.unwrap().exec_id);
    }
    let urgent = node.submit(StartRequest { priority: 5, ..start() }).await.unwrap().exec_id;
    for exec_id in ids.iter().chain([&first, &urgent]) {
        node.wait(exec_id, Some(Duration::from_secs(20))).await.unwrap().expect("the run ends");
    }
    let mut begun = Vec::new();
    for exec_id in &ids {
        begun.push(storage.run(exec_id).await.unwrap().unwrap().started_at);
    }
    assert!(begun.is_sorted(), "first come, first served: {begun:?}");
    let urgent = storage.run(&urgent).await.unwrap().unwrap().started_at;
    let before = begun.iter().filter(|at| **at < urgent).count();
    assert!(before < 39, "higher priority first: {before} of 40 began before it");
}
