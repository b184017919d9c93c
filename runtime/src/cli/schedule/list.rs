//! `compozy schedule list`.

use clap::Args;
use serde_json::Value;

use crate::cli::backend::{Backend, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Table, time_text};
use crate::cli::session::Session;

/// Arguments of `schedule list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only schedules of this workflow
    #[arg(long, value_name = "ID")]
    pub workflow: Option<String>,
    /// Entries per page, 1 to 500
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// Where the page starts, from an earlier answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// Prints the list.
pub(super) async fn run(session: &Session, args: ListArgs) -> Result<u8, Failure> {
    let backend = Backend::choose(session, Need::Read).await?;
    let query =
        [("workflow_id", args.workflow), ("limit", args.limit.map(|limit| limit.to_string())), ("cursor", args.cursor)];
    let query: Vec<(&str, String)> = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let document = backend.schedules(&query).await;
    backend.close().await;
    let document = document?;
    if session.output.format != Format::Table {
        return session.output.list("schedules", &document).map(|()| exit::OK);
    }
    session.output.table(&table(&document))?;
    if let Some(cursor) = document.pointer("/page/next_cursor").and_then(Value::as_str) {
        session.output.talk(&format!("more: --cursor {cursor}"));
    }
    Ok(exit::OK)
}

fn table(document: &Value) -> Table {
    let mut table = Table::new(&["ID", "CRON", "TIMEZONE", "ENABLED", "SET", "NEXT RUN", "LAST RUN", "STATUS"]);
    for schedule in document.get("schedules").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| schedule.get(name).and_then(Value::as_str).unwrap_or("-");
        let yes = |name: &str| if schedule.get(name) == Some(&Value::Bool(true)) { "yes" } else { "no" };
        let (next, last) = (time_text(schedule.get("next_run_time")), time_text(schedule.get("last_run_time")));
        table.row(&[
            text("id"),
            text("cron"),
            text("timezone"),
            yes("enabled"),
            yes("is_override"),
            &next,
            &last,
            state(schedule),
        ]);
    }
    table
}

/// The status of the last run, unless something has become of a time since.
fn state(schedule: &Value) -> &str {
    let text = |pointer: &str| schedule.pointer(pointer).and_then(Value::as_str);
    match text("/last_fire/state") {
        Some("started") | None => text("/last_run_status").unwrap_or("-"),
        Some(state) => state,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_shows_times_and_what_became_of_them() {
        let document = json!({"schedules": [
            {"id": "report", "cron": "0 8 * * *", "timezone": "UTC", "enabled": true, "is_override": false,
             "next_run_time": "2026-01-31T08:00:00.000Z", "last_run_time": "2026-01-30T08:00:00.100Z",
             "last_run_status": "SUCCESS", "last_fire": {"time": "2026-01-30T08:00:00.000Z", "state": "started"}},
            {"id": "sync/2", "cron": "@every 1h", "timezone": "Europe/Lisbon", "enabled": false, "is_override": true,
             "next_run_time": null, "last_run_time": null, "last_run_status": null,
             "last_fire": {"time": "2026-01-30T08:00:00.000Z", "state": "failed"}},
        ]});
        assert_eq!(
            table(&document).lines(None, false),
            [
                "ID      CRON       TIMEZONE       ENABLED  SET  NEXT RUN             LAST RUN             STATUS",
                "report  0 8 * * *  UTC            yes      no   2026-01-31 08:00:00  2026-01-30 08:00:00  SUCCESS",
                "sync/2  @every 1h  Europe/Lisbon  no       yes  -                    -                    failed",
            ]
        );
    }
}
