//! `compozy workflow get`: one definition.

use clap::Args;
use serde_json::Value;

use crate::cli::backend::{Backend, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Table, escaped};
use crate::cli::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy workflow get hello-world\n  compozy workflow get hello-world --show-tasks -o yaml\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project, 4 not found, 5 not allowed, 7 unavailable";

/// Arguments of `workflow get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Id of the workflow
    #[arg(value_name = "ID")]
    pub id: String,
    /// Also list its tasks
    #[arg(long)]
    pub show_tasks: bool,
}

/// Prints the definition.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, args: GetArgs) -> Result<u8, Failure> {
    let backend = Backend::choose(session, Need::Read).await?;
    let document = backend.workflow(&args.id).await;
    backend.close().await;
    let document = document?;
    let output = &session.output;
    if output.format != Format::Table {
        return output.document(&document).map(|()| exit::OK);
    }
    for (label, pointer) in [
        ("ID", "/id"),
        ("Name", "/name"),
        ("Version", "/version"),
        ("Description", "/description"),
        ("File", "/file"),
        ("Digest", "/digest"),
        ("Latest run", "/latest_execution/exec_id"),
        ("Status", "/latest_execution/status"),
    ] {
        match document.pointer(pointer).and_then(Value::as_str) {
            None | Some("") => {}
            Some(text) => output.line(&format!("{label}: {}", escaped(text)))?,
        }
    }
    for schedule in document.get("schedules").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| schedule.get(name).and_then(Value::as_str).map_or_else(String::new, escaped);
        let off = if schedule.get("enabled") == Some(&Value::Bool(false)) { " (disabled)" } else { "" };
        output.line(&format!("Schedule {}: {} {}{off}", text("id"), text("cron"), text("timezone")))?;
    }
    if args.show_tasks {
        output.line("")?;
        output.table(&tasks(&document))?;
    }
    Ok(exit::OK)
}

fn tasks(document: &Value) -> Table {
    let mut table = Table::new(&["TASK", "TYPE"]);
    for task in document.get("tasks").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| task.get(name).and_then(Value::as_str);
        table.row(&[text("id").unwrap_or("-"), text("type").or_else(|| text("kind")).unwrap_or("-")]);
    }
    table
}
