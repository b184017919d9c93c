//! `compozy plugin list`.

use std::sync::Arc;

use clap::Args;
use compozy_lang::plan::{Plugin, PluginKind, Project};
use serde_json::{Value, json};

use super::{described, located, size};
use crate::authoring::inspect;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Table};
use crate::cli::session::Session;
use crate::cli::{compose, exit};
use crate::plugin::component::word;
use crate::plugin::{Host, Source, bundled, entry};

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy plugin list\n  compozy plugin list --builtin -o json\n\nExit codes:\n  0 listed, whatever state they are in, 2 usage, 3 the project is not valid";

/// Arguments of `plugin list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only the plugins inside this program; needs no project
    #[arg(long)]
    pub builtin: bool,
}

/// What is known of one plugin.
#[derive(Default)]
struct Known {
    kind: Option<PluginKind>,
    digest: Option<String>,
    size_bytes: Option<u64>,
    functions: Vec<String>,
    /// Code and message of why it cannot be used.
    problem: Option<(String, String)>,
}

/// Lists them: those of the project, then those inside this program.
pub(super) async fn run(session: &Session, args: ListArgs) -> Result<u8, Failure> {
    let config = session.config_file().filter(|_| !args.builtin);
    let mut rows = Vec::new();
    if let Some(config) = config {
        let read = compose::read(session, &config, false).await?;
        let Some(loaded) = read.loaded else { return Err(Failure::Diagnostics(Box::new(read.found))) };
        for plugin in &loaded.project.plugins {
            let known = look(&loaded.host, &loaded.project, plugin).await;
            rows.push((plugin.id.clone(), plugin.source.clone(), "project", known));
        }
    }
    for name in bundled::names() {
        rows.push((name.to_owned(), format!("builtin:{name}"), "builtin", inside(name)));
    }
    let documents: Vec<Value> =
        rows.iter().map(|(id, source, origin, known)| document(id, source, origin, known)).collect();
    let output = &session.output;
    if output.format != Format::Table {
        return output.list("plugins", &json!({"plugins": documents})).map(|()| exit::OK);
    }
    let mut table = Table::new(&["ID", "SOURCE", "KIND", "DIGEST", "SIZE", "FUNCTIONS", "STATE"]);
    for (id, source, _, known) in &rows {
        let digest = known.digest.as_deref().and_then(|digest| digest.get(..12)).unwrap_or("-");
        let size = known.size_bytes.map_or_else(|| "-".to_owned(), size);
        let functions = if known.functions.is_empty() { "-".to_owned() } else { known.functions.join(", ") };
        let state =
            known.problem.as_ref().map_or_else(|| "ok".to_owned(), |(code, message)| format!("{code}: {message}"));
        table.row(&[id, source, known.kind.map_or("-", word), digest, &size, &functions, &state]);
    }
    output.table(&table).map(|()| exit::OK)
}

/// A plugin of the project.
async fn look(host: &Arc<Host>, project: &Project, plugin: &Plugin) -> Known {
    if plugin.source.starts_with("builtin:") {
        let name = plugin.source.trim_start_matches("builtin:");
        return Known { kind: Some(plugin.kind), ..inside(name) };
    }
    let mut known = Known { kind: Some(plugin.kind), ..Known::default() };
    let file = project.root.join(&plugin.source);
    if let Ok(bytes) = crate::authoring::build::read(&file) {
        known.size_bytes = Some(bytes.len() as u64);
        known.digest = Some(crate::plugin::hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes)));
    }
    let checked = entry::check(&project.root, plugin).and_then(|()| entry::source(&project.root, plugin));
    match checked {
        Ok(source) => load(host, source, plugin.kind, &mut known).await,
        Err(error) => known.problem = Some((error.code().to_owned(), error.to_string())),
    }
    known
}

/// A plugin inside this program. It is not compiled for a list.
fn inside(name: &str) -> Known {
    let Some(bundled) = bundled::find(name) else {
        let message = format!("no plugin '{name}' is built in");
        return Known { problem: Some(("CZ0701".to_owned(), message)), ..Known::default() };
    };
    let found = located(&format!("builtin:{name}")).and_then(|bytes| Ok(inspect::findings(&bytes)?));
    let (kind, problem) = match found {
        Ok(findings) => (findings.kinds.first().copied(), None),
        Err(failure) => (None, Some(told(&failure))),
    };
    Known {
        kind,
        digest: Some(bundled.digest.to_owned()),
        size_bytes: Some(bundled.bytes as u64),
        functions: Vec::new(),
        problem,
    }
}

/// Tools are asked for their functions; plugins of the other kinds have those of their interface.
async fn load(host: &Arc<Host>, source: Source, kind: PluginKind, known: &mut Known) {
    match described(host, source, kind).await {
        Ok(Some(description)) => {
            known.functions = description.functions.into_iter().map(|function| function.name).collect();
        }
        Ok(None) => {}
        Err(failure) => known.problem = Some(told(&failure)),
    }
}

fn told(failure: &Failure) -> (String, String) {
    match failure {
        Failure::Problem(problem) => (problem.code.clone(), problem.message.clone()),
        Failure::Quiet(_) | Failure::Diagnostics(_) => ("internal".to_owned(), "it cannot be used".to_owned()),
    }
}

fn document(id: &str, source: &str, origin: &str, known: &Known) -> Value {
    json!({
        "id": id, "source": source, "origin": origin, "kind": known.kind.map(word),
        "digest": known.digest.as_ref().map(|digest| format!("sha256:{digest}")),
        "size_bytes": known.size_bytes, "functions": known.functions,
        "state": if known.problem.is_none() { "ok" } else { "unusable" },
        "problem": known.problem.as_ref().map(|(code, message)| json!({"code": code, "message": message})),
    })
}
