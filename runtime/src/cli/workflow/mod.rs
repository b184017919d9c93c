//! `compozy workflow …`.

pub mod executions;
pub mod get;
pub mod input;
pub mod list;
pub mod progress;
pub mod result;
pub mod run;
pub mod wait;

use clap::Subcommand;

use super::failure::Failure;
use super::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy workflow list\n  compozy workflow run hello-world --param name=Ada\n\nExit codes:\n  0 ok, 1 run failed, 2 usage, 3 validation, 4 not found, 6 conflict, 7 unavailable, 124 timeout, 130 interrupted";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum WorkflowCommand {
    /// List workflows with their latest run
    #[command(after_help = list::HELP)]
    List(list::ListArgs),
    /// Show one workflow
    #[command(after_help = get::HELP)]
    Get(get::GetArgs),
    /// Run a workflow and wait for its result
    #[command(alias = "execute", after_help = run::HELP)]
    Run(run::RunArgs),
    /// List the runs of a workflow
    #[command(after_help = executions::HELP)]
    Executions(executions::ExecutionsArgs),
}

/// Carries one out.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, command: WorkflowCommand) -> Result<u8, Failure> {
    match command {
        WorkflowCommand::List(args) => list::run(session, args).await,
        WorkflowCommand::Get(args) => get::run(session, args).await,
        WorkflowCommand::Run(args) => Box::pin(run::run(session, args)).await,
        WorkflowCommand::Executions(args) => executions::run(session, args).await,
    }
}
