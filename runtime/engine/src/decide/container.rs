//! Steps that hold something: they open, their children go on side by side, their end is decided and rendered.

use compozy_lang::plan::{Strategy, Task, TaskKind};

use super::Turn;
use super::step::Begin;
use crate::command::Command;
use crate::error::{ErrorKind, StepError};
use crate::event::{Opened, Opens, SubRun, TimerKey};
use crate::json::Json;
use crate::opening::{Awaited, Body, Branches, Closing, Opening, Tally, Waiting};
use crate::record::Record;
use crate::state::StepKey;
use crate::status::Status;

impl Turn<'_> {
    /// A step is open: what it holds begins.
    pub(super) fn opened(&mut self, key: &StepKey, opened: Opened) {
        let Some(task) = self.state.steps.at(key).and_then(|step| self.plan.task(&step.address)) else { return };
        let children = task.children().len();
        let mut child = None;
        let mut waits = None;
        let body = match opened.body {
            Opens::List => Body::List,
            Opens::Branches { workers, batch, items } => Body::Branches(Branches {
                total: items.as_ref().map_or(children, |items| items.values.len()),
                workers: usize::try_from(workers).unwrap_or(usize::MAX).max(1),
                batch: usize::try_from(batch).unwrap_or(usize::MAX),
                items,
                tally: Tally::default(),
            }),
            Opens::Wait { name } => {
                waits = Some(("signal", name.clone()));
                Body::Wait(Waiting { name, signal: None, processing: false })
            }
            Opens::Run(run) => {
                waits = Some(("child", run.exec_id.clone()));
                let exec_id = run.exec_id.clone();
                child = Some(run);
                Body::Run(Awaited { exec_id })
            }
        };
        if let Body::Branches(branches) = &body
            && self.cannot_end(task, branches.total)
        {
            let id = task.id.clone();
            return self.too_many(&id);
        }
        let list_is_empty = matches!(body, Body::List) && children == 0;
        let begins_list = matches!(body, Body::List) && children > 0;
        let timeout = opened.timeout.map(|timeout| self.now.after(timeout));
        let opening = Opening { since: self.state.executions, timeout, closing: None, body };
        let waiting = waits.is_some();
        let attempt = self.change(&key.path, |step| {
            step.input = opened.input;
            step.opening = Some(Box::new(opening));
            if waiting {
                step.status = Status::Waiting;
            }
            step.attempt
        });
        if let Some((kind, detail)) = waits {
            self.record(Record::TaskWaiting { key: key.clone(), attempt: attempt.unwrap_or(1), kind, detail });
        }
        if let Some(due) = timeout {
            self.command(Command::Arm { timer: TimerKey::Timeout { step: key.clone() }, due });
        }
        match child {
            Some(child) => self.start_child(key, child),
            None if list_is_empty => self.close(key, Closing::success()),
            None if begins_list => self.begin_in_list(Some(key.clone()), 0, None, None),
            None if waiting => self.offer(),
            None => self.go_on(key, None),
        }
    }

    /// All children are to run, and there are more than the run may still start: better said before the first.
    fn cannot_end(&self, task: &Task, children: usize) -> bool {
        let strategy = match &task.kind {
            TaskKind::Parallel(parallel) => parallel.strategy,
            TaskKind::Collection(collection) => collection.strategy,
            _ => return false,
        };
        let left = self.plan.limits.max_task_executions.saturating_sub(self.state.executions);
        let may_end_early = matches!(strategy, Strategy::Race | Strategy::FailFast);
        !may_end_early && u64::try_from(children).is_ok_and(|children| children > left)
    }

    fn start_child(&mut self, key: &StepKey, child: SubRun) {
        let exec_id = child.exec_id.clone();
        self.out.children.push((key.clone(), child));
        if self.state.paused {
            self.command(Command::PauseChild { exec_id: exec_id.clone() });
        }
        self.command(Command::AwaitChild { key: key.clone(), exec_id });
    }

    /// A sub-run that `key` waits for has ended.
    pub(super) fn child_ended(
        &mut self,
        key: &StepKey,
        exec_id: &str,
        status: Status,
        output: Option<Json>,
        error: Option<StepError>,
    ) {
        let open = self.state.steps.at(key).filter(|step| !step.status.is_terminal());
        let opening = open.and_then(|step| step.opening.as_ref()).filter(|opening| opening.closing.is_none());
        if opening.and_then(|opening| opening.awaited()).is_none_or(|awaited| awaited.exec_id != exec_id) {
            return;
        }
        let closing = if status == Status::Success {
            Closing::success()
        } else {
            let unknown = || StepError::new("CZ0318", ErrorKind::Internal, format!("sub-run {exec_id} ended {status}"));
            Closing::because(error.unwrap_or_else(unknown))
        };
        self.change(&key.path, |step| step.output = output);
        self.close(key, closing);
    }

    /// A child of the container `parent` has ended and its sleep is over; `winner` is its id if it ended well.
    pub(super) fn branch_ended(&mut self, parent: &StepKey, winner: Option<&str>) {
        let known = self.state.steps.change(&parent.path, |step| {
            let branches = step.opening.as_mut().and_then(|opening| opening.branches_mut());
            branches.is_some_and(|branches| {
                branches.tally.open = branches.tally.open.saturating_sub(1);
                match winner {
                    Some(_) => branches.tally.succeeded += 1,
                    None => branches.tally.failed += 1,
                }
                true
            })
        });
        if known == Some(true) {
            self.go_on(parent, winner);
        }
    }

    /// Closes the container `parent` if its strategy has decided, else starts the children that may run.
    fn go_on(&mut self, parent: &StepKey, latest: Option<&str>) {
        let Some(step) = self.state.steps.at(parent) else { return };
        let Some(task) = self.plan.task(&step.address) else { return };
        let (strategy, sequential) = match &task.kind {
            TaskKind::Parallel(parallel) => (parallel.strategy, false),
            TaskKind::Collection(collection) => (collection.strategy, collection.sequential),
            _ => return,
        };
        let address = step.address.clone();
        loop {
            let Some(step) = self.state.steps.at(parent).filter(|step| !step.status.is_terminal()) else { return };
            let Some(branches) = step.opening.as_ref().and_then(|opening| opening.branches()) else { return };
            if let Some(closing) = verdict(strategy, branches, latest) {
                return self.close(parent, closing);
            }
            if !may_start(branches, sequential) {
                return;
            }
            let index = branches.tally.started;
            let (position, id) = match &branches.items {
                Some(items) => (0, items.id(task, index)),
                None => (index, task.children().get(index).map(|child| child.id.clone()).unwrap_or_default()),
            };
            let index = branches.items.is_some().then_some(index);
            let mut address = address.clone();
            address.push(position);
            self.state.steps.change(&parent.path, |step| {
                if let Some(branches) = step.opening.as_mut().and_then(|opening| opening.branches_mut()) {
                    branches.tally.started += 1;
                    branches.tally.open += 1;
                }
            });
            self.begin(Begin { parent: Some(parent.clone()), address, id, index, overlay: None, cause: None });
        }
    }

    /// The end of an open step is decided: whatever it still holds is canceled, then what follows is rendered.
    pub(super) fn close(&mut self, key: &StepKey, closing: Closing) {
        let open = self.state.steps.at(key).filter(|step| !step.status.is_terminal());
        if open.and_then(|step| step.opening.as_ref()).is_none_or(|opening| opening.closing.is_some()) {
            return;
        }
        for path in self.state.steps.active_below(&key.path) {
            self.cancel_step(&path, "canceled with its container");
        }
        self.keep_signal(key);
        self.disarm_timeout(key);
        self.change(&key.path, |step| {
            if let Some(opening) = &mut step.opening {
                opening.closing = Some(closing);
            }
        });
        self.command(Command::Close(key.clone()));
        // A signal that a canceled wait gave back may be for another.
        self.offer();
    }

    /// The time limit of an open step passed.
    pub(super) fn time_over(&mut self, key: &StepKey) {
        let Some(step) = self.state.steps.at(key).filter(|step| !step.status.is_terminal()) else { return };
        let Some(opening) = step.opening.as_ref().filter(|opening| opening.closing.is_none()) else { return };
        let after = opening.timeout.unwrap_or(self.now).since(step.attempt_started_at);
        let id = key.id();
        let error = match &opening.body {
            Body::Wait(wait) => {
                let message = format!("wait task '{id}' got no '{}' within {after:?}", wait.name);
                StepError { help: Some("raise timeout; add on_timeout".into()), ..timed_out("CZ0317", message) }
            }
            Body::List | Body::Branches(_) | Body::Run(_) => {
                let message = format!("task '{id}' timed out after {after:?}");
                StepError { help: Some("raise timeout; add on_error".into()), ..timed_out("CZ0316", message) }
                    .retryable()
            }
        };
        if let Body::Run(awaited) = &opening.body {
            let exec_id = awaited.exec_id.clone();
            self.command(Command::CancelChild { exec_id });
        }
        self.close(key, Closing::because(error));
    }

    /// The timeout of an open step is not needed any more.
    pub(super) fn disarm_timeout(&mut self, key: &StepKey) {
        let opening = self.state.steps.at(key).and_then(|step| step.opening.as_ref());
        if opening.is_some_and(|opening| opening.timeout.is_some() && opening.closing.is_none()) {
            self.command(Command::Disarm(TimerKey::Timeout { step: key.clone() }));
        }
    }
}

fn timed_out(code: &str, message: String) -> StepError {
    StepError::new(code, ErrorKind::Timeout, message)
}

/// Whether and how the container ends now (dialect §5.4).
fn verdict(strategy: Strategy, branches: &Branches, latest: Option<&str>) -> Option<Closing> {
    let Tally { started, open, succeeded, failed } = branches.tally;
    let all_ended = started == branches.total && open == 0;
    let failed_it = match strategy {
        Strategy::FailFast if failed > 0 => true,
        Strategy::Race if succeeded > 0 => {
            return Some(Closing { winner: latest.map(str::to_owned), ..Closing::success() });
        }
        _ if !all_ended => return None,
        Strategy::WaitAll | Strategy::FailFast => failed > 0,
        Strategy::BestEffort | Strategy::Race => succeeded == 0 && branches.total > 0,
    };
    Some(if failed_it { Closing::failure() } else { Closing::success() })
}

/// Whether the next child may start: a worker is free, and at the edge of a wave the former one has ended.
fn may_start(branches: &Branches, sequential: bool) -> bool {
    let Tally { started, open, .. } = branches.tally;
    let workers = if sequential { 1 } else { branches.workers };
    let edge = !sequential && branches.batch > 0 && started % branches.batch == 0;
    started < branches.total && open < workers && !(edge && open > 0)
}
