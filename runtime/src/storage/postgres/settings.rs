//! Which server, as the project's settings spell it, and how connections are kept.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::time::Duration;

use compozy_lang::settings::Database;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, PgPool};

use super::super::Error;
use super::super::row::Durability;
use crate::clock::Clock;

/// What a process wants from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A node that serves; it waits for a server that is not there yet.
    Server,
    /// A command that runs or changes something itself.
    Embedded,
    /// A command that only looks: it changes no schema.
    ReadOnly,
}

/// How to open a PostgreSQL database.
#[derive(Clone)]
pub struct Options {
    connect: PgConnectOptions,
    /// Whether connections bring the session's settings along; some poolers refuse a connection that does.
    brings_settings: bool,
    /// What the start line says: `host=… port=… dbname=…`.
    pub location: String,
    /// What for.
    pub role: Role,
    /// Level of what belongs to no run. A run's own level is kept with the run.
    pub durability: Durability,
    /// Limit of a connection.
    pub connect_timeout: Duration,
    /// Limit of all migrations.
    pub migration_timeout: Duration,
    /// Most connections at once, 1 or more.
    pub max_connections: u32,
    /// Longest life of a connection.
    pub max_lifetime: Duration,
    /// Longest rest of a connection.
    pub max_idle_time: Duration,
    /// How long a server that cannot be reached is tried again.
    pub patience: Duration,
    /// Bring an older schema up to date. Without it an older one is refused.
    pub auto_migrate: bool,
    /// Time.
    pub clock: Clock,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The connection's options hold a password.
        formatter.debug_struct("Options").field("location", &self.location).field("role", &self.role).finish()
    }
}

/// How long a server at start waits for its database (cli-and-api §9).
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a command does.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

/// A connection that rested for longer is tried before it is used.
const TRUSTED: Duration = Duration::from_secs(5);

/// What every session is set to (cli-and-api §10). `synchronous_commit` is set by each transaction that wants less.
const SESSION: [(&str, &str); 6] = [
    ("search_path", "public"),
    ("default_transaction_isolation", "read committed"),
    ("statement_timeout", "30s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
    // Planning a statement over many tables anew costs more than any of its plans.
    ("plan_cache_mode", "force_generic_plan"),
];

impl Options {
    /// The settings of a project.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a URL or a mode of TLS that says nothing.
    pub fn new(database: &Database, role: Role, clock: Clock) -> Result<Self, Error> {
        let connect = connect_options(database)?;
        let host = match connect.get_socket() {
            Some(folder) => folder.display().to_string(),
            None => connect.get_host().to_owned(),
        };
        let name = connect.get_database().unwrap_or_else(|| connect.get_username());
        Ok(Self {
            location: format!("host={host} port={} dbname={name}", connect.get_port()),
            connect,
            brings_settings: true,
            role,
            durability: database.durability.into(),
            connect_timeout: database.connect_timeout,
            migration_timeout: database.migration_timeout,
            max_connections: database.max_open_conns.max(1),
            max_lifetime: database.conn_max_lifetime,
            max_idle_time: database.conn_max_idle_time,
            patience: if role == Role::Server { PATIENCE } else { SHORT_PATIENCE },
            auto_migrate: database.auto_migrate,
            clock,
        })
    }

    fn connect_options(&self) -> PgConnectOptions {
        if self.brings_settings { self.connect.clone().options(SESSION) } else { self.connect.clone() }
    }

    /// One connection, without a pool.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = tokio::time::timeout(self.connect_timeout, self.connect_options().connect())
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))?;
        if !self.brings_settings {
            set(&mut connection).await?;
        }
        Ok(connection)
    }

    /// The same, with settings made after each connection: a pooler refuses those that come with it.
    pub(super) fn through_a_pooler(self) -> Self {
        Self { brings_settings: false, ..self }
    }

    /// Connections, opened as they are needed.
    pub(super) fn pool(&self) -> PgPool {
        let brings_settings = self.brings_settings;
        PgPoolOptions::new()
            .after_connect(move |connection, _| {
                Box::pin(async move { if brings_settings { Ok(()) } else { set(connection).await } })
            })
            .max_connections(self.max_connections)
            .min_connections(0)
            .acquire_timeout(self.connect_timeout)
            .max_lifetime(Some(self.max_lifetime))
            .idle_timeout(Some(self.max_idle_time))
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                // A round trip for each use would be half of what most uses take.
                Box::pin(async move {
                    if meta.idle_for < TRUSTED {
                        return Ok(true);
                    }
                    Ok(connection.ping().await.is_ok())
                })
            })
            .connect_lazy_with(self.connect_options())
    }
}

/// Makes the session's settings on a connection.
async fn set(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let calls: Vec<String> =
        SESSION.iter().map(|(name, value)| format!("set_config('{name}', '{value}', false)")).collect();
    sqlx::raw_sql(AssertSqlSafe(format!("SELECT {}", calls.join(", ")))).execute(connection).await.map(|_| ())
}

fn unusable(what: impl std::fmt::Display) -> Error {
    Error::Unavailable(format!("database settings: {what}"))
}

/// The parts of the URL, each replaced by the key that is written. What neither says is the key's default; variables such
/// as `PGHOST` say nothing.
fn connect_options(database: &Database) -> Result<PgConnectOptions, Error> {
    let url = database.conn_string.as_deref().unwrap_or_default();
    let mut options = match &database.conn_string {
        // What a URL holds is never repeated: it may be a password.
        Some(url) => {
            let ours = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
            let read = ours.then(|| PgConnectOptions::from_str(&with_some_host(url)));
            read.and_then(Result::ok).ok_or_else(|| unusable("conn_string is no postgres:// URL"))?
        }
        None => PgConnectOptions::new_without_pgpass(),
    };
    let said = Said::of(url);
    let takes = |key: &str, in_url: bool| !in_url || database.written.iter().any(|name| name == key);
    if takes("host", said.host) {
        options = if database.host.starts_with('/') {
            options.socket(&database.host)
        } else {
            // A socket of the URL is forgotten: it would win over the host.
            without_socket(options).host(&database.host)
        };
    }
    if takes("port", said.port) {
        options = options.port(database.port);
    }
    if takes("user", said.user) {
        options = options.username(&database.user);
    }
    if takes("password", said.password) {
        options = options.password(database.password.as_deref().unwrap_or_default());
    }
    if takes("name", said.name) {
        options = options.database(&database.name);
    }
    if takes("ssl_mode", said.ssl_mode) {
        let mode = PgSslMode::from_str(&database.ssl_mode);
        options = options.ssl_mode(mode.map_err(|_| unusable("ssl_mode is none that PostgreSQL knows"))?);
    }
    Ok(options.application_name("compozy").disable_statement_logging())
}

/// `postgres://user@/name` names no host, which other programs take for the default and a URL's grammar does not.
fn with_some_host(url: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let (login, server) = authority.rsplit_once('@').map_or(("", authority), |(login, server)| (login, server));
    if authority.is_empty() || !(server.is_empty() || server.starts_with(':')) {
        return url.into();
    }
    format!("{scheme}://{login}@localhost{server}{after}").into()
}

fn without_socket(options: PgConnectOptions) -> PgConnectOptions {
    if options.get_socket().is_none() {
        return options;
    }
    let fresh = PgConnectOptions::new_without_pgpass().port(options.get_port()).username(options.get_username());
    let fresh = fresh.ssl_mode(options.get_ssl_mode());
    match options.get_database() {
        Some(name) => fresh.database(name),
        None => fresh,
    }
}

/// Which parts a URL has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    host: bool,
    port: bool,
    user: bool,
    password: bool,
    name: bool,
    ssl_mode: bool,
}

impl Said {
    fn of(url: &str) -> Self {
        let Some((_, rest)) = url.split_once("://") else { return Self::default() };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        // The colons of an address in brackets are none before a port.
        let address = server.rfind(']').map_or(0, |end| end + 1);
        let (_, after) = server.split_at(address);
        let (host, port) = after.split_once(':').unwrap_or((after, ""));
        let asks = |keys: &[&str]| {
            query.split('&').filter_map(|pair| pair.split_once('=')).any(|(key, _)| keys.contains(&key))
        };
        Self {
            host: address > 0 || !host.is_empty() || asks(&["host", "hostaddr"]),
            port: !port.is_empty() || asks(&["port"]),
            user: !user.is_empty() || asks(&["user"]),
            password: !password.is_empty() || asks(&["password"]),
            name: !name.is_empty() || asks(&["dbname"]),
            ssl_mode: asks(&["sslmode", "ssl-mode"]),
        }
    }
}
