//! Which server, as the project's settings spell it, and how connections are kept.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::time::Duration;

use compozy_lang::settings::Database;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};

use super::super::Error;
use super::super::row::Durability;
use super::sql;
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
    /// What is known about a pooler in between; `None`: nothing.
    pooled: Option<bool>,
    notify: bool,
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
    /// Idle connections that stay.
    pub max_idle: usize,
    /// Between two looks at how many are idle.
    pub idle_check: Duration,
    /// Limit of the test of a connection that rested.
    pub ping_timeout: Duration,
    /// Limit of the round trip by which `/health` judges.
    pub health_check_timeout: Duration,
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

/// Connections beside the pool: one that listens, and one for the lease and for what must not wait behind the work.
const ASIDE: u32 = 2;

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
            pooled: asked_for_pooling(database.conn_string.as_deref().unwrap_or_default()),
            notify: true,
            role,
            durability: database.durability.into(),
            connect_timeout: database.connect_timeout,
            migration_timeout: database.migration_timeout,
            max_connections: database.max_open_conns.max(1),
            max_lifetime: database.conn_max_lifetime,
            max_idle_time: database.conn_max_idle_time,
            max_idle: database.max_idle_conns as usize,
            idle_check: database.health_check_period.max(Duration::from_secs(1)),
            ping_timeout: database.ping_timeout,
            health_check_timeout: database.health_check_timeout,
            patience: if role == Role::Server { PATIENCE } else { SHORT_PATIENCE },
            auto_migrate: database.auto_migrate,
            clock,
        })
    }

    /// Whether nodes may wake each other, `cluster.notify`. Without that nothing is taken for granted about sessions:
    /// there may be a pooler that gives every transaction another one.
    #[must_use]
    pub fn notifying(self, notify: bool) -> Self {
        Self { notify, ..self }
    }

    /// A pooler may give every transaction another session: none is set up, named in or listened on.
    pub(super) fn is_pooled(&self) -> bool {
        self.pooled.unwrap_or(!self.notify)
    }

    /// Whether to notify and listen.
    pub(super) fn notifies(&self) -> bool {
        self.notify && !self.is_pooled()
    }

    fn connect_options(&self) -> PgConnectOptions {
        // Poolers refuse parameters that they do not know. No column is a floating point number.
        let connect = self.connect.clone().extra_float_digits(None);
        if self.is_pooled() { connect.statement_cache_capacity(0) } else { connect.options(sql::SESSION) }
    }

    /// One connection, without a pool.
    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        tokio::time::timeout(self.connect_timeout, self.connect_options().connect())
            .await
            .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
    }

    /// The same behind a pooler.
    pub(super) fn through_a_pooler(self) -> Self {
        Self { pooled: Some(true), ..self }
    }

    /// Connections, opened as they are needed.
    pub(super) fn pool(&self) -> PgPool {
        self.pool_of(self.max_connections)
    }

    /// A few more, for what must not wait until others are done with theirs.
    pub(super) fn aside(&self) -> PgPool {
        self.pool_of(ASIDE)
    }

    fn pool_of(&self, most: u32) -> PgPool {
        let limit = self.ping_timeout;
        PgPoolOptions::new()
            .max_connections(most)
            .min_connections(0)
            .acquire_timeout(self.connect_timeout)
            .max_lifetime(Some(self.max_lifetime))
            .idle_timeout(Some(self.max_idle_time))
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                // A round trip for each use would be half of what most uses take.
                Box::pin(async move {
                    if meta.idle_for < TRUSTED {
                        return Ok(true);
                    }
                    Ok(tokio::time::timeout(limit, connection.ping()).await.is_ok_and(|answer| answer.is_ok()))
                })
            })
            .connect_lazy_with(self.connect_options())
    }
}

/// Closes idle connections beyond `most` at each `period`, until it is aborted.
pub(super) async fn keep_few(pool: PgPool, most: usize, period: Duration, clock: Clock) {
    loop {
        clock.sleep(period).await;
        while pool.num_idle() > most
            && let Some(connection) = pool.try_acquire()
        {
            let _gone_anyway = connection.close().await;
        }
    }
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
            let read = ours.then(|| PgConnectOptions::from_str(&with_some_host(&without_ours(url))));
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

/// Parameters of a URL by which clients are told of a pooler in transaction mode, here as elsewhere: of Prisma, of asyncpg
/// and sqlx, of pgx, and of JDBC. sqlx knows none of them.
fn says_pooled(key: &str, value: &str) -> Option<bool> {
    match key {
        "pgbouncer" => Some(matches!(value, "true" | "1" | "yes" | "on")),
        "statement_cache_capacity" | "statement-cache-capacity" | "statement_cache_size" => Some(value == "0"),
        "default_query_exec_mode" => Some(!matches!(value, "cache_statement" | "cache_describe")),
        "prepareThreshold" => Some(value == "0"),
        _ => None,
    }
}

/// What a URL says about a pooler; the last word counts.
fn asked_for_pooling(url: &str) -> Option<bool> {
    let (_, query) = url.split_once('?')?;
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter_map(|(key, value)| says_pooled(key, value))
        .next_back()
}

fn without_ours(url: &str) -> Cow<'_, str> {
    let Some((path, query)) = url.split_once('?') else { return url.into() };
    let is_ours = |pair: &&str| pair.split_once('=').is_some_and(|(key, value)| says_pooled(key, value).is_some());
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_ours(pair)).collect();
    if rest.is_empty() { path.into() } else { format!("{path}?{}", rest.join("&")).into() }
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
