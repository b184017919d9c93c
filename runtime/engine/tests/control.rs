//! Waits, signals, sub-runs and pauses, event by event; the state is read back from its stored form after each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should stop")]

use std::time::Duration;

use compozy_engine::command::Command;
use compozy_engine::decide::{Decision, decide, resume};
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Event, Failure, Opened, Opens, Outcome, Rendered, SubRun, Target, TimerKey};
use compozy_engine::json::Json;
use compozy_engine::opening::Signal;
use compozy_engine::record::{Record, SignalState};
use compozy_engine::state::{RunState, StepKey};
use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::{Strategy, SubWorkflow, Task, TaskKind, Workflow};
use serde_json::json;

#[path = "oracle/build.rs"]
mod build;

/// A run between two events.
struct Run {
    plan: Workflow,
    state: RunState,
    now: i64,
    signals: i64,
}

impl Run {
    fn new(tasks: Vec<Task>) -> Self {
        let plan = build::workflow(tasks, false, 1_000);
        Self { plan, state: RunState::new(build::facts(), 0), now: 0, signals: 0 }
    }

    /// Decides, then reads the state back from what would be stored of it. Signals are rows of their own.
    fn feed(&mut self, event: Event) -> Decision {
        self.now += 1;
        let mut decision = decide(&self.plan, &mut self.state, event, Timestamp(self.now));
        if decision.commands.contains(&Command::RenderOutputs) {
            let outputs = Event::OutputsRendered(Ok(Json::null()));
            decision.append(decide(&self.plan, &mut self.state, outputs, Timestamp(self.now)));
        }
        let mut restored = RunState::new(build::facts(), 0);
        restored.status = self.state.status;
        restored.last_seq = self.state.last_seq;
        restored.ended_with = self.state.ended_with;
        restored.output = self.state.output.clone();
        restored.error = self.state.error.clone();
        restored.inbox = self.state.inbox.clone();
        restored.restore(&build::reread(&self.state.stored()));
        for step in self.state.steps.iter() {
            let mut step = step.clone();
            step.input = step.recorded_input();
            let stored = build::reread(&step.stored());
            step.restore(stored);
            restored.steps.put(step);
        }
        restored.steps.count_children(&self.plan);
        self.state = restored;
        decision
    }

    fn start(&mut self) -> Decision {
        self.feed(Event::Start)
    }

    fn ended(&mut self, step: &str, outcome: Outcome) -> Decision {
        let key = key(step);
        let attempt = self.state.steps.at(&key).expect("the step runs").attempt;
        self.feed(Event::StepEnded { key, attempt, outcome: Box::new(outcome) })
    }

    fn done(&mut self, step: &str) -> Decision {
        self.ended(step, Outcome::Done(Done::new(Json::from(&json!(step)))))
    }

    fn opens(&mut self, step: &str, body: Opens, timeout: Option<Duration>) -> Decision {
        self.ended(step, Outcome::Opened(Opened { input: Some(Json::parse("{}").unwrap()), timeout, body }))
    }

    fn waits(&mut self, step: &str, name: &str, timeout: Option<Duration>) -> Decision {
        self.opens(step, Opens::Wait { name: name.to_owned() }, timeout)
    }

    fn signal(&mut self, id: &str, name: &str) -> Decision {
        self.signals += 1;
        self.feed(Event::Signal(Signal {
            id: id.to_owned(),
            position: self.signals,
            name: name.to_owned(),
            payload: Json::from(&json!(id)),
            metadata: Json::null(),
        }))
    }

    fn status(&self, step: &str) -> Status {
        self.state.steps.at(&key(step)).expect("the step began").status
    }

    fn held(&self, step: &str) -> Option<String> {
        let opening = self.state.steps.at(&key(step))?.opening.as_ref()?;
        Some(opening.waiting()?.signal.as_ref()?.id.clone())
    }
}

fn key(text: &str) -> StepKey {
    text.parse().unwrap()
}

fn timeout(step: &str) -> TimerKey {
    TimerKey::Timeout { step: key(step) }
}

fn task(id: &str, kind: serde_json::Value) -> Task {
    Task { kind: serde_json::from_value(kind).unwrap(), ..build::task(id, 1) }
}

fn template() -> serde_json::Value {
    json!({"segments": [], "is_template": false, "references": [], "mode": "text", "place": build::task("x", 1).place})
}

fn wait(id: &str, processor: bool) -> Task {
    let processor = processor.then(|| build::task(&format!("{id}-processor"), 1));
    task(
        id,
        json!({"type": "wait", "wait_for": template(), "condition": null, "processor": processor, "on_timeout": null}),
    )
}

fn parallel(strategy: Strategy, tasks: Vec<Task>) -> Task {
    task("all", json!({"type": "parallel", "tasks": tasks, "strategy": strategy, "max_workers": null}))
}

fn branches() -> Opens {
    Opens::Branches { workers: 9, batch: 0, items: None }
}

fn timed_out() -> Outcome {
    let error = StepError::new("CZ0317", ErrorKind::Timeout, "no signal");
    let transition = Rendered { next: Some(Target::Task(1)), with: None };
    Outcome::Failed(Failure { input: None, output: None, error, transition, usage: vec![] })
}

#[test]
fn a_signal_that_came_early_is_kept_and_taken_oldest_first() {
    let mut run = Run::new(vec![build::task("first", 1), wait("hold", false), build::task("last", 1)]);
    run.start();
    run.signal("s1", "paid");
    run.signal("other", "else");
    run.signal("s2", "paid");
    let again = run.signal("s1", "paid");
    assert!(again.records.is_empty(), "a signal is delivered once");
    run.done("first#1");
    let opened = run.waits("hold#1", "paid", Some(Duration::from_secs(1)));
    assert!(opened.commands.contains(&Command::Match(key("hold#1"))));
    assert_eq!((run.held("hold#1").as_deref(), run.state.inbox.len()), (Some("s1"), 2));
    assert_eq!((run.status("hold#1"), run.state.status), (Status::Waiting, Status::Running));
    assert_eq!(resume(&run.state).last(), Some(&Command::Match(key("hold#1"))));
    let unmatched = run.ended("hold#1", Outcome::Unmatched);
    assert_eq!(unmatched.settled, [("s1".to_owned(), SignalState::Ignored)]);
    assert_eq!(run.held("hold#1").as_deref(), Some("s2"), "the next one is looked at");
    let matched = run.done("hold#1");
    assert_eq!(matched.settled, [("s2".to_owned(), SignalState::Consumed)]);
    assert!(matched.commands.contains(&Command::Disarm(timeout("hold#1"))));
    run.done("last#1");
    assert_eq!((run.state.status, run.state.inbox.len()), (Status::Success, 1));
}

#[test]
fn a_processor_runs_once_for_each_signal_and_may_fail() {
    let mut run = Run::new(vec![wait("hold", true)]);
    run.start();
    run.waits("hold#1", "paid", None);
    assert_eq!(run.state.status, Status::Waiting);
    let taken = run.signal("s1", "paid");
    assert!(taken.commands.contains(&Command::Execute(key("hold/hold-processor#1"))));
    run.signal("s2", "paid");
    assert_eq!(run.held("hold#1").as_deref(), Some("s1"), "one signal at a time");
    let processed = run.done("hold/hold-processor#1");
    assert_eq!(processed.commands, [Command::Match(key("hold#1"))]);
    let next = run.ended("hold#1", Outcome::Unmatched);
    assert!(next.commands.contains(&Command::Execute(key("hold/hold-processor#2"))));
    let error = StepError::new("broken", ErrorKind::Tool, "broken");
    let failure = Failure { input: None, output: None, error, transition: Rendered::default(), usage: vec![] };
    let failed = run.ended("hold/hold-processor#2", Outcome::Failed(failure));
    assert_eq!(failed.commands, [Command::Match(key("hold#1"))], "the condition tells what a failure means");
    run.done("hold#1");
    assert_eq!(run.state.status, Status::Success);
}

#[test]
fn a_wait_that_runs_out_of_time_keeps_the_signal_it_has_not_looked_at() {
    let mut run = Run::new(vec![wait("hold", true), wait("again", false)]);
    run.start();
    run.waits("hold#1", "paid", Some(Duration::from_secs(1)));
    run.signal("s1", "paid");
    let over = run.feed(Event::TimerDue { timer: timeout("hold#1") });
    assert!(over.commands.contains(&Command::Abort(key("hold/hold-processor#1"))));
    assert_eq!(over.commands.last(), Some(&Command::Close(key("hold#1"))));
    assert_eq!(run.status("hold/hold-processor#1"), Status::Canceled);
    run.ended("hold#1", timed_out());
    assert_eq!(run.status("hold#1"), Status::TimedOut);
    run.waits("again#1", "paid", None);
    assert_eq!(run.held("again#1").as_deref(), Some("s1"));
    run.done("again#1");
    assert_eq!(run.state.status, Status::Success);
}

#[test]
fn waits_side_by_side_take_signals_in_the_order_they_began_and_a_race_frees_the_rest() {
    let waits = vec![wait("a", false), wait("b", false), wait("c", false)];
    let mut run = Run::new(vec![parallel(Strategy::Race, waits), wait("after", false)]);
    run.start();
    run.opens("all#1", branches(), None);
    for step in ["all/a#1", "all/b#1", "all/c#1"] {
        run.waits(step, "go", Some(Duration::from_secs(9)));
    }
    run.signal("s1", "go");
    run.signal("s2", "go");
    assert_eq!((run.held("all/a#1").as_deref(), run.held("all/b#1").as_deref()), (Some("s1"), Some("s2")));
    let won = run.done("all/a#1");
    assert!(won.commands.contains(&Command::Abort(key("all/b#1"))));
    assert!(won.commands.contains(&Command::Disarm(timeout("all/c#1"))));
    assert_eq!((run.status("all/b#1"), run.status("all/c#1")), (Status::Canceled, Status::Canceled));
    run.done("all#1");
    run.waits("after#1", "go", None);
    assert_eq!(run.held("after#1").as_deref(), Some("s2"), "a signal nobody looked at is not lost");
}

#[test]
fn signals_that_are_given_back_keep_their_order() {
    let waits = vec![wait("a", false), wait("b", false), wait("c", false)];
    let mut run = Run::new(vec![parallel(Strategy::Race, waits), wait("after", false)]);
    run.start();
    run.opens("all#1", branches(), None);
    for (step, signal) in [("all/a#1", "s1"), ("all/b#1", "s2"), ("all/c#1", "s3")] {
        run.waits(step, "go", None);
        run.signal(signal, "go");
    }
    run.signal("s4", "go");
    run.done("all/c#1");
    let kept: Vec<&str> = run.state.inbox.iter().map(|signal| signal.id.as_str()).collect();
    assert_eq!(kept, ["s1", "s2", "s4"]);
}

fn sub(id: &str) -> Task {
    let kind = TaskKind::Workflow(SubWorkflow { workflow: "other".into(), wait: true });
    Task { kind, ..build::task(id, 1) }
}

fn child() -> SubRun {
    SubRun { exec_id: "child".into(), workflow_id: "other".into(), input: Json::parse("{}").unwrap() }
}

fn child_ended(status: Status) -> Event {
    let error = StepError::new("CZ0320", ErrorKind::Tool, "broken");
    Event::ChildEnded {
        key: key("sub#1"),
        exec_id: "child".into(),
        status,
        output: (status == Status::Success).then(|| Json::from(&json!({"ok": true}))),
        error: (status != Status::Success).then(|| Box::new(error)),
    }
}

#[test]
fn a_sub_run_starts_with_the_commit_and_its_end_is_the_steps() {
    let mut run = Run::new(vec![sub("sub")]);
    run.start();
    let opened = run.opens("sub#1", Opens::Run(child()), None);
    let awaits = Command::AwaitChild { key: key("sub#1"), exec_id: "child".into() };
    assert_eq!(
        (opened.children.as_slice(), opened.commands.as_slice()),
        (&[(key("sub#1"), child())][..], &[awaits.clone()][..])
    );
    assert_eq!((run.status("sub#1"), run.state.status), (Status::Waiting, Status::Waiting));
    assert_eq!(resume(&run.state), [awaits]);
    let ended = run.feed(child_ended(Status::Success));
    assert_eq!(ended.commands, [Command::Close(key("sub#1"))]);
    assert_eq!(resume(&run.state), [Command::Close(key("sub#1"))]);
    assert!(run.feed(child_ended(Status::Failed)).records.is_empty(), "a sub-run ends once");
    run.done("sub#1");
    assert_eq!(run.state.status, Status::Success);
}

#[test]
fn cancel_and_pause_reach_a_sub_run() {
    let mut run = Run::new(vec![sub("sub")]);
    run.start();
    run.opens("sub#1", Opens::Run(child()), None);
    let paused = run.feed(Event::Pause { by: "a test".into() });
    assert_eq!(paused.commands, [Command::PauseChild { exec_id: "child".into() }]);
    let resumed = run.feed(Event::Resume);
    assert_eq!(resumed.commands, [Command::ResumeChild { exec_id: "child".into() }]);
    let canceled = run.feed(Event::Cancel { by: "a test".into(), reason: None });
    assert_eq!(canceled.commands, [Command::CancelChild { exec_id: "child".into() }]);
    assert_eq!((run.status("sub#1"), run.state.status), (Status::Canceled, Status::Canceled));
}

#[test]
fn a_paused_run_records_what_runs_and_starts_nothing() {
    let retried = build::task("second", 2);
    let mut run = Run::new(vec![build::task("first", 1), retried, wait("hold", false), build::task("last", 1)]);
    run.start();
    let paused = run.feed(Event::Pause { by: "a test".into() });
    assert_eq!(paused.records, [Record::WorkflowStatus { status: Status::Paused, by: Some("a test".into()) }],);
    assert!(run.feed(Event::Pause { by: "another".into() }).records.is_empty());
    let first = run.done("first#1");
    assert_eq!((run.status("first#1"), run.status("second#1")), (Status::Success, Status::Pending));
    assert!(first.commands.is_empty(), "{:?}", first.commands);
    assert_eq!((run.state.status, resume(&run.state)), (Status::Paused, vec![]));
    let resumed = run.feed(Event::Resume);
    assert_eq!(resumed.commands, [Command::Execute(key("second#1"))]);
    assert_eq!(run.state.status, Status::Running);
    // A retry that comes due during a pause waits for its end.
    let error = StepError::new("broken", ErrorKind::Tool, "broken").retryable();
    let failure = Failure { input: None, output: None, error, transition: Rendered::default(), usage: vec![] };
    run.ended("second#1", Outcome::Failed(failure));
    run.feed(Event::Pause { by: "a test".into() });
    let retry = TimerKey::Retry { step: key("second#1") };
    assert!(run.feed(Event::TimerDue { timer: retry.clone() }).commands.is_empty());
    let resumed = run.feed(Event::Resume);
    assert!(matches!(resumed.commands.as_slice(), [Command::Arm { timer, .. }] if *timer == retry));
    run.feed(Event::TimerDue { timer: retry });
    run.done("second#1");
    // A signal that comes during a pause is kept.
    run.waits("hold#1", "go", None);
    run.feed(Event::Pause { by: "a test".into() });
    run.signal("s1", "go");
    assert_eq!((run.held("hold#1"), run.state.inbox.len()), (None, 1));
    let resumed = run.feed(Event::Resume);
    assert_eq!(resumed.commands, [Command::Match(key("hold#1"))]);
    run.done("hold#1");
    run.feed(Event::Pause { by: "a test".into() });
    run.done("last#1");
    assert_eq!(run.state.status, Status::Success, "nothing was left to start");
}

#[test]
fn a_run_paused_before_its_start_holds_its_first_task() {
    let mut run = Run::new(vec![build::task("first", 1)]);
    run.feed(Event::Pause { by: "a test".into() });
    let started = run.start();
    assert_eq!((run.state.status, run.status("first#1")), (Status::Paused, Status::Pending));
    assert!(started.commands.is_empty());
    run.feed(Event::Cancel { by: "a test".into(), reason: None });
    assert_eq!((run.state.status, run.status("first#1")), (Status::Canceled, Status::Canceled));
}

#[test]
fn a_pause_holds_back_the_children_of_a_container() {
    let tasks = vec![build::task("a", 1), build::task("b", 1)];
    let mut run = Run::new(vec![parallel(Strategy::WaitAll, tasks)]);
    run.start();
    run.feed(Event::Pause { by: "a test".into() });
    let opened = run.opens("all#1", branches(), None);
    assert!(opened.commands.is_empty());
    let resumed = run.feed(Event::Resume);
    assert_eq!(resumed.commands, [Command::Execute(key("all/a#1")), Command::Execute(key("all/b#1"))]);
    run.done("all/a#1");
    run.done("all/b#1");
    run.done("all#1");
    assert_eq!(run.state.status, Status::Success);
}

/// The cost of a decision must not grow with the number of children that are open.
#[test]
fn ten_thousand_children_at_once_are_decided_one_by_one() {
    const CHILDREN: u32 = 10_000;
    let child = build::task("each", 1);
    let mut each = task(
        "all",
        json!({
            "type": "collection", "items": {"fixed": []}, "filter": null, "item_var": null, "index_var": null,
            "sequential": false, "batch": null, "max_workers": null, "strategy": "wait_all", "child": child,
            "child_id": null,
        }),
    );
    each.targeted = false;
    let plan = build::workflow(vec![each], false, 100_000);
    let mut state = RunState::new(build::facts(), 0);
    let step = |path: String, outcome: Outcome| {
        let key = StepKey { path, execution: 1 };
        Event::StepEnded { key, attempt: 1, outcome: Box::new(outcome) }
    };
    let values = (0..CHILDREN).map(|item| Json::from(&json!(item))).collect();
    let items = Some(compozy_engine::opening::Items { values, ids: None });
    let opened = Opened { input: None, timeout: None, body: Opens::Branches { workers: CHILDREN, batch: 0, items } };
    decide(&plan, &mut state, Event::Start, Timestamp(0));
    let started = decide(&plan, &mut state, step("all".into(), Outcome::Opened(opened)), Timestamp(1));
    assert_eq!(started.commands.len(), CHILDREN as usize);
    for index in 0..CHILDREN {
        let done = Outcome::Done(Done::new(Json::from(&json!(index))));
        let decision = decide(&plan, &mut state, step(format!("all/each-{index}"), done), Timestamp(2));
        let last = index + 1 == CHILDREN;
        assert_eq!(decision.touched.len(), if last { 2 } else { 1 }, "only what changed is written");
    }
    assert_eq!(resume(&state), [Command::Close(StepKey { path: "all".into(), execution: 1 })]);
}

/// A collection that could not end is not begun.
#[test]
fn more_children_than_executions_are_left_are_told_before_the_first() {
    for (strategy, children, status) in [
        (Strategy::WaitAll, 999, Status::Running),
        (Strategy::WaitAll, 1_000, Status::Failed),
        (Strategy::BestEffort, 1_000, Status::Failed),
        (Strategy::Race, 1_000, Status::Running),
    ] {
        let tasks = (0..children).map(|number| build::task(&format!("t{number}"), 1)).collect();
        let mut run = Run::new(vec![parallel(strategy, tasks)]);
        run.start();
        run.opens("all#1", branches(), None);
        assert_eq!(run.state.status, status, "{strategy:?} {children}");
        let code = run.state.error.as_ref().map(|error| error.code.as_str());
        assert_eq!(code, (status == Status::Failed).then_some("CZ0311"));
        assert_eq!(run.state.steps.iter().count() > 1, status == Status::Running);
    }
}
