//! The state machine: one event in, records and commands out.
//!
//! [`decide`] is a `match` over events; the files beside this one hold what each needs: [`step`] begins and ends steps,
//! [`list`] follows tasks one after the other, [`container`] opens and closes what holds children, [`wait`] hands out
//! signals, [`control`] cancels, pauses and resumes, [`resume`] says how to go on with a run that was loaded.

mod container;
mod control;
mod list;
mod resume;
mod step;
mod wait;

use std::collections::BTreeSet;

use compozy_lang::plan::Workflow;

use crate::command::Command;
use crate::error::{ErrorKind, StepError};
use crate::event::{Attachment, Event, Sent, SubRun, TimerKey, Usage};
use crate::fork::Origin;
use crate::record::{Record, SignalState};
use crate::state::{RunState, Step, StepKey};
use crate::status::Status;
use crate::time::Timestamp;

pub use resume::resume;

/// What follows from an event. The state has already moved; it must be thrown away if the records cannot be committed.
#[derive(Debug, Default)]
pub struct Decision {
    /// Journal events, in order.
    pub records: Vec<Record>,
    /// What to do after the commit, in order.
    pub commands: Vec<Command>,
    /// Tasks (paths) whose step changed.
    pub touched: BTreeSet<String>,
    /// Executions that ended now and whose task began its next at once, so that the state no longer has them.
    pub replaced: Vec<Step>,
    /// Attempts that ended without success.
    pub attempts: Vec<EndedAttempt>,
    /// Tokens used, by step.
    pub usage: Vec<(StepKey, Usage)>,
    /// Signals to send in the same commit.
    pub signals: Vec<Sent>,
    /// What became of signals that reached this run, by id, to be stored in the same commit.
    pub settled: Vec<(String, SignalState)>,
    /// Sub-runs to start in the same commit, with the step that starts them.
    pub children: Vec<(StepKey, SubRun)>,
    /// What the node attached to results that count.
    pub attached: Vec<Attachment>,
}

/// An attempt that ended without success.
#[derive(Debug, Clone)]
pub struct EndedAttempt {
    /// Id of the task execution.
    pub step_id: String,
    /// Which attempt.
    pub attempt: u32,
    /// FAILED, TIMED_OUT or CANCELED.
    pub status: Status,
    /// Why.
    pub error: StepError,
    /// When it started.
    pub started_at: Timestamp,
}

impl Decision {
    /// Adds what another decision of the same commit decided.
    pub fn append(&mut self, mut later: Self) {
        self.records.append(&mut later.records);
        self.commands.append(&mut later.commands);
        self.touched.append(&mut later.touched);
        self.replaced.append(&mut later.replaced);
        self.attempts.append(&mut later.attempts);
        self.usage.append(&mut later.usage);
        self.signals.append(&mut later.signals);
        self.settled.append(&mut later.settled);
        self.children.append(&mut later.children);
        self.attached.append(&mut later.attached);
    }
}

/// Decides what follows from `event` at `now` and moves `state` on. An event that no longer matters (a result of an
/// aborted step, a timer of an ended run) decides nothing.
pub fn decide(plan: &Workflow, state: &mut RunState, event: Event, now: Timestamp) -> Decision {
    let mut turn = Turn { plan, state, now, out: Decision::default() };
    if !turn.state.status.is_terminal() {
        match event {
            Event::Start => turn.start(),
            Event::StepEnded { key, attempt, outcome } => turn.step_ended(&key, attempt, *outcome),
            Event::TimerDue { timer } => turn.timer_due(&timer),
            Event::Signal(signal) => turn.signal(signal),
            Event::ChildEnded { key, exec_id, status, output, error } => {
                turn.child_ended(&key, &exec_id, status, output, error.map(|error| *error));
            }
            Event::OutputsRendered(outputs) => turn.outputs_rendered(outputs),
            Event::Lost(error) => turn.end(Status::Failed, error),
            Event::Cancel { by, reason } => turn.cancel(&by, reason.as_deref()),
            Event::Pause { by } => turn.pause(by),
            Event::Resume => turn.unpause(),
        }
        turn.settle_status();
    }
    turn.out
}

/// One call of [`decide`].
struct Turn<'a> {
    plan: &'a Workflow,
    state: &'a mut RunState,
    now: Timestamp,
    out: Decision,
}

impl Turn<'_> {
    fn start(&mut self) {
        if self.state.status != Status::Pending {
            return;
        }
        self.state.status = Status::Running;
        self.state.started_at = Some(self.now);
        let origin = self.state.origin.take();
        self.record(match &origin {
            None => Record::WorkflowStart { workflow_id: self.plan.id.clone() },
            // That it was started is told already.
            Some(_) => Record::WorkflowStatus { status: Status::Running, by: None },
        });
        if let Some(due) = self.state.facts.deadline {
            self.command(Command::Arm { timer: TimerKey::RunTimeout, due });
        }
        match origin {
            None => self.begin_in_list(None, self.state.entry, None, None),
            Some(Origin::Task { index, overlay, cause }) => {
                self.begin_in_list(None, index, overlay, cause.map(|cause| *cause))
            }
            Some(Origin::Outputs { last }) => {
                self.state.ended_with = Some(last);
                self.command(Command::RenderOutputs);
            }
        }
    }

    fn timer_due(&mut self, timer: &TimerKey) {
        match timer {
            TimerKey::RunTimeout => {
                let message = format!("workflow '{}' ran longer than its timeout", self.plan.id);
                let mut error = StepError::new("CZ0316", ErrorKind::Timeout, message);
                error.help = Some("raise config.timeout of the workflow".into());
                self.end(Status::TimedOut, error);
            }
            TimerKey::Retry { step } => self.retry_due(step),
            TimerKey::Sleep { step } => self.sleep_over(step),
            TimerKey::Timeout { step } => self.time_over(step),
        }
    }

    /// A run is RUNNING exactly while something of it is under way, else WAITING; a paused one is PAUSED.
    fn settle_status(&mut self) {
        if self.state.status.is_terminal() || self.state.status == Status::Pending {
            return;
        }
        let ending = self.out.commands.contains(&Command::RenderOutputs);
        let status = match (self.state.paused, self.state.steps.any_executing() || ending) {
            (true, _) => Status::Paused,
            (false, true) => Status::Running,
            (false, false) => Status::Waiting,
        };
        if status != self.state.status {
            self.state.status = status;
            self.record(Record::WorkflowStatus { status, by: None });
        }
    }

    /// Changes the step at `path`, which is written with this decision.
    fn change<R>(&mut self, path: &str, change: impl FnOnce(&mut Step) -> R) -> Option<R> {
        let result = self.state.steps.change(path, change);
        if result.is_some() {
            self.touch(path);
        }
        result
    }

    fn touch(&mut self, path: &str) {
        if !self.out.touched.contains(path) {
            self.out.touched.insert(path.to_owned());
        }
    }

    fn command(&mut self, command: Command) {
        self.out.commands.push(command);
    }

    fn record(&mut self, record: Record) {
        self.state.last_seq += 1;
        self.out.records.push(record);
    }
}

fn internal(message: &str) -> StepError {
    StepError::new("internal", ErrorKind::Internal, message)
}
