//! Which steps a run keeps of the run it goes on from, and where it begins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;

use compozy_engine::command::Command;
use compozy_engine::decide::decide;
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Event, Failure, Opened, Opens, Outcome, Rendered, Target};
use compozy_engine::fork::{Fork, Origin, Place, Refused, Source, fork};
use compozy_engine::json::Json;
use compozy_engine::state::{Facts, RunState, Step, StepKey};
use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::{Task, TaskKind, Workflow};
use serde_json::{Value, json};

#[path = "oracle/build.rs"]
mod build;

/// A run and every execution of its tasks.
struct Run {
    plan: Workflow,
    state: RunState,
    rows: BTreeMap<u64, Step>,
}

impl Run {
    fn new(ids: &[&str]) -> Self {
        Self::of(ids.iter().map(|id| build::task(id, 1)).collect())
    }

    fn of(tasks: Vec<Task>) -> Self {
        let mut run = Self {
            plan: build::workflow(tasks, false, 1_000),
            state: RunState::new(build::facts(), 0),
            rows: BTreeMap::new(),
        };
        run.feed(Event::Start);
        run
    }

    fn feed(&mut self, event: Event) -> Vec<Command> {
        let decision = decide(&self.plan, &mut self.state, event, Timestamp(1));
        for step in decision.replaced.iter().chain(self.state.steps.iter()) {
            self.rows.insert(step.position, step.clone());
        }
        decision.commands
    }

    fn ended(&mut self, step: &str, outcome: Outcome) -> Vec<Command> {
        let key: StepKey = step.parse().unwrap();
        self.feed(Event::StepEnded { key, attempt: 1, outcome: Box::new(outcome) })
    }

    fn done(&mut self, step: &str) {
        self.leads(step, None, None);
    }

    fn leads(&mut self, step: &str, next: Option<usize>, with: Option<Value>) {
        let transition = Rendered { next: next.map(Target::Task), with };
        self.ended(step, Outcome::Done(Done { transition, ..Done::new(Json::from(&json!(step))) }));
    }

    fn fails(&mut self, step: &str, next: Option<usize>) {
        let error = StepError::new("planned", ErrorKind::Tool, "it was to fail");
        let transition = Rendered { next: next.map(Target::Task), with: None };
        self.ended(step, Outcome::Failed(Failure { input: None, output: None, error, transition, usage: vec![] }));
    }

    fn fork_under(&self, place: &Place, plan: &Workflow) -> Result<Fork, Refused> {
        let source = Source {
            plan: &self.plan,
            exec_id: "run",
            status: self.state.status,
            entry: self.state.entry,
            error: self.state.error.as_ref(),
            steps: self.rows.values().cloned().collect(),
        };
        fork(source, place, plan, Facts { exec_id: "new".into(), ..build::facts() })
    }

    fn at(&self, task: &str) -> Result<Fork, Refused> {
        self.fork_under(&Place::Task(task.into()), &self.plan)
    }

    fn retry(&self) -> Result<Fork, Refused> {
        self.fork_under(&Place::Failure, &self.plan)
    }
}

/// Kept steps, and what runs first.
fn shape(plan: &Workflow, fork: Fork) -> (Vec<String>, Vec<Command>) {
    let seqs: Vec<i64> = fork.steps.iter().filter_map(|step| step.result_seq).collect();
    assert_eq!(seqs, (2..).take(fork.steps.len()).collect::<Vec<_>>(), "each has its event");
    assert_eq!(fork.records.len(), fork.steps.len() + 1);
    assert_eq!(fork.state.last_seq, i64::try_from(fork.records.len()).unwrap());
    assert!(fork.steps.iter().all(|step| step.id.starts_with("new:")));
    let kept = fork.steps.iter().map(|step| format!("{} {}", step.key, step.status.word())).collect();
    // Read back from what would be stored.
    let mut state = RunState::new(Facts { exec_id: "new".into(), ..build::facts() }, 0);
    state.last_seq = fork.state.last_seq;
    state.restore(&build::reread(&fork.state.stored()));
    for mut step in fork.steps {
        step.restore(build::reread(&step.stored()));
        state.steps.put(step);
    }
    let begun = decide(plan, &mut state, Event::Start, Timestamp(2));
    assert_eq!(state.origin, None, "it begins once");
    assert_eq!(begun.records.first().map(|record| record.event()), Some("workflow_status"));
    (kept, begun.commands)
}

fn execute(step: &str) -> Vec<Command> {
    vec![Command::Execute(step.parse().unwrap())]
}

#[test]
fn a_fork_keeps_what_was_recorded_before_its_task() {
    let mut run = Run::new(&["a", "b", "c"]);
    for step in ["a#1", "b#1", "c#1"] {
        run.done(step);
    }
    run.feed(Event::OutputsRendered(Ok(Json::null())));
    assert_eq!(run.state.status, Status::Success);
    for (task, kept, first) in
        [("a", vec![], "a#1"), ("b", vec!["a#1 SUCCESS"], "b#1"), ("c#1", vec!["a#1 SUCCESS", "b#1 SUCCESS"], "c#1")]
    {
        let (found, commands) = shape(&run.plan, run.at(task).unwrap());
        assert_eq!((found, commands), (kept.into_iter().map(str::to_owned).collect(), execute(first)), "{task}");
    }
    assert_eq!(run.retry().unwrap_err(), Refused::NotFailed(Status::Success));
    for (task, refused) in [
        ("x", Refused::Unknown("x".into())),
        ("c#2", Refused::NotReached("c#2".into())),
        ("b/x", Refused::Inside { task: "b/x".into(), container: "b".into() }),
    ] {
        assert_eq!(run.at(task).unwrap_err(), refused);
    }
}

#[test]
fn a_fork_begins_as_the_task_did() {
    let mut run = Run::new(&["a", "b"]);
    // a, b, a, b: the first execution is meant unless another is named.
    run.leads("a#1", Some(1), Some(json!({"n": 1})));
    run.leads("b#1", Some(0), None);
    run.leads("a#2", Some(1), Some(json!({"n": 2})));
    run.fails("b#2", None);
    let origin = |fork: &Fork| fork.state.origin.clone();
    let with = |n: i64| Some(Origin::Task { index: 1, overlay: Some(json!({"n": n})), cause: None });
    assert_eq!(origin(&run.at("b").unwrap()), with(1));
    assert_eq!(origin(&run.retry().unwrap()), with(2));
    let (kept, commands) = shape(&run.plan, run.at("b#2").unwrap());
    assert_eq!(kept, ["a#1 SUCCESS", "b#1 SUCCESS", "a#2 SUCCESS"]);
    assert_eq!(commands, execute("b#2"), "executions go on counting");
}

#[test]
fn a_retry_begins_with_the_first_step_that_did_not_succeed() {
    let mut run = Run::new(&["a", "bad", "mend", "last"]);
    run.done("a#1");
    run.fails("bad#1", Some(2));
    run.done("mend#1");
    let early = run.retry().unwrap_err();
    assert_eq!(early, Refused::NotFailed(Status::Running));
    // In a running run too: the failure that the handler was for goes with it.
    let Some(Origin::Task { index: 2, cause: Some(cause), .. }) = run.at("mend").unwrap().state.origin else {
        panic!("the handler has its failure")
    };
    assert_eq!(cause.code, "planned");
    run.fails("last#1", None);
    assert_eq!(run.state.status, Status::Failed);
    let (kept, commands) = shape(&run.plan, run.retry().unwrap());
    assert_eq!((kept, commands), (vec!["a#1 SUCCESS".to_owned()], execute("bad#1")));
    let (kept, _) = shape(&run.plan, run.at("last").unwrap());
    assert_eq!(kept, ["a#1 SUCCESS", "bad#1 FAILED", "mend#1 SUCCESS"]);
}

#[test]
fn a_run_that_no_step_failed_is_retried_where_it_ended() {
    let mut run = Run::new(&["a", "b"]);
    run.done("a#1");
    run.done("b#1");
    run.feed(Event::OutputsRendered(Err(StepError::new("CZ0322", ErrorKind::Template, "no such key"))));
    let (kept, commands) = shape(&run.plan, run.retry().unwrap());
    assert_eq!((kept.len(), commands), (2, vec![Command::RenderOutputs]));

    let mut asleep = Run::new(&["a", "b"]);
    let sleep = Some(std::time::Duration::from_secs(1));
    asleep.ended("a#1", Outcome::Done(Done { sleep, ..Done::new(Json::null()) }));
    asleep.feed(Event::Cancel { by: "a test".into(), reason: None });
    let (kept, commands) = shape(&asleep.plan, asleep.retry().unwrap());
    assert_eq!((kept.len(), commands), (0, execute("a#1")));

    let plan = build::workflow(vec![build::task("a", 1)], false, 9);
    let mut unbegun = Run { plan, state: RunState::new(build::facts(), 0), rows: BTreeMap::new() };
    unbegun.feed(Event::Cancel { by: "a test".into(), reason: None });
    let (kept, commands) = shape(&unbegun.plan, unbegun.retry().unwrap());
    assert_eq!((kept.len(), commands), (0, execute("a#1")));
    assert!(unbegun.at("a").is_ok());
}

#[test]
fn a_container_is_kept_with_its_children_or_not_at_all() {
    let composite = json!({"type": "composite", "tasks": [build::task("in", 1)], "explicit": false});
    let mut box_task = build::task("box", 1);
    box_task.kind = serde_json::from_value::<TaskKind>(composite).unwrap();
    let mut run = Run::of(vec![box_task, build::task("after", 1)]);
    run.ended("box#1", Outcome::Opened(Opened { input: None, timeout: None, body: Opens::List }));
    run.done("box/in#1");
    let (kept, commands) = shape(&run.plan, run.at("box").unwrap());
    assert_eq!((kept.len(), commands), (0, execute("box#1")));
    run.done("box#1");
    let (kept, commands) = shape(&run.plan, run.at("after").unwrap());
    assert_eq!(kept, ["box#1 SUCCESS", "box/in#1 SUCCESS"]);
    assert_eq!(commands, execute("after#1"));
}

#[test]
fn the_latest_definition_sees_the_steps_of_its_tasks() {
    let mut run = Run::new(&["gone", "a", "b"]);
    run.plan.digest = "old".into();
    run.done("gone#1");
    run.done("a#1");
    run.fails("b#1", None);
    let tasks = ["a", "new", "b"].map(|id| build::task(id, 1)).to_vec();
    let mut latest = build::workflow(tasks, false, 1_000);
    latest.digest = "new".into();
    let fork = run.fork_under(&Place::Failure, &latest).unwrap();
    let addresses: Vec<_> = fork.steps.iter().map(|step| (step.key.to_string(), step.address.clone())).collect();
    assert_eq!(addresses, [("a#1".to_owned(), vec![0])]);
    let (_, commands) = shape(&latest, fork);
    assert_eq!(commands, execute("b#1"));
    latest.tasks.pop();
    assert_eq!(run.fork_under(&Place::Failure, &latest).unwrap_err(), Refused::Unknown("b".into()));
}
