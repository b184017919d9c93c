//! `compozy execution get`: one run.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::backend::{Backend, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output, Paint, Table, duration_text, escaped, painted, status_paint, time_text};
use crate::cli::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy execution get @last\n  compozy execution get 01JABC --tasks -o json\n\nExit codes:\n  0 ok, 2 usage, 4 not found, 5 not allowed, 7 unavailable";

/// Arguments of `execution get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Id, unique prefix of at least 6 characters, or @last
    #[arg(value_name = "ID")]
    pub id: String,
    /// Also show its tasks
    #[arg(long)]
    pub tasks: bool,
    /// Also show its events
    #[arg(long)]
    pub events: bool,
}

/// Prints the run.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, args: GetArgs) -> Result<u8, Failure> {
    let backend = Backend::choose(session, Need::History).await?;
    let found = read(&backend, &args).await;
    backend.close().await;
    let (document, events) = found?;
    if session.output.format != Format::Table {
        return session.output.document(&document).map(|()| exit::OK);
    }
    show(&session.output, &document)?;
    if args.tasks {
        session.output.line("")?;
        session.output.table(&tasks(&document))?;
    }
    if let Some(events) = events {
        session.output.line("")?;
        session.output.table(&events_table(&events))?;
    }
    Ok(exit::OK)
}

/// The execution document, with `events` in it if asked for.
async fn read(backend: &Backend, args: &GetArgs) -> Result<(Value, Option<Vec<Value>>), Failure> {
    let exec_id = backend.resolve(&args.id).await?;
    let mut document = backend.execution(&exec_id).await?;
    if !args.events {
        return Ok((document, None));
    }
    let events = backend.journal(&exec_id).await?;
    if let Some(members) = document.as_object_mut() {
        members.insert("events".to_owned(), json!(events));
    }
    Ok((document, Some(events)))
}

fn show(output: &Output, document: &Value) -> Result<(), Failure> {
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or("-");
    let status = text("status");
    let line = |label: &str, value: &str| output.line(&format!("{label}: {value}"));
    line("Execution", &escaped(text("exec_id")))?;
    line("Workflow", &escaped(text("workflow_id")))?;
    line("Status", &painted(status, status_paint(status).unwrap_or(Paint::Dim), output.color_out))?;
    for (label, name) in [("Created", "created_at"), ("Started", "started_at"), ("Finished", "finished_at")] {
        line(label, &time_text(document.get(name)))?;
    }
    if let Some(took) = document.get("duration_ms").and_then(Value::as_u64) {
        line("Duration", &duration_text(took))?;
    }
    if let Some(source) = document.get("forked_from").and_then(Value::as_str) {
        line("Forked from", &escaped(source))?;
    }
    if let Some(waiting) = document.get("waiting_for").filter(|waiting| !waiting.is_null()) {
        let text = |name: &str| waiting.get(name).and_then(Value::as_str).map(escaped).unwrap_or_default();
        line("Waiting for", format!("{} {}", text("kind"), text("detail")).trim())?;
    }
    for (label, name) in [("Input", "input"), ("Output", "output"), ("Tags", "tags")] {
        let value = document.get(name).filter(|value| !value.is_null() && **value != json!({}));
        if let Some(value) = value {
            line(label, &escaped(&value.to_string()))?;
        }
    }
    if let Some(error) = document.get("error").filter(|error| !error.is_null()) {
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(escaped).unwrap_or_default();
        line("Error", &format!("{} [{}]", text("message"), text("code")))?;
    }
    Ok(())
}

fn tasks(document: &Value) -> Table {
    let mut table = Table::new(&["TASK", "STATUS", "ATTEMPT", "DURATION", "ERROR"]);
    for task in document.get("tasks").and_then(Value::as_object).into_iter().flat_map(|tasks| tasks.values()) {
        let text = |name: &str| task.get(name).and_then(Value::as_str).unwrap_or("-");
        let took = task.get("duration_ms").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), duration_text);
        let attempt = task.get("attempt").and_then(Value::as_u64).unwrap_or(1).to_string();
        let error = task.pointer("/error/message").and_then(Value::as_str).unwrap_or("-");
        table.row(&[text("task_id"), text("status"), &attempt, &took, error]);
    }
    table
}

fn events_table(events: &[Value]) -> Table {
    let mut table = Table::new(&["SEQ", "AT", "EVENT", "TASK", "DATA"]);
    for event in events {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or("-");
        let seq = event.get("seq").and_then(Value::as_i64).unwrap_or_default().to_string();
        let columns = ["event", "exec_id", "seq", "at", "task_id", "task_exec_id", "step_key"];
        let members = event.as_object().into_iter().flatten();
        let data: serde_json::Map<String, Value> = members
            .filter(|(name, _)| !columns.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let data = Value::Object(data).to_string();
        table.row(&[&seq, &time_text(event.get("at")), text("event"), text("task_id"), &data]);
    }
    table
}
