//! Settings of the project file outside its definitions.
//!
//! Names, defaults and meaning of every key stand in [`crate::schema::settings`]; this is their typed form. A value that
//! refers to a missing variable does not stop the loading: it takes its default here and its problem is kept in
//! [`Settings::deferred`] until a command needs the section ([`Settings::require`]).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;

/// Every section that configures the process rather than a workflow.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `mode`, given or derived from the database.
    pub mode: Mode,
    /// `database`.
    pub database: Database,
    /// `server`.
    pub server: Server,
    /// `monitoring`.
    pub monitoring: Monitoring,
    /// `runtime`.
    pub runtime: Runtime,
    /// `limits`.
    pub limits: Limits,
    /// `llm` without its providers.
    pub llm: Llm,
    /// `engine`.
    pub engine: Engine,
    /// `cluster`.
    pub cluster: Cluster,
    /// `retention`.
    pub retention: Retention,
    /// `webhooks`.
    pub webhooks: Webhooks,
    /// `attachments`.
    pub attachments: Attachments,
    /// `autoload`.
    pub autoload: Autoload,
    /// Values that could not be read because a variable is missing: key path and problem.
    pub deferred: Vec<(String, Diagnostic)>,
}

impl Settings {
    /// Whether every value of a section or a key path (`database`, `llm.providers.openai`) is there.
    ///
    /// # Errors
    /// The missing variables (CZ0113), called when the section is about to be used.
    pub fn require(&self, path: &str) -> Result<(), Vec<Diagnostic>> {
        let inside = |found: &str| found == path || found.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        let missing: Vec<Diagnostic> =
            self.deferred.iter().filter(|(found, _)| inside(found)).map(|(_, problem)| problem.clone()).collect();
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }
}

/// `mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// SQLite in memory.
    Memory,
    /// An SQLite file (also `standalone`).
    #[default]
    Persistent,
    /// PostgreSQL.
    Distributed,
}

/// `database` (dialect §12).
#[derive(Debug, Clone)]
pub struct Database {
    /// Which driver.
    pub driver: Driver,
    /// SQLite: path as written (`:memory:`, a path or a `file:` URI).
    pub path: String,
    /// PostgreSQL: host.
    pub host: String,
    /// PostgreSQL: port.
    pub port: u16,
    /// PostgreSQL: user.
    pub user: String,
    /// PostgreSQL: password.
    pub password: Option<String>,
    /// PostgreSQL: database.
    pub name: String,
    /// PostgreSQL: `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`.
    pub ssl_mode: String,
    /// PostgreSQL: a URL; the keys in `written` override its parts.
    pub conn_string: Option<String>,
    /// Canonical names of the keys that are written rather than defaults.
    pub written: Vec<String>,
    /// What survives a power cut, unless a workflow says otherwise.
    pub durability: Durability,
    /// SQLite: longest wait for a lock.
    pub busy_timeout: Duration,
    /// Limit of a connection.
    pub connect_timeout: Duration,
    /// Limit of a ping.
    pub ping_timeout: Duration,
    /// Limit of a health check.
    pub health_check_timeout: Duration,
    /// Limit of all migrations.
    pub migration_timeout: Duration,
    /// Readers beside the one writer (SQLite), or the pool (PostgreSQL).
    pub max_open_conns: u32,
    /// Connections kept open.
    pub max_idle_conns: u32,
    /// PostgreSQL: longest life of a connection.
    pub conn_max_lifetime: Duration,
    /// PostgreSQL: longest rest of a connection.
    pub conn_max_idle_time: Duration,
    /// PostgreSQL: time between health checks.
    pub health_check_period: Duration,
    /// Whether the schema is brought up to date at start.
    pub auto_migrate: bool,
    /// SQLite: pragmas written by the user, names and values checked.
    pub pragmas: BTreeMap<String, String>,
}

/// Database drivers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// Embedded SQLite.
    #[default]
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

/// What survives a power cut (cli-and-api §9.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Only starts and ends are stored.
    Memory,
    /// A suffix of acknowledged commits may be lost.
    Normal,
    /// Nothing acknowledged is lost.
    #[default]
    Full,
}

impl Default for Database {
    fn default() -> Self {
        crate::document::settings::defaults().database
    }
}

/// `server`.
#[derive(Debug, Clone)]
pub struct Server {
    /// Address that is bound.
    pub host: String,
    /// Port that is bound; 0: any free one.
    pub port: u16,
    /// Limit of an ordinary request.
    pub timeout: Duration,
    /// Whether a host beyond loopback may be served without authentication.
    pub allow_unauthenticated: bool,
    /// Values of `Host` that are served.
    pub allowed_hosts: Vec<String>,
    /// Addresses whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<String>,
    /// CORS; `None`: off.
    pub cors: Option<Cors>,
    /// Authentication.
    pub auth: Auth,
    /// Wait of a synchronous start.
    pub sync_timeout: Duration,
    /// Longest wait a caller may ask for.
    pub sync_timeout_max: Duration,
    /// How long idempotency keys are kept.
    pub idempotency_ttl: Duration,
    /// Limits of requests and connections.
    pub limits: ServerLimits,
    /// Requests per time.
    pub ratelimit: RateLimits,
    /// Timeouts of connections and shutdown.
    pub timeouts: Timeouts,
    /// Certificate and key files; `None`: plain HTTP.
    pub tls: Option<Tls>,
}

/// `server.cors`.
#[derive(Debug, Clone)]
pub struct Cors {
    /// Exact origins.
    pub allowed_origins: Vec<String>,
    /// Whether credentials are allowed.
    pub allow_credentials: bool,
    /// How long browsers remember.
    pub max_age: Duration,
}

/// `server.auth`.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Whether calls need a key.
    pub enabled: bool,
    /// Key of the administrator.
    pub admin_key: Option<String>,
    /// Workflows that need no key.
    pub workflow_exceptions: Vec<String>,
}

/// `server.limits`.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Bytes of an ordinary body.
    pub body_bytes: u64,
    /// Bytes of a body that starts a run.
    pub start_body_bytes: u64,
    /// Bytes of an upload.
    pub upload_bytes: u64,
    /// Bytes of all headers.
    pub header_bytes: u64,
    /// Bytes of the target.
    pub uri_bytes: u64,
    /// Nesting of JSON bodies.
    pub json_depth: u32,
    /// Connections at once.
    pub connections: u32,
    /// Event streams at once.
    pub sse: u32,
    /// Event streams per key.
    pub sse_per_key: u32,
    /// Synchronous starts waiting.
    pub sync_waiters: u32,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests per period.
    pub limit: u32,
    /// The period.
    pub period: Duration,
    /// Requests at once.
    pub burst: u32,
}

/// `server.ratelimit`.
#[derive(Debug, Clone)]
pub struct RateLimits {
    /// Per address, before authentication.
    pub ip: Rate,
    /// Per key, after authentication.
    pub key: Rate,
    /// Failed authentications per address.
    pub auth_failures: Rate,
}

/// `server.timeouts`.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// Limit of reading the headers.
    pub http_read_header: Duration,
    /// Longest silence inside a body.
    pub body_idle: Duration,
    /// Longest rest of a kept connection.
    pub http_idle: Duration,
    /// How long running steps may finish at shutdown.
    pub drain: Duration,
    /// Limit of the whole shutdown.
    pub shutdown: Duration,
}

/// `server.tls`.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Certificate chain (PEM), as written.
    pub cert_file: String,
    /// Private key (PEM), as written.
    pub key_file: String,
}

/// `monitoring`.
#[derive(Debug, Clone)]
pub struct Monitoring {
    /// Whether metrics are served.
    pub enabled: bool,
    /// Path of the metrics.
    pub path: String,
    /// `auth: none`: no key is needed even when the server needs one.
    pub is_public: bool,
}

/// `runtime`.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Log level or directives.
    pub log_level: String,
    /// Free text for logs.
    pub environment: String,
    /// Limit of a tool call.
    pub tool_execution_timeout: Duration,
    /// `timeout` of tasks that have none.
    pub task_execution_timeout_default: Option<Duration>,
    /// Cap of `timeout`.
    pub task_execution_timeout_max: Option<Duration>,
    /// Built-in tools that are on.
    pub native_tools_allow: Vec<String>,
}

/// `limits`. Those the engine enforces are also in every [`crate::plan::Workflow`].
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a YAML file read after the project file.
    pub max_config_file_bytes: u64,
    /// Levels of a YAML file read after the project file.
    pub max_config_file_nesting_depth: u32,
    /// Containers in each other.
    pub max_nesting_depth: u32,
    /// Workflows in each other.
    pub max_sub_workflow_depth: u32,
    /// Bytes of one string.
    pub max_string_bytes: u64,
    /// Bytes of one message of a memory.
    pub max_message_bytes: u64,
    /// Bytes of all messages under one key of a memory.
    pub max_memory_bytes: u64,
    /// What the engine enforces.
    pub engine: crate::plan::Limits,
}

/// `llm` without its providers.
#[derive(Debug, Clone)]
pub struct Llm {
    /// Limit of one call.
    pub provider_timeout: Duration,
    /// Attempts after the first.
    pub retry_attempts: u32,
    /// Wait before the second attempt.
    pub retry_backoff_base: Duration,
    /// Longest wait.
    pub retry_backoff_max: Duration,
    /// When the tool calls of an agent come to an end.
    pub tools: crate::plan::ToolGuards,
    /// Questions again after an answer that breaks its schema.
    pub structured_output_retries: u32,
    /// Calls at once per provider; `None`: no limit.
    pub default_concurrency: Option<u32>,
    /// Calls waiting per provider.
    pub default_queue_size: u32,
}

/// `engine`.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Runs executing at once on a node.
    pub max_concurrent_runs: u32,
    /// Runs waiting to be executed.
    pub max_pending: u64,
    /// Sub-runs in each other.
    pub max_depth: u32,
    /// Children of one step.
    pub max_fanout: u32,
}

/// `cluster`.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// How long a silent node keeps its runs.
    pub lease: Duration,
    /// Runs claimed at once.
    pub claim_batch: u32,
    /// Whether nodes wake each other.
    pub notify: bool,
}

/// `retention`.
#[derive(Debug, Clone)]
pub struct Retention {
    /// How long successful runs are kept.
    pub success: Duration,
    /// How long other finished runs are kept.
    pub failed: Duration,
    /// How long the journal is kept after the end.
    pub journal: Duration,
    /// Runs per workflow that are always kept.
    pub keep_last: u32,
    /// How long the audit log is kept.
    pub audit: Duration,
}

/// `webhooks`.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// Method.
    pub default_method: String,
    /// Bytes of the largest body.
    pub default_max_body_bytes: u64,
    /// How long repeats are known.
    pub default_dedupe_ttl: Duration,
    /// Oldest Stripe signature.
    pub stripe_skew: Duration,
}

/// `attachments`.
#[derive(Debug, Clone)]
pub struct Attachments {
    /// Bytes of the largest download.
    pub max_download_bytes: u64,
    /// Limit of a download.
    pub download_timeout: Duration,
    /// Most redirects.
    pub max_redirects: u32,
    /// Bytes of the largest text.
    pub text_part_max_bytes: u64,
    /// Most characters of a PDF.
    pub pdf_extract_max_chars: u64,
    /// Whether private addresses are refused.
    pub ssrf_strict: bool,
}

/// `autoload`.
#[derive(Debug, Clone)]
pub struct Autoload {
    /// Whether files are registered without being listed.
    pub enabled: bool,
    /// Whether a bad file is an error.
    pub strict: bool,
    /// Globs inside the project.
    pub include: Vec<String>,
    /// Globs that are left out.
    pub exclude: Vec<String>,
}

/// Every section is what reading an empty file gives.
macro_rules! defaults_from_tables {
    ($($section:ident: $type:ty,)*) => {
        $(impl Default for $type {
            fn default() -> Self {
                crate::document::settings::defaults().$section
            }
        })*
    };
}

defaults_from_tables! {
    server: Server,
    monitoring: Monitoring,
    runtime: Runtime,
    limits: Limits,
    llm: Llm,
    engine: Engine,
    cluster: Cluster,
    retention: Retention,
    webhooks: Webhooks,
    attachments: Attachments,
    autoload: Autoload,
}
