//! `compozy config diagnostics`: what this folder's configuration comes to.

use serde_json::json;

use crate::cli::backend;
use crate::cli::compose;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Table};
use crate::cli::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy config diagnostics\n  compozy config diagnostics -o json\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project";

/// Order in which a value is looked for, as every key follows it.
const PRECEDENCE: &str = "flag > environment > project file > default";

/// Prints it.
///
/// # Errors
/// The diagnostics of an invalid project.
pub async fn run(session: &Session) -> Result<u8, Failure> {
    let read = compose::read(session, &super::config_file(session)?, false).await?;
    let Some(loaded) = read.loaded else { return Err(Failure::Diagnostics(Box::new(read.found))) };
    let server = match backend::discover(session, &loaded).await {
        Ok(Some(server)) => format!("{} ({})", server.url, server.instance_id),
        Ok(None) => "none".to_owned(),
        Err(failure) => failure.code().unwrap_or("unknown").to_owned(),
    };
    let project = &loaded.project;
    let written: Vec<_> = read.settings.iter().filter(|setting| setting.origin != "default").collect();
    let mode = serde_json::to_value(project.settings.mode).unwrap_or_default();
    if session.output.format != Format::Table {
        let origins: Vec<_> =
            written.iter().map(|setting| json!({"path": setting.path, "origin": setting.origin})).collect();
        session.output.document(&json!({
            "root": project.root,
            "files": read.files,
            "mode": mode,
            "server": server,
            "precedence": PRECEDENCE,
            "origins": origins,
        }))?;
        return Ok(exit::OK);
    }
    let output = &session.output;
    output.line(&format!("Root: {}", project.root.display()))?;
    for file in &read.files {
        output.line(&format!("File: {}", file.display()))?;
    }
    output.line(&format!("Mode: {}", mode.as_str().unwrap_or_default()))?;
    output.line(&format!("Server: {server}"))?;
    output.line(&format!("Precedence: {PRECEDENCE}"))?;
    let mut table = Table::new(&["KEY", "ORIGIN"]);
    for setting in written {
        table.row(&[&setting.path, &setting.origin]);
    }
    output.line("")?;
    output.table(&table)?;
    Ok(exit::OK)
}
