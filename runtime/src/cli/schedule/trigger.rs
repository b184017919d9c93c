//! `compozy schedule trigger`.

use serde_json::Value;

use super::IdArgs;
use crate::cli::backend::{Backend, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, escaped};
use crate::cli::session::Session;

/// Starts the run of a schedule now.
pub(super) async fn run(session: &Session, args: IdArgs) -> Result<u8, Failure> {
    let backend = Backend::choose(session, Need::Queue).await?;
    let started = backend.trigger_schedule(session, &args.id).await;
    let without_server = backend.without_server();
    backend.close().await;
    let document = started?;
    if without_server {
        session.output.warn("no server is running; the execution starts when one does");
    }
    if session.output.format != Format::Table {
        return session.output.document(&document).map(|()| exit::OK);
    }
    let text = |name: &str| document.get(name).and_then(Value::as_str).map_or_else(String::new, escaped);
    session.output.line(&format!("Schedule '{}' triggered", text("schedule_id")))?;
    session.output.line(&format!("Execution: {}", text("exec_id")))?;
    Ok(exit::OK)
}
