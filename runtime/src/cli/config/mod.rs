//! `compozy config …`.

pub mod check;
pub mod diagnostics;
pub mod show;

use clap::Subcommand;

use super::failure::Failure;
use super::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy config show --origin\n  compozy config validate\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting; secrets as ***
    #[command(after_help = show::HELP)]
    Show(show::ShowArgs),
    /// Report every error of the project file
    #[command(after_help = check::HELP)]
    Validate,
    /// Print root, files, mode, origins and the server that would be used
    #[command(after_help = diagnostics::HELP)]
    Diagnostics,
}

/// Carries one out.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, command: ConfigCommand) -> Result<u8, Failure> {
    match command {
        ConfigCommand::Show(args) => show::run(session, args).await,
        ConfigCommand::Validate => check::run(session).await,
        ConfigCommand::Diagnostics => diagnostics::run(session).await,
    }
}

/// The project file of this command.
///
/// # Errors
/// There is none.
pub(super) fn config_file(session: &Session) -> Result<std::path::PathBuf, Failure> {
    session.config_file().ok_or_else(|| {
        let folder = std::env::current_dir().unwrap_or_default();
        Failure::new("CZ0101", format!("no compozy.yaml found in {}", folder.display()))
            .hint("change to the project folder, or use --config FILE")
    })
}
