//! One run in motion on a node: lets the engine decide, commits, carries out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use compozy_engine::command::Command;
use compozy_engine::decide::{Decision, decide, resume};
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Event, Outcome, TimerKey};
use compozy_engine::json::Json;
use compozy_engine::opening::Signal;
use compozy_engine::state::{RunState, StepKey};
use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;

use super::effects::{self, Call, Luck};
use super::fault::Fault;
use super::node::Message;
use super::programs::Program;
use super::projection;
use super::rng::Rng;
use super::store::{Changes, Reply, Tx};
use super::world::{MILLISECOND, SECOND, World};

/// How long a node waits for the answer to a commit.
const OVERDUE: i64 = 2 * SECOND;

/// What a driver has been told and has not looked at yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Start,
    Ended {
        key: StepKey,
        call: u64,
    },
    Timer(TimerKey),
    /// A timer that has rung rings again.
    TimerAgain(TimerKey),
    Signal(Signal),
    Child {
        key: StepKey,
        exec_id: String,
    },
    Cancel,
    Pause,
    Resume,
}

/// A call under way.
#[derive(Debug, Clone, Copy)]
struct Running {
    call: Call,
    id: u64,
}

/// A commit under way.
#[derive(Debug)]
struct Pending {
    ticket: u64,
    changes: Arc<Changes>,
    commands: Vec<Command>,
}

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) id: u64,
    exec_id: String,
    pub(crate) epoch: i64,
    program: Arc<Program>,
    pub(crate) state: RunState,
    calls: BTreeMap<StepKey, Running>,
    /// Calls whose answer nobody waits for.
    late: BTreeMap<u64, Call>,
    pub(crate) timers: BTreeMap<TimerKey, i64>,
    pub(crate) awaited: BTreeMap<StepKey, String>,
    pending: Option<Pending>,
    pub(crate) heard: VecDeque<Heard>,
    /// Signals the run has been told of.
    pub(crate) offered: BTreeSet<String>,
}

impl Driver {
    pub(crate) fn new(id: u64, exec_id: &str, epoch: i64, program: Arc<Program>, state: RunState) -> Self {
        Self {
            id,
            exec_id: exec_id.to_owned(),
            epoch,
            program,
            state,
            calls: BTreeMap::new(),
            late: BTreeMap::new(),
            timers: BTreeMap::new(),
            awaited: BTreeMap::new(),
            pending: None,
            heard: VecDeque::new(),
            offered: BTreeSet::new(),
        }
    }

    /// The event behind what was heard; `None` when it does not matter any more.
    fn event(&mut self, heard: Heard, fickle: Option<&mut Rng>) -> Option<Event> {
        Some(match heard {
            Heard::Start => Event::Start,
            Heard::Ended { key, call } => return self.ended(key, call, fickle),
            Heard::Timer(timer) => {
                self.timers.remove(&timer)?;
                self.heard.push_front(Heard::TimerAgain(timer.clone()));
                Event::TimerDue { timer }
            }
            Heard::TimerAgain(timer) => Event::TimerDue { timer },
            Heard::Signal(signal) => Event::Signal(signal),
            Heard::Cancel => Event::Cancel { by: "a client".into(), reason: None },
            Heard::Pause => Event::Pause { by: "a client".into() },
            Heard::Resume => Event::Resume,
            // Needs the store.
            Heard::Child { .. } => return None,
        })
    }

    fn ended(&mut self, key: StepKey, call: u64, fickle: Option<&mut Rng>) -> Option<Event> {
        let what = match self.calls.get(&key).filter(|running| running.id == call) {
            Some(running) => {
                let what = running.call;
                self.calls.remove(&key);
                what
            }
            None => self.late.remove(&call)?,
        };
        let mut luck = fickle.map_or(Luck::Fixed, Luck::Fickle);
        let attempt = self.state.steps.at(&key)?.attempt;
        let outcome = effects::answer(&self.program, &self.state, what, &key, &mut luck)?;
        Some(Event::StepEnded { key, attempt, outcome: Box::new(outcome) })
    }

    /// What is under way and what the engine would command for this state are the same.
    fn check_obligations(&self) -> Result<(), String> {
        let (mut calls, mut timers, mut awaited) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for command in resume(&self.state) {
            match command {
                Command::Execute(key) => calls.push((key, Call::Execute)),
                Command::Close(key) => calls.push((key, Call::Close)),
                Command::Match(key) => calls.push((key, Call::Match)),
                Command::Arm { timer, due } => {
                    timers.insert(timer, due.0);
                }
                Command::AwaitChild { key, exec_id } => {
                    awaited.insert(key, exec_id);
                }
                other => return Err(format!("resume commands {other:?}")),
            }
        }
        calls.sort();
        let under_way: Vec<(StepKey, Call)> =
            self.calls.iter().map(|(key, running)| (key.clone(), running.call)).collect();
        if calls != under_way {
            return Err(format!("under way is {under_way:?}, after a restart it would be {calls:?}"));
        }
        // Retries of a paused run are armed at its end; one that rings before is ignored.
        let armed = |timers: &BTreeMap<TimerKey, i64>| -> BTreeMap<TimerKey, i64> {
            let kept = timers.iter().filter(|(timer, _)| !self.state.paused || timer.kind() != "retry");
            kept.map(|(timer, due)| (timer.clone(), *due)).collect()
        };
        if armed(&timers) != armed(&self.timers) {
            return Err(format!("armed are {:?}, after a restart it would be {timers:?}", self.timers));
        }
        if awaited != self.awaited {
            return Err(format!("awaited are {:?}, after a restart it would be {awaited:?}", self.awaited));
        }
        Ok(())
    }
}

impl World {
    /// Lets a driver look at what it has heard, until it has to wait for a commit.
    pub(crate) fn go_on(&mut self, at: usize, exec_id: &str) {
        while self.violation.is_none() {
            let Some(driver) = self.nodes[at].drivers.get_mut(exec_id).filter(|driver| driver.pending.is_none()) else {
                return;
            };
            let Some(heard) = driver.heard.pop_front() else { return };
            let event = match heard {
                Heard::Child { key, exec_id: child } => self.child_ended(at, exec_id, &key, &child),
                heard => {
                    let fickle = self.settings.fickle.then_some(&mut self.rng);
                    driver.event(heard, fickle)
                }
            };
            let Some(event) = event else { continue };
            if let Event::StepEnded { key, attempt, .. } = &event
                && !self.quiet
                && self.rng.mille(20)
            {
                let (key, attempt) = (key.clone(), attempt - 1);
                self.stale(at, exec_id, key, attempt);
            }
            self.feed(at, exec_id, event);
        }
    }

    fn child_ended(&mut self, at: usize, exec_id: &str, key: &StepKey, child: &str) -> Option<Event> {
        let row = self.store.runs.get(child)?.row.clone();
        let driver = self.driver(at, exec_id)?;
        driver.awaited.remove(key)?;
        let error = row.error.as_deref().map(|text| {
            let mut error: StepError = serde_json::from_str(text).unwrap();
            error.kind = ErrorKind::Tool;
            error.retryable = effects::retries(&driver.program, &driver.state, key);
            error
        });
        Some(Event::ChildEnded {
            key: key.clone(),
            exec_id: child.to_owned(),
            status: row.status.parse::<Status>().unwrap(),
            output: row.output.as_deref().map(Json::from_valid),
            error: error.map(Into::into),
        })
    }

    /// An answer of an earlier attempt must not matter.
    fn stale(&mut self, at: usize, exec_id: &str, key: StepKey, attempt: u32) {
        let now = Timestamp(self.clock(at));
        let Some(driver) = self.driver(at, exec_id) else { return };
        let outcome = Box::new(Outcome::Done(Done::new(Json::null())));
        let event = Event::StepEnded { key, attempt, outcome };
        let decision = decide(&driver.program.plan, &mut driver.state, event, now);
        if !decision.records.is_empty() || !decision.touched.is_empty() || !decision.commands.is_empty() {
            self.fail(format!("{exec_id}: the answer of an earlier attempt decides {decision:?}"));
        }
    }

    fn feed(&mut self, at: usize, exec_id: &str, event: Event) {
        let now = self.clock(at);
        self.trace(|world| format!("{} {exec_id}: {event:?}", world.nodes[at].id));
        let Some(driver) = self.driver(at, exec_id) else { return };
        let mut decision = driver.decide(event, now);
        if decision.commands.contains(&Command::RenderOutputs) {
            decision.commands.retain(|command| *command != Command::RenderOutputs);
            let outputs = Event::OutputsRendered(Ok(Json::from_valid("\"ended\"")));
            decision.append(driver.decide(outputs, now));
        }
        if decision.records.is_empty() && decision.touched.is_empty() {
            return self.carry_out(at, exec_id, decision.commands);
        }
        let changes = Arc::new(projection::changes(&driver.state, &decision, now));
        let mut commands = decision.commands;
        let early = self.fault == Some(Fault::CarryOutEarly);
        let now_already = if early { std::mem::take(&mut commands) } else { Vec::new() };
        self.commit(at, exec_id, changes, commands);
        self.carry_out(at, exec_id, now_already);
    }

    fn commit(&mut self, at: usize, exec_id: &str, changes: Arc<Changes>, commands: Vec<Command>) {
        let node = self.nodes[at].id.clone();
        let Some(epoch) = self.driver(at, exec_id).map(|driver| driver.epoch) else { return };
        let tx = Tx::Commit { exec_id: exec_id.to_owned(), node, epoch, changes: changes.clone() };
        let ticket = self.send(at, tx);
        self.tell(at, self.now + OVERDUE, Message::Overdue { exec_id: exec_id.to_owned(), ticket });
        if let Some(driver) = self.driver(at, exec_id) {
            driver.pending = Some(Pending { ticket, changes, commands });
        }
    }

    /// A commit was answered.
    pub(crate) fn committed(&mut self, at: usize, ticket: u64, reply: &Reply) {
        let waits = |driver: &&Driver| driver.pending.as_ref().is_some_and(|pending| pending.ticket == ticket);
        let Some(driver) = self.nodes[at].drivers.values().find(waits) else { return };
        let exec_id = driver.exec_id.clone();
        match reply {
            Reply::Done => self.recorded(at, &exec_id),
            Reply::Fenced | Reply::Conflict => {
                self.trace(|world| format!("{} drops {exec_id}: {reply:?}", world.nodes[at].id));
                self.nodes[at].drivers.remove(&exec_id);
            }
            Reply::Unavailable if self.rng.mille(200) => self.give_up(at, &exec_id),
            Reply::Unavailable => {
                let wait = self.rng.between(50 * MILLISECOND, SECOND);
                self.tell(at, self.now + wait, Message::Overdue { exec_id: exec_id.clone(), ticket });
            }
            Reply::Unknown => self.overdue(at, &exec_id, ticket),
        }
        self.go_on(at, &exec_id);
    }

    /// Nobody knows what became of a commit: reads it back before it is tried again.
    pub(crate) fn overdue(&mut self, at: usize, exec_id: &str, ticket: u64) {
        let node = self.nodes[at].id.clone();
        let given_up = !self.quiet && self.rng.mille(300);
        let Some(driver) = self.nodes[at].drivers.get_mut(exec_id) else { return };
        let epoch = driver.epoch;
        let Some(pending) = driver.pending.take_if(|pending| pending.ticket == ticket) else { return };
        if given_up {
            return self.give_up(at, exec_id);
        }
        let (before, events) = (pending.changes.after, i64::try_from(pending.changes.journal.len()).unwrap());
        let last_seq = before + events;
        let run = self.store.runs.get(exec_id);
        let known =
            run.is_some_and(|run| run.row.last_seq == last_seq && (run.is_owned(&node, epoch) || run.is_terminal()));
        let written = (known && events > 0) || self.fault == Some(Fault::UnknownIsSuccess);
        let open = run.is_some_and(|run| run.row.last_seq == before && run.is_owned(&node, epoch));
        if written {
            driver.pending = Some(pending);
            self.recorded(at, exec_id);
            self.go_on(at, exec_id);
        } else if open {
            self.commit(at, exec_id, pending.changes, pending.commands);
        } else {
            self.nodes[at].drivers.remove(exec_id);
        }
    }

    /// Hands a run back or is to take it up again itself, with a commit of it perhaps still on its way.
    fn give_up(&mut self, at: usize, exec_id: &str) {
        let Some(driver) = self.nodes[at].drivers.remove(exec_id) else { return };
        if self.rng.mille(500) {
            return;
        }
        let node = self.nodes[at].id.clone();
        self.send(at, Tx::Release { exec_id: exec_id.to_owned(), node, epoch: driver.epoch });
    }

    fn recorded(&mut self, at: usize, exec_id: &str) {
        let fault = self.fault;
        let node = self.nodes[at].id.clone();
        let Some(driver) = self.nodes[at].drivers.get_mut(exec_id) else { return };
        let Some(pending) = driver.pending.take() else { return };
        if let Some(run) = self.store.runs.get(exec_id)
            && (run.is_owned(&node, driver.epoch) || run.is_terminal())
            && fault.is_none_or(|fault| fault == Fault::SameEpochAgain)
        {
            let stored = projection::fingerprint(&projection::restore(&driver.program, run, fault));
            let present = projection::fingerprint(&driver.state);
            if stored != present {
                let differs = stored.lines().zip(present.lines()).find(|(stored, present)| stored != present);
                return self.fail(format!("{exec_id}: in the rows and in memory is {differs:#?}"));
            }
        }
        if driver.state.status.is_terminal() {
            self.nodes[at].drivers.remove(exec_id);
            return;
        }
        self.carry_out(at, exec_id, pending.commands);
    }

    pub(crate) fn carry_out(&mut self, at: usize, exec_id: &str, commands: Vec<Command>) {
        for command in commands {
            if !self.quiet && self.rng.mille(self.settings.mid_crash) {
                return self.crash(at);
            }
            self.carry_out_one(at, exec_id, command);
        }
        let Some(driver) = self.nodes[at].drivers.get(exec_id) else { return };
        let settled = driver.pending.is_none() && !driver.state.status.is_terminal() && self.fault.is_none();
        if settled
            && driver.state.status != Status::Pending
            && let Err(violation) = driver.check_obligations()
        {
            self.fail(format!("{exec_id}: {violation}"));
        }
    }

    fn carry_out_one(&mut self, at: usize, exec_id: &str, command: Command) {
        let keep_late = self.fault == Some(Fault::LateAnswers);
        match command {
            Command::Execute(key) => self.call(at, exec_id, key, Call::Execute),
            Command::Close(key) => self.call(at, exec_id, key, Call::Close),
            Command::Match(key) => self.call(at, exec_id, key, Call::Match),
            Command::Arm { timer, due } => {
                let clock = self.clock(at);
                let Some(driver) = self.driver(at, exec_id) else { return };
                driver.timers.insert(timer.clone(), due.0);
                let (id, exec_id) = (driver.id, exec_id.to_owned());
                // Who is not woken finds the timer when it polls.
                if self.rng.mille(900) {
                    let wait = (due.0 - clock).max(0) + self.rng.between(0, 100 * MILLISECOND);
                    self.tell(at, self.now + wait, Message::Timer { exec_id, driver: id, timer });
                }
            }
            other => {
                let Some(driver) = self.driver(at, exec_id) else { return };
                match other {
                    Command::Abort(key) => driver.forget_call(&key, keep_late),
                    Command::Disarm(timer) => {
                        driver.timers.remove(&timer);
                    }
                    Command::AwaitChild { key, exec_id } => {
                        driver.awaited.insert(key, exec_id);
                    }
                    // Written with the commit; only memory has to follow.
                    Command::CancelChild { exec_id } => driver.awaited.retain(|_, child| *child != exec_id),
                    _ => {}
                }
            }
        }
    }

    fn call(&mut self, at: usize, exec_id: &str, key: StepKey, call: Call) {
        let keep_late = self.fault == Some(Fault::LateAnswers);
        let id = self.id();
        let Some(driver) = self.nodes[at].drivers.get_mut(exec_id) else { return };
        let Some(attempt) = driver.state.steps.at(&key).map(|step| step.attempt) else { return };
        if let Err(violation) = self.audit.begins(&self.store, exec_id, &key, attempt, call) {
            return self.fail(format!("{exec_id}: {violation}"));
        }
        driver.forget_call(&key, keep_late);
        driver.calls.insert(key.clone(), Running { call, id });
        let message = Message::Ended { exec_id: exec_id.to_owned(), driver: driver.id, key, call: id };
        let longest = if self.rng.mille(150) { 5 * SECOND } else { 300 * MILLISECOND };
        let wait = self.rng.between(MILLISECOND, longest);
        self.tell(at, self.now + wait, message);
    }
}

impl Driver {
    fn decide(&mut self, event: Event, now: i64) -> Decision {
        decide(&self.program.plan, &mut self.state, event, Timestamp(now))
    }

    fn forget_call(&mut self, key: &StepKey, keep_late: bool) {
        if let Some(running) = self.calls.remove(key)
            && keep_late
        {
            self.late.insert(running.id, running.call);
        }
    }
}
