//! Runs that go on from another one.

use compozy_engine::fork::Place;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::{Next, Task, Workflow};
use serde_json::{Value, json};

use super::containers::{map, value};
use super::{launch, memory, node, project, start, task, workflow};
use crate::clock::Clock;
use crate::id::ExecId;
use crate::node::{Error, ForkRequest, Node, StartRequest};
use crate::storage::row::{Concurrency, Idempotency, Retention, Run};

/// `sum` of `a` and `b`, either of which may be a template.
fn add(id: &str, with: Vec<(&str, &str, &[&str])>) -> Task {
    let mut task = task(id, "add", &json!({}));
    task.with = Some(map(with.into_iter().map(|(name, source, reads)| (name, value(source, reads))).collect()));
    task
}

/// Adds one to the input, breaks unless the input says otherwise, adds ten to the first.
fn breaks() -> Workflow {
    let mut bad = task("bad", "fail", &json!({}));
    bad.with = Some(map(vec![
        ("times", value("{{ .input.times }}", &["input.times"])),
        ("retryable", value("{{ false }}", &[])),
    ]));
    workflow(vec![
        add("first", vec![("a", "{{ .input.n }}", &["input.n"]), ("b", "{{ 1 }}", &[])]),
        bad,
        add("last", vec![("a", "{{ .tasks.first.output.sum }}", &["tasks.first.output"]), ("b", "{{ 10 }}", &[])]),
    ])
}

fn input(n: i64, times: i64) -> Value {
    json!({"n": n, "times": times})
}

async fn run_to_end(node: &Node, input: Value) -> Run {
    let request =
        StartRequest { input, priority: 7, tags: json!({"team": "a"}).as_object().unwrap().clone(), ..start() };
    let exec_id = node.submit(request).await.unwrap().exec_id;
    end(node, &exec_id).await
}

async fn end(node: &Node, exec_id: &ExecId) -> Run {
    let run = node.wait(exec_id, Some(std::time::Duration::from_secs(10))).await.unwrap().expect("the run ends");
    assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
    run
}

fn request(exec_id: &ExecId, place: Place) -> ForkRequest {
    ForkRequest { exec_id: exec_id.clone(), place, input: None, latest: false, idempotency: None }
}

/// Lets retention remove the journals of whatever has ended.
async fn trim_journals(node: &Node) {
    let years = std::time::Duration::from_secs(100 * 365 * 86_400);
    let retention = Retention { success: years, failed: years, journal: std::time::Duration::ZERO, keep_last: 99 };
    let later = Timestamp(Clock::system().now().0 + 3_600_000_000);
    let mut cursor: Option<String> = None;
    loop {
        let swept = node.storage().sweep(&retention, cursor.as_deref(), later).await.unwrap();
        cursor = swept.next;
        if cursor.is_none() {
            break;
        }
    }
}

async fn steps(node: &Node, exec_id: &ExecId) -> Vec<(String, String)> {
    let steps = node.storage().steps(exec_id).await.unwrap();
    steps.into_iter().map(|step| (step.step_key, step.status)).collect()
}

fn shape(steps: &[(&str, &str)]) -> Vec<(String, String)> {
    steps.iter().map(|(key, status)| ((*key).to_owned(), (*status).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_goes_on_at_the_failure() {
    let node = node(memory().await, breaks()).await;
    let failed = run_to_end(&node, input(4, 1)).await;
    assert_eq!(failed.status, "FAILED");
    let again = node.fork(request(&failed.exec_id, Place::Failure)).await.unwrap().exec_id;
    let run = end(&node, &again).await;
    assert_eq!((run.status.as_str(), run.forked_from.as_ref()), ("FAILED", Some(&failed.exec_id)));
    assert_eq!((run.input, run.priority, run.tags), (failed.input, 7, failed.tags));
    assert_eq!(steps(&node, &again).await, shape(&[("first#1", "SUCCESS"), ("bad#1", "FAILED")]));
    let events = node.storage().journal(&again, 0, 99).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| (event.event.as_str(), event.data.contains("reused"))).collect();
    assert_eq!(
        told[..4],
        [("workflow_start", false), ("task_status", true), ("workflow_status", false), ("task_start", false)]
    );
    // With another input the same step succeeds, and what was kept is seen.
    let mended = ForkRequest { input: Some(input(0, 0)), ..request(&again, Place::Failure) };
    let mended = node.fork(mended).await.unwrap().exec_id;
    let run = end(&node, &mended).await;
    assert_eq!((run.status.as_str(), run.output.as_deref()), ("SUCCESS", Some(r#"{"sum":15}"#)));
    assert_eq!(run.forked_from, Some(again));
    let late = node.fork(request(&mended, Place::Failure)).await;
    assert!(matches!(&late, Err(Error::NotFailed(status)) if status == "SUCCESS"), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_begins_before_its_task_and_outlives_the_journal() {
    let node = node(memory().await, breaks()).await;
    let done = run_to_end(&node, input(4, 0)).await;
    assert_eq!(done.output.as_deref(), Some(r#"{"sum":15}"#));
    trim_journals(&node).await;
    let at = |task: &str| request(&done.exec_id, Place::Task(task.into()));
    let fork = ForkRequest { input: Some(input(100, 0)), ..at("last") };
    let run = end(&node, &node.fork(fork).await.unwrap().exec_id).await;
    assert_eq!(run.output.as_deref(), Some(r#"{"sum":15}"#), "the step before it is not run again");
    let fork = ForkRequest { input: Some(input(100, 0)), ..at("first") };
    let run = end(&node, &node.fork(fork).await.unwrap().exec_id).await;
    assert_eq!(run.output.as_deref(), Some(r#"{"sum":111}"#));
    assert_eq!(node.storage().journal(&done.exec_id, 0, 99).await.unwrap().len(), 1, "its journal is gone");
    for (task, wrong) in [("lost", "TaskNotFound"), ("first/x", "TaskInside"), ("first#2", "TaskNotReached")] {
        let refused = node.fork(at(task)).await.unwrap_err();
        assert!(format!("{refused:?}").starts_with(wrong), "{refused:?}");
    }
    let nobody = node.fork(request(&"nobody".into(), Place::Failure)).await;
    assert!(matches!(nobody, Err(Error::ExecutionNotFound(_))), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_made_once_per_key_and_survives_its_node() {
    let storage = memory().await;
    let first = node(storage.clone(), breaks()).await;
    let failed = run_to_end(&first, input(1, 1)).await;
    let keyed = || ForkRequest {
        idempotency: Some(Idempotency {
            scope: "s".into(),
            key: "k".into(),
            request_hash: "h".into(),
            expires_at: Timestamp(i64::MAX),
        }),
        input: Some(input(1, 0)),
        ..request(&failed.exec_id, Place::Failure)
    };
    let (one, two) = (first.fork(keyed()).await.unwrap(), first.fork(keyed()).await.unwrap());
    assert_eq!((one.exec_id.clone(), false, true), (two.exec_id, one.replayed, two.replayed));
    first.shutdown(std::time::Duration::ZERO).await;
    let second = node(storage, breaks()).await;
    assert_eq!(end(&second, &one.exec_id).await.output.as_deref(), Some(r#"{"sum":12}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_definition_is_used_when_asked_for() {
    let node = node(memory().await, breaks()).await;
    let failed = run_to_end(&node, input(4, 1)).await;
    let mut latest = breaks();
    latest.digest = "d2".into();
    latest.tasks.insert(0, task("new", "add", &json!({"a": 1, "b": 1})));
    if let Some(bad) = latest.tasks.get_mut(2) {
        bad.on_error.next = Some(Next::Task(3));
    }
    node.replace_project(std::sync::Arc::new(project([latest])));
    let pinned = node.fork(request(&failed.exec_id, Place::Failure)).await.unwrap().exec_id;
    assert_eq!(end(&node, &pinned).await.status, "FAILED");
    let latest = ForkRequest { latest: true, ..request(&failed.exec_id, Place::Failure) };
    let run = end(&node, &node.fork(latest).await.unwrap().exec_id).await;
    assert_eq!((run.status.as_str(), run.output.as_deref()), ("SUCCESS", Some(r#"{"sum":15}"#)));
    assert_eq!(run.definition_digest, "d2");
}

/// A workflow whose runs wait for a signal and of which one customer may have one at a time.
fn one_each() -> Workflow {
    let mut flow = workflow(vec![super::control::hold("hold", "go")]);
    let concurrency = json!({"key": [{"text": "of "}, {"input": ["customer"]}], "limit": 1});
    flow.concurrency = serde_json::from_value(concurrency).unwrap();
    flow
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_one_key_wait_for_each_other() {
    let node = launch(memory().await, Clock::system(), project([one_each()])).await;
    let storage = node.storage().clone();
    let submit =
        async |customer: Value| node.submit(StartRequest { input: json!({"customer": customer}), ..start() }).await;
    let first = submit(json!("ada")).await.unwrap().exec_id;
    let second = submit(json!("ada")).await.unwrap().exec_id;
    let third = submit(json!("ada")).await.unwrap().exec_id;
    let other = submit(json!(7)).await.unwrap().exec_id;
    for exec_id in [&first, &other] {
        super::control::until(&storage, exec_id, |run| run.status == "WAITING").await;
    }
    let run = storage.run(&second).await.unwrap().unwrap();
    assert_eq!((run.status.as_str(), run.gated), ("PENDING", true));
    assert_eq!(run.concurrency, Some(Concurrency { key: "of ada".into(), limit: 1 }));
    let refused = submit(json!(null)).await;
    assert!(matches!(&refused, Err(Error::InputInvalid { violations, .. }) if violations[0].pointer == "/customer"));
    // A canceled one does not hold the others up; a fork waits for the key, too.
    node.cancel(&second, "a test", None).await.unwrap();
    assert_eq!(end(&node, &second).await.status, "CANCELED");
    let fork = node.fork(request(&first, Place::Task("hold".into()))).await.unwrap().exec_id;
    node.cancel(&first, "a test", None).await.unwrap();
    assert_eq!(end(&node, &first).await.status, "CANCELED");
    super::control::until(&storage, &third, |run| run.status == "WAITING").await;
    assert!(storage.run(&fork).await.unwrap().unwrap().gated);
    node.cancel(&third, "a test", None).await.unwrap();
    super::control::until(&storage, &fork, |run| run.status == "WAITING").await;
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
}
