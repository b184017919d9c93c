//! `compozy workflow list`: definitions joined with their latest run.

use clap::Args;
use serde_json::Value;

use crate::cli::backend::{Backend, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Table, duration_text, time_text};
use crate::cli::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy workflow list\n  compozy workflow list --status failed -o json\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project, 5 not allowed, 7 unavailable";

/// Arguments of `workflow list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only workflows whose latest run has this status (comma-separated, aliases allowed)
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Only workflows with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// Only ids that start with this text
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
    /// name, created_at, updated_at or status
    #[arg(long, value_name = "KEY")]
    pub sort: Option<String>,
    /// asc or desc
    #[arg(long, value_name = "ORDER")]
    pub order: Option<String>,
    /// Entries per page, 1 to 500
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// Where the page starts, from an earlier answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// Prints the list.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, args: ListArgs) -> Result<u8, Failure> {
    let backend = Backend::choose(session, Need::Read).await?;
    let query = [
        ("status", args.status),
        ("tags", args.tag),
        ("q", args.search),
        ("sort", args.sort),
        ("order", args.order),
        ("limit", args.limit.map(|limit| limit.to_string())),
        ("cursor", args.cursor),
    ];
    let query: Vec<(&str, String)> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let document = backend.workflows(&query).await;
    backend.close().await;
    let document = document?;
    if session.output.format != Format::Table {
        return session.output.list("workflows", &document).map(|()| exit::OK);
    }
    session.output.table(&table(&document))?;
    if let Some(cursor) = document.pointer("/page/next_cursor").and_then(Value::as_str) {
        session.output.talk(&format!("more: --cursor {cursor}"));
    }
    Ok(exit::OK)
}

fn table(document: &Value) -> Table {
    let mut table = Table::new(&["ID", "NAME", "STATUS", "LAST RUN", "DURATION", "RUNS"]);
    for workflow in document.get("workflows").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| workflow.get(name).and_then(Value::as_str).unwrap_or_default();
        let latest = workflow.get("latest_execution").filter(|latest| !latest.is_null());
        let member = |name: &str| latest.and_then(|latest| latest.get(name)).filter(|value| !value.is_null());
        let id = text("id");
        let name = match (workflow.get("in_project"), text("name")) {
            (Some(Value::Bool(false)), _) => "(not in project)",
            (_, "") => "-",
            (_, name) => name,
        };
        let status = member("status").and_then(Value::as_str).unwrap_or("-");
        let took = member("duration_ms").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), duration_text);
        let runs = workflow.get("runs").and_then(Value::as_u64).unwrap_or(0).to_string();
        table.row(&[id, name, status, &time_text(member("created_at")), &took, &runs]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_shows_the_latest_run() {
        let document = json!({"workflows": [
            {"id": "hello-world", "name": "Hello World Workflow", "in_project": true, "runs": 2,
             "latest_execution": {"status": "SUCCESS", "created_at": "2026-01-31T09:30:00.250Z", "duration_ms": 1500}},
            {"id": "never", "name": "", "in_project": true, "runs": 0, "latest_execution": null},
            {"id": "old", "in_project": false, "runs": 1, "latest_execution": {"status": "RUNNING", "created_at": "2026-01-01T00:00:00.000Z"}},
        ]});
        assert_eq!(
            table(&document).lines(None, false),
            [
                "ID           NAME                  STATUS   LAST RUN             DURATION  RUNS",
                "hello-world  Hello World Workflow  SUCCESS  2026-01-31 09:30:00  1.5s      2",
                "never        -                     -        -                    -         0",
                "old          (not in project)      RUNNING  2026-01-01 00:00:00  -         1",
            ]
        );
    }
}
