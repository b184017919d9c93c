//! What a sound project names and this process could not use: drivers it does not have, databases and plugins whose
//! files are none.

use std::collections::BTreeSet;
use std::sync::Arc;

use compozy_lang::codes;
use compozy_lang::diagnostic::{Diagnostic, Severity};
use compozy_lang::load::Setting;
use compozy_lang::plan::{Plugin, PluginKind, Project, Task, TaskKind, Trigger, Webhook};
use compozy_lang::settings::{Database, Driver};
use compozy_lang::source::Place;

use super::compose::{self, Loaded, Read};
use super::failure::{Diagnostics, Failure};
use crate::plugin::{self, Grants};

/// What the plugins of a project are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugins {
    /// Nothing: runs are only looked at.
    Unused,
    /// They may be called, so their files must hold what their entries promise.
    Called,
    /// The same, by a server: what takes seconds to find out is [found out later](scripts).
    Served,
}

/// Adds the findings to what reading the project gave; with an error among them there is no project to work with.
pub async fn check(mut read: Read, plugins: Plugins) -> Read {
    let Some(loaded) = &read.loaded else { return read };
    let mut found = databases(&loaded.project, &read.settings);
    match plugins {
        Plugins::Unused => {}
        Plugins::Served if !plugin::script::is_ready(&loaded.host) => {
            found.extend(broken_plugins(Arc::clone(&loaded.project)).await);
        }
        Plugins::Served | Plugins::Called => found.extend(broken(loaded).await),
    }
    if found.is_empty() {
        return read;
    }
    if found.iter().any(|problem| problem.severity == Severity::Error) {
        read.loaded = None;
    }
    read.found.all.extend(found);
    read.found.all.sort_by(|one, other| one.place.cmp(&other.place));
    read
}

/// What a server needs at once and other commands do not: the variables of webhooks, that their secrets are some, and
/// with `schedules` the variables of those.
pub fn served(loaded: &Loaded, schedules: bool) -> Vec<Diagnostic> {
    let project = &loaded.project;
    let mut found = project.settings.require("triggers").err().unwrap_or_default();
    if schedules {
        found.extend(project.settings.require("schedule").err().unwrap_or_default());
    }
    let triggers = project.workflows.values().flat_map(|workflow| &workflow.triggers);
    found.extend(triggers.filter_map(|trigger| match trigger {
        Trigger::Webhook(webhook) => unsigned(loaded, webhook),
        Trigger::Signal { .. } => None,
    }));
    found
}

/// A webhook whose secret is missing, or is empty, which everybody could sign with.
fn unsigned(loaded: &Loaded, webhook: &Webhook) -> Option<Diagnostic> {
    let verify = webhook.verify.as_ref()?;
    match verify.secret.resolve(&loaded.environment) {
        Err(missing) => Some(missing.diagnostic("webhook.verify.secret")),
        Ok(secret) if secret.text.is_empty() => {
            let message = format!("webhook '{}': its 'verify.secret' is empty", webhook.slug);
            Some(Diagnostic::error("CZ0904", message, verify.secret.place.clone()).help("complete it"))
        }
        Ok(_) => None,
    }
}

/// Whether a project that was read for looking only may also be run.
///
/// # Errors
/// The plugins that cannot be used (exit 3).
pub async fn require_plugins(loaded: &Loaded) -> Result<(), Failure> {
    let found = Diagnostics { all: broken(loaded).await, omitted: 0, root: loaded.project.root.clone() };
    if found.all.is_empty() { Ok(()) } else { Err(Failure::Diagnostics(Box::new(found))) }
}

/// Plugins and scripts that cannot be used.
async fn broken(loaded: &Loaded) -> Vec<Diagnostic> {
    let mut found = broken_plugins(Arc::clone(&loaded.project)).await;
    found.extend(broken_permissions(loaded));
    found.extend(scripts(loaded).await);
    found
}

/// Lets the JavaScript engine read every script, each once. None of it is run.
pub async fn scripts(loaded: &Loaded) -> Vec<Diagnostic> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for tool in loaded.project.workflows.values().flat_map(|workflow| workflow.tools.values()) {
        let Some(script) = &tool.script else { continue };
        if seen.insert(script.main.as_str())
            && let Err(error) = plugin::script::check(&loaded.host, tool, script).await
        {
            found.push(script_problem(&script.main, &error));
        }
    }
    found
}

/// The engine's message ends with the place in brackets, where it knows one.
fn script_problem(main: &str, error: &plugin::CallError) -> Diagnostic {
    let place = error.message.strip_suffix(')').and_then(|message| message.rsplit_once(" ("));
    let place = place.and_then(|(message, place)| {
        let (rest, column) = place.rsplit_once(':')?;
        let (file, line) = rest.rsplit_once(':')?;
        Some((message, Place { file: file.into(), line: line.parse().ok()?, column: column.parse().ok()? }))
    });
    let whole = || Place { file: main.into(), line: 0, column: 0 };
    let (message, place) = place.unwrap_or_else(|| (error.message.as_str(), whole()));
    let code = codes::find(&error.code).map_or("CZ0706", |known| known.code);
    Diagnostic::error(code, message, place).help("fix the script")
}

/// Hosts that are none, and folders that are not the project's.
fn broken_permissions(loaded: &Loaded) -> Vec<Diagnostic> {
    let project = &loaded.project;
    let plugins = project.plugins.iter().map(|plugin| (&plugin.permissions, plugin.place.clone()));
    let scripts = project.workflows.values().flat_map(|workflow| workflow.tools.values());
    let scripts = scripts.filter_map(|tool| {
        let script = tool.script.as_ref()?;
        Some((&script.permissions, Place { file: script.main.as_str().into(), ..Place::default() }))
    });
    let mut found: Vec<Diagnostic> = Vec::new();
    for (permissions, place) in plugins.chain(scripts) {
        let Err(error) = Grants::new(permissions, &project.root, Arc::new(loaded.environment.clone())) else {
            continue;
        };
        let code = codes::find(error.code()).map_or("CZ0110", |known| known.code);
        let problem = Diagnostic::error(code, error.to_string(), place).help("fix its permissions");
        // A tool of the project stands in the plan of each workflow that uses it.
        if found.iter().all(|known| known.place != problem.place || known.message != problem.message) {
            found.push(problem);
        }
    }
    found
}

/// Reads every plugin file, beside the async threads.
async fn broken_plugins(project: Arc<Project>) -> Vec<Diagnostic> {
    let reading = tokio::task::spawn_blocking(move || {
        let entries = project.plugins.iter().cloned().chain(builtin_models(&project)).chain(builtin_tools(&project));
        entries.filter_map(|plugin| entry(&project, &plugin)).collect()
    });
    reading.await.unwrap_or_default()
}

/// The bundled plugins that providers name without an entry in `plugins`.
pub fn builtin_models(project: &Project) -> impl Iterator<Item = Plugin> {
    let named = project.providers.iter().filter_map(|provider| Some((provider.plugin.as_deref()?, &provider.place)));
    let named = named.filter(|(source, _)| source.starts_with("builtin:"));
    named.map(|(source, place)| Plugin::builtin(source, PluginKind::Llm, place.clone()))
}

/// The bundled plugins that tools name without an entry in `plugins`, where a task first uses them.
fn builtin_tools(project: &Project) -> impl Iterator<Item = Plugin> {
    fn first_use(tasks: &[Task], tool: &str) -> Option<Place> {
        tasks.iter().find_map(|task| match &task.kind {
            TaskKind::Tool(call) if call.tool == tool => Some(task.place.clone()),
            _ => first_use(task.children(), tool),
        })
    }
    project.workflows.values().flat_map(|workflow| {
        let named = workflow.tools.values().filter(|tool| tool.plugin.starts_with("builtin:"));
        named.map(|tool| {
            let file = Place { file: workflow.file.as_str().into(), ..Place::default() };
            let place = first_use(&workflow.tasks, &tool.id).unwrap_or(file);
            Plugin::builtin(&tool.plugin, PluginKind::Tool, place)
        })
    })
}

/// Databases that no command could open.
fn databases(project: &Project, settings: &[Setting]) -> Vec<Diagnostic> {
    let place_of =
        |path: &str| settings.iter().find(|setting| setting.path == path).and_then(|found| found.place.clone());
    let mut found = Vec::new();
    if let Some(reason) = no_file(project, &project.settings.database) {
        let place = place_of("database.path").unwrap_or_else(|| whole(project));
        found.push(bad_path("database.path", &reason, place));
    }
    for named in &project.databases {
        let path = format!("databases.{}", named.id);
        if named.database.driver == Driver::Postgres {
            found.push(no_driver(named.place.clone()).path(path));
        } else if let Some(reason) = no_file(project, &named.database) {
            found.push(bad_path(&path, &reason, named.place.clone()));
        }
    }
    found
}

fn no_driver(place: Place) -> Diagnostic {
    let message = "database driver 'postgres' is not supported for databases that are lent to plugins";
    Diagnostic::error("CZ0801", message, place).help("use driver: sqlite, or leave the entry out")
}

/// Why the path of a database can be no file of SQLite, judged before anything opens it: to open a pipe may block.
fn no_file(project: &Project, database: &Database) -> Option<String> {
    if database.driver != Driver::Sqlite {
        return None;
    }
    let path = compose::file_of(project, &database.path)?;
    let link = std::fs::symlink_metadata(&path).ok()?;
    match std::fs::metadata(&path) {
        Ok(target) if target.is_file() => None,
        Ok(target) if target.is_dir() => Some("it is a folder".to_owned()),
        Ok(_) => Some("it is not a regular file".to_owned()),
        Err(error) if link.is_symlink() => Some(format!("it is a symbolic link that leads nowhere: {}", error.kind())),
        Err(_) => None,
    }
}

fn bad_path(path: &str, reason: &str, place: Place) -> Diagnostic {
    Diagnostic::error("CZ0803", format!("{path}: {reason}"), place).path(path).help("fix the path")
}

fn whole(project: &Project) -> Place {
    let file = project.config_file.file_name().unwrap_or_default().to_string_lossy();
    Place { file: file.as_ref().into(), line: 0, column: 0 }
}

/// What is wrong with the component that an entry of `plugins` names.
fn entry(project: &Project, entry: &Plugin) -> Option<Diagnostic> {
    let error = plugin::entry::check(&project.root, entry).err()?;
    let known = codes::find(error.code())?;
    let (message, help) = match &error {
        plugin::Error::Outside(_) => (error.to_string(), "move it"),
        plugin::Error::Precompiled => {
            let help = "give its digest; or compile it again with `compozy plugin compile`, or use the .wasm component";
            (format!("'{}': {error}", entry.source), help)
        }
        plugin::Error::Digest { .. } => (format!("'{}': {error}", entry.source), "check where the file came from"),
        plugin::Error::NotPulled(_) => (format!("'{}': {error}", entry.source), "run `compozy plugin pull`"),
        _ => (format!("'{}': {error}", entry.id), "fix source or kind"),
    };
    let length = u32::try_from(entry.source.chars().count()).unwrap_or(1);
    Some(Diagnostic::error(known.code, message, entry.place.clone()).length(length).help(help))
}
