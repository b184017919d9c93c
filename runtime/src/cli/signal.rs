//! `compozy signal …`.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::backend::{Backend, Need};
use super::exit;
use super::failure::Failure;
use super::output::Format;
use super::session::Session;
use super::workflow::input;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy signal send @last paid\n  compozy signal send 01JABC paid --payload '{\"id\": 7}'\n\nExit codes:\n  0 ok, 2 usage, 4 not found, 6 already finished, 7 unavailable";
/// Examples and exit codes of `send`.
const SEND: &str = "Examples:\n  compozy signal send @last paid --payload '{\"id\": 7}'\n  compozy signal send 01JABC paid --payload @paid.json --dedupe-key order-7\n\nThe signal is kept for the execution if it does not wait for it yet.\n\nExit codes:\n  0 ok, 2 usage, 4 not found, 5 not allowed, 6 already finished, 7 unavailable";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum SignalCommand {
    /// Send a signal to a run
    #[command(after_help = SEND)]
    Send(SendArgs),
}

/// Arguments of `signal send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Id, unique prefix of at least 6 characters, or @last
    #[arg(value_name = "EXEC")]
    pub id: String,
    /// Name that the run waits for
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What the signal carries: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON")]
    pub payload: Option<String>,
    /// A second signal with this key is the first one
    #[arg(long, value_name = "KEY")]
    pub dedupe_key: Option<String>,
}

/// Carries one out.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, command: SignalCommand) -> Result<u8, Failure> {
    let SignalCommand::Send(args) = command;
    let payload = match &args.payload {
        Some(text) => input::value(text, "--payload", std::io::stdin().lock())?,
        None => Value::Null,
    };
    let backend = Backend::choose(session, Need::Change).await?;
    let sent = send(session, &backend, &args, payload).await;
    backend.close().await;
    let (exec_id, kept) = sent?;
    if session.output.format == Format::Table {
        let text = |name: &str| kept.get(name).and_then(Value::as_str).unwrap_or("-");
        let line = format!("Signal '{}' {} for execution {exec_id}", args.name, text("state"));
        session.output.line(&line)?;
    } else {
        session.output.document(&kept)?;
    }
    Ok(exit::OK)
}

async fn send(
    session: &Session,
    backend: &Backend,
    args: &SendArgs,
    payload: Value,
) -> Result<(String, Value), Failure> {
    let exec_id = backend.resolve(&args.id).await?;
    let kept = backend.signal(session, &exec_id, &args.name, payload, args.dedupe_key.as_deref()).await?;
    Ok((exec_id, kept))
}
