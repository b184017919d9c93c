//! Lists of basic tasks: they succeed, fail some times, route on and loop; the oracle walks them with a plain loop.

use std::time::Duration;

use compozy_engine::command::Command;
use compozy_engine::decide::{decide, resume};
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Event, Failure, Outcome, Rendered, Target, TimerKey};
use compozy_engine::json::Json;
use compozy_engine::record::Record;
use compozy_engine::state::{RunState, StepKey, StoredState, StoredStep};
use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::{Task, Workflow};
use proptest::prelude::*;

use super::build::{self, reread};

/// What one task does.
#[derive(Debug, Clone)]
struct Behaviour {
    /// Attempts that fail before one succeeds.
    failures: u32,
    /// Failures are worth another attempt.
    retryable: bool,
    attempts: u32,
    next: Option<usize>,
    on_error: Option<usize>,
    ends_list: bool,
    sleep: bool,
}

#[derive(Debug, Clone)]
struct Program {
    tasks: Vec<Behaviour>,
    explicit: bool,
    max_executions: u64,
}

fn programs() -> impl Strategy<Value = Program> {
    (1usize..8).prop_flat_map(|count| {
        let next = prop::option::weighted(0.3, 0..count);
        let on_error = prop::option::weighted(0.4, 0..count);
        let task =
            (0u32..4, prop::bool::weighted(0.8), 1u32..4, next, on_error, prop::bool::weighted(0.1), any::<bool>())
                .prop_map(|(failures, retryable, attempts, next, on_error, ends_list, sleep)| Behaviour {
                    failures,
                    retryable,
                    attempts,
                    next,
                    on_error,
                    ends_list,
                    sleep,
                });
        (prop::collection::vec(task, count), any::<bool>(), 1u64..30)
            .prop_map(|(tasks, explicit, max_executions)| Program { tasks, explicit, max_executions })
    })
}

/// The visited tasks with the attempts each execution took, and the end.
type Walk = (Vec<(usize, u32)>, Status);

/// Dialect §4.2 and §4.4, read literally.
fn oracle(program: &Program) -> Walk {
    let targeted =
        |index: usize| program.tasks.iter().any(|task| task.next == Some(index) || task.on_error == Some(index));
    let (mut visited, mut at) = (Vec::new(), 0);
    loop {
        if visited.len() as u64 == program.max_executions {
            return (visited, Status::Failed);
        }
        let task = &program.tasks[at];
        let tries = if task.retryable { task.attempts } else { 1 };
        let succeeded = task.failures < tries;
        visited.push((at, if succeeded { task.failures + 1 } else { tries }));
        let next = match succeeded {
            true if task.ends_list => None,
            true if task.next.is_some() => task.next,
            true if program.explicit => None,
            true => (at + 1..program.tasks.len()).find(|index| !targeted(*index)),
            false if task.on_error.is_some() => task.on_error,
            false => return (visited, Status::Failed),
        };
        match next {
            Some(index) => at = index,
            None => return (visited, Status::Success),
        }
    }
}

fn plan(program: &Program) -> Workflow {
    let targets: Vec<usize> = program.tasks.iter().flat_map(|task| [task.next, task.on_error]).flatten().collect();
    let tasks = program.tasks.iter().enumerate().map(|(index, behaviour)| Task {
        targeted: targets.contains(&index),
        ..build::task(&format!("t{index}"), behaviour.attempts)
    });
    build::workflow(tasks.collect(), program.explicit, program.max_executions)
}

/// A run being driven without clock, disk or plugin.
struct Simulation<'a> {
    program: &'a Program,
    plan: Workflow,
    state: RunState,
    now: Timestamp,
    pending: Vec<Command>,
    records: Vec<Record>,
    finished: Vec<(usize, u32)>,
}

impl<'a> Simulation<'a> {
    fn new(program: &'a Program) -> Self {
        Self {
            program,
            plan: plan(program),
            state: RunState::new(build::facts(), 0),
            now: Timestamp(0),
            pending: Vec::new(),
            records: Vec::new(),
            finished: Vec::new(),
        }
    }

    fn feed(&mut self, event: Event) {
        let decision = decide(&self.plan, &mut self.state, event, self.now);
        self.records.extend(decision.records);
        for command in decision.commands {
            match command {
                Command::RenderOutputs => self.feed(Event::OutputsRendered(Ok(Json::null()))),
                Command::Disarm(timer) => {
                    self.pending.retain(|other| !matches!(other, Command::Arm { timer: armed, .. } if *armed == timer));
                }
                other => self.pending.push(other),
            }
        }
    }

    /// Throws the memory away and restores it from what storage holds.
    fn crash(&mut self) {
        let mut restored = RunState::new(self.state.facts.clone(), 0);
        let stored: StoredState = reread(&self.state.stored());
        restored.status = self.state.status;
        restored.restore(&stored);
        restored.last_seq = self.state.last_seq;
        for step in self.state.steps.iter() {
            let mut step = step.clone();
            let stored: StoredStep = reread(&step.stored());
            step.restore(stored);
            restored.steps.put(step);
        }
        self.state = restored;
        self.pending = resume(&self.state);
    }

    fn run(mut self, crash_after: Option<usize>) -> (Walk, Vec<Record>) {
        self.feed(Event::Start);
        for turn in 0.. {
            assert!(turn < 10_000, "the run does not end");
            if self.state.status.is_terminal() {
                break;
            }
            if crash_after == Some(turn) {
                self.crash();
            }
            assert!(!self.pending.is_empty(), "an open run waits for nothing: {:?}", self.state);
            match self.pending.remove(0) {
                Command::Execute(key) => {
                    let event = self.attempt(&key);
                    self.feed(event);
                }
                Command::Arm { timer, due } => {
                    assert_ne!(timer, TimerKey::RunTimeout);
                    self.now = self.now.max(due);
                    self.feed(Event::TimerDue { timer });
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(self.records.len() as i64, self.state.last_seq, "seq counts the records");
        ((self.finished, self.state.status), self.records)
    }

    fn attempt(&mut self, key: &StepKey) -> Event {
        let step = self.state.steps.at(key).unwrap();
        let (attempt, task) = (step.attempt, step.address[0]);
        let behaviour = &self.program.tasks[task];
        let target = |index: Option<usize>| Rendered { next: index.map(Target::Task), with: None };
        let fails = attempt <= behaviour.failures;
        let last = !behaviour.retryable || attempt == behaviour.attempts;
        if !fails || last {
            self.finished.push((task, attempt));
        }
        let outcome = if fails {
            let error = StepError::new("broken", ErrorKind::Tool, "broken");
            let error = if behaviour.retryable { error.retryable() } else { error };
            Outcome::Failed(Failure {
                input: None,
                output: None,
                error,
                transition: target(behaviour.on_error),
                usage: vec![],
            })
        } else {
            Outcome::Done(Done {
                ends_list: behaviour.ends_list,
                sleep: behaviour.sleep.then_some(Duration::from_secs(1)),
                transition: target(behaviour.next),
                ..Done::new(Json::null())
            })
        };
        Event::StepEnded { key: key.clone(), attempt, outcome: Box::new(outcome) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_oracle(program in programs()) {
        let (walk, _) = Simulation::new(&program).run(None);
        prop_assert_eq!(walk, oracle(&program));
    }

    #[test]
    fn a_crash_between_any_two_events_changes_nothing(program in programs(), turn in 0usize..40) {
        let (walk, records) = Simulation::new(&program).run(None);
        let (again, after_crash) = Simulation::new(&program).run(Some(turn));
        prop_assert_eq!(walk, again);
        prop_assert_eq!(records, after_crash);
    }

    #[test]
    fn cancel_ends_the_run_and_everything_open(program in programs(), turn in 0usize..10) {
        let mut simulation = Simulation::new(&program);
        simulation.feed(Event::Start);
        for _ in 0..turn {
            if let Some(Command::Execute(key)) = simulation.pending.iter().find(|c| matches!(c, Command::Execute(_))).cloned() {
                simulation.pending.clear();
                let event = simulation.attempt(&key);
                simulation.feed(event);
            }
        }
        if !simulation.state.status.is_terminal() {
            simulation.feed(Event::Cancel { by: "a test".into(), reason: None });
            prop_assert_eq!(simulation.state.status, Status::Canceled);
            prop_assert!(simulation.state.steps.open().next().is_none());
            let before = simulation.state.last_seq;
            simulation.feed(Event::Cancel { by: "a test".into(), reason: None });
            simulation.feed(Event::TimerDue { timer: TimerKey::RunTimeout });
            prop_assert_eq!(simulation.state.last_seq, before, "a terminal run never changes");
        }
    }
}
