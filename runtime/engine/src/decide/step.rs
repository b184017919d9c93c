//! Steps begin, end, fail and are tried again.

use std::time::Duration;

use compozy_lang::plan::TaskIndex;
use serde_json::Value;

use super::{EndedAttempt, Turn};
use crate::command::Command;
use crate::error::{ErrorKind, StepError};
use crate::event::{Done, Failure, Outcome, TimerKey, Usage};
use crate::flow::{self, Next};
use crate::opening::Closing;
use crate::record::{Record, SignalState};
use crate::retry;
use crate::state::{Address, Pause, Step, StepKey};
use crate::status::Status;

/// Which task is to begin, and where.
pub(super) struct Begin {
    pub(super) parent: Option<StepKey>,
    pub(super) address: Address,
    pub(super) id: String,
    /// The item of a collection.
    pub(super) index: Option<usize>,
    pub(super) overlay: Option<Value>,
    pub(super) cause: Option<StepError>,
}

/// What the step that holds another is to it.
pub(super) enum Holder {
    /// A list: the workflow's own (`None`) or a composite.
    List(Option<StepKey>),
    /// A parallel task or a collection.
    Branches(StepKey),
    /// A wait, whose processor it is.
    Wait(StepKey),
}

impl Turn<'_> {
    /// The run has used up its task executions, or is about to.
    pub(super) fn too_many(&mut self, id: &str) {
        let limit = self.plan.limits.max_task_executions;
        let message = format!("more than {limit} task executions; stopped at '{id}'");
        let mut error = StepError::new("CZ0311", ErrorKind::Internal, message);
        error.help = Some("break the loop, or raise limits.max_task_executions".into());
        self.end(Status::Failed, error);
    }

    /// Starts the next execution of a task. While the run is paused it is only recorded.
    pub(super) fn begin(&mut self, begin: Begin) {
        if self.state.executions >= self.plan.limits.max_task_executions {
            return self.too_many(&begin.id);
        }
        self.state.executions += 1;
        let path = match &begin.parent {
            Some(parent) => format!("{}/{}", parent.path, begin.id),
            None => begin.id,
        };
        let execution = self.state.steps.get(&path).map_or(0, |step| step.key.execution) + 1;
        let key = StepKey { path, execution };
        let held = self.state.paused;
        let step = Step {
            id: format!("{}:{}:{}", self.state.facts.exec_id, key.path, key.execution),
            key: key.clone(),
            parent: begin.parent,
            address: begin.address,
            index: begin.index,
            position: self.state.executions,
            status: if held { Status::Pending } else { Status::Running },
            attempt: 1,
            retry_at: None,
            overlay: begin.overlay,
            cause: begin.cause,
            skipped: false,
            pause: None,
            opening: None,
            input: None,
            output: None,
            error: None,
            result_seq: None,
            started_at: self.now,
            attempt_started_at: self.now,
            finished_at: None,
        };
        let unwritten = self.out.touched.contains(&key.path);
        let former = self.state.steps.put(step);
        self.out.replaced.extend(former.filter(|former| unwritten || former.finished_at == Some(self.now)));
        self.touch(&key.path);
        if held {
            return self.record(Record::TaskHeld(key));
        }
        self.record(Record::TaskStart { key: key.clone(), attempt: 1 });
        self.command(Command::Execute(key));
    }

    pub(super) fn step_ended(&mut self, key: &StepKey, attempt: u32, outcome: Outcome) {
        let current = self.state.steps.at(key).filter(|step| step.attempt == attempt && step.executes());
        let Some(opening) = current.map(|step| step.opening.as_deref()) else { return };
        match outcome {
            Outcome::Done(done) => self.step_done(key, done),
            Outcome::Failed(failure) => self.step_failed(key, failure),
            Outcome::Opened(opened) if opening.is_none() => self.opened(key, opened),
            Outcome::Unmatched if opening.is_some_and(|opening| opening.closing.is_none()) => self.unmatched(key),
            Outcome::Opened(_) | Outcome::Unmatched => {}
        }
    }

    fn step_done(&mut self, key: &StepKey, done: Done) {
        self.count_usage(key, done.usage);
        for signal in &done.signals {
            let record = Record::Signal {
                signal_id: signal.signal_id.clone(),
                name: signal.name.clone(),
                state: SignalState::Sent,
                key: Some(key.clone()),
            };
            self.record(record);
        }
        self.out.signals.extend(done.signals);
        self.out.attached.extend(done.attached);
        self.out.children.extend(done.children.into_iter().map(|child| (key.clone(), child)));
        self.settle_signal(key, SignalState::Consumed);
        self.disarm_timeout(key);
        let holder = self.holder(key);
        let next = match &holder {
            Holder::List(parent) => {
                let (tasks, explicit) = self.list(parent.as_ref());
                let current =
                    self.state.steps.at(key).and_then(|step| step.address.last().copied()).unwrap_or_default();
                flow::after_success(tasks, explicit, current, done.ends_list, &done.transition)
            }
            Holder::Branches(_) | Holder::Wait(_) => Next::End,
        };
        self.finish_step(key, Status::Success, |step| {
            step.input = done.input.or(step.input.take());
            step.output = Some(done.output);
            step.error = None;
            step.skipped = done.skipped;
        });
        let next = match next {
            Next::Unknown(id) => return self.unknown_next(key, holder, &id),
            Next::Task(index) => Some(index),
            Next::End => None,
        };
        match done.sleep.filter(|sleep| !sleep.is_zero() && !done.skipped) {
            Some(sleep) => self.sleep(key, sleep, next, done.transition.with),
            None => self.follow(key, holder, next, done.transition.with),
        }
    }

    fn sleep(&mut self, key: &StepKey, sleep: Duration, next: Option<TaskIndex>, overlay: Option<Value>) {
        let until = self.now.after(sleep);
        self.change(&key.path, |step| step.pause = Some(Pause { until, next, overlay }));
        self.record(Record::Timer { key: key.clone(), until });
        self.command(Command::Arm { timer: TimerKey::Sleep { step: key.clone() }, due: until });
    }

    pub(super) fn sleep_over(&mut self, key: &StepKey) {
        if self.state.steps.at(key).is_none_or(|step| step.pause.is_none()) {
            return;
        }
        self.command(Command::Disarm(TimerKey::Sleep { step: key.clone() }));
        let Some(Some(pause)) = self.change(&key.path, |step| step.pause.take()) else { return };
        let holder = self.holder(key);
        self.follow(key, holder, pause.next, pause.overlay);
    }

    /// A step ended well and its sleep is over.
    fn follow(&mut self, key: &StepKey, holder: Holder, next: Option<TaskIndex>, overlay: Option<Value>) {
        match (holder, next) {
            (Holder::List(parent), Some(index)) => self.begin_in_list(parent, index, overlay, None),
            (Holder::List(parent), None) => self.end_list(key, parent),
            (Holder::Branches(parent), _) => self.branch_ended(&parent, Some(key.id())),
            (Holder::Wait(parent), _) => self.processed(&parent),
        }
    }

    fn step_failed(&mut self, key: &StepKey, failure: Failure) {
        self.count_usage(key, failure.usage);
        self.settle_signal(key, SignalState::Ignored);
        self.disarm_timeout(key);
        let Some(step) = self.state.steps.at(key) else { return };
        let mut error = failure.error;
        error.task = Some(key.path.clone());
        error.attempts = step.attempt;
        let status = if error.kind == ErrorKind::Timeout { Status::TimedOut } else { Status::Failed };
        self.out.attempts.push(EndedAttempt {
            step_id: step.id.clone(),
            attempt: step.attempt,
            status,
            error: error.clone(),
            started_at: step.attempt_started_at,
        });
        let policy = self.plan.task(&step.address).map(|task| &task.retry);
        let delay = policy.and_then(|policy| retry::delay(policy, step.attempt, &error));
        if let Some(input) = failure.input {
            self.change(&key.path, |step| step.input = Some(input));
        }
        if let Some(delay) = delay {
            return self.wait_for_retry(key, error, delay);
        }
        let holder = self.holder(key);
        self.finish_step(key, status, |step| {
            step.error = Some(error.clone());
            step.output = failure.output;
        });
        self.step_lost(key, holder, error, failure.transition);
    }

    fn wait_for_retry(&mut self, key: &StepKey, error: StepError, delay: Duration) {
        let due = self.now.after(delay);
        let attempt = self.change(&key.path, |step| {
            step.status = Status::Waiting;
            step.retry_at = Some(due);
            step.error = Some(error.clone());
            // The next attempt opens anew.
            step.opening = None;
            step.output = None;
            step.attempt
        });
        self.record(Record::TaskRetry { key: key.clone(), attempt: attempt.unwrap_or(1), error, at: due });
        self.command(Command::Arm { timer: TimerKey::Retry { step: key.clone() }, due });
    }

    pub(super) fn retry_due(&mut self, key: &StepKey) {
        // A pause holds the next attempt back; its end arms the timer again.
        if self.state.paused || self.state.steps.at(key).is_none_or(|step| step.retry_at.is_none()) {
            return;
        }
        let now = self.now;
        let attempt = self.change(&key.path, |step| {
            step.status = Status::Running;
            step.retry_at = None;
            step.attempt += 1;
            step.attempt_started_at = now;
            step.attempt
        });
        self.command(Command::Disarm(TimerKey::Retry { step: key.clone() }));
        self.record(Record::TaskStart { key: key.clone(), attempt: attempt.unwrap_or(1) });
        self.command(Command::Execute(key.clone()));
    }

    /// A step failed and no attempt is left.
    fn step_lost(&mut self, key: &StepKey, holder: Holder, error: StepError, transition: crate::event::Rendered) {
        use crate::event::Target;
        match (holder, transition.next) {
            (Holder::List(parent), Some(Target::Task(index))) => {
                self.begin_in_list(parent, index, transition.with, Some(error));
            }
            (holder @ Holder::List(_), Some(Target::Unknown(id))) => self.unknown_next(key, holder, &id),
            (Holder::List(None), None) => self.end(Status::Failed, error),
            (Holder::List(Some(parent)), None) => self.close(&parent, Closing::failure()),
            // Children side by side have no order, so their transitions lead nowhere.
            (Holder::Branches(parent), _) => self.branch_ended(&parent, None),
            (Holder::Wait(parent), _) => self.processed(&parent),
        }
    }

    fn unknown_next(&mut self, key: &StepKey, holder: Holder, id: &str) {
        let message = format!("task '{}': next task '{id}' does not exist", key.id());
        let mut error = StepError::new("CZ0307", ErrorKind::Template, message);
        error.task = Some(key.path.clone());
        match holder {
            Holder::List(Some(parent)) => self.close(&parent, Closing::because(error)),
            Holder::List(None) | Holder::Branches(_) | Holder::Wait(_) => self.end(Status::Failed, error),
        }
    }

    /// Moves a step into a terminal status and records it.
    pub(super) fn finish_step(&mut self, key: &StepKey, status: Status, change: impl FnOnce(&mut Step)) {
        let seq = self.state.last_seq + 1;
        let now = self.now;
        let record = self.change(&key.path, |step| {
            step.status = status;
            step.retry_at = None;
            step.finished_at = Some(now);
            step.result_seq = Some(seq);
            change(step);
            Record::TaskStatus {
                key: step.key.clone(),
                attempt: step.attempt,
                status,
                skipped: step.skipped,
                duration: step.duration(now),
                error: step.error.clone(),
            }
        });
        if let Some(record) = record {
            self.record(record);
        }
    }

    /// What holds the step `key`.
    pub(super) fn holder(&self, key: &StepKey) -> Holder {
        use crate::opening::Body;
        let Some(parent) = self.state.steps.at(key).and_then(|step| step.parent.clone()) else {
            return Holder::List(None);
        };
        let body = self.state.steps.at(&parent).and_then(|step| step.opening.as_ref()).map(|opening| &opening.body);
        match body {
            Some(Body::Branches(_)) => Holder::Branches(parent),
            Some(Body::Wait(_)) => Holder::Wait(parent),
            Some(Body::List | Body::Run(_)) | None => Holder::List(Some(parent)),
        }
    }

    fn count_usage(&mut self, key: &StepKey, usage: Vec<Usage>) {
        self.out.usage.extend(usage.into_iter().map(|usage| (key.clone(), usage)));
    }
}
