//! Keys of the sections that configure the process, with their defaults.

use super::{COUNT, Kind, MILLIS, SPAN, TEXTS, Table, idle, key};

/// The sections whose values `config show` prints, in that order.
pub static SECTIONS: &[(&str, &Table)] = &[
    ("database", &DATABASE),
    ("server", &SERVER),
    ("monitoring", &MONITORING),
    ("runtime", &RUNTIME),
    ("limits", &LIMITS),
    ("llm", &super::project::LLM),
    ("engine", &ENGINE),
    ("cluster", &CLUSTER),
    ("retention", &RETENTION),
    ("webhooks", &WEBHOOKS),
    ("attachments", &ATTACHMENTS),
    ("autoload", &AUTOLOAD),
];

const PORT: Kind = Kind::Int(1, 65_535);
const SMALL: Kind = Kind::Int(1, 1_000_000);

macro_rules! database_keys {
    ($($extra:expr,)*) => {
        &[
            $($extra,)*
            key("driver", Kind::Text, "sqlite or postgres.").default("sqlite"),
            key("path", Kind::Text, "SQLite: a file, `:memory:` or a file: URI.").alias(&["file", "filename"]).default("./.compozy/compozy.db"),
            key("host", Kind::Text, "PostgreSQL: host.").default("localhost"),
            key("port", PORT, "PostgreSQL: port.").default("5432"),
            key("user", Kind::Text, "PostgreSQL: user.").alias(&["username"]).default("postgres"),
            key("password", Kind::Text, "PostgreSQL: password.").secret(),
            key("name", Kind::Text, "PostgreSQL: database.").alias(&["dbname", "database", "db_name"]).default("compozy"),
            key("ssl_mode", Kind::Choice(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]), "PostgreSQL: TLS.")
                .alias(&["sslmode"])
                .default("disable"),
            key("conn_string", Kind::Text, "PostgreSQL: a URL; written keys override its parts.")
                .alias(&["url", "dsn", "uri", "connection_string"]),
            key("durability", Kind::Choice(&["full", "normal", "memory"]), "What survives a power cut.").default("full"),
            key("busy_timeout", MILLIS, "SQLite: longest wait for a lock.").default("5s"),
            key("connect_timeout", MILLIS, "Limit of a connection.").default("5s"),
            key("ping_timeout", MILLIS, "Limit of a ping.").default("3s"),
            key("health_check_timeout", MILLIS, "Limit of a health check.").default("1s"),
            key("migration_timeout", MILLIS, "Limit of all migrations.").default("2m"),
            key("max_open_conns", Kind::Int(1, 10_000), "Connections: readers (SQLite) or pool (PostgreSQL).")
                .alias(&["max_connections", "pool_size"])
                .default("25"),
            key("max_idle_conns", Kind::Int(0, 10_000), "Connections kept open.").default("5"),
            key("conn_max_lifetime", SPAN, "PostgreSQL: longest life of a connection.").default("5m"),
            key("conn_max_idle_time", SPAN, "PostgreSQL: longest rest of a connection.").default("1m"),
            key("health_check_period", SPAN, "PostgreSQL: time between health checks.").default("30s"),
            key("auto_migrate", Kind::Bool, "Whether the schema is brought up to date at start.").default("true"),
            key("pragmas", Kind::MapOf(&Kind::Text), "SQLite: pragmas."),
            key("journal_mode", Kind::Text, "SQLite pragma; absent: wal."),
            key("synchronous", Kind::Text, "SQLite pragma; absent: follows durability."),
            key("cache_size", Kind::Text, "SQLite pragma."),
            key("mmap_size", Kind::Text, "SQLite pragma."),
            key("temp_store", Kind::Text, "SQLite pragma."),
            key("wal_autocheckpoint", Kind::Text, "SQLite pragma."),
            key("journal_size_limit", Kind::Text, "SQLite pragma."),
            key("foreign_keys", Kind::Text, "SQLite pragma; always on."),
        ]
    };
}

/// `database`.
pub static DATABASE: Table = Table { name: "database", is_settings: true, keys: database_keys!() };

/// An entry of `databases`.
pub static NAMED_DATABASE: Table = Table {
    name: "database",
    is_settings: true,
    keys: database_keys!(key("id", Kind::Text, "Label that plugins use."),),
};

/// Keys of only one driver, for the notes about the other's.
pub const SQLITE_ONLY: &[&str] = &[
    "path",
    "busy_timeout",
    "pragmas",
    "journal_mode",
    "synchronous",
    "cache_size",
    "mmap_size",
    "temp_store",
    "wal_autocheckpoint",
    "journal_size_limit",
    "foreign_keys",
];
/// See [`SQLITE_ONLY`].
pub const POSTGRES_ONLY: &[&str] = &[
    "host",
    "port",
    "user",
    "password",
    "name",
    "ssl_mode",
    "conn_string",
    "conn_max_lifetime",
    "conn_max_idle_time",
    "health_check_period",
];
/// Pragmas that may be set.
pub const PRAGMAS: &[&str] = &[
    "journal_mode",
    "synchronous",
    "cache_size",
    "mmap_size",
    "temp_store",
    "wal_autocheckpoint",
    "journal_size_limit",
];

/// `server`.
pub static SERVER: Table = Table {
    name: "server",
    is_settings: true,
    keys: &[
        key("host", Kind::Text, "Address that is bound.").default("127.0.0.1"),
        key("port", Kind::Int(0, 65_535), "Port that is bound; 0: any free one.").default("8080"),
        key("timeout", SPAN, "Limit of an ordinary request.").default("30s"),
        key("max_body", Kind::Size, "Largest body of a start; overrides limits.start_body_bytes."),
        key(
            "allow_unauthenticated",
            Kind::Bool,
            "Whether a host beyond loopback may be served without authentication.",
        )
        .default("false"),
        key("allowed_hosts", TEXTS, "Values of `Host` that are served."),
        key("trusted_proxies", TEXTS, "Addresses whose X-Forwarded-For counts."),
        key("cors_enabled", Kind::Bool, "Whether browsers of other origins may call.").default("false"),
        key("cors", Kind::Map(&CORS), "Which origins."),
        key("auth", Kind::Map(&AUTH), "Authentication."),
        key("sync_timeout", SPAN, "Wait of a synchronous start.").default("60s"),
        key("sync_timeout_max", SPAN, "Longest wait a caller may ask for.").default("1h"),
        key("idempotency_ttl", SPAN, "How long idempotency keys are kept.").default("24h"),
        key("limits", Kind::Map(&SERVER_LIMITS), "Limits of requests and connections."),
        key("ratelimit", Kind::Map(&SERVER_RATELIMIT), "Requests per time."),
        key("timeouts", Kind::Map(&TIMEOUTS), "Timeouts of connections and shutdown."),
        key("tls", Kind::Map(&TLS), "Certificate and key."),
        idle("source_of_truth"),
        idle("seed_from_repo_on_empty"),
        idle("reconciler"),
    ],
};

static CORS: Table = Table {
    name: "cors",
    is_settings: true,
    keys: &[
        key("allowed_origins", TEXTS, "Exact origins."),
        key("allow_credentials", Kind::Bool, "Whether credentials are allowed.").default("false"),
        key("max_age", Kind::Duration(crate::duration::Bare::Seconds), "How long browsers remember.").default("10m"),
    ],
};

static AUTH: Table = Table {
    name: "auth",
    is_settings: true,
    keys: &[
        key("enabled", Kind::Bool, "Whether calls need a key.").default("false"),
        key("admin_key", Kind::Text, "Key of the administrator, at least 32 characters.").secret(),
        key("workflow_exceptions", TEXTS, "Workflows that need no key."),
    ],
};

static SERVER_LIMITS: Table = Table {
    name: "limits",
    is_settings: true,
    keys: &[
        key("body_bytes", Kind::Size, "Body of an ordinary request.").default("1MiB"),
        key("start_body_bytes", Kind::Size, "Body that starts a run.").default("10MiB"),
        key("upload_bytes", Kind::Size, "Body of an upload.").default("32MiB"),
        key("header_bytes", Kind::Size, "All headers of a request.").default("32KiB"),
        key("uri_bytes", Kind::Size, "Target of a request.").default("8KiB"),
        key("json_depth", Kind::Int(1, 120), "Nesting of JSON bodies.").default("64"),
        key("connections", SMALL, "Connections at once.").default("4096"),
        key("sse", SMALL, "Event streams at once.").default("1024"),
        key("sse_per_key", SMALL, "Event streams per key.").default("32"),
        key("sync_waiters", SMALL, "Synchronous starts waiting.").default("256"),
    ],
};

static SERVER_RATELIMIT: Table = Table {
    name: "ratelimit",
    is_settings: true,
    keys: &[
        key("ip", Kind::Map(&IP_RATE), "Per address, before authentication."),
        key("key", Kind::Map(&KEY_RATE), "Per key, after authentication."),
        key("auth_failures", Kind::Map(&AUTH_FAILURE_RATE), "Failed authentications per address."),
    ],
};

macro_rules! rate_table {
    ($name:ident, $limit:literal, $period:literal, $burst:literal) => {
        static $name: Table = Table {
            name: "rate",
            is_settings: true,
            keys: &[
                key("limit", SMALL, "Requests per period.").default($limit),
                key("period", SPAN, "The period.").default($period),
                key("burst", SMALL, "Requests at once.").default($burst),
            ],
        };
    };
}
rate_table!(IP_RATE, "50", "1s", "200");
rate_table!(KEY_RATE, "100", "1s", "200");
rate_table!(AUTH_FAILURE_RATE, "10", "1m", "10");

/// `ratelimit`, read as `server.ratelimit`.
pub static RATELIMIT: Table = Table {
    name: "ratelimit",
    is_settings: true,
    keys: &[
        key("global_rate", Kind::Map(&IP_RATE), "Read as server.ratelimit.ip."),
        key("api_key_rate", Kind::Map(&KEY_RATE), "Read as server.ratelimit.key."),
        idle("prefix"),
        idle("max_retry"),
    ],
};

static TIMEOUTS: Table = Table {
    name: "timeouts",
    is_settings: true,
    keys: &[
        key("http_read_header", SPAN, "Limit of reading the headers.").default("10s"),
        key("body_idle", SPAN, "Longest silence inside a body.").default("30s"),
        key("http_idle", SPAN, "Longest rest of a kept connection.").default("60s"),
        key("drain", SPAN, "How long running steps may finish at shutdown.").default("20s"),
        key("shutdown", SPAN, "Limit of the whole shutdown.").default("25s"),
    ],
};

static TLS: Table = Table {
    name: "tls",
    is_settings: true,
    keys: &[
        key("cert_file", Kind::Text, "Certificate chain (PEM)."),
        key("key_file", Kind::Text, "Private key (PEM)."),
    ],
};

/// `monitoring`.
pub static MONITORING: Table = Table {
    name: "monitoring",
    is_settings: true,
    keys: &[
        key("enabled", Kind::Bool, "Whether metrics are served.").default("true"),
        key("path", Kind::Text, "Path of the metrics.").default("/metrics"),
        key("auth", Kind::Choice(&["inherit", "none"]), "Whether the metrics need a key.").default("inherit"),
    ],
};

/// `runtime`.
pub static RUNTIME: Table = Table {
    name: "runtime",
    is_settings: true,
    keys: &[
        key("log_level", Kind::Text, "trace, debug, info, warn, error, per module as info,engine=debug.")
            .default("info"),
        key("environment", Kind::Text, "Free text for logs."),
        key("entrypoint", Kind::Text, "A JavaScript module with tools."),
        key("tool_execution_timeout", SPAN, "Limit of a tool call.").default("60s"),
        key("task_execution_timeout_default", SPAN, "`timeout` of tasks that have none."),
        key("task_execution_timeout_max", SPAN, "Cap of `timeout`."),
        key("native_tools", Kind::Map(&NATIVE_TOOLS), "Built-in tools."),
        idle("type"),
        idle("runtime_type"),
        idle("permissions"),
        idle("bun_permissions"),
        idle("dispatcher_*"),
        idle("async_token_counter_*"),
    ],
};

static NATIVE_TOOLS: Table = Table {
    name: "native_tools",
    is_settings: true,
    keys: &[
        key("allow", TEXTS, "Built-in tools that are on."),
        key("root_dir", Kind::Text, "Folder of the file tools."),
        key("additional_roots", TEXTS, "Further folders of the file tools."),
        key("fetch", Kind::Map(&FETCH), "Hosts of the fetch tool."),
        idle("enabled"),
        idle("*"),
    ],
};

static FETCH: Table = Table {
    name: "fetch",
    is_settings: true,
    keys: &[key("hosts", TEXTS, "Patterns [scheme://]host[:port]."), idle("*")],
};

/// `limits`.
pub static LIMITS: Table = Table {
    name: "limits",
    is_settings: true,
    keys: &[
        key("max_config_file_size", Kind::Size, "Bytes of a YAML file.").default("10MiB"),
        key("max_config_file_nesting_depth", Kind::Int(1, 100), "Levels of a YAML file.").default("100"),
        key("max_nesting_depth", Kind::Int(1, 32), "Containers in each other.").default("20"),
        key("max_sub_workflow_depth", Kind::Int(1, 1000), "Workflows in each other.").default("16"),
        key("max_task_executions", Kind::Int(1, i64::MAX), "Task executions of one run.").default("10000"),
        key("max_collection_items", Kind::Int(1, i64::MAX), "Items of a collection.").default("10000"),
        key("max_parallel", Kind::Int(1, 100_000), "Children of a container at once.").default("100"),
        key("max_cel_cost", Kind::Int(1, i64::MAX), "Cost of a CEL expression.").default("10000"),
        key("max_input_size", Kind::Size, "Bytes of a run's input.").default("1MiB"),
        key("max_output_size", Kind::Size, "Bytes of a task's output.").default("10MiB"),
        key("max_string_length", Kind::Size, "Bytes of one string.").default("10MiB"),
        key("max_message_content", Kind::Size, "Bytes of a message of a memory.").default("10KiB"),
        key("max_total_content_size", Kind::Size, "Bytes of a memory.").default("100KiB"),
        key("template", Kind::Map(&TEMPLATE_LIMITS), "Limits of one template render."),
        idle("max_task_context_depth"),
        idle("parent_update_batch_size"),
    ],
};

static TEMPLATE_LIMITS: Table = Table {
    name: "template",
    is_settings: true,
    keys: &[
        key("max_source", Kind::Size, "Bytes of source.").default("256KiB"),
        key("max_depth", Kind::Int(1, 1000), "Nesting.").default("64"),
        key("max_steps", Kind::Int(1, i64::MAX), "Evaluation steps.").default("1000000"),
        key("max_output", Kind::Size, "Bytes of output and of every intermediate value.").default("4MiB"),
    ],
};

/// `engine`.
pub static ENGINE: Table = Table {
    name: "engine",
    is_settings: true,
    keys: &[
        key("max_concurrent_runs", SMALL, "Runs executing at once on a node.").default("256"),
        key("max_pending", Kind::Int(1, i64::MAX), "Runs waiting to be executed.").default("100000"),
        key("max_depth", Kind::Int(1, 1000), "Sub-runs in each other.").default("16"),
        key("max_fanout", SMALL, "Children of one step.").default("10000"),
    ],
};

/// `cluster`.
pub static CLUSTER: Table = Table {
    name: "cluster",
    is_settings: true,
    keys: &[
        key("lease", SPAN, "How long a silent node keeps its runs.").default("10s"),
        key("claim_batch", SMALL, "Runs claimed at once.").default("64"),
        key("notify", Kind::Bool, "Whether nodes wake each other.").default("true"),
    ],
};

/// `retention`.
pub static RETENTION: Table = Table {
    name: "retention",
    is_settings: true,
    keys: &[
        key("success", SPAN, "How long successful runs are kept.").default("30d"),
        key("failed", SPAN, "How long other finished runs are kept.").default("90d"),
        key("journal", SPAN, "How long the journal is kept after the end.").default("7d"),
        key("keep_last", COUNT, "Runs per workflow that are always kept.").default("10"),
        key("audit", SPAN, "How long the audit log is kept.").default("365d"),
    ],
};

/// `webhooks`.
pub static WEBHOOKS: Table = Table {
    name: "webhooks",
    is_settings: true,
    keys: &[
        key("default_method", Kind::Choice(&["POST", "PUT", "PATCH"]), "Method.").default("POST"),
        key("default_max_body", Kind::Size, "Largest body.").default("1MiB"),
        key("default_dedupe_ttl", SPAN, "How long repeats are known.").default("10m"),
        key("stripe_skew", SPAN, "Oldest Stripe signature.").default("5m"),
    ],
};

/// `attachments`.
pub static ATTACHMENTS: Table = Table {
    name: "attachments",
    is_settings: true,
    keys: &[
        key("max_download_size_bytes", Kind::Size, "Largest download.").default("10MB"),
        key("download_timeout", SPAN, "Limit of a download.").default("30s"),
        key("max_redirects", Kind::Int(0, 20), "Most redirects.").default("3"),
        key("text_part_max_bytes", Kind::Size, "Largest text.").default("5MiB"),
        key("pdf_extract_max_chars", COUNT, "Most characters of a PDF.").default("1000000"),
        key("allowed_mime_types", Kind::Any, "Media types."),
        key("ssrf_strict", Kind::Bool, "Whether private addresses are refused.").default("true"),
        idle("http_user_agent"),
        idle("mime_head_max_bytes"),
        idle("temp_dir_quota_bytes"),
    ],
};

/// `autoload`.
pub static AUTOLOAD: Table = Table {
    name: "autoload",
    is_settings: true,
    keys: &[
        key("enabled", Kind::Bool, "Whether files are registered without being listed.").default("false"),
        key("strict", Kind::Bool, "Whether a bad file is an error.").default("true"),
        key("include", TEXTS, "Globs inside the project."),
        key("exclude", TEXTS, "Globs that are left out."),
        key("watch_enabled", Kind::Bool, "Whether changes are seen.").default("false"),
    ],
};
