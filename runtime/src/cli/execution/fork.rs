//! `compozy execution retry` and `fork`: a new run that goes on from the records of another one.

use clap::Args;
use serde_json::Value;

use crate::cli::backend::{Backend, Fork, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, escaped};
use crate::cli::session::Session;
use crate::cli::signals::Signals;
use crate::cli::workflow::input;
use crate::cli::workflow::wait::{self, Ended, Waiting};

/// Examples and exit codes of `retry`.
pub const RETRY: &str = "Examples:\n  compozy execution retry @last\n  compozy execution retry 01JABC --latest --wait\n\nA new execution reuses what was recorded before the first step that failed. Without a server it runs here, and the\ncommand waits for its end.\n\nExit codes:\n  0 ok, 1 run failed (when waiting), 2 usage, 3 invalid input, 4 not found, 5 not allowed, 6 it has not failed,\n  7 unavailable, 130 interrupted";
/// Examples and exit codes of `fork`.
pub const FORK: &str = "Examples:\n  compozy execution fork @last --at summarise\n  compozy execution fork 01JABC --at summarise --input '{\"lines\": 3}' --latest --wait\n\nA new execution begins just before the task and reuses what was recorded before it; ID#2 names a second execution of\nthe task. Without a server it runs here, and the command waits for its end.\n\nExit codes:\n  0 ok, 1 run failed (when waiting), 2 usage, 3 invalid input, 4 not found, 5 not allowed, 6 task not reached,\n  7 unavailable, 130 interrupted";

/// Arguments of `execution retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Id, unique prefix of at least 6 characters, or @last
    #[arg(value_name = "ID")]
    pub id: String,
    /// How it runs.
    #[command(flatten)]
    pub how: How,
}

/// Arguments of `execution fork`.
#[derive(Debug, Args)]
pub struct ForkArgs {
    /// Id, unique prefix of at least 6 characters, or @last
    #[arg(value_name = "ID")]
    pub id: String,
    /// Task before which the new execution begins
    #[arg(long, value_name = "TASK")]
    pub at: String,
    /// Another input: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub input: Option<String>,
    /// How it runs.
    #[command(flatten)]
    pub how: How,
}

/// How the new run is run.
#[derive(Debug, Clone, Copy, Args)]
pub struct How {
    /// Use the present definition, not the one the execution began with
    #[arg(long)]
    pub latest: bool,
    /// Wait for the end of the new execution
    #[arg(long)]
    pub wait: bool,
}

/// Runs again what failed.
///
/// # Errors
/// Why it ended early.
pub async fn retry(session: &Session, args: RetryArgs) -> Result<u8, Failure> {
    go_on(session, &args.id, Fork { at: None, input: None, latest: args.how.latest }, args.how.wait).await
}

/// Runs again from a task on.
///
/// # Errors
/// Why it ended early.
pub async fn fork(session: &Session, args: ForkArgs) -> Result<u8, Failure> {
    let input = match &args.input {
        Some(text) => Some(input::value(text, "--input", std::io::stdin().lock())?),
        None => None,
    };
    go_on(session, &args.id, Fork { at: Some(args.at), input, latest: args.how.latest }, args.how.wait).await
}

async fn go_on(session: &Session, id: &str, fork: Fork, wait: bool) -> Result<u8, Failure> {
    let mut backend = Backend::choose(session, Need::Run).await?;
    let ended = go_on_with(session, &mut backend, id, fork, wait).await;
    backend.close().await;
    ended
}

async fn go_on_with(session: &Session, backend: &mut Backend, id: &str, fork: Fork, wait: bool) -> Result<u8, Failure> {
    let source = backend.resolve(id).await?;
    let started = backend.fork(session, &source, fork).await?;
    let text = |name: &str| started.get(name).and_then(Value::as_str).unwrap_or_default();
    let exec_id = text("exec_id");
    let embedded = matches!(backend, Backend::Embedded(_));
    if !wait && !embedded {
        if session.output.format != Format::Table {
            return session.output.document(&started).map(|()| exit::OK);
        }
        session.output.line(&format!("Workflow '{}' started", escaped(text("workflow_id"))))?;
        session.output.line(&format!("Execution: {exec_id}"))?;
        return Ok(exit::OK);
    }
    session.output.detail(&format!("Execution: {exec_id}"));
    wait::say_if_held(session, backend, exec_id).await;
    let waiting = Waiting { exec_id, after: 0, timeout: None, print_events: false };
    match wait::until_end(session, backend, &waiting, &mut Signals::new()?).await {
        Ok(Ended::Run | Ended::Timeout) => wait::print(session, backend, exec_id).await,
        Ok(Ended::Interrupt(_)) => {
            let how = if embedded { "was handed back" } else { "goes on" };
            session.output.warn(&format!("interrupted; execution {exec_id} {how}: compozy execution watch {exec_id}"));
            Ok(exit::INTERRUPTED)
        }
        Err(failure) => Err(failure.member("exec_id", exec_id)),
    }
}
