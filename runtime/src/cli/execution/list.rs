//! `compozy execution list`: runs, newest first.

use clap::Args;
use serde_json::Value;

use crate::cli::backend::{Backend, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Table, duration_text, time_text};
use crate::cli::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy execution list --workflow hello-world\n  compozy execution list --status active -o json\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project, 5 not allowed, 7 unavailable";

/// Arguments of `execution list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only runs of this workflow
    #[arg(long, value_name = "ID")]
    pub workflow: Option<String>,
    /// Which runs.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Which runs.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only these statuses (comma-separated; completed, cancelled, queued, active work too)
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Created at or after (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Created before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Having this tag, KEY=VALUE
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// Children of this run
    #[arg(long, value_name = "EXEC")]
    pub parent: Option<String>,
    /// Entries per page, 1 to 500
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// Where the page starts, from an earlier answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// All pages
    #[arg(long, conflicts_with = "cursor")]
    pub all: bool,
}

/// Prints the list.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, args: ListArgs) -> Result<u8, Failure> {
    print(session, args.workflow, args.filter).await
}

/// Prints the runs of one workflow, or of all.
///
/// # Errors
/// Why it ended early.
pub async fn print(session: &Session, workflow: Option<String>, args: FilterArgs) -> Result<u8, Failure> {
    let backend = Backend::choose(session, Need::History).await?;
    let document = collect(&backend, workflow, args).await;
    backend.close().await;
    let document = document?;
    if session.output.format != Format::Table {
        return session.output.list("executions", &document).map(|()| exit::OK);
    }
    session.output.table(&table(&document))?;
    if let Some(cursor) = document.pointer("/page/next_cursor").and_then(Value::as_str) {
        session.output.talk(&format!("more: --cursor {cursor}"));
    }
    Ok(exit::OK)
}

async fn collect(backend: &Backend, workflow: Option<String>, args: FilterArgs) -> Result<Value, Failure> {
    let limit = args.limit.or(args.all.then_some(500));
    let query = [
        ("workflow_id", workflow),
        ("status", args.status),
        ("since", args.since),
        ("until", args.until),
        ("tag", args.tag),
        ("parent", args.parent),
        ("limit", limit.map(|limit| limit.to_string())),
        ("cursor", args.cursor),
    ];
    let mut query: Vec<(&str, String)> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let mut document = backend.executions(&query).await?;
    if !args.all {
        return Ok(document);
    }
    while let Some(cursor) = document.pointer("/page/next_cursor").and_then(Value::as_str).map(str::to_owned) {
        query.retain(|(name, _)| *name != "cursor");
        query.push(("cursor", cursor));
        let next = backend.executions(&query).await?;
        append(&mut document, next);
    }
    Ok(document)
}

/// Adds the entries of `next` and takes over where it ends.
fn append(document: &mut Value, mut next: Value) {
    let more = next.get_mut("executions").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    if let Some(all) = document.get_mut("executions").and_then(Value::as_array_mut) {
        all.extend(more);
    }
    let cursor = next.pointer("/page/next_cursor").cloned().unwrap_or_default();
    if let Some(own) = document.pointer_mut("/page/next_cursor") {
        *own = cursor;
    }
}

fn table(document: &Value) -> Table {
    let mut table = Table::new(&["EXECUTION", "WORKFLOW", "STATUS", "CREATED", "DURATION", "WAITING FOR"]);
    for run in document.get("executions").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or("-");
        let took = run.get("duration_ms").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), duration_text);
        let waits = run.pointer("/waiting_for/detail").and_then(Value::as_str).unwrap_or("-");
        table.row(&[
            text("exec_id"),
            text("workflow_id"),
            text("status"),
            &time_text(run.get("created_at")),
            &took,
            waits,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pages_are_joined() {
        let mut all = json!({"executions": [{"exec_id": "2"}], "page": {"limit": 1, "next_cursor": "a"}});
        append(&mut all, json!({"executions": [{"exec_id": "1"}], "page": {"limit": 1, "next_cursor": null}}));
        assert_eq!(
            all,
            json!({"executions": [{"exec_id": "2"}, {"exec_id": "1"}], "page": {"limit": 1, "next_cursor": null}})
        );
        assert_eq!(table(&all).lines(None, false).len(), 3);
    }
}
