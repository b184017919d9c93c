//! Ending, canceling, pausing and resuming.

use super::Turn;
use crate::command::Command;
use crate::error::{ErrorKind, StepError};
use crate::event::TimerKey;
use crate::record::Record;
use crate::state::StepKey;
use crate::status::Status;

impl Turn<'_> {
    pub(super) fn cancel(&mut self, by: &str, reason: Option<&str>) {
        let message = match reason {
            Some(reason) => format!("canceled by {by}: {reason}"),
            None => format!("canceled by {by}"),
        };
        self.end(Status::Canceled, StepError::new("CZ0321", ErrorKind::Canceled, message));
    }

    /// Ends the run without success: whatever is under way ends with it.
    pub(super) fn end(&mut self, status: Status, error: StepError) {
        for path in self.state.steps.active() {
            self.cancel_step(&path, "canceled with its run");
        }
        self.state.ended_with = None;
        self.out.commands.retain(|command| {
            matches!(
                command,
                Command::Abort(_) | Command::Disarm(_) | Command::CancelChild { .. } | Command::Arm { .. }
            )
        });
        self.state.status = status;
        self.state.error = Some(error.clone());
        self.record(Record::Error { status, error });
        self.disarm_all();
    }

    /// Timers of an ended run are removed with its row; only memory has to forget them.
    pub(super) fn disarm_all(&mut self) {
        self.out.commands.retain(|command| !matches!(command, Command::Arm { .. }));
        if self.state.facts.deadline.is_some() {
            self.command(Command::Disarm(TimerKey::RunTimeout));
        }
    }

    /// Ends one step that is open, or the sleep after it, because what holds it has ended.
    pub(super) fn cancel_step(&mut self, path: &str, why: &str) {
        let Some(step) = self.state.steps.get(path) else { return };
        let key = step.key.clone();
        if step.pause.is_some() {
            self.command(Command::Disarm(TimerKey::Sleep { step: key.clone() }));
            self.change(path, |step| step.pause = None);
            return;
        }
        if step.status.is_terminal() {
            return;
        }
        let child = step.opening.as_ref().filter(|opening| opening.closing.is_none());
        let child = child.and_then(|opening| opening.awaited()).map(|awaited| awaited.exec_id.clone());
        let (executes, retries) = (step.executes(), step.retry_at.is_some());
        if executes {
            // What was decided a moment ago must not be carried out.
            self.out.commands.retain(|command| !is_call_of(command, &key));
            self.command(Command::Abort(key.clone()));
        }
        if retries {
            self.command(Command::Disarm(TimerKey::Retry { step: key.clone() }));
        }
        if let Some(exec_id) = child {
            self.command(Command::CancelChild { exec_id });
        }
        self.disarm_timeout(&key);
        self.keep_signal(&key);
        let reason = StepError::new("CZ0321", ErrorKind::Canceled, why);
        self.finish_step(&key, Status::Canceled, |step| step.error = Some(reason));
    }

    pub(super) fn pause(&mut self, by: String) {
        if self.state.paused {
            return;
        }
        self.state.paused = true;
        for exec_id in self.sub_runs() {
            self.command(Command::PauseChild { exec_id });
        }
        // One that has not begun is held at its first task.
        if self.state.status != Status::Pending {
            self.state.status = Status::Paused;
            self.record(Record::WorkflowStatus { status: Status::Paused, by: Some(by) });
        }
    }

    pub(super) fn unpause(&mut self) {
        if !self.state.paused {
            return;
        }
        self.state.paused = false;
        for exec_id in self.sub_runs() {
            self.command(Command::ResumeChild { exec_id });
        }
        let held = self.state.steps.open().filter(|step| step.status == Status::Pending);
        let mut held: Vec<(u64, StepKey)> = held.map(|step| (step.position, step.key.clone())).collect();
        held.sort();
        for (_, key) in held {
            self.start_held(key);
        }
        let retries: Vec<_> =
            self.state.steps.open().filter_map(|step| Some((step.key.clone(), step.retry_at?))).collect();
        for (step, due) in retries {
            self.command(Command::Arm { timer: TimerKey::Retry { step }, due });
        }
        self.offer();
    }

    fn start_held(&mut self, key: StepKey) {
        let now = self.now;
        self.change(&key.path, |step| {
            step.status = Status::Running;
            step.started_at = now;
            step.attempt_started_at = now;
        });
        self.record(Record::TaskStart { key: key.clone(), attempt: 1 });
        self.command(Command::Execute(key));
    }

    /// Sub-runs that are waited for.
    fn sub_runs(&self) -> Vec<String> {
        let openings = self.state.steps.open().filter_map(|step| step.opening.as_ref());
        let waiting = openings.filter(|opening| opening.closing.is_none());
        waiting.filter_map(|opening| Some(opening.awaited()?.exec_id.clone())).collect()
    }
}

fn is_call_of(command: &Command, key: &StepKey) -> bool {
    match command {
        Command::Execute(other) | Command::Close(other) | Command::Match(other) => other == key,
        _ => false,
    }
}
