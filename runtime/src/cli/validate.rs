//! `compozy validate`: every problem of a project at once.

use std::path::{Path, PathBuf};

use clap::Args;
use compozy_lang::plan::{Project, Task, TaskKind, Typed};
use serde_json::{Map, Value, json};

use super::compose;
use super::exit;
use super::failure::{Diagnostics, Failure};
use super::output::{Format, Table, duration_text};
use super::report;
use super::session::{Session, absolute};
use super::usable::{self, Plugins};

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy validate\n  compozy validate examples/database/sqlite-quickstart --strict --explain\n\nExit codes:\n  0 valid, 2 unreadable file, 3 at least one error";

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Project files or folders; default: the project here
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Warnings about keys are errors
    #[arg(long)]
    pub strict: bool,
    /// Also show the resolved plan: tasks, retries, timeouts
    #[arg(long)]
    pub explain: bool,
}

/// Checks them all; nothing but files is read.
///
/// # Errors
/// The diagnostics.
pub async fn run(session: &Session, args: ValidateArgs) -> Result<u8, Failure> {
    let configs = match args.paths.as_slice() {
        [] => vec![here(session)?],
        paths => paths.iter().map(|path| config_of(path)).collect(),
    };
    let mut code = exit::OK;
    let mut documents = Vec::new();
    for config in configs {
        // Unknown keys are always errors here (dialect §1.3).
        let read = usable::check(compose::read(session, &config, true).await?, Plugins::Called).await;
        let mut found = read.found;
        found.all.extend(read.missing);
        found.all.sort_by(|one, other| one.place.cmp(&other.place));
        let project = read.loaded.map(|loaded| loaded.project);
        if session.output.format != Format::Table {
            documents.push(document(&args, &config, project.as_deref(), &found));
        }
        match project {
            Some(project) if session.output.format == Format::Table => valid(session, &args, &project, &found)?,
            Some(_) => {}
            None => {
                let failure = Failure::Diagnostics(Box::new(found));
                report::failure(&session.output, &failure);
                code = code.max(failure.exit());
            }
        }
    }
    // One document on stdout, whatever it says (cli-and-api §3.5).
    match (documents.pop(), documents.is_empty(), session.output.format) {
        (None, ..) => {}
        (Some(only), true, _) => session.output.document(&only)?,
        (Some(last), false, format) => {
            documents.push(last);
            match format {
                Format::Ndjson => documents.iter().try_for_each(|document| session.output.document(document))?,
                _ => session.output.document(&Value::Array(documents))?,
            }
        }
    }
    Ok(code)
}

fn here(session: &Session) -> Result<PathBuf, Failure> {
    session.config_file().ok_or_else(|| {
        let folder = std::env::current_dir().unwrap_or_default();
        Failure::new("CZ0101", format!("no compozy.yaml found in {}", folder.display()))
            .hint("change to the project folder, or name a project file")
    })
}

/// The project file that a path means.
fn config_of(path: &Path) -> PathBuf {
    let path = absolute(path);
    if !path.is_dir() {
        return path;
    }
    let names = ["compozy.yaml", "compozy.yml"].map(|name| path.join(name));
    names.iter().find(|path| path.symlink_metadata().is_ok()).unwrap_or(&names[0]).clone()
}

/// What was found, as data: the same members for a project that is valid and, as far as they are known, for one that is
/// not.
fn document(args: &ValidateArgs, config: &Path, project: Option<&Project>, found: &Diagnostics) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    put("valid", project.is_some().into());
    if let Some(project) = project {
        put("project", project.name.as_str().into());
    }
    put("file", json!(config));
    if let Some(project) = project {
        put("workflows", project.workflows.keys().map(String::as_str).collect());
        put("definitions_digest", project.digest.as_str().into());
    }
    put("diagnostics", json!(found.all));
    if found.omitted > 0 {
        put("omitted", found.omitted.into());
    }
    if let (true, Some(project)) = (args.explain, project) {
        put("plan", plan(project));
    }
    Value::Object(members)
}

fn valid(session: &Session, args: &ValidateArgs, project: &Project, found: &Diagnostics) -> Result<(), Failure> {
    let output = &session.output;
    if !found.all.is_empty() {
        output.talk(&report::diagnostics_text(found, output.color_err));
    }
    output.line(&format!("Project '{}' is valid: {} workflows", project.name, project.workflows.len()))?;
    if args.explain {
        output.table(&plan_table(project))?;
    }
    Ok(())
}

fn plan(project: &Project) -> Value {
    project
        .workflows
        .values()
        .map(|workflow| json!({"id": workflow.id, "tasks": workflow.tasks.iter().map(task).collect::<Vec<_>>()}))
        .collect()
}

fn task(task: &Task) -> Value {
    json!({
        "id": task.id,
        "type": kind(task),
        "timeout_ms": timeout(task),
        "max_attempts": task.retry.maximum_attempts,
        "file": &*task.place.file,
        "line": task.place.line,
    })
}

fn plan_table(project: &Project) -> Table {
    let mut table = Table::new(&["WORKFLOW", "TASK", "TYPE", "ATTEMPTS", "TIMEOUT", "PLACE"]);
    for workflow in project.workflows.values() {
        for task in &workflow.tasks {
            let limit = timeout(task).map_or_else(|| "-".to_owned(), duration_text);
            let attempts = task.retry.maximum_attempts.to_string();
            table.row(&[&workflow.id, &task.id, kind(task), &attempts, &limit, &task.place.to_string()]);
        }
    }
    table
}

fn kind(task: &Task) -> &'static str {
    match task.kind {
        TaskKind::Prompt(_) => "prompt",
        TaskKind::Tool(_) => "tool",
        _ => task.kind_word(),
    }
}

/// Milliseconds, where they are fixed.
fn timeout(task: &Task) -> Option<u64> {
    match &task.timeout {
        Some(Typed::Fixed(timeout)) => u64::try_from(timeout.as_millis()).ok(),
        Some(Typed::Template(_)) | None => None,
    }
}
