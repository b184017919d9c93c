//! `compozy execution cancel`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::backend::{Backend, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::Format;
use crate::cli::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy execution cancel @last --reason \"wrong input\"\n  compozy execution cancel 01JABC 01JDEF --wait\n\nExit codes:\n  0 ok, 2 usage, 4 not found, 5 not allowed, 6 already finished, 7 unavailable";

/// How often `--wait` looks.
const STEP: Duration = Duration::from_millis(100);

/// Arguments of `execution cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// Ids, unique prefixes of at least 6 characters, or @last
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Wait until they have ended
    #[arg(long)]
    pub wait: bool,
}

/// Cancels them in the order given; the first failure ends the command after the others were tried.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, args: CancelArgs) -> Result<u8, Failure> {
    let backend = Backend::choose(session, Need::Change).await?;
    let mut canceled = Vec::new();
    let mut first = None;
    for id in &args.ids {
        match cancel(session, &backend, id, &args).await {
            Ok(document) => canceled.push(document),
            Err(failure) => {
                let _ = first.get_or_insert(failure);
            }
        }
    }
    backend.close().await;
    if session.output.format == Format::Table {
        for document in &canceled {
            let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or("-");
            session.output.line(&format!("Execution {} {}", text("exec_id"), state(text("status"))))?;
        }
    } else if let ([document], None) = (canceled.as_slice(), &first) {
        session.output.document(document)?;
    } else if !canceled.is_empty() {
        session.output.document(&json!({"executions": canceled}))?;
    }
    first.map_or(Ok(exit::OK), Err)
}

fn state(status: &str) -> &'static str {
    if status == "CANCELED" { "canceled" } else { "will be canceled" }
}

async fn cancel(session: &Session, backend: &Backend, id: &str, args: &CancelArgs) -> Result<Value, Failure> {
    let exec_id = backend.resolve(id).await?;
    let mut document = backend.cancel(&exec_id, args.reason.as_deref()).await?;
    while args.wait && document.get("finished_at").is_none_or(Value::is_null) {
        if backend.without_server() {
            session.output.warn("no server is running; the execution is canceled when one runs it next");
            break;
        }
        session.clock.sleep(STEP).await;
        document = backend.execution(&exec_id).await?;
    }
    Ok(document)
}
