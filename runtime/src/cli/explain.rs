//! `compozy explain CODE`: what an error code means.

use clap::Args;
use compozy_lang::codes;
use serde_json::json;

use super::failure::Failure;
use super::output::Format;
use super::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy explain CZ0108\n  compozy explain input_invalid -o json\n\nExit codes:\n  0 ok, 2 usage, 4 no such code";

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A code such as CZ0108 or input_invalid
    #[arg(value_name = "CODE")]
    pub code: String,
}

/// Prints it.
///
/// # Errors
/// `problem_not_found`.
pub fn run(session: &Session, args: &ExplainArgs) -> Result<(), Failure> {
    let Some(found) = codes::find(args.code.trim()) else { return Err(unknown(args.code.trim())) };
    if session.output.format == Format::Table {
        return session.output.line(codes::explain(found.code).unwrap_or_default().trim_end());
    }
    session.output.document(&json!({
        "code": found.code,
        "title": found.title,
        "cause": found.cause,
        "help": found.help,
        "status": found.http,
        "exit_code": found.exit,
    }))
}

fn unknown(wanted: &str) -> Failure {
    let failure = Failure::new("problem_not_found", format!("no error has the code '{wanted}'"));
    let words = codes::PROBLEMS.iter().map(|code| code.code);
    match compozy_lang::suggest::nearest(&wanted.to_ascii_lowercase(), words) {
        Some(near) => failure.hint(format!("did you mean '{near}'?")),
        None => failure,
    }
}
