//! `compozy explain CODE`: what an error code means.

use clap::Args;
use serde_json::json;

use super::exit;
use super::failure::Failure;
use super::output::Format;
use super::session::Session;
use crate::api::code::{ALL, Code};

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
    let wanted = args.code.trim();
    let found = problem(&wanted.to_ascii_lowercase()).or_else(|| catalogue(&wanted.to_ascii_uppercase()));
    let Some(found) = found else { return Err(unknown(wanted)) };
    if session.output.format != Format::Table {
        return session.output.document(&json!({
            "code": found.code,
            "title": found.title,
            "cause": found.cause,
            "fix": found.fix,
            "exit_code": found.exit,
        }));
    }
    session.output.line(&format!("{}: {}", found.code, found.title))?;
    for (label, text) in [("Cause", &found.cause), ("Fix", &found.fix)] {
        if !text.is_empty() {
            session.output.line(&format!("{label}: {text}"))?;
        }
    }
    session.output.line(&format!("Exit code: {}", found.exit))
}

struct Explained {
    code: String,
    title: String,
    cause: String,
    fix: String,
    exit: u8,
}

/// A code of the API.
fn problem(word: &str) -> Option<Explained> {
    let code = Code::find(word)?;
    Some(Explained {
        code: code.word.to_owned(),
        title: code.title.to_owned(),
        cause: code.cause.to_owned(),
        fix: code.fix.to_owned(),
        exit: code.exit,
    })
}

/// A code of the error catalogue.
fn catalogue(word: &str) -> Option<Explained> {
    let code = compozy_lang::codes::find(word)?;
    Some(Explained {
        code: code.code.to_owned(),
        title: code.message.to_owned(),
        cause: String::new(),
        fix: code.action.to_owned(),
        exit: exit::of(code.code, None),
    })
}

fn unknown(wanted: &str) -> Failure {
    let failure = Failure::new("problem_not_found", format!("no error has the code '{wanted}'"));
    match compozy_lang::suggest::nearest(&wanted.to_ascii_lowercase(), ALL.iter().map(|code| code.word)) {
        Some(near) => failure.hint(format!("did you mean '{near}'?")),
        None => failure,
    }
}
