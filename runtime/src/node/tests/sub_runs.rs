//! Workflows that run workflows.

use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::{Parallel, Strategy, SubWorkflow, Task, TaskKind, Workflow};
use serde_json::{Value, json};

use super::containers::{holding, map, value};
use super::{Clock, Node, Run, launch, memory, project, start, task, workflow};
use crate::id::ExecId;
use crate::storage::row::RunFilter;

fn call(id: &str, workflow: &str, wait: bool) -> Task {
    let sub = SubWorkflow { workflow: workflow.to_owned(), wait };
    let with = map(vec![("n", value("{{ .input.n }}", &["input.n"]))]);
    Task { with: Some(with), ..holding(id, TaskKind::Workflow(sub)) }
}

fn named(id: &str, tasks: Vec<Task>) -> Workflow {
    let plan = workflow(tasks);
    Workflow { id: id.to_owned(), digest: format!("digest of {id}"), ..plan }
}

/// Adds its input to itself; needs one.
fn double() -> Workflow {
    let mut sum = task("sum", "add", &Value::Null);
    sum.with =
        Some(map(vec![("a", value("{{ .input.n }}", &["input.n"])), ("b", value("{{ .input.n }}", &["input.n"]))]));
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    Workflow { input_schema: Some(schema), ..named("double", vec![sum]) }
}

async fn node(workflows: Vec<Workflow>) -> Arc<Node> {
    launch(memory().await, Clock::system(), project(workflows)).await
}

async fn begun(node: &Arc<Node>, input: Value) -> ExecId {
    node.submit(super::StartRequest { input, ..start() }).await.unwrap().exec_id
}

async fn end(node: &Arc<Node>, exec_id: &ExecId) -> Run {
    let run = node.wait(exec_id, Some(Duration::from_secs(30))).await.unwrap().expect("the run ends");
    assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
    run
}

async fn children(node: &Arc<Node>, exec_id: &ExecId) -> Vec<Run> {
    let filter = RunFilter { parent: Some(exec_id.clone()), limit: 100, ..RunFilter::default() };
    node.storage().runs(&filter).await.unwrap().items
}

/// Waits until something of the run is so.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(found) = look().await {
            return found;
        }
        Clock::system().sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to that");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_output_is_the_tasks_and_it_knows_where_it_comes_from() {
    let node = node(vec![workflow(vec![call("sub", "double", true)]), double()]).await;
    let parent = begun(&node, json!({"n": 21})).await;
    let run = end(&node, &parent).await;
    assert_eq!((run.status.as_str(), run.output.as_deref()), ("SUCCESS", Some(r#"{"sum":42}"#)));
    let found = children(&node, &parent).await;
    let [child] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((child.parent_exec_id.as_ref(), &child.root_exec_id), (Some(&parent), &parent));
    assert_eq!((child.workflow_id.as_str(), child.status.as_str()), ("double", "SUCCESS"));
    let trigger: Value = serde_json::from_str(&child.trigger).unwrap();
    assert_eq!((&trigger["type"], &trigger["name"]), (&json!("workflow"), &json!("flow")));
    let steps = node.storage().steps(&parent).await.unwrap();
    assert_eq!(steps[0].output.as_deref(), Some(r#"{"sum":42}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_nobody_waits_for_goes_on_by_itself() {
    let node = node(vec![workflow(vec![call("sub", "double", false)]), double()]).await;
    let parent = begun(&node, json!({"n": 2})).await;
    let run = end(&node, &parent).await;
    let output: Value = serde_json::from_str(run.output.as_deref().unwrap()).unwrap();
    assert_eq!(output["workflow_id"], "double");
    let child = ExecId::from(output["exec_id"].as_str().unwrap());
    assert_eq!(end(&node, &child).await.output.as_deref(), Some(r#"{"sum":4}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_it_is_the_tasks_failure() {
    let fails = named("fails", vec![task("bad", "fail", &json!({"code": "planned", "retryable": false}))]);
    let workflows = || vec![double(), fails.clone()];
    for (to, input, code, says, runs) in [
        ("fails", json!({"n": 1}), "planned", "", 1),
        ("double", json!({"n": "x"}), "CZ0208", "workflow 'double' does not match its schema: /n", 0),
        ("doubel", json!({"n": 1}), "CZ0202", "workflow 'doubel' not found", 0),
        ("flow", json!({"n": 1}), "CZ0313", "", 16),
    ] {
        let mut all = workflows();
        all.push(workflow(vec![call("sub", to, true)]));
        let node = node(all).await;
        let parent = begun(&node, input).await;
        let run = end(&node, &parent).await;
        assert_eq!(run.status, "FAILED", "{to}");
        let error: Value = serde_json::from_str(run.error.as_deref().unwrap()).unwrap();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
        let all = node.storage().runs(&RunFilter { limit: 100, ..RunFilter::default() }).await.unwrap().items;
        assert_eq!(all.len(), 1 + runs, "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_run_again_only_if_the_task_says_so() {
    for (retryable, attempts, runs) in [(true, 1, 1), (true, 3, 3), (false, 3, 1)] {
        let mut bad = task("bad", "fail", &json!({"code": "planned", "retryable": retryable}));
        bad.retry.maximum_attempts = 1;
        let mut sub = call("sub", "fails", true);
        sub.retry.maximum_attempts = attempts;
        let node = node(vec![workflow(vec![sub]), named("fails", vec![bad])]).await;
        let parent = begun(&node, json!({"n": 1})).await;
        assert_eq!(end(&node, &parent).await.status, "FAILED");
        assert_eq!(children(&node, &parent).await.len(), runs, "{retryable} {attempts}");
    }
}

/// Side by side with a task, so that something of the parent goes on.
fn beside(tasks: Vec<Task>, strategy: Strategy) -> Workflow {
    workflow(vec![holding("all", TaskKind::Parallel(Parallel { tasks, strategy, max_workers: None }))])
}

fn sleeps() -> Workflow {
    named("sleeps", vec![task("loop", "endless_loop", &json!({}))])
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_race_and_fail_fast_reach_it() {
    for (strategy, rival, status) in [
        (Strategy::Race, task("quick", "add", &json!({"a": 1, "b": 1})), "SUCCESS"),
        (Strategy::FailFast, task("bad", "fail", &json!({"retryable": false})), "FAILED"),
        (Strategy::WaitAll, task("loop", "endless_loop", &json!({})), "CANCELED"),
    ] {
        let plan = beside(vec![call("sub", "sleeps", true), rival], strategy);
        let node = node(vec![plan, sleeps()]).await;
        let parent = begun(&node, json!({"n": 1})).await;
        if status == "CANCELED" {
            until(async || children(&node, &parent).await.pop().filter(|child| child.status == "RUNNING")).await;
            node.cancel(&parent, "a test", Some("enough")).await.unwrap();
        }
        assert_eq!(end(&node, &parent).await.status, status);
        for child in children(&node, &parent).await {
            let child = end(&node, &child.exec_id).await;
            assert_eq!(child.status, "CANCELED", "{strategy:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_reaches_it_and_ends_with_its_parents() {
    let mut slow = task("slow", "fail", &json!({"times": 1, "code": "flaky", "retryable": true}));
    slow.retry.initial_interval = Duration::from_millis(400);
    let chain = named("chain", vec![slow, task("last", "add", &json!({"a": 2, "b": 2}))]);
    let node = node(vec![workflow(vec![call("sub", "chain", true)]), chain]).await;
    let parent = begun(&node, json!({"n": 1})).await;
    let child = until(async || children(&node, &parent).await.pop()).await.exec_id;
    node.pause(&parent, "a test").await.unwrap();
    let status = async |exec_id: &ExecId| node.storage().run(exec_id).await.unwrap().unwrap().status;
    until(async || (status(&parent).await == "PAUSED" && status(&child).await == "PAUSED").then_some(())).await;
    assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
    node.resume(&parent, "a test").await.unwrap();
    assert_eq!(end(&node, &parent).await.output.as_deref(), Some(r#"{"sum":4}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_go_on_in_the_next_node() {
    let mut slow = task("slow", "fail", &json!({"times": 1, "code": "flaky", "retryable": true}));
    slow.retry.initial_interval = Duration::from_millis(300);
    let chain = named("chain", vec![slow, task("last", "add", &json!({"a": 2, "b": 2}))]);
    let plans = || project([workflow(vec![call("sub", "chain", true)]), chain.clone()]);
    let storage = memory().await;
    let first = launch(storage.clone(), Clock::system(), plans()).await;
    let parent = begun(&first, json!({"n": 1})).await;
    until(async || children(&first, &parent).await.pop()).await;
    first.shutdown(Duration::from_millis(50)).await;
    let second = launch(storage, Clock::system(), plans()).await;
    assert_eq!(end(&second, &parent).await.output.as_deref(), Some(r#"{"sum":4}"#));
}
