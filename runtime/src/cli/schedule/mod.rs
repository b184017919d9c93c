//! `compozy schedule …`.

mod ask;
mod get;
mod list;
mod set;
mod trigger;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy schedule list\n  compozy schedule set report --cron '0 7 * * MON-FRI' --timezone Europe/Lisbon\n\nExit codes:\n  0 ok, 2 usage, 3 validation, 4 not found, 5 not allowed, 7 unavailable";
const LIST: &str = "Examples:\n  compozy schedule list\n  compozy schedule list --workflow report -o json\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project, 5 not allowed, 7 unavailable";
const GET: &str = "Examples:\n  compozy schedule get report\n  compozy schedule get report/2 -o json\n\nExit codes:\n  0 ok, 2 usage, 4 not found, 5 not allowed, 7 unavailable";
const ENABLE: &str = "Examples:\n  compozy schedule enable report\n  compozy schedule enable report/2 -o json\n\nIt stays so after a restart, until it is reset.\n\nExit codes:\n  0 ok, 2 usage, 4 not found, 5 not allowed, 7 unavailable";
const DISABLE: &str = "Examples:\n  compozy schedule disable report\n  compozy schedule disable report/2 -o json\n\nIt stays so after a restart, until it is reset.\n\nExit codes:\n  0 ok, 2 usage, 4 not found, 5 not allowed, 7 unavailable";
const SET: &str = "Examples:\n  compozy schedule set report --cron '@every 90s'\n  compozy schedule set report --cron '0 7 * * MON-FRI' --timezone Europe/Lisbon\n\nIt stays so after a restart, until it is reset.\n\nExit codes:\n  0 ok, 2 usage, 3 no such time, 4 not found, 5 not allowed, 7 unavailable";
const RESET: &str = "Examples:\n  compozy schedule reset report\n  compozy schedule reset report/2 -o json\n\nThe schedule is what the project's files say again.\n\nExit codes:\n  0 ok, 2 usage, 4 not found, 5 not allowed, 7 unavailable";
const TRIGGER: &str = "Examples:\n  compozy schedule trigger report\n  compozy schedule trigger report/2 -o json\n\nThe run starts now, whatever the times and the overlap policy of the schedule say.\n\nExit codes:\n  0 ok, 2 usage, 3 invalid input, 4 not found, 5 not allowed, 7 unavailable";
const NEXT: &str = "Examples:\n  compozy schedule next report\n  compozy schedule next report/2 -n 10\n\nExit codes:\n  0 ok, 2 usage, 4 not found, 5 not allowed, 7 unavailable";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// List schedules
    #[command(after_help = LIST)]
    List(list::ListArgs),
    /// Show one schedule
    #[command(after_help = GET)]
    Get(IdArgs),
    /// Let a schedule fire
    #[command(after_help = ENABLE)]
    Enable(IdArgs),
    /// Keep a schedule from firing
    #[command(after_help = DISABLE)]
    Disable(IdArgs),
    /// Give a schedule other times
    #[command(after_help = SET)]
    Set(set::SetArgs),
    /// Take back what was set
    #[command(after_help = RESET)]
    Reset(IdArgs),
    /// Start the run of a schedule now
    #[command(after_help = TRIGGER)]
    Trigger(IdArgs),
    /// Show when a schedule fires next
    #[command(after_help = NEXT)]
    Next(get::NextArgs),
}

/// Which schedule.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// Its workflow, or <workflow>/<number> where the workflow has several
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Carries one out.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, command: ScheduleCommand) -> Result<u8, Failure> {
    match command {
        ScheduleCommand::List(args) => list::run(session, args).await,
        ScheduleCommand::Get(args) => get::run(session, args).await,
        ScheduleCommand::Enable(args) => set::switch(session, args, true).await,
        ScheduleCommand::Disable(args) => set::switch(session, args, false).await,
        ScheduleCommand::Set(args) => set::set(session, args).await,
        ScheduleCommand::Reset(args) => set::reset(session, args).await,
        ScheduleCommand::Trigger(args) => trigger::run(session, args).await,
        ScheduleCommand::Next(args) => get::next(session, args).await,
    }
}
