//! `compozy schema`: JSON Schemas of the project files.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::failure::Failure;
use super::output::Format;
use super::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy schema workflow > workflow.schema.json\n  compozy schema --out schemas\n\nExit codes:\n  0 ok, 2 usage, 4 no such kind";

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// project, workflow, …; without it the kinds are listed
    #[arg(value_name = "KIND")]
    pub kind: Option<String>,
    /// Write one file per kind into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Prints or writes them.
///
/// # Errors
/// `schema_not_found`, or the folder cannot be written.
pub fn run(session: &Session, args: &SchemaArgs) -> Result<(), Failure> {
    let kinds = match &args.kind {
        Some(kind) => vec![kind.as_str()],
        None => kinds(),
    };
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        for kind in kinds {
            let path = folder.join(format!("{kind}.json"));
            let text = format!("{}\n", text_of(kind)?);
            std::fs::write(&path, text).map_err(|error| unwritable(&path, &error))?;
            session.output.line(&path.display().to_string())?;
        }
        return Ok(());
    }
    match &args.kind {
        Some(kind) if session.output.format == Format::Table => session.output.line(&text_of(kind)?),
        Some(kind) => session.output.document(&schema_of(kind)?),
        None => kinds.iter().try_for_each(|kind| session.output.line(kind)),
    }
}

fn kinds() -> Vec<&'static str> {
    compozy_lang::schema::json::KINDS.to_vec()
}

fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}

fn text_of(kind: &str) -> Result<String, Failure> {
    serde_json::to_string_pretty(&schema_of(kind)?).map_err(|error| Failure::internal(&error.to_string()))
}

fn schema_of(kind: &str) -> Result<Value, Failure> {
    compozy_lang::schema::json::json_schema(kind).ok_or_else(|| {
        let kinds = kinds().join(", ");
        Failure::new("schema_not_found", format!("no schema is called '{kind}'")).hint(format!("one of {kinds}"))
    })
}
