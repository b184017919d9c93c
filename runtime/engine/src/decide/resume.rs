//! How to go on with a run that was loaded.

use crate::command::Command;
use crate::event::TimerKey;
use crate::state::{RunState, Step};
use crate::status::Status;

/// What a node must do to go on with a run that it has just loaded. An attempt that was under way is run again under
/// its old number and idempotency key: nobody knows how far it got. The same holds for what ends an open step.
#[must_use]
pub fn resume(state: &RunState) -> Vec<Command> {
    if state.status.is_terminal() {
        return Vec::new();
    }
    let deadline = state.facts.deadline.map(|due| Command::Arm { timer: TimerKey::RunTimeout, due });
    let sleeps = state.steps.sleeping().filter_map(|step| {
        let due = step.pause.as_ref()?.until;
        Some(Command::Arm { timer: TimerKey::Sleep { step: step.key.clone() }, due })
    });
    let mut open: Vec<&Step> = state.steps.open().collect();
    // In the order they started, as before.
    open.sort_by_key(|step| step.position);
    deadline.into_iter().chain(sleeps).chain(open.into_iter().flat_map(|step| go_on(step, state.paused))).collect()
}

fn go_on(step: &Step, paused: bool) -> Vec<Command> {
    let key = step.key.clone();
    let Some(opening) = &step.opening else {
        return match (step.status, step.retry_at) {
            (Status::Running, _) => vec![Command::Execute(key)],
            // The end of the pause arms it.
            (Status::Waiting, Some(_)) if paused => Vec::new(),
            (Status::Waiting, Some(due)) => vec![Command::Arm { timer: TimerKey::Retry { step: key }, due }],
            _ => Vec::new(),
        };
    };
    if opening.closing.is_some() {
        return vec![Command::Close(key)];
    }
    let mut commands = Vec::new();
    if let Some(due) = opening.timeout {
        commands.push(Command::Arm { timer: TimerKey::Timeout { step: key.clone() }, due });
    }
    if let Some(awaited) = opening.awaited() {
        let exec_id = awaited.exec_id.clone();
        commands.push(Command::AwaitChild { key: key.clone(), exec_id });
    }
    if opening.executes() {
        commands.push(Command::Match(key));
    }
    commands
}
