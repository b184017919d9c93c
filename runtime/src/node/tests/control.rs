//! Signals and pauses that reach runs under way, also over the end of a node.

use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::{Signal, Task, TaskKind, TemplateMode, Wait, Workflow};
use serde_json::{Value, json};

use super::containers::{cel, holding, map, template, value};
use super::{launch, memory, node, project, start, task, workflow};
use crate::clock::Clock;
use crate::id::ExecId;
use crate::node::{Error, Node, SignalRequest, StartRequest};
use crate::storage::row::{Durability, Run};
use crate::storage::{RequestOutcome, Storage};

pub(super) fn hold(id: &str, name: &str) -> Task {
    let condition = Some(cel("signal.payload.n > 1", &["signal"]));
    let wait = Wait { wait_for: template(name, &[], TemplateMode::Text), condition, processor: None, on_timeout: None };
    let mut hold = holding(id, TaskKind::Wait(wait));
    hold.outputs = Some(map(vec![("n", value("{{ .output.signal.payload.n }}", &["output"]))]));
    hold
}

/// Waits twice for `paid`.
fn twice() -> Workflow {
    workflow(vec![hold("one", "paid"), hold("two", "paid")])
}

fn paid(n: i64) -> SignalRequest {
    SignalRequest {
        name: "paid".into(),
        payload: json!({"n": n}),
        dedupe_key: None,
        source: "a test".into(),
        idempotency: None,
    }
}

pub(super) async fn until(storage: &Arc<dyn Storage>, exec_id: &ExecId, what: impl Fn(&Run) -> bool) -> Run {
    for _ in 0..1_000 {
        let run = storage.run(exec_id).await.unwrap().unwrap();
        if what(&run) {
            return run;
        }
        Clock::system().sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to that: {:?}", storage.run(exec_id).await.unwrap());
}

async fn end(node: &Arc<Node>, exec_id: &ExecId) -> (String, Value) {
    let run = node.wait(exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("the run ends");
    assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
    (run.status, run.output.map(|output| serde_json::from_str(&output).unwrap()).unwrap_or_default())
}

async fn states(storage: &Arc<dyn Storage>, exec_id: &ExecId) -> Vec<String> {
    let signals = storage.signals(exec_id, false).await.unwrap();
    signals.into_iter().map(|signal| signal.state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_taken_in_the_order_they_came() {
    for durability in [Durability::Normal, Durability::Memory] {
        let node = node(memory().await, twice()).await;
        let storage = node.storage().clone();
        let request = StartRequest { durability: Some(durability), ..start() };
        let exec_id = node.submit(request).await.unwrap().exec_id;
        for n in [7, 0, 9, 11] {
            node.signal(&exec_id, paid(n)).await.unwrap();
        }
        assert_eq!(end(&node, &exec_id).await, ("SUCCESS".into(), json!({"n": 9})), "{durability:?}");
        assert_eq!(states(&storage, &exec_id).await, ["consumed", "ignored", "consumed", "ignored"]);
        let late = node.signal(&exec_id, paid(1)).await;
        assert!(matches!(late, Err(Error::ExecutionFinished(_))), "{late:?}");
        let nobody = node.signal(&"nobody".into(), paid(1)).await;
        assert!(matches!(nobody, Err(Error::ExecutionNotFound(_))), "{nobody:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_came_while_no_node_ran_is_taken_by_the_next() {
    let storage = memory().await;
    let first = node(storage.clone(), twice()).await;
    let exec_id = first.submit(start()).await.unwrap().exec_id;
    first.signal(&exec_id, paid(3)).await.unwrap();
    until(&storage, &exec_id, |run| run.status == "WAITING" && run.last_seq >= 8).await;
    first.shutdown(Duration::from_millis(50)).await;
    crate::node::put_signal(&*storage, &Clock::system(), &exec_id, paid(4)).await.unwrap();
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
    let second = node(storage.clone(), twice()).await;
    assert_eq!(end(&second, &exec_id).await, ("SUCCESS".into(), json!({"n": 4})));
    assert_eq!(states(&storage, &exec_id).await, ["consumed", "consumed"]);
    let events = storage.journal(&exec_id, 0, 99).await.unwrap();
    let queued = events.iter().filter(|event| event.event == "signal" && event.data.contains("queued")).count();
    assert_eq!(queued, 2, "each is told once: {events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_task_reaches_a_run_that_waits() {
    let mut teller = workflow(vec![holding(
        "tell",
        TaskKind::Signal(Signal {
            name: template("paid", &[], TemplateMode::Text),
            payload: Some(map(vec![("n", value("{{ .input.n }}", &["input.n"]))])),
            target: None,
        }),
    )]);
    teller.id = "teller".into();
    let listener = workflow(vec![hold("one", "paid")]);
    let node = launch(memory().await, Clock::system(), project([listener, teller])).await;
    let storage = node.storage().clone();
    let waits = node.submit(start()).await.unwrap().exec_id;
    until(&storage, &waits, |run| run.status == "WAITING").await;
    let tells = StartRequest { workflow_id: "teller".into(), input: json!({"n": 5}), ..start() };
    let teller = node.submit(tells).await.unwrap().exec_id;
    assert_eq!(end(&node, &teller).await.0, "SUCCESS");
    assert_eq!(end(&node, &waits).await, ("SUCCESS".into(), json!({"n": 5})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_what_comes_next_until_it_is_resumed() {
    let storage = memory().await;
    let tasks = || workflow(vec![hold("one", "paid"), task("last", "add", &json!({"a": 2, "b": 2}))]);
    let first = node(storage.clone(), tasks()).await;
    let exec_id = first.submit(start()).await.unwrap().exec_id;
    until(&storage, &exec_id, |run| run.status == "WAITING").await;
    assert!(matches!(first.pause(&exec_id, "ada").await.unwrap(), RequestOutcome::Requested { .. }));
    assert!(matches!(first.pause(&exec_id, "ada").await.unwrap(), RequestOutcome::Already { .. }));
    until(&storage, &exec_id, |run| run.status == "PAUSED").await;
    first.signal(&exec_id, paid(4)).await.unwrap();
    first.shutdown(Duration::from_millis(50)).await;
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
    // The next node leaves it alone, and takes it up when it is asked to.
    let second = node(storage.clone(), tasks()).await;
    Clock::system().sleep(Duration::from_millis(200)).await;
    let run = storage.run(&exec_id).await.unwrap().unwrap();
    assert_eq!((run.status.as_str(), run.owner_node), ("PAUSED", None));
    assert_eq!(states(&storage, &exec_id).await, ["queued"]);
    second.resume(&exec_id, "ada").await.unwrap();
    assert_eq!(end(&second, &exec_id).await, ("SUCCESS".into(), json!({"sum": 4})));
    let late = second.pause(&exec_id, "ada").await;
    assert!(matches!(late, Err(Error::ExecutionFinished(_))), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_does_not_try_again() {
    let storage = memory().await;
    let mut slow = task("slow", "fail", &json!({"times": 1, "code": "flaky", "retryable": true}));
    slow.retry.initial_interval = Duration::from_millis(200);
    let node = node(storage.clone(), workflow(vec![slow])).await;
    let exec_id = node.submit(start()).await.unwrap().exec_id;
    node.pause(&exec_id, "ada").await.unwrap();
    until(&storage, &exec_id, |run| run.status == "PAUSED").await;
    Clock::system().sleep(Duration::from_millis(400)).await;
    let steps = storage.steps(&exec_id).await.unwrap();
    assert!(steps.iter().all(|step| step.status != "SUCCESS"), "{steps:?}");
    node.cancel(&exec_id, "ada", None).await.unwrap();
    assert_eq!(end(&node, &exec_id).await.0, "CANCELED");
}
