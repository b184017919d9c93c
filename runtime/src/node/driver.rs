//! One run in motion: waits for what happens to it, lets the engine decide, commits, carries out.

mod commit;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use compozy_engine::command::Command;
use compozy_engine::decide::{self, Decision};
use compozy_engine::error::StepError;
use compozy_engine::event::{Event, Outcome};
use compozy_engine::state::{RunState, StepKey};
use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::Workflow;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};

use super::held::Held;
use super::projection;
use super::reach::Line;
use super::runs::{self, Owned};
use super::slots::Slot;
use super::spawned::Spawned;
use super::state::Shared;
use super::sub_runs::{self, Awaiting, Family, SubRuns};
use super::timers::Timers;
use super::worker::Worker;
use crate::id::ExecId;
use crate::plugin::background::Courteous;
use crate::plugin::cancel::CancelToken;
use crate::storage;
use crate::storage::row::{Durability, NewRun};

/// Events recorded with one commit at most: enough to share the wait for the disk, few enough for watchers to follow.
const TOGETHER: usize = 128;

/// What the node tells a driver.
#[derive(Debug)]
pub(crate) enum Control {
    /// Look at what was recorded for the run: signals, a pause, a cancel request.
    Look,
    /// Record what is under way, start nothing more.
    Drain,
    /// Stop at once; the run is handed back.
    Stop,
    /// Stop at once and write nothing: the lease was lost.
    Drop,
}

/// Why a driver ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The run has ended.
    Terminal,
    /// The run goes back to whoever claims it.
    HandedBack,
    /// Someone else owns the run; nothing more was written.
    Fenced,
    /// The lease was lost and someone else may own the run; nothing more was written.
    Dropped,
}

/// A step's call under way.
type Call = BoxFuture<'static, Answer>;

/// What a call came to.
struct Answer {
    /// Number of the call.
    call: u64,
    key: StepKey,
    attempt: u32,
    outcome: Outcome,
}

/// One run in motion.
pub(crate) struct Driver {
    worker: Arc<Worker>,
    plan: Arc<Workflow>,
    exec_id: ExecId,
    epoch: i64,
    family: Family,
    state: Shared,
    calls: FuturesUnordered<Call>,
    /// The call whose answer counts for each step, and how it is ended. The answer of one that was aborted, or that another
    /// took the place of, is nobody's any more.
    current: BTreeMap<StepKey, (u64, CancelToken)>,
    last_call: u64,
    timers: Timers,
    control: Line,
    slot: Slot,
    /// What the node said while a commit waited for the disk.
    heard: VecDeque<Control>,
    /// Changes of a run of level `memory` that wait for its end.
    held: Option<Held>,
    draining: bool,
}

impl Driver {
    /// A driver for a run whose rows are committed and whose state is `state`.
    pub(crate) fn new(worker: Arc<Worker>, plan: Arc<Workflow>, state: RunState, owned: Owned, control: Line) -> Self {
        let Owned { epoch, durability, family, slot } = owned;
        Self {
            exec_id: state.facts.exec_id.as_str().into(),
            worker,
            plan,
            epoch,
            family,
            state: Shared::new(state),
            calls: FuturesUnordered::new(),
            current: BTreeMap::new(),
            last_call: 0,
            timers: Timers::default(),
            control,
            slot,
            heard: VecDeque::new(),
            held: (durability == Durability::Memory).then(Held::default),
            draining: false,
        }
    }

    /// Drives the run from `commands` (of its committed start, or of a resume) to its end. `news` happened before.
    pub(crate) async fn run(mut self, news: Vec<Event>, commands: Vec<Command>) -> Ended {
        let ended = self.drive(news, commands).await;
        if ended == Ended::HandedBack {
            self.hand_over().await;
        }
        ended
    }

    /// Ends a run that cannot go on.
    pub(crate) async fn fail(mut self, error: StepError) -> Ended {
        self.held = None;
        self.handle(vec![Event::Lost(error)]).await.unwrap_or(Ended::Terminal)
    }

    async fn drive(&mut self, news: Vec<Event>, commands: Vec<Command>) -> Ended {
        if self.is_dropped() {
            return Ended::Dropped;
        }
        // What was running goes on first; one that has not begun hears first whether it may.
        self.carry_out(commands);
        let first = runs::first(&self.state.read(), news);
        for events in first {
            if let Some(ended) = self.handle(events).await {
                return ended;
            }
        }
        loop {
            if self.status().is_terminal() {
                return Ended::Terminal;
            }
            if self.is_dropped() {
                return self.let_go(Ended::Dropped);
            }
            if self.draining && self.calls.is_empty() {
                return Ended::HandedBack;
            }
            let ended = match self.next().await {
                Next::Happened(event) => {
                    let events = self.together(event);
                    self.handle(events).await
                }
                Next::Nothing => None,
                Next::Look => self.look().await,
                Next::Drain => {
                    self.draining = true;
                    None
                }
                Next::Stop => Some(Ended::HandedBack),
                Next::Drop => Some(Ended::Dropped),
            };
            if let Some(ended) = ended {
                return self.let_go(ended);
            }
        }
    }

    /// Ends the calls under way.
    fn let_go(&self, ended: Ended) -> Ended {
        self.current.values().for_each(|(_, cancel)| cancel.cancel());
        ended
    }

    /// The lease was lost since this run was taken, by the clock and whether or not anybody has said so yet: a process that
    /// was stopped for a while and goes on must not begin a step first.
    fn is_dropped(&self) -> bool {
        !self.worker.lease.holds_since(self.control.standing, &self.worker.clock)
    }

    async fn next(&mut self) -> Next {
        if let Some(control) = self.heard.pop_front() {
            return Next::of(Some(control));
        }
        let due = self.timers.first().cloned();
        let clock = self.worker.clock.clone();
        let timer = async move {
            match due {
                Some((due, timer)) => {
                    clock.sleep_until(due).await;
                    timer
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            control = self.control.recv() => Next::of(control),
            Some(answer) = self.calls.next(), if !self.calls.is_empty() => {
                self.ended(answer).map_or(Next::Nothing, Next::Happened)
            }
            timer = timer, if !self.draining => {
                self.timers.disarm(&timer);
                Next::Happened(Event::TimerDue { timer })
            }
        }
    }

    /// Takes what was recorded for the run while it ran.
    async fn look(&mut self) -> Option<Ended> {
        // One look sees what several were asked for.
        while let Some(control) = self.control.try_recv() {
            if !matches!(control, Control::Look) {
                self.heard.push_back(control);
            }
        }
        let storage = &self.worker.storage;
        let awaiting = Awaiting::of(&self.state.read());
        let read = async {
            let run = storage.run(&self.exec_id).await?;
            let signals = storage.signals(&self.exec_id, true).await?;
            Ok((run, signals, awaiting.ended(storage.as_ref()).await?))
        };
        let (run, signals, mut ended) = match read.await {
            Ok((Some(run), signals, ended)) => (run, signals, ended),
            Ok((None, ..)) => return Some(Ended::Fenced),
            Err::<_, storage::Error>(error) => {
                tracing::warn!(run.id = %self.exec_id, "failed to read what was asked of a run: {error}");
                self.worker.clock.sleep(commit::RETRY.0).await;
                self.heard.push_back(Control::Look);
                return None;
            }
        };
        let news = runs::news(&self.state.read(), &run, &signals);
        let mut batches: VecDeque<Vec<Event>> = news.into_iter().map(|event| vec![event]).collect();
        while !ended.is_empty() {
            let rest = ended.split_off(ended.len().min(TOGETHER));
            batches.push_back(std::mem::replace(&mut ended, rest));
        }
        for events in batches {
            let ended = self.handle(events).await;
            if ended.is_some() || self.status().is_terminal() {
                return ended;
            }
        }
        None
    }

    /// `event` with whatever else has ended or come due by now: side by side, steps must not wait for the disk one by
    /// one.
    fn together(&mut self, event: Event) -> Vec<Event> {
        let mut events = vec![event];
        while events.len() < TOGETHER
            && let Some(Some(answer)) = self.calls.next().now_or_never()
        {
            events.extend(self.ended(answer));
        }
        let now = self.worker.clock.now();
        while events.len() < TOGETHER
            && !self.draining
            && let Some((_, timer)) = self.timers.first().filter(|(due, _)| *due <= now).cloned()
        {
            self.timers.disarm(&timer);
            events.push(Event::TimerDue { timer });
        }
        events
    }

    /// The event of an answer, if it still counts.
    fn ended(&mut self, answer: Answer) -> Option<Event> {
        let Answer { call, key, attempt, outcome } = answer;
        self.current.get(&key).filter(|(current, _)| *current == call)?;
        self.current.remove(&key);
        Some(Event::StepEnded { key, attempt, outcome: Box::new(outcome) })
    }

    /// Decides, commits and carries out. `Some` when the driver has to end.
    async fn handle(&mut self, events: Vec<Event>) -> Option<Ended> {
        let now = self.worker.clock.now();
        let mut decision = Decision::default();
        for event in events {
            decision.append(self.decide(event, now));
        }
        if decision.commands.contains(&Command::RenderOutputs) {
            decision.commands.retain(|command| *command != Command::RenderOutputs);
            let rendered = self.worker.steps.workflow_outputs(&self.plan, &self.state).await;
            let rendered = self.worker.secrets().output(rendered);
            decision.append(self.decide(Event::OutputsRendered(rendered), now));
        }
        if decision.records.is_empty() && decision.touched.is_empty() {
            self.carry_out(decision.commands);
            return None;
        }
        let mut changes =
            projection::changes(&self.plan, &self.state.read(), &decision, &self.worker.id, self.epoch, now);
        let sub_runs = match self.begin_sub_runs(&decision) {
            Ok(None) => None,
            Ok(Some((starts, sub_runs))) => {
                changes.starts = starts;
                Some(sub_runs)
            }
            Err(error) => {
                tracing::warn!(run.id = %self.exec_id, "a sub-run cannot begin, its step looks again: {error}");
                return Some(Ended::HandedBack);
            }
        };
        changes.starts.extend(super::triggers::runs_of_sent(&self.worker, &decision.signals));
        let ended = match &mut self.held {
            Some(_) if !self.state.read().status.is_terminal() && !super::held::is_seen(&changes) => {
                // First what others see: if that cannot be written, this was not decided.
                let ended = match changes.take_outward() {
                    Some(outward) => self.commit(outward).await,
                    None => None,
                };
                if let (None, Some(held)) = (&ended, &mut self.held) {
                    let events = changes.journal.clone();
                    held.hold(changes);
                    self.tell(events);
                }
                ended
            }
            Some(held) => {
                let all = std::mem::take(held).with(changes);
                self.commit(all).await
            }
            None => self.commit(changes).await,
        };
        if ended.is_some() {
            return ended;
        }
        self.worker.steps.memory().committed_all(&decision.attached);
        self.slot.set(self.status() == Status::Running);
        if let Some(sub_runs) = sub_runs {
            sub_runs.drive();
        }
        self.carry_out(decision.commands);
        None
    }

    /// Rows of the runs that a decision starts, and what drives them; most decisions start none.
    fn begin_sub_runs(&self, decision: &Decision) -> Result<Option<(Vec<NewRun>, SubRuns)>, super::Error> {
        if decision.children.is_empty() {
            return Ok(None);
        }
        SubRuns::begin(&self.worker, &self.plan, &self.state.read(), &self.family, &decision.children).map(Some)
    }

    fn status(&self) -> Status {
        self.state.read().status
    }

    fn decide(&mut self, event: Event, now: Timestamp) -> Decision {
        self.state.change(|state| decide::decide(&self.plan, state, event, now))
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Execute(key) | Command::Close(key) | Command::Match(key) => self.execute(key),
                Command::Abort(key) => {
                    if let Some((_, cancel)) = self.current.remove(&key) {
                        cancel.cancel();
                    }
                }
                Command::Arm { timer, due } => self.timers.arm(timer, due),
                Command::Disarm(timer) => self.timers.disarm(&timer),
                // Answered before the commit, in `handle`.
                Command::RenderOutputs => {}
                // Its end wakes this run by itself.
                Command::AwaitChild { exec_id, .. } => sub_runs::adopt(&self.worker, &exec_id),
                // Recorded with the decision as wishes, which wake those runs.
                Command::CancelChild { .. } | Command::PauseChild { .. } | Command::ResumeChild { .. } => {}
            }
        }
    }

    fn execute(&mut self, key: StepKey) {
        // A draining node leaves the recorded start to whoever takes over, and so does one that may own nothing any more.
        if self.draining || self.is_dropped() {
            return;
        }
        // What one event began, another of the same commit may have ended.
        let begun = self.state.read().steps.at(&key).filter(|step| step.executes()).map(|step| step.attempt);
        let Some(attempt) = begun else { return };
        let cancel = CancelToken::new();
        self.last_call += 1;
        let call = self.last_call;
        if let Some((_, before)) = self.current.insert(key.clone(), (call, cancel.clone())) {
            before.cancel();
        }
        let (steps, plan, state) = (self.worker.steps.clone(), self.plan.clone(), self.state.clone());
        let secrets = self.worker.secrets();
        let call = async move {
            let outcome = steps.execute(&plan, &state, &key, cancel).await;
            Answer { call, key, attempt, outcome: secrets.outcome(outcome) }
        };
        // Steps side by side use all cores; one alone is sooner done where its driver is.
        let alone = self.calls.is_empty();
        let call = Courteous::new(call);
        let call: Call = if alone { Box::pin(call) } else { Box::pin(Spawned::new(call)) };
        self.calls.push(call);
    }
}

/// What a driver woke up for.
enum Next {
    Happened(Event),
    /// A call ended whose answer no longer counts.
    Nothing,
    Look,
    Drain,
    Stop,
    Drop,
}

impl Next {
    fn of(control: Option<Control>) -> Self {
        match control {
            Some(Control::Look) => Self::Look,
            Some(Control::Drain) => Self::Drain,
            Some(Control::Stop) | None => Self::Stop,
            Some(Control::Drop) => Self::Drop,
        }
    }
}
