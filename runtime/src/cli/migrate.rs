//! `compozy migrate up|status|down`: the version of the database's schema, always in the database itself.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::Failure;
use super::open::Schema;
use super::output::{Format, Table, time_text};
use super::session::Session;
use super::usable::Plugins;
use super::{compose, config, exit};
use crate::storage::migrate::{Change, State};

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy migrate status\n  compozy migrate up\n\nServers and commands migrate by themselves, unless database.auto_migrate is false.\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project, 6 pending, newer, in use or refused, 7 unavailable";
const UP: &str = "Examples:\n  compozy migrate up\n  compozy migrate up --to 4\n\nA database that is not there is made.\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project, 6 in use, newer or no such version, 7 unavailable";
const STATUS: &str = "Examples:\n  compozy migrate status\n  compozy migrate status -o json\n\nExit codes:\n  0 current, 2 usage, 3 invalid project, 6 pending or newer, 7 unavailable";
const DOWN: &str = "Examples:\n  compozy migrate down --steps 1\n  compozy migrate down --to 4 --force\n\nFor an older release: this one migrates up again when it next starts. What would lose data is refused without --force.\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project, 6 in use, data would be lost, or no such version, 7 unavailable";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum MigrateCommand {
    /// Apply what is missing
    #[command(after_help = UP)]
    Up(UpArgs),
    /// Show what was applied and what is missing
    #[command(after_help = STATUS)]
    Status,
    /// Take back what an older release does not know
    #[command(after_help = DOWN)]
    Down(DownArgs),
}

/// Arguments of `migrate up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Only up to this version
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub to: Option<i64>,
}

/// Arguments of `migrate down`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["to", "steps"])))]
pub struct DownArgs {
    /// Down to this version
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub to: Option<i64>,
    /// So many versions down
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Also when data is lost with it
    #[arg(long)]
    pub force: bool,
}

/// Carries one out.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, command: MigrateCommand) -> Result<u8, Failure> {
    let loaded = compose::load(session, &config::config_file(session)?, Plugins::Unused).await?;
    let schema = Schema::of(session, &loaded.project)?;
    let change = match command {
        MigrateCommand::Status => return status(session, &schema.status().await?),
        MigrateCommand::Up(args) => Change::Up(args.to),
        MigrateCommand::Down(DownArgs { to: Some(version), force, .. }) => Change::DownTo { version, force },
        MigrateCommand::Down(DownArgs { steps, force, .. }) => Change::DownBy { steps: steps.unwrap_or(1), force },
    };
    let before = schema.status().await?;
    let after = schema.change(change).await?;
    if session.output.format != Format::Table {
        return session.output.document(&document(&after)).map(|()| exit::OK);
    }
    let text = match (before.version, after.version) {
        (from, to) if from == to => format!("The schema is at version {to}; nothing was to be done"),
        (from, to) => format!("The schema was at version {from} and is at version {to}"),
    };
    session.output.line(&text)?;
    Ok(exit::OK)
}

fn status(session: &Session, state: &State) -> Result<u8, Failure> {
    if session.output.format == Format::Table {
        let mut table = Table::new(&["VERSION", "NAME", "APPLIED"]);
        for step in &state.steps {
            let applied = step.applied_at.map(|at| json!(at.to_rfc3339()));
            let applied = applied.map_or_else(|| "pending".to_owned(), |at| time_text(Some(&at)));
            table.row(&[&step.version.to_string(), &step.name, &applied]);
        }
        session.output.table(&table)?;
        let text = match state.word() {
            "pending" => "`compozy migrate up` applies what is missing",
            "newer" => "a newer compozy has migrated the database; update this one",
            _ => "the schema is current",
        };
        session.output.talk(text);
    } else {
        session.output.document(&document(state))?;
    }
    Ok(if state.word() == "current" { exit::OK } else { exit::CONFLICT })
}

fn document(state: &State) -> Value {
    let steps = state.steps.iter().map(|step| {
        json!({"version": step.version, "name": step.name, "applied_at": step.applied_at.map(|at| at.to_rfc3339())})
    });
    json!({
        "driver": state.driver,
        "location": state.location,
        "version": state.version,
        "newest": state.newest,
        "state": state.word(),
        "migrations": steps.collect::<Vec<_>>(),
    })
}
