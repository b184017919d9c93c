//! The composition root: the one place that builds storage, plugin host, renderer, providers and node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compozy_lang::codes;
use compozy_lang::diagnostic::{Diagnostic, Severity};
use compozy_lang::environment::{Environment, ProjectEnvironment};
use compozy_lang::load as lang;
use compozy_lang::plan::{Plugin, PluginKind, Project};
use compozy_lang::settings::Driver;
use compozy_lang::source::Place;

use super::databases::Lent;
use super::failure::{Diagnostics, Failure};
use super::session::{Session, absolute};
use super::usable::{self, Plugins};
use super::{logs, report};
use crate::node::step::Tools;
use crate::node::{self, Node};
use crate::plugin::host::{HostOptions, Services};
use crate::plugin::template::Renderer;
use crate::plugin::{self, Binding, Grants, Host, Source};
use crate::provider::{self, Bundle, Parts, Providers};
use crate::storage::Storage;
use crate::storage::named::NamedDatabases;
use crate::storage::row::Retention;

/// Connection string of a database that lives in the process.
pub(super) const MEMORY: &str = ":memory:";

/// A project that was read, with what was needed to read it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The definitions.
    pub project: Arc<Project>,
    /// Variables of the environment and of `.env`.
    pub environment: ProjectEnvironment,
    /// Loads plugins.
    pub host: Arc<Host>,
    /// Renders templates.
    pub renderer: Arc<Renderer>,
}

/// What reading a project gave, errors or not.
#[derive(Debug)]
pub struct Read {
    /// The project, unless an error stands in its way.
    pub loaded: Option<Loaded>,
    /// Everything that was found.
    pub found: Diagnostics,
    /// Every setting with its origin.
    pub settings: Vec<lang::Setting>,
    /// Every variable without value and default.
    pub missing: Vec<compozy_lang::diagnostic::Diagnostic>,
    /// Files that were read.
    pub files: Vec<PathBuf>,
}

/// The variables of the process.
#[derive(Debug)]
struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn lookup(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Reads the project, shows its warnings, and stops at errors.
///
/// # Errors
/// Diagnostics (exit 3), or a file that cannot be read (2).
pub async fn load(session: &Session, config: &Path, plugins: Plugins) -> Result<Loaded, Failure> {
    sound(session, read(session, config, false).await?, plugins).await
}

/// The project that was read, if this process can work with it; its warnings are shown.
///
/// # Errors
/// Diagnostics (exit 3), or a file that cannot be read (2).
pub async fn sound(session: &Session, read: Read, plugins: Plugins) -> Result<Loaded, Failure> {
    let read = usable::check(read, plugins).await;
    match read.loaded {
        Some(loaded) => {
            report::warnings(&session.output, &read.found);
            Ok(loaded)
        }
        None => Err(Failure::Diagnostics(Box::new(read.found))),
    }
}

/// Reads the project and everything it refers to.
///
/// # Errors
/// The template language cannot be loaded.
pub async fn read(session: &Session, config: &Path, strict: bool) -> Result<Read, Failure> {
    let host = host(config)?;
    let renderer = Arc::new(renderer(&host).await?);
    read_with(session, config, strict, &host, &renderer).await
}

/// Reads the project with a template language that is loaded already.
///
/// # Errors
/// The template language itself failed.
pub async fn read_with(
    session: &Session,
    config: &Path,
    strict: bool,
    host: &Arc<Host>,
    renderer: &Arc<Renderer>,
) -> Result<Read, Failure> {
    let request = lang::Request {
        files: &lang::Disk,
        config: Some(config.to_owned()),
        cwd: std::env::current_dir().unwrap_or_default(),
        env_file: session.env_file.clone(),
        environment: Arc::new(ProcessEnvironment),
        overrides: session.overrides.clone(),
        strict,
    };
    let checked = node::project::load(&request, renderer).await;
    let checked = checked.map_err(|error| cannot_check(config, &error.code, &error.message))?;
    logs::mask(checked.environment.masks());
    let root = config.parent().unwrap_or(Path::new(".")).to_owned();
    let found = Diagnostics { all: checked.diagnostics, omitted: checked.omitted, root };
    let has_errors = found.all.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    let loaded = checked.project.filter(|_| !has_errors).map(|project| Loaded {
        project: Arc::new(project),
        environment: checked.environment,
        host: Arc::clone(host),
        renderer: Arc::clone(renderer),
    });
    Ok(Read { loaded, found, settings: checked.origins, missing: checked.missing_variables, files: checked.files })
}

/// The template language gave up on a template of this project: a finding about the project, if the code is one.
fn cannot_check(config: &Path, code: &str, message: &str) -> Failure {
    let message = format!("template language: {message}");
    let Some(known) = codes::find(code).filter(|known| codes::DIAGNOSTICS.contains(known)) else {
        return Failure::new(code, message);
    };
    let file = config.file_name().unwrap_or_default().to_string_lossy();
    let place = Place { file: file.as_ref().into(), line: 0, column: 0 };
    let found = Diagnostic::error(known.code, message, place).help(known.help);
    let root = config.parent().unwrap_or(Path::new(".")).to_owned();
    Failure::Diagnostics(Box::new(Diagnostics { all: vec![found], omitted: 0, root }))
}

/// The host of plugins for the project of a file; its folder may hold the code cache.
pub(super) fn host(config: &Path) -> Result<Arc<Host>, Failure> {
    let root = config.parent().unwrap_or(Path::new("."));
    let options = HostOptions { cache_dir: Some(cache_folder(root)), ..HostOptions::default() };
    Host::new(options).map_err(|error| Failure::new(error.code(), error.to_string()))
}

async fn renderer(host: &Arc<Host>) -> Result<Renderer, Failure> {
    let failed = |error: plugin::Error| Failure::new(error.code(), format!("template language: {error}"));
    let source: Source = plugin::bundled::source("template-go")
        .ok_or_else(|| Failure::internal("this binary carries no template language"))?;
    let component = host.load(source, PluginKind::Template).await.map_err(failed)?;
    Renderer::new(component).map_err(failed)
}

/// The user's cache, else a folder of the project.
fn cache_folder(root: &Path) -> PathBuf {
    let user = plugin::registry::cache::user_folder().map(|cache| cache.join("code"));
    user.unwrap_or_else(|| root.join(".compozy/cache"))
}

/// `$XDG_RUNTIME_DIR`, where run records of unwritable roots stand.
#[must_use]
pub fn runtime_folder() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Nothing of this project survives the process.
#[must_use]
pub fn is_ephemeral(project: &Project) -> bool {
    let database = &project.settings.database;
    database.driver == Driver::Sqlite && database_file(project).is_none()
}

/// The database file; `None` when it lives in memory or on a server.
#[must_use]
pub fn database_file(project: &Project) -> Option<PathBuf> {
    let database = &project.settings.database;
    (database.driver == Driver::Sqlite).then(|| file_of(project, &database.path)).flatten()
}

/// The SQLite files that plugins may be granted, by label.
fn databases(project: &Project) -> Lent {
    let files = project.databases.iter().filter(|named| named.database.driver == Driver::Sqlite);
    let paths = files.filter_map(|named| Some((named.id.clone(), file_of(project, &named.database.path)?))).collect();
    Lent(NamedDatabases::new(paths).with_own(project.root.join(OWN_DATABASES)))
}

/// Where plugins have their private databases, below the project folder.
const OWN_DATABASES: &str = ".compozy/plugins";

/// The file of a path under `database` or `databases`; `None`: it lives in memory.
pub(super) fn file_of(project: &Project, written: &str) -> Option<PathBuf> {
    let (path, query) = match written.strip_prefix("file:") {
        Some(uri) => uri.split_once('?').unwrap_or((uri, "")),
        None => (written, ""),
    };
    let in_memory = path == MEMORY || path.is_empty() || query.split('&').any(|pair| pair == "mode=memory");
    let path = path.strip_prefix("//").unwrap_or(path);
    (!in_memory).then(|| absolute(&project.root.join(path)))
}

/// A variable that a section needs now is missing.
pub fn missing_variables(project: &Project, missing: Vec<compozy_lang::diagnostic::Diagnostic>) -> Failure {
    Failure::Diagnostics(Box::new(Diagnostics { all: missing, omitted: 0, root: project.root.clone() }))
}

/// A node, and the part of it that reloading replaces.
#[derive(Debug, Clone)]
pub struct Launched {
    /// The node.
    pub node: Arc<Node>,
    /// Its tools.
    pub tools: Arc<Tools>,
    /// Its models.
    pub providers: Arc<Providers>,
    services: Arc<Services>,
}

impl Launched {
    /// Lets what begins from now on use the definitions, tools and models of another revision of the project.
    pub async fn replace(&self, session: &Session, fresh: &Loaded) {
        let (parts, settings) = models(session, fresh, &self.services).await;
        self.providers.replace(parts, settings);
        self.tools.replace(&fresh.project);
        self.node.replace_secrets(&secrets(fresh));
        self.node.replace_project(Arc::clone(&fresh.project));
    }
}

/// Launches a node. `limit` replaces `engine.max_concurrent_runs`; with 0 an embedded node only stores runs.
///
/// # Errors
/// The database refuses.
pub async fn launch(
    session: &Session,
    loaded: &Loaded,
    storage: &Arc<dyn Storage>,
    kind: node::Kind,
    limit: Option<usize>,
) -> Result<Launched, Failure> {
    if session.mock_llm {
        session.output.talk("Models are replaced by the deterministic mock (--mock-llm, COMPOZY_MOCK_LLM).");
    }
    let project = Arc::clone(&loaded.project);
    let engine = &project.settings.engine;
    let lent = Arc::new(provider::lend::Lent::default());
    let services = Arc::new(Services {
        storage: Some(Arc::clone(storage)),
        models: Some(Arc::clone(&lent) as _),
        databases: Some(Arc::new(databases(&project))),
        clock: session.clock.clone(),
        ..Services::default()
    });
    let timeout = project.settings.runtime.tool_execution_timeout;
    let tools =
        Tools::new(Arc::clone(&loaded.host), Arc::clone(&services), loaded.environment.clone(), &project, timeout);
    let tools = Arc::new(tools);
    let (parts, settings) = models(session, loaded, &services).await;
    let providers = Arc::new(Providers::new(parts, settings));
    lent.bind(&providers);
    let options = node::Options {
        kind,
        storage: Arc::clone(storage),
        clock: session.clock.clone(),
        tools: Arc::clone(&tools),
        renderer: Arc::clone(&loaded.renderer),
        providers: Arc::clone(&providers),
        prompt_timeout: project.settings.llm.provider_timeout,
        environment: loaded.environment.clone(),
        secrets: secrets(loaded),
        max_concurrent_runs: limit.unwrap_or(engine.max_concurrent_runs as usize),
        max_pending: usize::try_from(engine.max_pending).unwrap_or(usize::MAX),
        lease: project.settings.cluster.lease,
        claim_batch: project.settings.cluster.claim_batch as usize,
        retention: Some(retention(&project.settings.retention)),
        project,
    };
    Ok(Launched { node: Node::launch(options).await?, tools, providers, services })
}

/// Values that nothing may show: those of the environment, and keys that providers take without being told.
fn secrets(loaded: &Loaded) -> Vec<String> {
    let implied = provider::kinds::implied_keys(&loaded.project.providers);
    let implied = implied.filter_map(|(_, variable)| loaded.environment.lookup(variable));
    let all: Vec<String> = loaded.environment.masks().into_iter().chain(implied).collect();
    logs::mask(all.iter().cloned());
    all
}

/// What the models of a project are reached through.
async fn models(session: &Session, loaded: &Loaded, services: &Arc<Services>) -> (Parts, provider::Settings) {
    let environment: Arc<dyn plugin::Environment> = Arc::new(loaded.environment.clone());
    let parts = Parts {
        host: Arc::clone(&loaded.host),
        bundle: Bundle::new(plugin::bundled::source),
        plugins: llm_plugins(loaded, services, &environment).await,
        environment,
        services: Arc::clone(services),
    };
    (parts, provider_settings(&loaded.project, session.mock_llm))
}

/// Settings of `llm:` as the providers want them.
fn provider_settings(project: &Project, mock_all: bool) -> provider::Settings {
    let llm = &project.settings.llm;
    provider::Settings {
        providers: project.providers.clone(),
        provider_timeout: llm.provider_timeout,
        retry_attempts: llm.retry_attempts,
        retry_backoff_base: llm.retry_backoff_base,
        retry_backoff_max: llm.retry_backoff_max,
        structured_output_retries: llm.structured_output_retries,
        default_concurrency: llm.default_concurrency,
        default_queue_size: llm.default_queue_size,
        mock_all,
    }
}

/// The llm plugins of the project. One that cannot be used is logged; only runs that need it fail.
async fn llm_plugins(
    loaded: &Loaded,
    services: &Arc<Services>,
    environment: &Arc<dyn plugin::Environment>,
) -> BTreeMap<String, Binding> {
    let project = &loaded.project;
    let mut bindings = BTreeMap::new();
    let entries = project.plugins.iter().filter(|entry| entry.kind == PluginKind::Llm).cloned();
    for entry in entries.chain(usable::builtin_models(project)) {
        match bind(loaded, &entry, services, environment).await {
            Ok(binding) => drop(bindings.insert(entry.id.clone(), binding)),
            Err(error) => tracing::warn!(plugin = entry.id, "the plugin cannot be used: {error}"),
        }
    }
    bindings
}

async fn bind(
    loaded: &Loaded,
    entry: &Plugin,
    services: &Arc<Services>,
    environment: &Arc<dyn plugin::Environment>,
) -> Result<Binding, plugin::Error> {
    let root = &loaded.project.root;
    let component = loaded.host.load(plugin::entry::source(root, entry)?, PluginKind::Llm).await?;
    plugin::entry::check_digest(entry, component.digest())?;
    let grants = Grants::new(&entry.permissions, root, Arc::clone(environment))?;
    Ok(Binding {
        plugin_id: entry.id.as_str().into(),
        component,
        grants: Arc::new(grants),
        limits: entry.limits.clone(),
        config: entry.config.to_string().into(),
        services: Arc::clone(services),
    })
}

fn retention(settings: &compozy_lang::settings::Retention) -> Retention {
    let compozy_lang::settings::Retention { success, failed, journal, keep_last, .. } = *settings;
    Retention { success, failed, journal, keep_last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_cannot_be_checked_makes_the_project_invalid() {
        let failure = cannot_check(Path::new("/p/compozy.yaml"), "CZ0410", "too large");
        assert_eq!((failure.exit(), failure.document()["code"].as_str()), (3, Some("CZ0410")));
        assert_eq!(cannot_check(Path::new("/p/compozy.yaml"), "internal", "no").exit(), 1);
    }
}
