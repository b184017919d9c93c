//! `compozy schedule get` and `next`.

use clap::Args;
use serde_json::Value;

use super::IdArgs;
use crate::cli::backend::{Backend, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output, duration_text, escaped, time_text};
use crate::cli::session::Session;

/// Arguments of `schedule next`.
#[derive(Debug, Args)]
pub struct NextArgs {
    /// Its workflow, or <workflow>/<number> where the workflow has several
    #[arg(value_name = "ID")]
    pub id: String,
    /// How many, 1 to 100
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub count: u32,
}

/// Prints one schedule.
pub(super) async fn run(session: &Session, args: IdArgs) -> Result<u8, Failure> {
    let document = read(session, &args.id, None).await?;
    if session.output.format == Format::Table {
        show(&session.output, &document)?;
    } else {
        session.output.document(&document)?;
    }
    Ok(exit::OK)
}

/// Prints when a schedule fires next, one time per line.
pub(super) async fn next(session: &Session, args: NextArgs) -> Result<u8, Failure> {
    let document = read(session, &args.id, Some(args.count)).await?;
    if session.output.format != Format::Table {
        return session.output.document(&document).map(|()| exit::OK);
    }
    let times = document.get("next_run_times").and_then(Value::as_array);
    for time in times.into_iter().flatten().filter_map(Value::as_str) {
        session.output.line(time)?;
    }
    if times.is_none_or(Vec::is_empty) {
        let off = document.get("enabled") == Some(&Value::Bool(false));
        session.output.talk(if off { "The schedule is disabled." } else { "The schedule does not fire again." });
    }
    Ok(exit::OK)
}

async fn read(session: &Session, id: &str, times: Option<u32>) -> Result<Value, Failure> {
    let backend = Backend::choose(session, Need::Read).await?;
    let found = backend.schedule(id, times).await;
    backend.close().await;
    found
}

/// The schedule in words, one fact per line.
pub(super) fn show(output: &Output, document: &Value) -> Result<(), Failure> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let line = |label: &str, value: &str| output.line(&format!("{label}: {}", escaped(value)));
    let is = |name: &str| document.get(name) == Some(&Value::Bool(true));
    line("Schedule", text("id").unwrap_or("-"))?;
    line("Workflow", text("workflow_id").unwrap_or("-"))?;
    line("Cron", text("cron").unwrap_or("-"))?;
    line("Timezone", text("timezone").unwrap_or("-"))?;
    line("Enabled", if is("enabled") { "yes" } else { "no" })?;
    line("Overlap", text("overlap_policy").unwrap_or("-"))?;
    for (label, name) in [("Jitter", "jitter_ms"), ("Catch up", "catch_up_ms")] {
        if let Some(length) = document.get(name).and_then(Value::as_u64).filter(|length| *length > 0) {
            line(label, &duration_text(length))?;
        }
    }
    for (label, name) in [("Not before", "start_at"), ("Not after", "end_at"), ("Kept since", "buffered_at")] {
        if text(name).is_some() {
            line(label, &time_text(document.get(name)))?;
        }
    }
    if is("is_override") {
        let set = document.get("override").map(Value::to_string).unwrap_or_default();
        line("Set at run time", &set)?;
    }
    line("Next run", &time_text(document.get("next_run_time")))?;
    let last = time_text(document.get("last_run_time"));
    match (text("last_run_status"), text("last_exec_id")) {
        (Some(status), Some(exec_id)) => line("Last run", &format!("{last} {status} {exec_id}"))?,
        _ => line("Last run", &last)?,
    }
    if let Some(state) = document.pointer("/last_fire/state").and_then(Value::as_str) {
        line("Last time", &format!("{} {state}", time_text(document.pointer("/last_fire/time"))))?;
    }
    match text("problem") {
        Some(problem) => line("Problem", problem),
        None => Ok(()),
    }
}
