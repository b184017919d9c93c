//! `compozy config validate`: the errors themselves, however many.

use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::cli::validate::{self, ValidateArgs};

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy config validate\n  compozy config validate --config compozy-postgres.yaml -o json\n\nExit codes:\n  0 valid, 2 unreadable file, 3 at least one error";

/// Checks the project here.
///
/// # Errors
/// As `validate`.
pub async fn run(session: &Session) -> Result<u8, Failure> {
    validate::run(session, ValidateArgs { paths: Vec::new(), strict: false, explain: false }).await
}
