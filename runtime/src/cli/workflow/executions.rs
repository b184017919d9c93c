//! `compozy workflow executions`: the runs of one workflow.

use clap::Args;

use crate::cli::execution::list::{self, FilterArgs};
use crate::cli::failure::Failure;
use crate::cli::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy workflow executions hello-world\n  compozy workflow executions hello-world --status failed --limit 10\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project, 5 not allowed, 7 unavailable";

/// Arguments of `workflow executions`.
#[derive(Debug, Args)]
pub struct ExecutionsArgs {
    /// Id of the workflow
    #[arg(value_name = "ID")]
    pub id: String,
    /// Which runs.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Prints the list.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, args: ExecutionsArgs) -> Result<u8, Failure> {
    list::print(session, Some(args.id), args.filter).await
}
