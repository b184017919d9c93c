//! `compozy doctor`: whether the project can be served here.

use std::path::Path;

use clap::Args;
use compozy_lang::diagnostic::Diagnostic;
use compozy_lang::environment::Environment as _;
use compozy_lang::settings::Driver;
use serde_json::{Value, json};

use super::backend;
use super::client::Client;
use super::compose::{self, Loaded};
use super::exit;
use super::failure::{Failure, Problem};
use super::open;
use super::output::{Format, Table};
use super::session::Session;
use super::usable::Plugins;
use crate::storage::sqlite::Role;
use crate::{api, plugin, provider};

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy doctor\n  compozy doctor --health\n\nExit codes:\n  0 sound, 1 a check failed, 3 invalid project; with --health: 0 ready, 7 not ready";

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Only ask whether the configured server is ready
    #[arg(long)]
    pub health: bool,
    /// Also check the stored runs against the storage invariants
    #[arg(long)]
    pub deep: bool,
}

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Ok,
    /// Something will be missed once it is used; the rest works.
    Warning,
    Problem,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What one check said.
struct Check {
    name: &'static str,
    status: Status,
    detail: String,
}

impl Check {
    fn new(name: &'static str, result: Result<String, String>) -> Self {
        let status = if result.is_ok() { Status::Ok } else { Status::Problem };
        Self { name, status, detail: result.unwrap_or_else(|detail| detail) }
    }
}

/// Runs the checks.
///
/// # Errors
/// An invalid project, or with `--health` a server that is not ready.
pub async fn run(session: &Session, args: DoctorArgs) -> Result<u8, Failure> {
    if args.health {
        return health(session).await.map_err(not_ready);
    }
    let read = compose::read(session, &super::config::config_file(session)?, false).await?;
    let missing = read.missing.clone();
    let loaded = compose::sound(session, read, Plugins::Called).await?;
    let server = backend::discover(session, &loaded).await;
    let mut checks = vec![
        Check::new("config", Ok(format!("{} workflows", loaded.project.workflows.len()))),
        environment(&loaded, &missing),
        Check::new("files", writable(&loaded.project.root)),
        Check::new("plugins", plugins(&loaded).await),
    ];
    checks.push(match &server {
        Ok(Some(server)) => Check::new("server", Ok(format!("ready at {}", server.url))),
        Ok(None) => Check::new("server", Ok("none is running".to_owned())),
        Err(failure) => {
            Check::new("server", Err(failure.document()["detail"].as_str().unwrap_or("unreachable").to_owned()))
        }
    });
    if matches!(server, Ok(None)) {
        checks.push(Check::new("port", port(&loaded).await));
    }
    checks.extend(database(session, &loaded, args.deep).await);
    print(session, &checks)
}

fn print(session: &Session, checks: &[Check]) -> Result<u8, Failure> {
    let sound = checks.iter().all(|check| check.status != Status::Problem);
    if session.output.format == Format::Table {
        let mut table = Table::new(&["CHECK", "STATUS", "DETAIL"]);
        for check in checks {
            table.row(&[check.name, check.status.word(), &check.detail]);
        }
        session.output.table(&table)?;
    } else {
        let entry = |check: &Check| {
            let ok = check.status != Status::Problem;
            json!({"name": check.name, "ok": ok, "status": check.status.word(), "detail": check.detail})
        };
        let list: Vec<Value> = checks.iter().map(entry).collect();
        session.output.document(&json!({"ok": sound, "checks": list}))?;
    }
    Ok(if sound { exit::OK } else { exit::FAILED })
}

/// Whatever stands in the way, the answer to "is it ready" is no, and a probe knows only 0 and 7.
fn not_ready(failure: Failure) -> Failure {
    if matches!(failure, Failure::Quiet(_)) || failure.exit() == exit::UNAVAILABLE {
        return failure;
    }
    let document = failure.document();
    let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut message = text("detail").unwrap_or_default();
    if let Failure::Diagnostics(found) = &failure {
        message = found.errors().next().map_or(message, |first| format!("the project is not valid: {first}"));
    }
    Problem { code: "not_ready".to_owned(), message, hint: text("hint"), ..Problem::default() }.into()
}

/// Only "is the configured server ready".
async fn health(session: &Session) -> Result<u8, Failure> {
    let url = match &session.server {
        Some(url) => url.clone(),
        None => {
            let loaded = compose::load(session, &super::config::config_file(session)?, Plugins::Unused).await?;
            let found = backend::discover(session, &loaded).await?;
            found.map(|server| server.url).ok_or_else(|| {
                Failure::new("server_unreachable", "no server of this project is running")
                    .hint("start it with `compozy start`")
            })?
        }
    };
    let client = Client::new(&url, session.api_key.clone(), session.insecure, session.clock.clone())?;
    let document = client.get(&["health"], &[]).await?;
    if session.output.format == Format::Table {
        session.output.line(document.get("status").and_then(Value::as_str).unwrap_or("healthy"))?;
    } else {
        session.output.document(&document)?;
    }
    Ok(exit::OK)
}

/// Variables that the project names, without value and default: whatever uses one fails.
fn environment(loaded: &Loaded, missing: &[Diagnostic]) -> Check {
    let keys = provider::kinds::implied_keys(&loaded.project.providers);
    let keys = keys.filter(|(_, variable)| loaded.environment.lookup(variable).is_none());
    let keys = keys.map(|(entry, variable)| {
        format!("environment variable {variable} is not set ({}, key of llm.providers.{})", entry.place, entry.id)
    });
    let each: Vec<String> = missing.iter().map(|problem| problem.message.clone()).chain(keys).collect();
    if each.is_empty() {
        return Check::new("environment", Ok("every variable is set".to_owned()));
    }
    Check { name: "environment", status: Status::Warning, detail: each.join("; ") }
}

/// Whether every plugin compiles and links; the code is then in the cache.
async fn plugins(loaded: &Loaded) -> Result<String, String> {
    let project = &loaded.project;
    for entry in &project.plugins {
        let source = plugin::entry::source(&project.root, entry).map_err(|error| format!("'{}': {error}", entry.id))?;
        let component = loaded.host.load(source, entry.kind).await;
        component.map_err(|error| format!("'{}': {error} ({})", entry.id, entry.place))?;
    }
    let instances = if loaded.host.is_pooling() { "pooled instances" } else { "instances on demand" };
    Ok(match project.plugins.len() {
        0 => instances.to_owned(),
        count => format!("{count} loaded, {instances}"),
    })
}

fn writable(root: &Path) -> Result<String, String> {
    let probe = root.join(format!(".compozy-doctor-{}", std::process::id()));
    std::fs::write(&probe, b"").map_err(|error| format!("cannot write to {}: {error}", root.display()))?;
    let _removed = std::fs::remove_file(&probe);
    Ok(format!("{} is writable", root.display()))
}

async fn port(loaded: &Loaded) -> Result<String, String> {
    let server = &loaded.project.settings.server;
    let settings = api::Settings { host: server.host.clone(), port: server.port, ..api::Settings::default() };
    match api::bind(&settings).await {
        Ok(listener) => Ok(format!("{} is free", listener.port())),
        Err(error) => Err(error.to_string()),
    }
}

async fn database(session: &Session, loaded: &Loaded, deep: bool) -> Vec<Check> {
    let database = &loaded.project.settings.database;
    let storage = match open::storage(session, &loaded.project, Role::ReadOnly).await {
        Ok(storage) => storage,
        Err(failure) => {
            let detail = failure.document()["detail"].as_str().unwrap_or("cannot be opened").to_owned();
            return vec![Check::new("database", Err(detail))];
        }
    };
    let info = storage.info().clone();
    // The file as it is written; a server as it was reached.
    let shown = match database.driver {
        Driver::Sqlite => database.path.clone(),
        Driver::Postgres => open::server_location(database, &session.clock),
    };
    let driver = match database.driver {
        Driver::Sqlite => "sqlite",
        Driver::Postgres => "postgres",
    };
    // Where nothing was stored yet an empty database in memory stands for it.
    let exists = compose::database_file(&loaded.project).is_none_or(|path| path.exists()) && info.driver == driver;
    let state = if exists { format!("schema {}", info.schema_version) } else { "not made yet".to_owned() };
    let mut checks = vec![Check::new("database", Ok(format!("{driver} {shown}, {state}")))];
    if deep {
        checks.push(Check::new(
            "invariants",
            match storage.check().await {
                Ok(violated) if violated.is_empty() => Ok("all hold".to_owned()),
                Ok(violated) => Err(violated.join("; ")),
                Err(error) => Err(error.to_string()),
            },
        ));
    }
    storage.close().await;
    checks
}

#[cfg(test)]
mod tests {
    use compozy_lang::source::Place;

    use super::*;
    use crate::cli::failure::Diagnostics;

    #[test]
    fn a_probe_sees_only_0_and_7() {
        let place = Place { file: "compozy.yaml".into(), line: 3, column: 1 };
        let all = vec![Diagnostic::error("CZ0108", "unknown key 'x'", place)];
        let invalid = not_ready(Failure::Diagnostics(Box::new(Diagnostics { all, ..Diagnostics::default() })));
        let detail = invalid.document()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("the project is not valid: ") && detail.contains("unknown key 'x'"), "{detail}");
        for failure in [
            invalid,
            not_ready(Failure::usage("no URL")),
            not_ready(Failure::new("CZ0101", "no compozy.yaml")),
            not_ready(Failure::from_document(401, json!({"code": "unauthorized"}))),
            not_ready(Failure::new("server_unreachable", "gone")),
        ] {
            assert_eq!(failure.exit(), 7, "{failure:?}");
        }
        assert_eq!(not_ready(Failure::closed_pipe()).exit(), 0);
    }
}
