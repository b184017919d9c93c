//! What the children of a container come to: its raw output and its error (dialect §5.2, §5.4).

use compozy_lang::plan::{TaskKind, Workflow};

use crate::error::{ErrorKind, StepError};
use crate::json::Json;
use crate::opening::Body;
use crate::state::{RunState, Step};
use crate::status::Status;

/// Failed children named in a message at most.
const NAMED: usize = 10;

/// The raw output of an open step that is to end. Of a container: a map of the outputs of its children by id, of a
/// collection a list in index order. A child without output is null; of a race only the winner is in it. Of a sub-run
/// its output; of a wait that ended without a signal null.
#[must_use]
pub fn output(plan: &Workflow, state: &RunState, step: &Step) -> Json {
    if step.opening.as_ref().is_some_and(|opening| matches!(opening.body, Body::Run(_) | Body::Wait(_))) {
        return step.output.clone().unwrap_or_else(Json::null);
    }
    let winner = winner(step);
    let children = state.children(plan, step).into_iter().filter(|(id, _)| winner.is_none_or(|winner| winner == id));
    let output = |child: Option<&Step>| {
        let ended = child.filter(|child| child.status == Status::Success);
        ended.and_then(|child| child.output.clone()).unwrap_or_else(Json::null)
    };
    let list = plan.task(&step.address).is_some_and(|task| matches!(task.kind, TaskKind::Collection(_)));
    let mut text = String::from(if list { "[" } else { "{" });
    for (id, child) in children {
        if text.len() > 1 {
            text.push(',');
        }
        if !list {
            text.push_str(&serde_json::Value::from(id).to_string());
            text.push(':');
        }
        text.push_str(output(child).as_str());
    }
    text.push(if list { ']' } else { '}' });
    Json::from_valid(text)
}

/// Id of the child that won the race.
#[must_use]
pub fn winner(step: &Step) -> Option<&str> {
    step.opening.as_ref()?.closing.as_ref()?.winner.as_deref()
}

/// Why an open step that is to end failed; `None` when it ends well.
#[must_use]
pub fn failure(plan: &Workflow, state: &RunState, step: &Step) -> Option<StepError> {
    let closing = step.opening.as_ref()?.closing.as_ref().filter(|closing| closing.failed)?;
    if let Some(cause) = &closing.cause {
        return Some(cause.clone());
    }
    let children = state.children(plan, step);
    let lost =
        |child: &Option<&Step>| child.is_some_and(|child| matches!(child.status, Status::Failed | Status::TimedOut));
    let failed: Vec<&Step> = children.iter().map(|(_, child)| *child).filter(lost).flatten().collect();
    // A handled failure is not why a composite failed: its last child is.
    let list = plan.task(&step.address).is_some_and(|task| matches!(task.kind, TaskKind::Composite(_)));
    let failed: Vec<&Step> =
        if list { failed.into_iter().max_by_key(|child| child.position).into_iter().collect() } else { failed };
    let reason = |child: &Step| match &child.error {
        Some(error) => format!("{} ({}: {})", child.key.id(), error.code, error.message),
        None => child.key.id().to_owned(),
    };
    let named: Vec<String> = failed.iter().take(NAMED).map(|child| reason(child)).collect();
    let more = if failed.len() > NAMED { ", …" } else { "" };
    let of = if list { String::new() } else { format!("{} of {} children failed: ", failed.len(), children.len()) };
    let attempts = match step.attempt {
        1 => "1 attempt".to_owned(),
        many => format!("{many} attempts"),
    };
    let message = format!("task '{}' failed after {attempts}: {of}{}{more}", step.key.id(), named.join(", "));
    let first = failed.first().and_then(|child| child.error.as_ref());
    let kind = match first.map(|error| error.kind) {
        // The container itself did not run out of time.
        Some(ErrorKind::Timeout | ErrorKind::Canceled) | None => ErrorKind::Internal,
        Some(kind) => kind,
    };
    let mut error = StepError::new("CZ0318", kind, message);
    error.retryable = failed.iter().any(|child| child.error.as_ref().is_some_and(|error| error.retryable));
    error.help = Some("see the failed children; add on_error".to_owned());
    Some(error)
}
