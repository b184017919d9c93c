//! `compozy execution …`.

pub mod cancel;
pub mod fork;
pub mod get;
pub mod list;
pub mod pause;
pub mod watch;

use clap::Subcommand;

use super::failure::Failure;
use super::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy execution list --status failed\n  compozy execution get @last --tasks\n\nExit codes:\n  0 ok, 1 run failed, 2 usage, 4 not found, 6 conflict, 7 unavailable";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum ExecutionCommand {
    /// List runs, newest first
    #[command(after_help = list::HELP)]
    List(list::ListArgs),
    /// Show one run
    #[command(after_help = get::HELP)]
    Get(get::GetArgs),
    /// Follow a run until it ends
    #[command(after_help = watch::HELP)]
    Watch(watch::WatchArgs),
    /// Cancel runs
    #[command(after_help = cancel::HELP)]
    Cancel(cancel::CancelArgs),
    /// Let a run start nothing new until it is resumed
    #[command(after_help = pause::PAUSE)]
    Pause(pause::PauseArgs),
    /// Let a paused run go on
    #[command(after_help = pause::RESUME)]
    Resume(pause::PauseArgs),
    /// Run again what failed, from the failure on
    #[command(after_help = fork::RETRY)]
    Retry(fork::RetryArgs),
    /// Run again from before a task
    #[command(after_help = fork::FORK)]
    Fork(fork::ForkArgs),
}

/// Carries one out.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, command: ExecutionCommand) -> Result<u8, Failure> {
    match command {
        ExecutionCommand::List(args) => list::run(session, args).await,
        ExecutionCommand::Get(args) => get::run(session, args).await,
        ExecutionCommand::Watch(args) => watch::run(session, args).await,
        ExecutionCommand::Cancel(args) => cancel::run(session, args).await,
        ExecutionCommand::Pause(args) => pause::pause(session, args).await,
        ExecutionCommand::Resume(args) => Box::pin(pause::resume(session, args)).await,
        ExecutionCommand::Retry(args) => Box::pin(fork::retry(session, args)).await,
        ExecutionCommand::Fork(args) => Box::pin(fork::fork(session, args)).await,
    }
}
