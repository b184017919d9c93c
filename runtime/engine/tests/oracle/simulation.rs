//! A nested program driven through the engine in simulated time, without clock, disk or plugin.
//!
//! What storage would hold is kept as rows that are written only when a decision says so; a crash throws the state away
//! and reads it back from them.

use std::collections::BTreeMap;
use std::time::Duration;

use compozy_engine::command::Command;
use compozy_engine::container;
use compozy_engine::decide::{decide, resume};
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Event, Failure, Opened, Opens, Outcome, Rendered, Target};
use compozy_engine::json::Json;
use compozy_engine::opening::Items;
use compozy_engine::record::Record;
use compozy_engine::state::{RunState, Step, StepKey};
use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::Workflow;
use serde_json::{Value, json};

use super::build;
use super::interpreter::Executions;
use super::program::{Body, Node, chance, duration, plan};

/// When the memory is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Crash {
    Never,
    After(usize),
    Always,
}

/// What happens next in the world outside the engine.
#[derive(Debug, Clone)]
enum Due {
    /// Execute, close: the step, its attempt.
    Call(StepKey, u32),
    Timer(compozy_engine::event::TimerKey),
    Asked(Asked),
}

/// What a user asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Asked {
    Cancel,
    Pause,
    Resume,
}

/// A step as storage holds it.
#[derive(Debug, Clone)]
struct Row {
    step: Step,
    stored: String,
    input: Option<String>,
    error: Option<String>,
}

pub(crate) struct Simulation<'a> {
    nodes: &'a [Node],
    plan: Workflow,
    state: RunState,
    now: u64,
    agenda: Vec<(u64, Due)>,
    /// When calls that were begun once will end, whoever asks again.
    begun: BTreeMap<(StepKey, u32, bool), u64>,
    rows: BTreeMap<StepKey, Row>,
    run_row: (Status, String, i64),
    pub(crate) records: Vec<Record>,
}

/// What the engine's run came to.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) status: Status,
    pub(crate) executions: Executions,
}

impl<'a> Simulation<'a> {
    pub(crate) fn new(nodes: &'a [Node]) -> Self {
        let state = RunState::new(build::facts(), 0);
        Self {
            nodes,
            plan: build::workflow(plan(nodes), false, 1_000_000),
            run_row: (state.status, serde_json::to_string(&state.stored()).unwrap(), 0),
            state,
            now: 0,
            agenda: Vec::new(),
            begun: BTreeMap::new(),
            rows: BTreeMap::new(),
            records: Vec::new(),
        }
    }

    /// Runs it; users ask for `asked` at these times.
    pub(crate) fn run(mut self, crash: Crash, asked: &[(u64, Asked)]) -> Ran {
        let mut asked = asked.to_vec();
        self.agenda.extend(asked.iter().map(|(at, asked)| (*at, Due::Asked(*asked))));
        self.feed(Event::Start);
        for turn in 0.. {
            assert!(turn < 100_000, "the run does not end");
            if self.state.status.is_terminal() {
                break;
            }
            if crash == Crash::Always || crash == Crash::After(turn) {
                self.crash(&asked);
            }
            let next = (0..self.agenda.len()).min_by_key(|at| self.agenda[*at].0);
            let (at, due) = self.agenda.remove(next.expect("an open run waits for something"));
            self.now = self.now.max(at);
            let event = match due {
                Due::Call(key, attempt) => self.answer(key, attempt),
                Due::Timer(timer) => Event::TimerDue { timer },
                Due::Asked(now) => {
                    asked.retain(|(_, later)| *later != now);
                    match now {
                        Asked::Cancel => Event::Cancel { by: "a test".into(), reason: None },
                        Asked::Pause => Event::Pause { by: "a test".into() },
                        Asked::Resume => Event::Resume,
                    }
                }
            };
            self.feed(event);
            self.check();
        }
        self.finish()
    }

    fn feed(&mut self, event: Event) {
        let now = Timestamp(i64::try_from(self.now).unwrap());
        let mut decision = decide(&self.plan, &mut self.state, event, now);
        if decision.commands.contains(&Command::RenderOutputs) {
            decision.commands.retain(|command| *command != Command::RenderOutputs);
            let outputs = Event::OutputsRendered(Ok(Json::null()));
            decision.append(decide(&self.plan, &mut self.state, outputs, now));
        }
        self.records.extend(decision.records);
        for step in &decision.replaced {
            self.rows.insert(step.key.clone(), Row::of(step));
        }
        for path in &decision.touched {
            let step = self.state.steps.get(path).unwrap();
            self.rows.insert(step.key.clone(), Row::of(step));
        }
        self.run_row = (self.state.status, serde_json::to_string(&self.state.stored()).unwrap(), self.state.last_seq);
        for command in decision.commands {
            self.carry_out(command);
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Execute(key) => self.call(key, false),
            Command::Close(key) => self.call(key, true),
            Command::Abort(key) => {
                self.agenda.retain(|(_, due)| !matches!(due, Due::Call(other, _) if *other == key));
            }
            Command::Arm { timer, due } => self.agenda.push((u64::try_from(due.0).unwrap(), Due::Timer(timer))),
            Command::Disarm(timer) => {
                self.agenda.retain(|(_, due)| !matches!(due, Due::Timer(other) if *other == timer));
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn call(&mut self, key: StepKey, closes: bool) {
        let step = self.state.steps.at(&key).unwrap_or_else(|| panic!("{key} is not the latest"));
        let attempt = step.attempt;
        let place = self.place(step);
        let what = if closes { "close" } else { "run" };
        let ends = self.now + duration(what, &place, attempt);
        let ends = *self.begun.entry((key.clone(), attempt, closes)).or_insert(ends);
        self.agenda.push((ends, Due::Call(key, attempt)));
    }

    /// Throws the memory away and reads it back from the rows.
    fn crash(&mut self, asked: &[(u64, Asked)]) {
        let (status, stored, last_seq) = &self.run_row;
        let mut restored = RunState::new(build::facts(), 0);
        restored.status = *status;
        restored.last_seq = *last_seq;
        restored.restore(&serde_json::from_str(stored).unwrap());
        let mut rows: Vec<&Row> = self.rows.values().collect();
        rows.sort_by_key(|row| row.step.position);
        for row in rows {
            restored.steps.put(row.read());
        }
        restored.steps.count_children(&self.plan);
        self.state = restored;
        self.agenda.clear();
        self.agenda.extend(asked.iter().map(|(at, asked)| (*at, Due::Asked(*asked))));
        for command in resume(&self.state) {
            self.carry_out(command);
        }
    }

    /// Counters and status say what the steps say.
    fn check(&self) {
        let executing = self.state.steps.iter().any(Step::executes);
        assert_eq!(self.state.steps.any_executing(), executing);
        let open = self.state.steps.iter().filter(|step| !step.status.is_terminal()).count();
        assert_eq!(self.state.steps.open().count(), open);
        assert_eq!(self.records.len() as i64, self.state.last_seq, "seq counts the records");
        if self.state.status.is_terminal() {
            assert_eq!(open, 0, "an ended run has no open step");
            assert_eq!(self.state.steps.sleeping().count(), 0);
        } else {
            let expected = match (self.state.paused, executing) {
                (true, _) => Status::Paused,
                (false, true) => Status::Running,
                (false, false) => Status::Waiting,
            };
            assert_eq!(self.state.status, expected);
        }
    }

    fn finish(mut self) -> Ran {
        let before = self.state.last_seq;
        self.feed(Event::Cancel { by: "a test".into(), reason: None });
        assert_eq!(self.state.last_seq, before, "a terminal run never changes");
        let mut ended: BTreeMap<StepKey, (Status, u32)> = BTreeMap::new();
        for record in &self.records {
            if let Record::TaskStatus { key, attempt, status, .. } = record {
                assert!(ended.insert(key.clone(), (*status, *attempt)).is_none(), "{key} ended twice");
            }
        }
        let mut executions = Executions::new();
        for (key, row) in &self.rows {
            let (status, attempt) = ended.remove(key).unwrap_or_else(|| panic!("{key} has no end in the journal"));
            assert_eq!((row.step.status, row.step.attempt), (status, attempt), "{key}");
            let output = row.step.output.as_ref().filter(|_| status == Status::Success);
            let output = output.map_or(Value::Null, Json::to_value);
            executions.insert((key.path.clone(), key.execution), (status, attempt, output));
        }
        assert!(ended.is_empty(), "not stored: {ended:?}");
        Ran { status: self.state.status, executions }
    }

    fn place(&self, step: &Step) -> String {
        match step.parent.as_ref().and_then(|parent| self.state.steps.at(parent)) {
            Some(parent) => format!("{}#{}/{}", self.place(parent), parent.attempt, step.key.id()),
            None => step.key.id().to_owned(),
        }
    }

    /// The task of a step, with its place in its list and the length of that.
    fn node(&self, step: &Step) -> (&'a Node, usize, usize) {
        let mut list = self.nodes;
        let mut found = None;
        for index in &step.address {
            let node = &list[*index];
            found = Some((node, *index, list.len()));
            list = match &node.body {
                Body::Parallel { children, .. } | Body::Composite { children, .. } => children,
                Body::Collection { child, .. } => std::slice::from_ref(child),
                Body::Leaf { .. } | Body::Router { .. } => &[],
            };
        }
        found.unwrap()
    }

    fn answer(&self, key: StepKey, attempt: u32) -> Event {
        let step = self.state.steps.at(&key).unwrap();
        assert_eq!(step.attempt, attempt);
        let outcome = if step.opening.is_some() { self.close(step) } else { self.execute(step) };
        Event::StepEnded { key, attempt, outcome: Box::new(outcome) }
    }

    fn execute(&self, step: &Step) -> Outcome {
        let (node, at, length) = self.node(step);
        if node.is_skipped() {
            return Outcome::Done(Done { skipped: true, ..Done::new(Json::null()) });
        }
        let place = self.place(step);
        let branches = |workers: u32, batch: u32, items: Option<Items>| Opens::Branches { workers, batch, items };
        let body = match &node.body {
            Body::Leaf { failing } if chance("fail", &place, step.attempt, 4) < *failing => {
                let error = StepError::new("broken", ErrorKind::Tool, "broken");
                let error = if node.retryable { error.retryable() } else { error };
                return self.failed(node, at, length, error, None);
            }
            Body::Leaf { .. } => return done(node, at, length, Json::from(&json!(place))),
            Body::Router { .. } => return done(node, at, length, Json::from(&json!("routed"))),
            Body::Composite { .. } => Opens::List,
            Body::Parallel { workers, .. } => branches(*workers, 0, None),
            Body::Collection { items, workers, batch, .. } => {
                let values = (0..*items).map(|item| Json::from(&json!(item))).collect();
                branches(*workers, *batch, Some(Items { values, ids: None }))
            }
        };
        let timeout = node.timeout.map(Duration::from_micros);
        Outcome::Opened(Opened { input: Some(Json::parse("{}").unwrap()), timeout, body })
    }

    fn close(&self, step: &Step) -> Outcome {
        let (node, at, length) = self.node(step);
        let output = container::output(&self.plan, &self.state, step);
        match container::failure(&self.plan, &self.state, step) {
            Some(error) => self.failed(node, at, length, error, Some(output)),
            None => done(node, at, length, output),
        }
    }

    fn failed(&self, node: &Node, at: usize, length: usize, error: StepError, output: Option<Json>) -> Outcome {
        let transition = leads(Node::target(node.on_error, at, length));
        Outcome::Failed(Failure { input: None, output, error, transition, usage: vec![] })
    }
}

fn done(node: &Node, at: usize, length: usize, output: Json) -> Outcome {
    let (ends_list, next) = match node.route(at, length) {
        Some(route) => (route.is_none(), route),
        None => (node.ends_list, Node::target(node.next, at, length)),
    };
    let sleep = node.sleeps.then_some(Duration::from_secs(1));
    Outcome::Done(Done { ends_list, sleep, transition: leads(next), ..Done::new(output) })
}

fn leads(next: Option<usize>) -> Rendered {
    Rendered { next: next.map(Target::Task), with: None }
}

impl Row {
    fn of(step: &Step) -> Self {
        Self {
            step: step.clone(),
            stored: serde_json::to_string(&step.stored()).unwrap(),
            input: step.recorded_input().map(|input| input.to_string()),
            error: step.error.as_ref().map(|error| serde_json::to_string(error).unwrap()),
        }
    }

    /// Only what has a column or stands in the stored JSON comes back.
    fn read(&self) -> Step {
        let Step { key, id, parent, position, status, attempt, output, result_seq, started_at, finished_at, .. } =
            self.step.clone();
        let mut step = Step {
            key,
            id,
            parent,
            address: Vec::new(),
            index: None,
            position,
            status,
            attempt,
            retry_at: None,
            overlay: None,
            cause: None,
            skipped: false,
            pause: None,
            opening: None,
            input: self.input.as_deref().map(Json::from_valid),
            output,
            error: self.error.as_deref().map(|error| serde_json::from_str(error).unwrap()),
            result_seq,
            started_at,
            attempt_started_at: started_at,
            finished_at,
        };
        step.restore(serde_json::from_str(&self.stored).unwrap());
        step
    }
}
