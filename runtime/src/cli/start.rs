//! `compozy start`: the server, from the first line to the last signal (cli-and-api §6).

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use compozy_lang::diagnostic::Diagnostic;
use compozy_lang::duration::Bare;
use compozy_lang::plan::Project;
use compozy_lang::settings::Driver;
use serde_json::json;

use super::compose::{self, Launched, Loaded};
use super::database_file::DatabaseFile;
use super::discovery;
use super::dump;
use super::exit;
use super::failure::Failure;
use super::open;
use super::probe;
use super::record::{self, Record, State, Written, hex};
use super::session::{LogFormat, Session};
use super::signals::Signals;
use super::usable::{self, Plugins};
use crate::api::document::project::ProjectDocument;
use crate::api::error::Problem;
use crate::api::{self, AppState, BindError, Instance, Listener};
use crate::node;
use crate::plugin;
use crate::storage::Storage;
use crate::storage::sqlite::Role;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy start\n  compozy start --config=compozy-postgres.yaml --port 9000\n\nExit codes:\n  0 stopped by a signal, 2 usage or unwritable database, 3 invalid project, 6 already served, port in use or\n  damaged database, 7 database unavailable, 130 stopped at once by a second signal";

/// How long the server may take from serving to ready.
const READY: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile.
const STEP: Duration = Duration::from_millis(5);

/// Arguments of `start`. Host, port and mode are global shorthands.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// How long running steps may finish at shutdown, 20s
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<String>,
    /// Fire no schedules
    #[arg(long)]
    pub no_schedules: bool,
    /// Serve other machines without authentication
    #[arg(long)]
    pub allow_unauthenticated: bool,
}

/// Serves until a signal.
///
/// # Errors
/// Why it could not start.
pub async fn run(session: &Session, args: StartArgs) -> Result<u8, Failure> {
    let mut session = session.clone();
    session.overrides.extend(overrides(&args)?);
    // From here on a signal is ours: one that comes during the start stops the server once it is up.
    let mut signals = Signals::new()?;
    // Unheard, a SIGHUP would end the process.
    let mut hangup = Hangup::new();
    let config = session.config_file().ok_or_else(|| nowhere(&std::env::current_dir().unwrap_or_default()))?;
    let loaded = compose::load(&session, &config, Plugins::Served).await?;
    let server = Server::start(&session, loaded, !args.no_schedules).await?;
    server.until(&session, &mut signals, &mut hangup).await;
    // A second signal leaves now; what is not handed back is taken over by the next server.
    tokio::select! {
        () = server.stop() => Ok(exit::OK),
        _ = signals.next() => Ok(exit::INTERRUPTED),
    }
}

fn nowhere(folder: &std::path::Path) -> Failure {
    Failure::new("CZ0101", format!("no compozy.yaml found in {}", folder.display()))
        .hint("change to the project folder, or use --config FILE")
}

fn overrides(args: &StartArgs) -> Result<Vec<(String, String)>, Failure> {
    let mut overrides = Vec::new();
    if let Some(drain) = &args.drain_timeout {
        if compozy_lang::duration::parse(drain, Bare::Refused).is_none() {
            return Err(Failure::usage(format!("--drain-timeout {drain}: write a unit, for example 20s")));
        }
        overrides.push(("server.timeouts.drain".to_owned(), drain.clone()));
    }
    if args.allow_unauthenticated {
        overrides.push(("server.allow_unauthenticated".to_owned(), "true".to_owned()));
    }
    Ok(overrides)
}

/// A server that is up.
struct Server {
    loaded: Loaded,
    storage: Arc<dyn Storage>,
    launched: Launched,
    schedules: bool,
    app: Arc<AppState>,
    serving: tokio::task::JoinHandle<()>,
    /// Removed last.
    record: Option<Written>,
}

impl Server {
    /// Run record, socket, database, recovery, serving, schedules, ready: in this order.
    async fn start(session: &Session, loaded: Loaded, schedules: bool) -> Result<Self, Failure> {
        let project = Arc::clone(&loaded.project);
        project.settings.require("server").map_err(|missing| compose::missing_variables(&project, missing))?;
        let missing = usable::served(&loaded, schedules);
        if !missing.is_empty() {
            return Err(compose::missing_variables(&project, missing));
        }
        refuse_open_host(&project)?;
        say(session, "Starting Compozy server...");
        let instance = session.clock.node_id().to_string();
        let mut record = write_record(&project, &instance);
        let settings = settings(&project, session.mock_llm);
        let listener = match api::bind(&settings).await {
            Ok(listener) => listener,
            Err(error) => return Err(cannot_bind(error, &project, &instance).await),
        };
        let (port, url) = (listener.port(), listener.url());
        let storage = open::storage(session, &project, Role::Server).await?;
        let info = storage.info().clone();
        say(session, &format!("Database initialized: driver={} {}", info.driver, location(&info.location)));
        let scripts_are_known = plugin::script::is_ready(&loaded.host);
        let launched = compose::launch(session, &loaded, &storage, node::Kind::Server, None).await?;
        dump::listen(&launched.node);
        let reload = reload_hook(session, &loaded, &launched, schedules);
        let app = app(session, &loaded, &launched, settings, (instance, port), reload);
        let address = address(&listener);
        let serving = tokio::spawn(api::serve(listener, Arc::clone(&app)));
        announce(&*storage, record.as_mut(), &url, &info.identity_key);
        launched.node.watch_schedules(schedules).await;
        ready(session, address).await?;
        say(session, &format!("Server listening on {}", shown_address(&project.settings.server.host, port)));
        tracing::info!(
            url,
            durability = ?info.durability,
            authentication = project.settings.server.auth.enabled,
            mode = ?project.settings.mode,
            mock_llm = session.mock_llm,
            "ready"
        );
        if !scripts_are_known {
            tokio::spawn(look_at_scripts(loaded.clone()));
        }
        Ok(Self { loaded, storage, launched, schedules, app, serving, record })
    }

    /// Waits for a signal that ends the server; SIGHUP reads the definitions again.
    async fn until(&self, session: &Session, signals: &mut Signals, hangup: &mut Hangup) {
        loop {
            tokio::select! {
                signal = signals.next() => {
                    tracing::info!(?signal, "shutting down");
                    return;
                }
                () = hangup.next() => match reload(session, &self.loaded, &self.launched, self.schedules).await {
                    Ok(project) => tracing::info!(digest = project.definitions_digest, "definitions read again"),
                    Err(problem) => tracing::error!("the old definitions stay: {problem}"),
                },
            }
        }
    }

    /// Stops in the order of cli-and-api §6.3, the database last.
    async fn stop(self) {
        let timeouts = &self.loaded.project.settings.server.timeouts;
        let orderly = async {
            self.app.shutdown().drain();
            self.launched.node.shutdown(timeouts.drain).await;
            self.app.shutdown().close();
            let _ended = self.serving.await;
        };
        if tokio::time::timeout(timeouts.shutdown, orderly).await.is_err() {
            tracing::warn!("the shutdown took longer than server.timeouts.shutdown; leaving the rest");
        }
        self.storage.close().await;
        drop(self.record);
    }
}

/// Prints a start line: on stdout at once, or as a log record of the same text.
fn say(session: &Session, line: &str) {
    let line = match session.log_format {
        LogFormat::Text => line.to_owned(),
        LogFormat::Json => {
            let time = session.clock.now().to_rfc3339();
            json!({"ts": time, "level": "info", "target": "compozy::cli::start", "msg": line}).to_string()
        }
    };
    let mut stdout = std::io::stdout().lock();
    // A server does not stop because nobody reads its lines.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn location(location: &str) -> String {
    if location.contains('=') { location.to_owned() } else { format!("path={location}") }
}

/// Beyond loopback only with authentication, or when the operator says so.
fn refuse_open_host(project: &Project) -> Result<(), Failure> {
    let server = &project.settings.server;
    if is_loopback(&server.host) || server.auth.enabled {
        return Ok(());
    }
    if server.allow_unauthenticated {
        tracing::warn!(host = server.host, "the server is open to the network without authentication");
        return Ok(());
    }
    Err(Failure::new("CZ0910", format!("server is open to the network without authentication (server.host: {})", server.host)).hint(
        "set server.auth.enabled: true, or server.host: 127.0.0.1, or server.allow_unauthenticated: true (--allow-unauthenticated)",
    ))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    bare.is_empty() || bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `:8080` for loopback and wildcard hosts, else `HOST:8080`.
fn shown_address(host: &str, port: u16) -> String {
    let wildcard = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    if wildcard || is_loopback(host) { format!(":{port}") } else { format!("{host}:{port}") }
}

fn write_record(project: &Project, instance: &str) -> Option<Written> {
    let record = Record {
        instance_id: instance.to_owned(),
        pid: std::process::id(),
        url: None,
        config: project.config_file.clone(),
        project: project.name.clone(),
        driver: match project.settings.database.driver {
            Driver::Sqlite => "sqlite".to_owned(),
            Driver::Postgres => "postgres".to_owned(),
        },
        identity_key: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: State::Starting,
    };
    Written::create(&project.root, compose::runtime_folder().as_deref(), record)
        .inspect_err(|error| tracing::warn!("no run record, clients need --server or the configured port: {error}"))
        .ok()
}

/// Tells clients, and a second server, where this one is.
fn announce(storage: &dyn Storage, record: Option<&mut Written>, url: &str, identity_key: &[u8; 32]) {
    if let Err(error) = storage.announce(&format!("process {} at {url}", std::process::id())) {
        tracing::debug!("cannot write the server lock's text: {error}");
    }
    let Some(record) = record else { return };
    let updated = record.update(|record| {
        record.url = Some(url.to_owned());
        record.identity_key = Some(hex(identity_key));
        record.state = State::Listening;
    });
    if let Err(error) = updated {
        tracing::warn!("cannot update the run record: {error}");
    }
}

/// Why the socket could not be bound; names our own server if it is one.
async fn cannot_bind(error: BindError, project: &Project, instance: &str) -> Failure {
    let text = error.to_string();
    match error {
        BindError::PortInUse { host, port } => {
            let runtime = compose::runtime_folder();
            let ours = record::list(&project.root, runtime.as_deref(), None).into_iter().find(|found| {
                let url = found.record.url.as_deref().unwrap_or_default();
                found.record.instance_id != instance && found.alive() && url.ends_with(&format!(":{port}"))
            });
            let whose = match ours {
                Some(found) => format!(
                    "{text} by the compozy server of project '{}' (process {}, {})",
                    found.record.project,
                    found.record.pid,
                    found.record.url.unwrap_or_default()
                ),
                None if discovery::is_compozy(&host, port).await => format!("{text} by another compozy server"),
                None => text,
            };
            Failure::new("port_in_use", whose).hint("stop it, or choose another port with --port or server.port")
        }
        BindError::NoSuchHost { .. } => Failure::usage(text).hint("set server.host to an address of this machine"),
        BindError::Refused { .. } => Failure::usage(text).hint("ports below 1024 need the right to use them"),
    }
}

fn settings(project: &Project, mock_llm: bool) -> api::Settings {
    let server = &project.settings.server;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let limits = &server.limits;
    api::Settings {
        host: if server.host.is_empty() { "127.0.0.1".to_owned() } else { server.host.clone() },
        port: server.port,
        allowed_hosts: server.allowed_hosts.clone(),
        cors: server.cors.as_ref().map(|cors| api::Cors {
            allowed_origins: cors.allowed_origins.clone(),
            allow_credentials: cors.allow_credentials,
            max_age: cors.max_age,
        }),
        auth: server
            .auth
            .enabled
            .then(|| api::Auth::new(server.auth.admin_key.as_deref(), server.auth.workflow_exceptions.clone())),
        limits: api::Limits {
            body_bytes: size(limits.body_bytes),
            start_body_bytes: size(limits.start_body_bytes),
            header_bytes: size(limits.header_bytes),
            uri_bytes: size(limits.uri_bytes),
            json_depth: limits.json_depth as usize,
            connections: limits.connections as usize,
            streams: limits.sse as usize,
            sync_waiters: limits.sync_waiters as usize,
        },
        read_header_timeout: server.timeouts.http_read_header,
        body_idle_timeout: server.timeouts.body_idle,
        sync_timeout: server.sync_timeout,
        sync_timeout_max: server.sync_timeout_max,
        idempotency_ttl: server.idempotency_ttl,
        mock_llm,
        ..api::Settings::default()
    }
}

fn app(
    session: &Session,
    loaded: &Loaded,
    launched: &Launched,
    settings: api::Settings,
    (instance, port): (String, u16),
    reload: api::Reload,
) -> Arc<AppState> {
    let instance = Instance { id: instance, version: env!("CARGO_PKG_VERSION").to_owned(), port };
    let probe = compose::database_file(&loaded.project).map(|path| {
        let file = DatabaseFile::opened(path);
        let storage = Arc::clone(launched.node.storage());
        Arc::new(move || file.trouble(storage.shrunk_to())) as api::Probe
    });
    let hooks = api::Hooks { reload: Some(reload), probe };
    AppState::new(Arc::clone(&launched.node), settings, session.clock.clone(), instance, hooks)
}

/// Looks at the scripts of a server that did not keep its users waiting for that: their engine was to be compiled first.
async fn look_at_scripts(loaded: Loaded) {
    for problem in usable::scripts(&loaded).await {
        tracing::error!("a script cannot be used: {problem}");
    }
}

fn reload_hook(session: &Session, loaded: &Loaded, launched: &Launched, schedules: bool) -> api::Reload {
    let parts = (session.clone(), loaded.clone(), launched.clone());
    Arc::new(move || {
        let (session, loaded, launched) = parts.clone();
        Box::pin(async move { reload(&session, &loaded, &launched, schedules).await })
    })
}

/// Reads the definitions again; all files are valid or nothing changes.
async fn reload(
    session: &Session,
    loaded: &Loaded,
    launched: &Launched,
    schedules: bool,
) -> Result<ProjectDocument, Problem> {
    let read = compose::read_with(session, &loaded.project.config_file, false, &loaded.host, &loaded.renderer).await;
    let read = usable::check(read.map_err(|failure| Problem::internal(failure.document()))?, Plugins::Called).await;
    let missing = read.loaded.as_ref().map(|loaded| usable::served(loaded, schedules)).unwrap_or_default();
    match read.loaded {
        Some(fresh) if missing.is_empty() => {
            launched.replace(session, &fresh).await;
            Ok(ProjectDocument::new(&fresh.project))
        }
        _ => {
            let errors: Vec<Diagnostic> = read.found.errors().cloned().chain(missing).collect();
            Err(not_valid(&errors))
        }
    }
}

fn not_valid(errors: &[Diagnostic]) -> Problem {
    let first = errors.first().map(ToString::to_string).unwrap_or_default();
    let problem = Problem::new(api::code::INPUT_INVALID, format!("the project is not valid: {first}"));
    errors.iter().fold(problem, |problem, error| problem.at("", error.to_string()))
}

fn address(listener: &Listener) -> SocketAddr {
    let address = listener.address();
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// Waits until `/readyz` answers 200.
async fn ready(session: &Session, address: SocketAddr) -> Result<(), Failure> {
    let since = session.clock.now();
    while !matches!(probe::get(address, "/readyz").await, Ok((200, _))) {
        if session.clock.now().since(since) > READY {
            return Err(Failure::new("not_ready", "the server did not get ready").hint("look at its log"));
        }
        session.clock.sleep(STEP).await;
    }
    Ok(())
}

/// SIGHUP, where there is such a thing.
struct Hangup {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangup {
    fn new() -> Self {
        Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal {
            signal.recv().await;
            return;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listening_line_names_only_hosts_that_say_something() {
        for (host, expected) in [
            ("", ":8080"),
            ("127.0.0.1", ":8080"),
            ("localhost", ":8080"),
            ("::1", ":8080"),
            ("0.0.0.0", ":8080"),
            ("[::]", ":8080"),
            ("10.1.2.3", "10.1.2.3:8080"),
            ("example.org", "example.org:8080"),
        ] {
            assert_eq!(shown_address(host, 8080), expected, "{host}");
        }
    }

    #[test]
    fn only_loopback_hosts_go_without_authentication() {
        for (host, loopback) in [
            ("127.0.0.1", true),
            ("127.8.9.1", true),
            ("::1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(host), loopback, "{host}");
        }
    }
}
