//! `compozy plugin pull`: fetches the components that the project names in registries, and pins them in compozy.lock.

use std::collections::BTreeSet;

use clap::Args;
use compozy_lang::plan::Plugin;
use serde_json::json;

use super::size;
use crate::cli::compose;
use crate::cli::config::config_file;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Table};
use crate::cli::report;
use crate::cli::session::Session;
use crate::plugin::registry::Error;
use crate::plugin::registry::pull::{self, Mode, Pulled};

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy plugin pull\n  compozy plugin pull --update shop\n  compozy plugin pull --locked   # in CI: fails where compozy.lock would change\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project, component or digest, 4 not found, 5 not allowed, 6 the lock would change, 7 unavailable";

/// Arguments of `plugin pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Only these plugins
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Ask for tags anew, and pin what they mean now
    #[arg(long, conflicts_with = "locked")]
    pub update: bool,
    /// Fail where compozy.lock would change
    #[arg(long)]
    pub locked: bool,
}

/// Pulls.
pub(super) async fn run(session: &Session, args: PullArgs) -> Result<u8, Failure> {
    let read = compose::read(session, &config_file(session)?, false).await?;
    let Some(loaded) = read.loaded else { return Err(Failure::Diagnostics(Box::new(read.found))) };
    report::warnings(&session.output, &read.found);
    let project = &loaded.project;
    let all: Vec<&Plugin> = project.plugins.iter().filter(|entry| pull::is_remote(entry)).collect();
    let wanted = wanted(&project.plugins, &all, &args.ids)?;
    let mode = match (args.update, args.locked) {
        (true, _) => Mode::Update,
        (_, true) => Mode::Locked,
        _ => Mode::Add,
    };
    let pulled = pull::pull(&project.root, &all, &wanted, mode).await;
    print(session, &pulled.map_err(|(id, error)| failure(id.as_deref(), &error))?).map(|()| exit::OK)
}

fn wanted<'a>(entries: &[Plugin], all: &[&'a Plugin], ids: &[String]) -> Result<Vec<&'a Plugin>, Failure> {
    let ids: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    for id in &ids {
        if !entries.iter().any(|entry| entry.id == *id) {
            return Err(Failure::new("CZ0205", format!("plugin '{id}' not found in this project")));
        }
        if !all.iter().any(|entry| entry.id == *id) {
            return Err(Failure::usage(format!("plugin '{id}' does not come from a registry")));
        }
    }
    Ok(all.iter().copied().filter(|entry| ids.is_empty() || ids.contains(entry.id.as_str())).collect())
}

fn failure(id: Option<&str>, error: &Error) -> Failure {
    let message = match id {
        Some(id) => format!("plugin '{id}': {error}"),
        None => error.to_string(),
    };
    let failure = Failure::new(error.code(), message);
    match error.help() {
        Some(help) => failure.hint(help),
        None => failure,
    }
}

fn print(session: &Session, pulled: &[Pulled]) -> Result<(), Failure> {
    let output = &session.output;
    if output.format != Format::Table {
        let plugins: Vec<_> = pulled
            .iter()
            .map(|one| {
                json!({
                    "id": one.id, "source": one.pinned.source, "manifest": one.pinned.manifest,
                    "component": one.pinned.component, "size": one.pinned.size,
                    "fetched": one.is_fetched, "changed": one.is_changed,
                })
            })
            .collect();
        return output.list("plugins", &json!({"plugins": plugins}));
    }
    if pulled.is_empty() {
        output.talk("No plugin of this project comes from a registry.");
        return Ok(());
    }
    let mut table = Table::new(&["ID", "MANIFEST", "SIZE", "COMPONENT", "LOCK"]);
    for one in pulled {
        let manifest = one.pinned.manifest.get(..19).unwrap_or(&one.pinned.manifest);
        let fetched = if one.is_fetched { "fetched" } else { "present" };
        let changed = if one.is_changed { "written" } else { "as it was" };
        table.row(&[&one.id, manifest, &size(one.pinned.size), fetched, changed]);
    }
    output.table(&table)
}
