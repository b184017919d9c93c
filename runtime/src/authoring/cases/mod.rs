//! Trying a plugin out: cases that say what it is expected to do, run through the same host as a workflow's calls.
//!
//! Whoever runs a case builds its [`Stage`] from the case's world first: what is granted is played, by the drivers where
//! there are some (`kv`, `sql`) and by [`http`] and [`models`] where the outside would answer.

pub mod call;
pub mod difference;
pub mod http;
pub mod models;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use compozy_lang::cases::{Case, Expected, ExpectedError};
use compozy_lang::schema_check;
use serde_json::Value;

use crate::plugin::tool::Function;
use crate::plugin::{Binding, CallContext, CallError, RunContext};
use difference::{Difference, Match};

/// What went otherwise than a case says, beside the answer: told by whoever plays the outside.
#[derive(Debug, Clone, Default)]
pub struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    /// Most that are kept.
    const KEPT: usize = 20;

    /// Notes one.
    pub fn note(&self, text: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < Self::KEPT {
            all.push(text);
        }
    }

    /// Takes them all.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What became of a case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The function that was called.
    pub function: String,
    /// What it answered.
    pub answer: Result<Value, CallError>,
    /// Where the answer is another than the expected one.
    pub differences: Vec<Difference>,
    /// What else is wrong.
    pub problems: Vec<String>,
    /// How long the call took.
    pub duration: Duration,
}

impl Outcome {
    /// Everything went as the case says.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.differences.is_empty() && self.problems.is_empty()
    }
}

/// The surroundings of one case.
#[derive(Debug)]
pub struct Stage {
    /// The plugin, bound to what is played.
    pub binding: Binding,
    /// Requests that are played.
    pub http: Arc<http::Script>,
    /// Models that are played.
    pub models: Arc<models::Script>,
    /// What the players have to say.
    pub complaints: Complaints,
}

/// Calls the plugin as `case` says and compares. `functions` are those a tool describes.
pub async fn run(mut stage: Stage, case: &Case, functions: &[Function]) -> Outcome {
    let run = RunContext {
        exec_id: "case".to_owned(),
        workflow_id: "cases".to_owned(),
        step_path: "case".to_owned(),
        attempt: 1,
        idempotency_key: "case:case:1".to_owned(),
    };
    let config = filled(&case.config, case, &stage.binding, &run);
    stage.binding.config = config.to_string().into();
    let ctx = CallContext { run: Some(Arc::new(run)), ..CallContext::outside_runs(stage.binding.limits.timeout) };
    let function = match called(case, functions) {
        Ok(function) => function,
        Err(problem) => return unasked(case, problem),
    };
    let started = std::time::Instant::now();
    let answer = call::call(&stage.binding, &ctx, &function, &case.input).await;
    let duration = started.elapsed();
    let mut outcome =
        Outcome { function, answer, differences: Vec::new(), problems: stage.complaints.take(), duration };
    compare(&mut outcome, &case.expected, functions);
    outcome.problems.extend(stage.http.unused());
    outcome.problems.extend(stage.models.unused());
    outcome
}

/// The function of a case: the one it names, else the only one.
fn called(case: &Case, functions: &[Function]) -> Result<String, String> {
    match (&case.function, functions) {
        (Some(function), _) => Ok(function.clone()),
        (None, [only]) => Ok(only.name.clone()),
        (None, []) => Err("the case names no function".to_owned()),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|function| function.name.as_str()).collect();
            Err(format!("the case names no function, and the plugin has several: {}", names.join(", ")))
        }
    }
}

fn unasked(case: &Case, problem: String) -> Outcome {
    Outcome {
        function: case.function.clone().unwrap_or_default(),
        answer: Ok(Value::Null),
        differences: Vec::new(),
        problems: vec![problem],
        duration: Duration::ZERO,
    }
}

/// `config` with `${NAME}` replaced: by a value of `env`, or by what the plugin sees of a secret.
fn filled(config: &Value, case: &Case, binding: &Binding, run: &RunContext) -> Value {
    match config {
        Value::String(text) if text.contains("${") => {
            let env = case.world.env.iter().map(|(name, value)| (name, value.clone()));
            let secrets = case.world.secrets.keys().map(|name| (name, binding.placeholder(Some(run), name)));
            let replace =
                |text: String, (name, value): (&String, String)| text.replace(&format!("${{{name}}}"), &value);
            Value::String(env.chain(secrets).fold(text.clone(), replace))
        }
        Value::Array(items) => items.iter().map(|item| filled(item, case, binding, run)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), filled(member, case, binding, run))).collect()
        }
        other => other.clone(),
    }
}

fn compare(outcome: &mut Outcome, expected: &Expected, functions: &[Function]) {
    match (&outcome.answer, expected) {
        (Ok(found), Expected::Output(wanted)) => {
            outcome.differences = difference::between(wanted, found, Match::Whole);
        }
        (Ok(found), Expected::Contains(wanted)) => {
            outcome.differences = difference::between(wanted, found, Match::Part);
        }
        (Ok(_), Expected::Success) => {}
        (Ok(found), Expected::Error(wanted)) => {
            let code = wanted.code.as_deref().map_or_else(String::new, |code| format!(" {code}"));
            outcome.problems.push(format!("expected an error{code}, got {}", difference::shown(found)));
        }
        (Err(error), Expected::Error(wanted)) => outcome.problems.extend(other_error(wanted, error)),
        (Err(error), _) => outcome.problems.push(described(error)),
    }
    if let Ok(found) = &outcome.answer {
        outcome.problems.extend(broken_promise(found, &outcome.function, functions));
    }
}

/// Where an error is another than the expected one.
fn other_error(wanted: &ExpectedError, error: &CallError) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(code) = wanted.code.as_ref().filter(|code| **code != error.code) {
        problems.push(format!("expected error {code}, got {}", described(error)));
    }
    if let Some(piece) = wanted.message.as_ref().filter(|piece| !error.message.contains(piece.as_str())) {
        problems.push(format!("expected a message with '{piece}', got '{}'", error.message));
    }
    if let Some(retryable) = wanted.retryable.filter(|retryable| *retryable != error.retryable) {
        problems.push(format!("expected retryable: {retryable}, got {}", error.retryable));
    }
    problems
}

/// An error in a sentence, with what its author needs to find it.
fn described(error: &CallError) -> String {
    let mut text = format!("error {}: {}", error.code, error.message);
    if let Some(help) = &error.help {
        text.push_str(&format!("; {help}"));
    }
    if let Some(trap) = &error.trap {
        if let Some(frame) = trap.backtrace.first() {
            text.push_str(&format!("; in {frame}"));
        }
        if !trap.stderr.is_empty() {
            text.push_str(&format!("; stderr: {}", trap.stderr));
        }
    }
    text
}

/// Where the answer breaks the schema that the plugin itself describes.
fn broken_promise(found: &Value, function: &str, functions: &[Function]) -> Option<String> {
    let described = functions.iter().find(|described| described.name == function)?;
    let schema = serde_json::from_str(described.output_schema.as_deref()?).ok()?;
    let violations = schema_check::compile(&schema).ok()?.check(found).err()?;
    Some(format!("the answer does not match the function's own output schema: {}", schema_check::describe(&violations)))
}
