//! `compozy execution watch`: the live stream of a run until it ends.

use clap::Args;

use crate::cli::backend::{Backend, Need};
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::cli::signals::Signals;
use crate::cli::workflow::wait::{self, Ended, Waiting};

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy execution watch @last\n  compozy execution watch 01JABC --events --from 10\n\nExit codes:\n  0 the run succeeded, 1 it failed, 2 usage, 4 not found, 7 unavailable, 130 interrupted";

/// Arguments of `execution watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Id, unique prefix of at least 6 characters, or @last
    #[arg(value_name = "ID")]
    pub id: String,
    /// Print every event as a JSON line
    #[arg(long)]
    pub events: bool,
    /// Begin after this event
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub from: i64,
}

/// Follows the run.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, args: WatchArgs) -> Result<u8, Failure> {
    let mut backend = Backend::choose(session, Need::History).await?;
    let ended = follow(session, &mut backend, &args).await;
    backend.close().await;
    ended
}

async fn follow(session: &Session, backend: &mut Backend, args: &WatchArgs) -> Result<u8, Failure> {
    let exec_id = backend.resolve(&args.id).await?;
    let waiting = Waiting { exec_id: &exec_id, after: args.from.max(0), timeout: None, print_events: args.events };
    match wait::until_end(session, backend, &waiting, &mut Signals::new()?).await? {
        Ended::Run => wait::print(session, backend, &exec_id).await,
        Ended::Timeout | Ended::Interrupt(_) => {
            session.output.talk(&format!("Execution {exec_id} goes on."));
            Ok(crate::cli::exit::INTERRUPTED)
        }
    }
}
