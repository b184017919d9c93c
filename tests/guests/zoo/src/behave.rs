//! Functions that do as they are told.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use compozy_plugin::{Error, Result, clock, run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) fn echo(input: Value) -> Result<Value> {
    Ok(input)
}

#[derive(Deserialize)]
pub(crate) struct Terms {
    a: i64,
    b: i64,
}

#[derive(Serialize)]
pub(crate) struct Sum {
    sum: i64,
}

pub(crate) fn add(terms: Terms) -> Result<Sum> {
    let sum = terms.a.checked_add(terms.b).ok_or_else(|| Error::new("overflow", "the sum needs more than 64 bits"))?;
    Ok(Sum { sum })
}

#[derive(Deserialize)]
pub(crate) struct Failure {
    /// Attempts that fail; `None`: all.
    times: Option<u32>,
    code: Option<String>,
    message: Option<String>,
    retryable: Option<bool>,
    retry_after_ms: Option<u64>,
}

/// Keeps nothing between attempts: the host says which one this is.
pub(crate) fn fail(failure: Failure) -> Result<Value> {
    let attempt = run::current().map_or(1, |context| context.attempt);
    if failure.times.is_some_and(|times| attempt > times) {
        return Ok(json!({"attempt": attempt}));
    }
    Err(Error {
        code: failure.code.unwrap_or_else(|| "asked_to_fail".to_owned()),
        message: failure.message.unwrap_or_else(|| format!("attempt {attempt} fails as asked")),
        retryable: failure.retryable.unwrap_or(true),
        retry_after_ms: failure.retry_after_ms,
    })
}

pub(crate) fn context(_: Value) -> Result<Value> {
    Ok(run::current().map_or(Value::Null, |context| {
        json!({
            "exec_id": context.exec_id,
            "workflow_id": context.workflow_id,
            "step_path": context.step_path,
            "attempt": context.attempt,
            "idempotency_key": context.idempotency_key,
            "deadline_unix_ms": context.deadline_unix_ms,
        })
    }))
}

#[derive(Deserialize)]
pub(crate) struct Turns {
    turns: u64,
}

pub(crate) fn count_down(input: Turns) -> Result<Value> {
    let mut left = input.turns;
    while std::hint::black_box(left) > 0 {
        left -= 1;
    }
    Ok(json!({"turns": input.turns}))
}

#[derive(Deserialize)]
pub(crate) struct Pause {
    milliseconds: u64,
}

/// Waits inside the host, where no instruction of the guest can be interrupted.
pub(crate) fn sleep(pause: Pause) -> Result<Value> {
    clock::sleep(Duration::from_millis(pause.milliseconds));
    Ok(json!({"milliseconds": pause.milliseconds}))
}

static VISITS: AtomicU32 = AtomicU32::new(0);

/// Counts the calls of this instance: 1 wherever a call gets a fresh one.
pub(crate) fn visits(_: Value) -> Result<Value> {
    Ok(json!({"visits": VISITS.fetch_add(1, Ordering::Relaxed) + 1}))
}
