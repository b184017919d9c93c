//! `compozy schedule enable`, `disable`, `set` and `reset`: rows that survive restarts.

use clap::Args;
use serde_json::Value;

use super::IdArgs;
use crate::cli::backend::{Backend, Need};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, escaped, time_text};
use crate::cli::session::Session;
use crate::node::schedules::Change;

/// Arguments of `schedule set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Its workflow, or <workflow>/<number> where the workflow has several
    #[arg(value_name = "ID")]
    pub id: String,
    /// When it fires: 5, 6 or 7 fields, @daily and its kin, or '@every 90s'
    #[arg(long, value_name = "EXPRESSION")]
    pub cron: Option<String>,
    /// Time zone of its times, an IANA name
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
}

/// Switches a schedule on or off.
pub(super) async fn switch(session: &Session, args: IdArgs, enabled: bool) -> Result<u8, Failure> {
    let change = Change { enabled: Some(Some(enabled)), ..Change::default() };
    put(session, &args.id, &change, if enabled { "is enabled" } else { "is disabled" }).await
}

/// Gives a schedule other times.
pub(super) async fn set(session: &Session, args: SetArgs) -> Result<u8, Failure> {
    if args.cron.is_none() && args.timezone.is_none() {
        return Err(Failure::usage("nothing to set").hint("use --cron, --timezone or both"));
    }
    let change = Change { cron: args.cron.map(Some), timezone: args.timezone.map(Some), enabled: None };
    put(session, &args.id, &change, "is set").await
}

/// Takes back what was set.
pub(super) async fn reset(session: &Session, args: IdArgs) -> Result<u8, Failure> {
    put(session, &args.id, &Change::reset(), "is as declared").await
}

async fn put(session: &Session, id: &str, change: &Change, done: &str) -> Result<u8, Failure> {
    let backend = Backend::choose(session, Need::Set).await?;
    let changed = backend.change_schedule(id, change).await;
    backend.close().await;
    let document = changed?;
    if session.output.format != Format::Table {
        return session.output.document(&document).map(|()| exit::OK);
    }
    let text = |name: &str| document.get(name).and_then(Value::as_str).map_or_else(String::new, escaped);
    let next = match document.get("next_run_time").filter(|next| !next.is_null()) {
        Some(next) => format!("next run {}", time_text(Some(next))),
        None => "no next run".to_owned(),
    };
    let line = format!("Schedule '{}' {done}: {} {}, {next}", text("id"), text("cron"), text("timezone"));
    session.output.line(&line)?;
    Ok(exit::OK)
}
