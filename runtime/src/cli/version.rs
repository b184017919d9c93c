//! `compozy version`.

use serde_json::json;

use super::failure::Failure;
use super::output::Format;
use super::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy version\n  compozy version -o json\n\nExit codes:\n  0 always";

/// Commit of the build, `unknown` outside a repository.
pub const COMMIT: &str = match option_env!("COMPOZY_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// Day of the build, UTC.
pub const BUILD_DATE: &str = match option_env!("COMPOZY_BUILD_DATE") {
    Some(date) => date,
    None => "unknown",
};
/// Target triple of the build.
pub const TARGET: &str = match option_env!("COMPOZY_BUILD_TARGET") {
    Some(target) => target,
    None => std::env::consts::ARCH,
};

/// Prints it.
pub fn run(session: &Session) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if session.output.format == Format::Table {
        session.output.line(&format!("compozy {version}"))?;
        session.output.line(&format!("commit: {COMMIT}"))?;
        session.output.line(&format!("built: {BUILD_DATE}"))?;
        return session.output.line(&format!("target: {TARGET}"));
    }
    session.output.document(&json!({"version": version, "commit": COMMIT, "build_date": BUILD_DATE, "target": TARGET}))
}
