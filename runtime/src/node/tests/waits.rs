//! What waits and signal tasks render. The engine is driven by hand.

use compozy_engine::command::Command;
use compozy_engine::decide::{Decision, decide};
use compozy_engine::event::{Event, Outcome};
use compozy_engine::json::Json;
use compozy_engine::opening::Signal as Received;
use compozy_engine::record::SignalState;
use compozy_engine::state::{Facts, RunState, StepKey};
use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::{Next, Signal, TaskKind, TemplateMode, Typed, Wait, Workflow};
use serde_json::{Value, json};

use super::containers::{cel, holding, map, template, value};
use super::{memory, node, task, workflow};
use crate::node::Node;
use crate::node::state::Shared;
use crate::plugin::cancel::CancelToken;

/// A run whose commands are carried out one after the other.
struct Run<'a> {
    node: &'a Node,
    plan: Workflow,
    state: Shared,
    decided: Decision,
}

impl<'a> Run<'a> {
    async fn start(node: &'a Node, plan: Workflow) -> Self {
        let facts = Facts {
            exec_id: "run".into(),
            input: Json::parse(r#"{"id": 7}"#).unwrap(),
            trigger: Json::null(),
            deadline: None,
            depth: 0,
        };
        let state = Shared::new(RunState::new(facts, 0));
        let mut run = Self { node, plan, state, decided: Decision::default() };
        run.feed(Event::Start).await;
        run
    }

    /// Decides and carries out everything but timers.
    async fn feed(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let decision = self.state.change(|state| decide(&self.plan, state, event, Timestamp(0)));
            for command in &decision.commands {
                match command {
                    Command::Execute(key) | Command::Close(key) | Command::Match(key) => {
                        let attempt = self.state.read().steps.at(key).unwrap().attempt;
                        let steps = &self.node.worker.steps;
                        let outcome: Outcome = steps.execute(&self.plan, &self.state, key, CancelToken::new()).await;
                        events.push(Event::StepEnded { key: key.clone(), attempt, outcome: Box::new(outcome) });
                    }
                    Command::RenderOutputs => events.push(Event::OutputsRendered(Ok(Json::null()))),
                    _ => {}
                }
            }
            self.decided.append(decision);
        }
    }

    async fn signal(&mut self, id: &str, payload: Value) {
        let (payload, metadata) = (Json::from(&payload), Json::from(&json!({"signal_id": id})));
        self.feed(Event::Signal(Received { id: id.into(), position: 0, name: "paid".into(), payload, metadata })).await;
    }

    fn output(&self, path: &str) -> Value {
        self.state.read().steps.get(path).and_then(|step| step.output.as_ref()).map_or(Value::Null, Json::to_value)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_looks_at_each_signal_with_its_processor() {
    let mut processor = task("hold-processor", "add", &Value::Null);
    processor.with = Some(map(vec![
        ("a", value("{{ .signal.payload.n }}", &["signal.payload.n"])),
        ("b", value("{{ .parent.input.id }}", &["parent.input.id"])),
    ]));
    let mut hold = holding(
        "hold",
        TaskKind::Wait(Wait {
            wait_for: template("{{ .input.name }}", &["input.name"], TemplateMode::Text),
            condition: Some(cel(
                "processor.output.sum == signal.payload.n + input.id && signal.payload.n > 1",
                &["processor", "signal", "input.id"],
            )),
            processor: Some(Box::new(processor)),
            on_timeout: None,
        }),
    );
    hold.with = Some(map(vec![("name", value("paid", &[]))]));
    let node = node(memory().await, workflow(vec![])).await;
    let mut run = Run::start(&node, workflow(vec![hold])).await;
    run.signal("s1", json!({"n": 1})).await;
    assert_eq!(run.decided.settled, [("s1".to_owned(), SignalState::Ignored)]);
    assert_eq!(run.state.read().status, Status::Waiting);
    run.signal("s2", json!({"n": 2})).await;
    assert_eq!(run.decided.settled.last(), Some(&("s2".to_owned(), SignalState::Consumed)));
    let expected = json!({
        "wait_status": "completed", "signal": {"payload": {"n": 2}, "metadata": {"signal_id": "s2"}},
        "processor_output": {"output": {"sum": 9}, "error": null},
    });
    assert_eq!((run.output("hold"), run.state.read().status), (expected, Status::Success));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_without_its_signal_leads_to_on_timeout() {
    let wait_for = template("paid", &[], TemplateMode::Text);
    let on_timeout = Some(Next::Task(1));
    let mut hold = holding("hold", TaskKind::Wait(Wait { wait_for, condition: None, processor: None, on_timeout }));
    hold.timeout = Some(Typed::Fixed(std::time::Duration::from_secs(60)));
    let mut remind = holding("remind", TaskKind::Aggregate);
    remind.targeted = true;
    remind.outputs = Some(map(vec![("why", value("{{ .error.code }}", &["error"]))]));
    let node = node(memory().await, workflow(vec![])).await;
    let mut run = Run::start(&node, workflow(vec![hold, remind])).await;
    let step = StepKey { path: "hold".into(), execution: 1 };
    run.feed(Event::TimerDue { timer: compozy_engine::event::TimerKey::Timeout { step } }).await;
    assert_eq!(run.state.read().steps.get("hold").unwrap().status, Status::TimedOut);
    assert_eq!((run.output("remind"), run.state.read().status), (json!({"why": "CZ0317"}), Status::Success));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_nothing_sensible_fails() {
    let node = node(memory().await, workflow(vec![])).await;
    for (name, timeout, said) in [
        ("paid", "{{ nil }}", "timeout of task 'hold': expected a duration, got nothing"),
        ("paid", "{{ \"\" }}", "timeout of task 'hold': expected a duration, got nothing"),
        ("{{ nil }}", "{{ \"1h\" }}", "wait_for of task 'hold': expected the name of a signal, got nothing"),
        (
            "{{ repeat 256 \"n\" }}",
            "{{ \"1h\" }}",
            "wait_for of task 'hold': a name has at most 255 bytes, this one 256",
        ),
    ] {
        let wait_for = template(name, &[], TemplateMode::Text);
        let mut hold =
            holding("hold", TaskKind::Wait(Wait { wait_for, condition: None, processor: None, on_timeout: None }));
        hold.timeout = Some(Typed::Template(template(timeout, &[], TemplateMode::Value)));
        let run = Run::start(&node, workflow(vec![hold])).await;
        let state = run.state.read();
        let error = state.steps.get("hold").unwrap().error.clone().expect("it fails");
        assert_eq!((state.status, error.code.as_str(), error.message.as_str()), (Status::Failed, "CZ0110", said));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_task_says_what_is_to_be_sent() {
    let signal = Signal {
        name: template("stock-low", &[], TemplateMode::Text),
        payload: Some(map(vec![("id", value("{{ .input.id }}", &["input.id"]))])),
        target: None,
    };
    let node = node(memory().await, workflow(vec![])).await;
    let run = Run::start(&node, workflow(vec![holding("tell", TaskKind::Signal(signal))])).await;
    let [sent] = run.decided.signals.as_slice() else { panic!("one signal is sent") };
    assert_eq!(
        (sent.name.as_str(), sent.payload.to_value(), sent.target.as_deref()),
        ("stock-low", json!({"id": 7}), None)
    );
    assert_eq!(run.output("tell"), json!({"signal_dispatched": true, "signal_id": "run:tell:1"}));
}
