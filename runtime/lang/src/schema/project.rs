//! Keys of `compozy.yaml` itself.

use super::definitions::{AGENT, MCP, PLUGIN, PROVIDER, SCHEMA, TOOL};
use super::knowledge::{BINDING, EMBEDDER, KNOWLEDGE, KNOWLEDGE_BASE, VECTOR_DB};
use super::memory::MEMORY;
use super::task::{RETRY, TRANSITION};
use super::workflow::WORKFLOW;
use super::{COUNT, Key, Kind, SPAN, TEMPLATE_MAP, TEXTS, Table, idle, key, settings};

/// The project file.
pub static PROJECT: Table = Table {
    name: "project",
    is_settings: false,
    keys: &[
        key("name", Kind::Text, "Name of the project; absent: the name of its folder."),
        key("version", Kind::Text, "Free text."),
        key("description", Kind::Text, "Free text."),
        key("author", Kind::Either(&[Kind::Map(&AUTHOR), Kind::Text]), "Who wrote it."),
        key(
            "mode",
            Kind::Choice(&["standalone", "persistent", "memory", "distributed"]),
            "Chooses the database when `database` is absent.",
        ),
        key(
            "workflows",
            Kind::List(&WORKFLOW_SOURCE),
            "Workflow files, globs or inline workflows; absent: workflows/*.yaml.",
        ),
        key("schemas", Kind::List(&Kind::Map(&SCHEMA)), "JSON Schemas with an id."),
        key("config", Kind::Map(&CONFIG), "Defaults of all workflows."),
        key("databases", Kind::List(&Kind::Map(&settings::NAMED_DATABASE)), "Databases that plugins may be granted."),
        key("llm", Kind::Map(&LLM), "LLM providers and how they are called."),
        key("models", Kind::List(&Kind::Map(&PROVIDER)), "Further LLM providers."),
        key("agents", Kind::List(&Kind::Map(&AGENT)), "Agents of the project."),
        key("tools", Kind::List(&Kind::Map(&TOOL)), "Tools of the project."),
        key("plugins", Kind::List(&Kind::Map(&PLUGIN)), "WebAssembly components of the project."),
        key("mcps", Kind::List(&Kind::Map(&MCP)), "MCP servers."),
        key("memories", Kind::List(&Kind::Map(&MEMORY)), "Memories of agents."),
        key("knowledge", Kind::Either(&[Kind::Map(&KNOWLEDGE), BINDINGS]), "Knowledge bases, or bindings to them."),
        key("embedders", Kind::List(&Kind::Map(&EMBEDDER)), "Embedders."),
        key("vector_dbs", Kind::List(&Kind::Map(&VECTOR_DB)), "Vector databases."),
        key("knowledge_bases", Kind::List(&Kind::Map(&KNOWLEDGE_BASE)), "Knowledge bases."),
        key("database", Kind::Map(&settings::DATABASE), "Where runs are stored."),
        key("server", Kind::Map(&settings::SERVER), "The HTTP server."),
        key("monitoring", Kind::Map(&settings::MONITORING), "Metrics."),
        key("autoload", Kind::Map(&settings::AUTOLOAD), "Files registered without being listed."),
        key("limits", Kind::Map(&settings::LIMITS), "Limits on files, runs and templates."),
        key("attachments", Kind::Map(&settings::ATTACHMENTS), "Limits on attachments."),
        key("webhooks", Kind::Map(&settings::WEBHOOKS), "Defaults of webhooks."),
        key("ratelimit", Kind::Map(&settings::RATELIMIT), "Rate limits of the server."),
        key("runtime", Kind::Map(&settings::RUNTIME), "Logging, tool and task timeouts."),
        key("cluster", Kind::Map(&settings::CLUSTER), "Several nodes on one database."),
        key("engine", Kind::Map(&settings::ENGINE), "Capacity of the engine."),
        key("retention", Kind::Map(&settings::RETENTION), "How long finished runs are kept."),
        idle("temporal"),
        idle("redis"),
        idle("cache"),
        idle("stream"),
        idle("worker"),
        idle("mcp_proxy"),
        idle("cli"),
        idle("memory"),
        idle("tasks"),
        idle("resource"),
    ],
};

/// `author` as a map.
pub static AUTHOR: Table = Table {
    name: "author",
    is_settings: false,
    keys: &[
        key("name", Kind::Text, "Name."),
        key("email", Kind::Text, "E-mail address."),
        key("url", Kind::Text, "Home page."),
        key("organization", Kind::Text, "Organization."),
    ],
};

/// An entry of `workflows`.
pub const WORKFLOW_SOURCE: Kind = Kind::Either(&[Kind::Map(&WORKFLOW), Kind::Map(&SOURCE), Kind::Text]);

/// `{source: path}`.
pub static SOURCE: Table =
    Table { name: "workflow source", is_settings: false, keys: &[key("source", Kind::Text, "A path or a glob.")] };

/// `knowledge` as bindings.
pub const BINDINGS: Kind = Kind::List(&Kind::Either(&[Kind::Map(&BINDING), Kind::Text]));

/// Keys that a project's, a workflow's and a task's `config` share.
pub(crate) const ON_ERROR: Key = key("on_error", TRANSITION_OR_ID, "What runs after a failure.");
const TRANSITION_OR_ID: Kind = Kind::Either(&[Kind::Map(&TRANSITION), Kind::Template]);
pub(crate) const RETRY_POLICY: Key = key("retry_policy", Kind::Map(&RETRY), "How failures are tried again.");
pub(crate) const RETRIES: Key = key("retries", COUNT, "Attempts after the first; short for retry_policy.");
pub(crate) const ENV: Key = key("env", TEMPLATE_MAP, "More names under `.env`.");

/// `config` of the project.
pub static CONFIG: Table = Table {
    name: "config",
    is_settings: false,
    keys: &[
        ON_ERROR,
        RETRY_POLICY,
        RETRIES,
        ENV,
        key("timeout", SPAN, "Limit of every run.").alias(&["start_to_close_timeout"]),
        idle("schedule_to_start_timeout"),
        idle("schedule_to_close_timeout"),
        idle("heartbeat_timeout"),
        idle("source_of_truth"),
    ],
};

/// `llm`.
pub static LLM: Table = Table {
    name: "llm",
    is_settings: false,
    keys: &[
        key("providers", Kind::List(&Kind::Map(&PROVIDER)), "LLM providers; the first is the default."),
        key("provider_timeout", SPAN, "Limit of one call.").default("5m"),
        key("retry_attempts", Kind::Int(0, 100), "Attempts after the first.").default("3"),
        key("retry_backoff_base", SPAN, "Wait before the second attempt.").default("100ms"),
        key("retry_backoff_max", SPAN, "Longest wait.").default("10s"),
        key("max_tool_iterations", Kind::Int(1, 10_000), "Most rounds of tool calls.").default("25"),
        key("max_concurrent_tools", Kind::Int(1, 10_000), "Most tool calls at once.").default("10"),
        key("max_sequential_tool_errors", Kind::Int(1, 10_000), "Most tool errors in a row.").default("10"),
        key("max_consecutive_successes", Kind::Int(1, 10_000), "Most equal calls in a row.").default("3"),
        key("structured_output_retries", Kind::Int(0, 100), "Questions again after an answer that breaks its schema.")
            .default("2"),
        key("tool_call_caps", Kind::Map(&TOOL_CALL_CAPS), "Most calls per tool."),
        key("rate_limiting", Kind::Map(&RATE_LIMITING), "Calls at once."),
        idle("proxy_url"),
        idle("mcp_*"),
        idle("register_mcps"),
        idle("allowed_mcp_names"),
        idle("denied_mcp_names"),
        idle("fail_on_mcp_registration_error"),
        idle("enable_*"),
        idle("context_*"),
        idle("default_*"),
        idle("*_restarts"),
        idle("restart_stall_threshold"),
        idle("no_progress_threshold"),
        idle("finalize_output_retries"),
        idle("retry_jitter*"),
        idle("usage_metrics"),
    ],
};

static TOOL_CALL_CAPS: Table = Table {
    name: "tool_call_caps",
    is_settings: false,
    keys: &[
        key("default", COUNT, "Most calls of one tool; 0: no cap.").default("0"),
        key("overrides", Kind::MapOf(&COUNT), "Most calls by tool id."),
    ],
};

static RATE_LIMITING: Table = Table {
    name: "rate_limiting",
    is_settings: false,
    keys: &[
        key("enabled", Kind::Bool, "Whether calls are limited.").default("true"),
        key("default_concurrency", Kind::Int(1, 100_000), "Calls at once per provider.").default("10"),
        key("default_queue_size", COUNT, "Calls waiting per provider.").default("100"),
        key("per_provider_limits", Kind::MapOf(&Kind::Any), "Limits by provider."),
        idle("default_*"),
    ],
};

/// `tools`, `mcps` and the like as names.
pub const NAMES: Kind = TEXTS;
