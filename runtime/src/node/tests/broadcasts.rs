//! Signals from task to run: what they start, whom they reach, and that it happens once.

use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::{Signal, Task, TaskKind, TemplateMode, Trigger, Wait, Workflow};
use serde_json::{Value, json};

use super::containers::{holding, map, template, value};
use super::{launch, memory, project, start, task, workflow};
use crate::clock::Clock;
use crate::node::{Error, EventRequest, Node, SignalRequest, StartRequest};
use crate::storage::row::{Durability, Idempotency, Run, RunFilter};

/// Sends `go` with the run's id; with `target` only to the run of the input's `to`.
fn tell(id: &str, target: bool) -> Task {
    let payload = map(vec![("from", value("{{ .workflow.exec_id }}", &["workflow"]))]);
    let target = target.then(|| template("{{ .input.to }}", &["input.to"], TemplateMode::Text));
    let signal = Signal { name: template("go", &[], TemplateMode::Text), payload: Some(payload), target };
    holding(id, TaskKind::Signal(signal))
}

fn hold(name: &str) -> Task {
    let wait_for = template(name, &[], TemplateMode::Text);
    let mut hold =
        holding("hold", TaskKind::Wait(Wait { wait_for, condition: None, processor: None, on_timeout: None }));
    hold.timeout = Some(compozy_lang::plan::Typed::Fixed(Duration::from_secs(3_600)));
    hold
}

fn named(id: &str, tasks: Vec<Task>) -> Workflow {
    Workflow { id: id.into(), digest: format!("digest-of-{id}"), ..workflow(tasks) }
}

fn listening(id: &str, signal: &str, schema: Option<Value>) -> Workflow {
    let outputs =
        map(vec![("input", value("{{ .input }}", &["input"])), ("trigger", value("{{ .trigger }}", &["trigger"]))]);
    let mut echo = holding("echo", TaskKind::Aggregate);
    echo.outputs = Some(outputs);
    let triggers = vec![Trigger::Signal { name: signal.into(), schema }];
    Workflow { triggers, ..named(id, vec![echo]) }
}

async fn node_of(workflows: Vec<Workflow>) -> Arc<Node> {
    launch(memory().await, Clock::system(), project(workflows)).await
}

fn of(workflow: &str) -> StartRequest {
    StartRequest { workflow_id: workflow.into(), ..start() }
}

async fn ends(node: &Node, exec_id: &crate::id::ExecId) -> Run {
    node.wait(exec_id, Some(Duration::from_secs(30))).await.unwrap().expect("the run ends")
}

async fn run(node: &Node, request: StartRequest) -> Run {
    let accepted = node.submit(request).await.unwrap();
    ends(node, &accepted.exec_id).await
}

/// A run of `hold` that waits.
async fn waiting(node: &Node, durability: Option<Durability>) -> crate::id::ExecId {
    let accepted = node.submit(StartRequest { durability, ..of("hold") }).await.unwrap();
    loop {
        let steps = node.storage().steps(&accepted.exec_id).await.unwrap();
        if steps.iter().any(|step| step.status == "WAITING") {
            return accepted.exec_id;
        }
        Clock::system().sleep(Duration::from_millis(2)).await;
    }
}

/// The runs of a workflow, ended, oldest first.
async fn all_of(node: &Node, workflow: &str) -> Vec<Run> {
    let filter = RunFilter { workflow_id: Some(workflow.into()), limit: 100, ascending: true, ..RunFilter::default() };
    let mut runs = Vec::new();
    for run in node.storage().runs(&filter).await.unwrap().items {
        runs.push(ends(node, &run.exec_id).await);
    }
    runs
}

fn output(run: &Run) -> Value {
    run.output.as_deref().map_or(Value::Null, |output| serde_json::from_str(output).unwrap())
}

async fn sound(node: &Node) {
    assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_starts_every_listener_and_reaches_every_wait() {
    let schema = json!({"type": "object", "required": ["from"]});
    let tasks = vec![tell("tell", false), task("last", "add", &json!({"a": 1, "b": 1}))];
    let node = node_of(vec![
        named("tell", tasks),
        named("hold", vec![hold("go")]),
        listening("one", "go", Some(schema)),
        listening("two", "go", None),
        listening("deaf", "other", None),
    ])
    .await;
    let held = [waiting(&node, None).await, waiting(&node, Some(Durability::Memory)).await];
    let sender = run(&node, of("tell")).await;
    assert_eq!(output(&sender), json!({"sum": 2}));
    let from = json!({"from": sender.exec_id.as_str()});
    for exec_id in held {
        let ended = output(&ends(&node, &exec_id).await);
        assert_eq!((&ended["wait_status"], &ended["signal"]["payload"]), (&json!("completed"), &from));
        assert_eq!(ended["signal"]["metadata"]["workflow_id"], "tell");
    }
    let signal_id = format!("{}:tell:1", sender.exec_id);
    for listener in ["one", "two"] {
        let runs = all_of(&node, listener).await;
        assert_eq!(runs.len(), 1, "{listener}");
        let trigger = json!({"type": "signal", "name": "go", "signal_id": signal_id, "input": from});
        assert_eq!(output(&runs[0]), json!({"input": from, "trigger": trigger}));
    }
    assert_eq!(all_of(&node, "deaf").await.len(), 0);
    sound(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_gets_the_signal_alone_and_keeps_it() {
    let slow = task("slow", "sleep", &json!({"milliseconds": 100}));
    let node = node_of(vec![
        named("tell", vec![tell("tell", true)]),
        named("hold", vec![hold("go")]),
        named("late", vec![slow, hold("go")]),
        listening("one", "go", None),
    ])
    .await;
    let other = waiting(&node, None).await;
    let late = node.submit(of("late")).await.unwrap().exec_id;
    let to = |exec_id: &str| StartRequest { input: json!({"to": exec_id}), ..of("tell") };
    assert_eq!(run(&node, to(late.as_str())).await.status, "SUCCESS");
    assert_eq!(output(&ends(&node, &late).await)["wait_status"], "completed");
    assert_eq!(node.storage().signals(&other, false).await.unwrap().len(), 0);
    assert_eq!(all_of(&node, "one").await.len(), 0);
    // One that has ended is no mistake of the sender's; one that is not named is.
    assert_eq!(run(&node, to(late.as_str())).await.status, "SUCCESS");
    let nobody = run(&node, to(" ")).await;
    assert!(nobody.error.as_deref().is_some_and(|error| error.contains("CZ0110")), "{nobody:?}");
    node.cancel(&other, "a test", None).await.unwrap();
    sound(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_breaks_a_schema_goes_nowhere() {
    let schema = json!({"properties": {"from": {"type": "integer"}}});
    let mut picky = listening("picky", "go", None);
    picky.input_schema = Some(json!({"type": "object", "required": ["sku"]}));
    for (listener, reason) in
        [(listening("one", "go", Some(schema)), "/from: "), (picky, "\"sku\" is a required property")]
    {
        let id = listener.id.clone();
        let workflows = vec![
            named("tell", vec![tell("tell", false)]),
            named("aim", vec![tell("tell", true)]),
            named("hold", vec![hold("go")]),
            listener,
            listening("two", "go", None),
        ];
        let node = node_of(workflows).await;
        let held = waiting(&node, None).await;
        let sender = run(&node, of("tell")).await;
        let error: Value = serde_json::from_str(sender.error.as_deref().unwrap()).unwrap();
        assert_eq!((&error["code"], &error["kind"]), (&json!("CZ0905"), &json!("schema")));
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("signal 'go': payload does not match its schema: ") && message.contains(reason));
        // The API and the signals of one run are held to the same.
        let event =
            EventRequest { name: "go".into(), payload: json!({"from": "x"}), source: "api".into(), idempotency: None };
        assert!(matches!(node.publish(event).await, Err(Error::PayloadInvalid { .. })));
        let signal = SignalRequest {
            name: "go".into(),
            payload: json!({"from": "x"}),
            dedupe_key: None,
            source: "api".into(),
            idempotency: None,
        };
        let direct = node.signal(&held, signal).await;
        // What starts no run need not be an input.
        assert_eq!(matches!(direct, Err(Error::PayloadInvalid { .. })), id == "one", "{direct:?}");
        for workflow in [id.as_str(), "two"] {
            assert_eq!(all_of(&node, workflow).await.len(), 0);
        }
        if id == "one" {
            assert_eq!(node.storage().signals(&held, false).await.unwrap().len(), 0);
            node.cancel(&held, "a test", None).await.unwrap();
        }
        sound(&node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_published_once() {
    let node = node_of(vec![named("hold", vec![hold("go")]), listening("one", "go", None)]).await;
    let held = waiting(&node, None).await;
    let event = |payload: Value| EventRequest {
        name: "go".into(),
        payload,
        source: "api".into(),
        idempotency: Some(Idempotency {
            scope: "me".into(),
            key: "k".into(),
            request_hash: "h".into(),
            expires_at: Clock::system().now().after(Duration::from_secs(60)),
        }),
    };
    let ten = (0..10).map(|_| node.publish(event(json!(null))));
    let all: Vec<_> = futures_util::future::join_all(ten).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(all.iter().filter(|accepted| !accepted.replayed).count(), 1, "{all:?}");
    assert!(all.iter().all(|accepted| accepted.event_id == all[0].event_id));
    assert_eq!(output(&ends(&node, &held).await)["signal"]["metadata"]["source"], "api");
    let runs = all_of(&node, "one").await;
    assert_eq!((runs.len(), output(&runs[0])["input"].clone()), (1, json!({})));
    // Nobody has to listen.
    let unheard = EventRequest { name: "unheard".into(), idempotency: None, ..event(json!([1])) };
    assert!(!node.publish(unheard).await.unwrap().replayed);
    sound(&node).await;
}

/// Inputs are objects, whatever signals may carry.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_is_no_input_starts_nothing() {
    let node = node_of(vec![listening("one", "go", None)]).await;
    for payload in [json!(1), json!([1]), json!("x")] {
        let event = EventRequest { name: "go".into(), payload, source: "api".into(), idempotency: None };
        assert!(matches!(node.publish(event).await, Err(Error::PayloadInvalid { .. })));
    }
    assert_eq!(all_of(&node, "one").await.len(), 0);
}

/// Each run starts two more, for ever: the queue is never empty, and yet the node stops when it shall.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_does_not_keep_a_node_from_stopping() {
    let twice = Workflow {
        triggers: vec![Trigger::Signal { name: "go".into(), schema: None }],
        ..named("twice", vec![tell("one", false), tell("two", false)])
    };
    let node = node_of(vec![twice]).await;
    node.submit(of("twice")).await.unwrap();
    let first_hundred = RunFilter { limit: 100, ..RunFilter::default() };
    while node.storage().runs(&first_hundred).await.unwrap().items.len() < 100 {
        Clock::system().sleep(Duration::from_millis(2)).await;
    }
    let clock = Clock::system();
    let begun = clock.now();
    node.shutdown(Duration::from_secs(30)).await;
    assert!(clock.now() < begun.after(Duration::from_secs(10)), "its new runs kept the node up");
    sound(&node).await;
}
