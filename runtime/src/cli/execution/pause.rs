//! `compozy execution pause` and `resume`.

use clap::Args;
use serde_json::Value;

use crate::cli::backend::{Backend, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::Format;
use crate::cli::session::Session;
use crate::cli::signals::Signals;
use crate::cli::workflow::wait::{self, Ended, Waiting};

/// Examples and exit codes of `pause`.
pub const PAUSE: &str = "Examples:\n  compozy execution pause @last\n  compozy execution pause 01JABC -o json\n\nExit codes:\n  0 ok, 2 usage, 4 not found, 5 not allowed, 6 already finished, 7 unavailable";
/// Examples and exit codes of `resume`.
pub const RESUME: &str = "Examples:\n  compozy execution resume @last\n  compozy execution resume 01JABC -o json\n\nWithout a server the execution goes on here, and the command waits for its end.\n\nExit codes:\n  0 ok, 1 run failed (without a server), 2 usage, 4 not found, 6 already finished, 7 unavailable, 130 interrupted";

/// Arguments of both.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// Id, unique prefix of at least 6 characters, or @last
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Lets a run start nothing new.
///
/// # Errors
/// Why it ended early.
pub async fn pause(session: &Session, args: PauseArgs) -> Result<u8, Failure> {
    let backend = Backend::choose(session, Need::Change).await?;
    let asked = ask(&backend, &args.id, true).await;
    backend.close().await;
    say(session, &asked?, "will be paused")
}

/// Ends a pause. Without a server the run goes on in this process.
///
/// # Errors
/// Why it ended early.
pub async fn resume(session: &Session, args: PauseArgs) -> Result<u8, Failure> {
    let mut backend = Backend::choose(session, Need::Run).await?;
    let ended = resume_with(session, &mut backend, &args.id).await;
    backend.close().await;
    ended
}

async fn resume_with(session: &Session, backend: &mut Backend, id: &str) -> Result<u8, Failure> {
    let document = ask(backend, id, false).await?;
    if matches!(backend, Backend::Remote(_)) {
        return say(session, &document, "goes on");
    }
    let Some(exec_id) = document.get("exec_id").and_then(Value::as_str) else {
        return Err(Failure::internal("an execution has no id"));
    };
    session.output.detail(&format!("Execution: {exec_id}"));
    let after = document.get("last_seq").and_then(Value::as_i64).unwrap_or(0);
    let waiting = Waiting { exec_id, after, timeout: None, print_events: false };
    match wait::until_end(session, backend, &waiting, &mut Signals::new()?).await? {
        Ended::Run | Ended::Timeout => wait::print(session, backend, exec_id).await,
        Ended::Interrupt(_) => {
            session.output.warn(&format!("interrupted; execution {exec_id} was handed back"));
            Ok(exit::INTERRUPTED)
        }
    }
}

async fn ask(backend: &Backend, id: &str, paused: bool) -> Result<Value, Failure> {
    let exec_id = backend.resolve(id).await?;
    backend.pause(&exec_id, paused).await
}

fn say(session: &Session, document: &Value, what: &str) -> Result<u8, Failure> {
    if session.output.format == Format::Table {
        let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or("-");
        let what = if what == "will be paused" && text("status") == "PAUSED" { "is paused" } else { what };
        session.output.line(&format!("Execution {} {what}", text("exec_id")))?;
    } else {
        session.output.document(document)?;
    }
    Ok(exit::OK)
}
