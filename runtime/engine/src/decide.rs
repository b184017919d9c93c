//! The state machine: one event in, records and commands out.

use std::time::Duration;

use compozy_lang::plan::{TaskIndex, Workflow};
use serde_json::Value;

use crate::command::Command;
use crate::error::{ErrorKind, StepError};
use crate::event::{Done, Event, Failure, Outcome, Rendered, Target, TimerKey, Usage};
use crate::flow::{self, Next};
use crate::json::Json;
use crate::record::Record;
use crate::retry;
use crate::state::{ListState, ROOT, RunState, Step, StepKey};
use crate::status::Status;
use crate::time::Timestamp;

/// What follows from an event. The state has already moved; it must be thrown away if the records cannot be committed.
#[derive(Debug, Default)]
pub struct Decision {
    /// Journal events, in order.
    pub records: Vec<Record>,
    /// What to do after the commit, in order.
    pub commands: Vec<Command>,
    /// Tasks (paths) whose step changed.
    pub touched: Vec<String>,
    /// Executions that ended now and whose task began its next at once, so that the state no longer has them.
    pub replaced: Vec<Step>,
    /// Attempts that ended without success.
    pub attempts: Vec<EndedAttempt>,
    /// Tokens used, by step.
    pub usage: Vec<(StepKey, Usage)>,
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
        for task in later.touched {
            touch(&mut self.touched, &task);
        }
        self.replaced.append(&mut later.replaced);
        self.attempts.append(&mut later.attempts);
        self.usage.append(&mut later.usage);
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
            Event::OutputsRendered(outputs) => turn.outputs_rendered(outputs),
            Event::Lost(error) => turn.end(Status::Failed, error),
            Event::Cancel { by, reason } => turn.cancel(&by, reason.as_deref()),
        }
        turn.settle_status();
    }
    turn.out
}

/// What a node must do to go on with a run that it has just loaded. An attempt that was under way is run again under
/// its old number and idempotency key: nobody knows how far it got.
#[must_use]
pub fn resume(state: &RunState) -> Vec<Command> {
    if state.status.is_terminal() {
        return Vec::new();
    }
    let deadline = state.facts.deadline.map(|due| Command::Arm { timer: TimerKey::RunTimeout, due });
    let sleeps = state.lists.iter().filter_map(|(list, phase)| match phase {
        ListState::Sleeping { until, .. } => {
            Some(Command::Arm { timer: TimerKey::Sleep { list: list.clone() }, due: *until })
        }
        ListState::Running { .. } | ListState::Ended { .. } => None,
    });
    let steps = state.open_steps().filter_map(|step| match (step.status, step.retry_at) {
        (Status::Running, _) => Some(Command::Execute(step.key.clone())),
        (Status::Waiting, Some(due)) => Some(Command::Arm { timer: TimerKey::Retry { step: step.key.clone() }, due }),
        _ => None,
    });
    deadline.into_iter().chain(sleeps).chain(steps).collect()
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
        self.record(Record::WorkflowStart { workflow_id: self.plan.id.clone() });
        if let Some(due) = self.state.facts.deadline {
            self.out.commands.push(Command::Arm { timer: TimerKey::RunTimeout, due });
        }
        self.begin(self.state.entry, None, None);
    }

    /// Starts the next execution of a task of the root list.
    fn begin(&mut self, index: TaskIndex, overlay: Option<Value>, cause: Option<StepError>) {
        let Some(task) = self.plan.tasks.get(index) else {
            return self.end(Status::Failed, internal("the plan has no such task"));
        };
        let limit = self.plan.limits.max_task_executions;
        if self.state.executions >= limit {
            let message = format!("more than {limit} task executions; stopped at '{}'", task.id);
            let mut error = StepError::new("CZ0311", ErrorKind::Internal, message);
            error.help = Some("break the loop, or raise limits.max_task_executions".into());
            return self.end(Status::Failed, error);
        }
        self.state.executions += 1;
        let execution = self.state.steps.get(&task.id).map_or(0, |step| step.key.execution) + 1;
        let key = StepKey { path: task.id.clone(), execution };
        let step = Step {
            id: format!("{}:{}:{}", self.state.facts.exec_id, key.path, key.execution),
            key: key.clone(),
            task: index,
            position: self.state.executions,
            status: Status::Running,
            attempt: 1,
            retry_at: None,
            overlay,
            cause,
            skipped: false,
            input: None,
            output: None,
            error: None,
            result_seq: None,
            started_at: self.now,
            attempt_started_at: self.now,
            finished_at: None,
        };
        self.state.lists.insert(ROOT.to_owned(), ListState::Running { task: index });
        let before = self.state.steps.insert(task.id.clone(), step);
        self.out.replaced.extend(before.filter(|before| before.finished_at == Some(self.now)));
        self.state.open.insert(task.id.clone());
        touch(&mut self.out.touched, &task.id);
        self.record(Record::TaskStart { key: key.clone(), attempt: 1 });
        self.out.commands.push(Command::Execute(key));
    }

    fn step_ended(&mut self, key: &StepKey, attempt: u32, outcome: Outcome) {
        let current = self.state.steps.get(&key.path);
        let expected =
            current.is_some_and(|step| step.key == *key && step.attempt == attempt && step.status == Status::Running);
        if !expected {
            return;
        }
        match outcome {
            Outcome::Done(done) => self.step_done(key, done),
            Outcome::Failed(failure) => self.step_failed(key, failure),
        }
    }

    fn step_done(&mut self, key: &StepKey, done: Done) {
        self.count_usage(key, done.usage);
        let Some(task) = self.finish_step(key, Status::Success, |step| {
            step.input = done.input;
            step.output = Some(done.output);
            step.error = None;
            step.skipped = done.skipped;
        }) else {
            return;
        };
        let next = flow::after_success(&self.plan.tasks, self.plan.explicit, task, done.ends_list, &done.transition);
        match (next, done.sleep) {
            (Next::Unknown(id), _) => self.unknown_next(task, &id),
            (next, Some(sleep)) if !sleep.is_zero() && !done.skipped => {
                self.sleep(key, task, sleep, next, done.transition.with);
            }
            (Next::Task(index), _) => self.begin(index, done.transition.with, None),
            (Next::End, _) => self.end_list(task),
        }
    }

    fn sleep(&mut self, key: &StepKey, task: TaskIndex, pause: Duration, next: Next, overlay: Option<Value>) {
        let until = self.now.after(pause);
        let next = match next {
            Next::Task(index) => Some(index),
            Next::End | Next::Unknown(_) => None,
        };
        self.state.lists.insert(ROOT.to_owned(), ListState::Sleeping { task, until, next, overlay });
        self.record(Record::Timer { key: key.clone(), until });
        self.out.commands.push(Command::Arm { timer: TimerKey::Sleep { list: ROOT.to_owned() }, due: until });
    }

    fn step_failed(&mut self, key: &StepKey, failure: Failure) {
        self.count_usage(key, failure.usage);
        let Some(step) = self.state.steps.get_mut(&key.path) else { return };
        let mut error = failure.error;
        error.task = Some(key.path.clone());
        error.attempts = step.attempt;
        step.input = failure.input.or(step.input.take());
        let status = if error.kind == ErrorKind::Timeout { Status::TimedOut } else { Status::Failed };
        self.out.attempts.push(EndedAttempt {
            step_id: step.id.clone(),
            attempt: step.attempt,
            status,
            error: error.clone(),
            started_at: step.attempt_started_at,
        });
        let policy = self.plan.tasks.get(step.task).map(|task| &task.retry);
        match policy.and_then(|policy| retry::delay(policy, step.attempt, &error)) {
            Some(delay) => self.wait_for_retry(key, error, delay),
            None => self.step_lost(key, status, error, failure.transition),
        }
    }

    fn wait_for_retry(&mut self, key: &StepKey, error: StepError, delay: Duration) {
        let due = self.now.after(delay);
        let Some(step) = self.state.steps.get_mut(&key.path) else { return };
        let attempt = step.attempt;
        step.status = Status::Waiting;
        step.retry_at = Some(due);
        step.error = Some(error.clone());
        touch(&mut self.out.touched, &key.path);
        self.record(Record::TaskRetry { key: key.clone(), attempt, error, at: due });
        self.out.commands.push(Command::Arm { timer: TimerKey::Retry { step: key.clone() }, due });
    }

    /// A step failed and no attempt is left.
    fn step_lost(&mut self, key: &StepKey, status: Status, error: StepError, transition: Rendered) {
        let Some(task) = self.finish_step(key, status, |step| step.error = Some(error.clone())) else { return };
        match transition.next {
            Some(Target::Task(index)) => self.begin(index, transition.with, Some(error)),
            Some(Target::Unknown(id)) => self.unknown_next(task, &id),
            None => self.end(if status == Status::TimedOut { Status::Failed } else { status }, error),
        }
    }

    fn unknown_next(&mut self, task: TaskIndex, id: &str) {
        let from = self.plan.tasks.get(task).map_or("", |task| task.id.as_str());
        let mut error =
            StepError::new("CZ0307", ErrorKind::Template, format!("task '{from}': next task '{id}' does not exist"));
        error.task = Some(from.to_owned());
        self.end(Status::Failed, error);
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
            TimerKey::Sleep { list } => self.sleep_over(list),
        }
    }

    fn retry_due(&mut self, key: &StepKey) {
        let now = self.now;
        let Some(step) = self.state.steps.get_mut(&key.path) else { return };
        if step.key != *key || step.status != Status::Waiting || step.retry_at.is_none() {
            return;
        }
        step.status = Status::Running;
        step.retry_at = None;
        step.attempt += 1;
        step.attempt_started_at = now;
        let attempt = step.attempt;
        touch(&mut self.out.touched, &key.path);
        self.out.commands.push(Command::Disarm(TimerKey::Retry { step: key.clone() }));
        self.record(Record::TaskStart { key: key.clone(), attempt });
        self.out.commands.push(Command::Execute(key.clone()));
    }

    fn sleep_over(&mut self, list: &str) {
        let Some(ListState::Sleeping { task, next, overlay, .. }) = self.state.lists.get(list).cloned() else { return };
        self.out.commands.push(Command::Disarm(TimerKey::Sleep { list: list.to_owned() }));
        match next {
            Some(index) => self.begin(index, overlay, None),
            None => self.end_list(task),
        }
    }

    fn end_list(&mut self, last: TaskIndex) {
        self.state.lists.insert(ROOT.to_owned(), ListState::Ended { last: Some(last) });
        self.out.commands.push(Command::RenderOutputs);
    }

    fn outputs_rendered(&mut self, outputs: Result<Json, StepError>) {
        if !matches!(self.state.lists.get(ROOT), Some(ListState::Ended { .. })) {
            return;
        }
        match outputs {
            Ok(output) => {
                self.state.output = Some(output);
                self.state.status = Status::Success;
                self.record(Record::Complete);
                self.disarm_all();
            }
            Err(error) => self.end(Status::Failed, error),
        }
    }

    fn cancel(&mut self, by: &str, reason: Option<&str>) {
        let message = match reason {
            Some(reason) => format!("canceled by {by}: {reason}"),
            None => format!("canceled by {by}"),
        };
        self.end(Status::Canceled, StepError::new("CZ0321", ErrorKind::Canceled, message));
    }

    /// Ends the run without success: whatever is under way ends with it.
    fn end(&mut self, status: Status, error: StepError) {
        let open: Vec<StepKey> = self.state.open_steps().map(|step| step.key.clone()).collect();
        for key in open {
            self.out.commands.push(Command::Abort(key.clone()));
            let reason = StepError::new("CZ0321", ErrorKind::Canceled, "canceled with its run");
            self.finish_step(&key, Status::Canceled, |step| step.error = Some(reason));
        }
        self.state.lists.insert(ROOT.to_owned(), ListState::Ended { last: None });
        self.out.commands.retain(|command| !matches!(command, Command::Execute(_) | Command::RenderOutputs));
        self.state.status = status;
        self.state.error = Some(error.clone());
        self.record(Record::Error { status, error });
        self.disarm_all();
    }

    /// Timers of an ended run are removed with its row; only memory has to forget them.
    fn disarm_all(&mut self) {
        self.out.commands.retain(|command| !matches!(command, Command::Arm { .. }));
        if self.state.facts.deadline.is_some() {
            self.out.commands.push(Command::Disarm(TimerKey::RunTimeout));
        }
    }

    /// Moves a step into a terminal status and records it. Returns its task.
    fn finish_step(&mut self, key: &StepKey, status: Status, change: impl FnOnce(&mut Step)) -> Option<TaskIndex> {
        let seq = self.next_seq();
        let now = self.now;
        let step = self.state.steps.get_mut(&key.path)?;
        step.status = status;
        step.retry_at = None;
        step.finished_at = Some(now);
        step.result_seq = Some(seq);
        change(step);
        let record = Record::TaskStatus {
            key: key.clone(),
            attempt: step.attempt,
            status,
            skipped: step.skipped,
            duration: step.duration(now),
            error: step.error.clone(),
        };
        let task = step.task;
        self.state.open.remove(&key.path);
        touch(&mut self.out.touched, &key.path);
        self.record(record);
        Some(task)
    }

    /// A run is WAITING exactly while it has nothing to execute and something to wait for.
    fn settle_status(&mut self) {
        if self.state.status.is_terminal() || self.state.status == Status::Pending {
            return;
        }
        let ending = self.out.commands.contains(&Command::RenderOutputs);
        let executing = self.state.open_steps().any(|step| step.status == Status::Running);
        let status = if executing || ending { Status::Running } else { Status::Waiting };
        if status != self.state.status {
            self.state.status = status;
            self.record(Record::WorkflowStatus(status));
        }
    }

    fn count_usage(&mut self, key: &StepKey, usage: Vec<Usage>) {
        self.out.usage.extend(usage.into_iter().map(|usage| (key.clone(), usage)));
    }

    fn next_seq(&self) -> i64 {
        self.state.last_seq + 1
    }

    fn record(&mut self, record: Record) {
        self.state.last_seq += 1;
        self.out.records.push(record);
    }
}

fn touch(touched: &mut Vec<String>, task: &str) {
    if !touched.iter().any(|known| known == task) {
        touched.push(task.to_owned());
    }
}

fn internal(message: &str) -> StepError {
    StepError::new("internal", ErrorKind::Internal, message)
}
