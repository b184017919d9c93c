//! Keys of providers, agents, tools, plugins and the other things a project defines.

use super::memory::BINDINGS_OF_MEMORIES;
use super::project::{BINDINGS, ENV};
use super::{COUNT, Kind, SPAN, TEMPLATE_MAP, TEXTS, Table, idle, key};

/// Provider types, aliases last.
pub const PROVIDER_TYPES: &[&str] = &[
    "openai",
    "anthropic",
    "google",
    "groq",
    "mistral",
    "deepseek",
    "xai",
    "cerebras",
    "openrouter",
    "ollama",
    "openai_compatible",
    "mock",
    "plugin",
    "gemini",
];

/// An entry of `llm.providers` or `models`.
pub static PROVIDER: Table = Table {
    name: "provider",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id; absent: the type."),
        key("type", Kind::Text, "Which service it is.").alias(&["provider"]),
        key("model", Kind::Template, "Model; absent: the type's default.").alias(&["default_model"]),
        key("base_url", Kind::Template, "Address; absent: the type's.").alias(&["api_url", "url", "endpoint"]),
        key("api_key", Kind::Template, "Key; absent: the type's variable.").secret(),
        key("organization", Kind::Template, "OpenAI organization."),
        key("headers", TEMPLATE_MAP, "Further request headers."),
        key("default", Kind::Bool, "Whether it is the default provider."),
        key("plugin", Kind::Text, "Plugin of kind llm, for type plugin."),
        key("config", Kind::Any, "Configuration of the plugin; for mock: scripted answers."),
        key("timeout", SPAN, "Limit of one call."),
        key("context_window", COUNT, "Tokens of the model's context."),
        key("max_tool_iterations", COUNT, "Most rounds of tool calls."),
        key("rate_limit", Kind::Map(&RATE_LIMIT), "Calls at once and per minute."),
        key("params", Kind::Map(&PARAMS), "Sampling settings."),
        idle("name"),
        idle("description"),
        key("resource", Kind::Text, "What the file defines."),
    ],
};

/// `rate_limit` of a provider.
pub static RATE_LIMIT: Table = Table {
    name: "rate_limit",
    is_settings: false,
    keys: &[
        key("concurrency", Kind::Int(1, 100_000), "Calls at once."),
        key("requests_per_minute", COUNT, "Calls per minute."),
        key("tokens_per_minute", COUNT, "Tokens per minute."),
        key("queue_size", COUNT, "Calls waiting."),
        idle("request_burst"),
        idle("token_burst"),
        idle("release_slot_before_token_wait"),
    ],
};

/// `params`.
pub static PARAMS: Table = Table {
    name: "params",
    is_settings: false,
    keys: &[
        key("temperature", Kind::Float, "Randomness."),
        key("top_p", Kind::Float, "Nucleus sampling."),
        key("top_k", COUNT, "Top-k sampling."),
        key("max_tokens", COUNT, "Most tokens of an answer."),
        key("seed", Kind::Int(i64::MIN, i64::MAX), "Seed."),
        key("stop_words", TEXTS, "Texts that end the answer."),
        key("presence_penalty", Kind::Float, "Presence penalty."),
        key("frequency_penalty", Kind::Float, "Frequency penalty."),
        key("repetition_penalty", Kind::Float, "Repetition penalty."),
        key("n", COUNT, "Answers."),
        key("metadata", Kind::Any, "Passed on to the service."),
        idle("min_length"),
        idle("max_length"),
        idle("candidate_count"),
    ],
};

/// An agent.
pub static AGENT: Table = Table {
    name: "agent",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id."),
        key("instructions", Kind::Template, "The system prompt.").alias(&["system", "system_prompt"]),
        key("llm", Kind::Either(&[Kind::Map(&PROVIDER), Kind::Text]), "Provider entry.").alias(&["provider"]),
        key("model", Kind::Either(&[Kind::Map(&PROVIDER), Kind::Text]), "Model, also as provider:model."),
        key("params", Kind::Map(&PARAMS), "Sampling settings."),
        key("actions", Kind::List(&Kind::Map(&ACTION)), "Named prompts."),
        key("with", Kind::Templates, "Values under those of the task."),
        ENV,
        key("tools", Kind::List(&Kind::Either(&[Kind::Map(&TOOL), Kind::Text])), "Tools the model may call."),
        key("mcps", Kind::List(&Kind::Any), "MCP servers the model may use.").alias(&["mcp"]),
        key("memory", BINDINGS_OF_MEMORIES, "Memories of the agent.").alias(&["memories"]),
        key("knowledge", BINDINGS, "Knowledge bases asked before the prompt."),
        key("attachments", Kind::List(&Kind::Map(&ATTACHMENT)), "Files for the model."),
        key("max_iterations", COUNT, "Most rounds of tool calls."),
        key("resource", Kind::Text, "What the file defines."),
        idle("name"),
        idle("description"),
        idle("version"),
    ],
};

/// An action of an agent.
pub static ACTION: Table = Table {
    name: "action",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id."),
        key("prompt", Kind::Template, "What the model is asked."),
        key("input", Kind::Schema, "JSON Schema of the values."),
        key("output", Kind::Schema, "JSON Schema of the answer."),
        key("with", Kind::Templates, "Values under those of the task."),
        key("attachments", Kind::List(&Kind::Map(&ATTACHMENT)), "Files for the model."),
        idle("name"),
        idle("description"),
        idle("version"),
    ],
};

/// A tool.
pub static TOOL: Table = Table {
    name: "tool",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id."),
        key("description", Kind::Text, "What it does."),
        key("plugin", Kind::Text, "Id of a plugin, or builtin:NAME."),
        key("function", Kind::Text, "Function of the plugin; absent: the only one, else the tool's id."),
        key("script", Kind::Text, "A JavaScript module.").alias(&["js"]),
        key("with", Kind::Templates, "Values under those of the call."),
        key("config", Kind::Any, "Second argument of the tool."),
        key("input", Kind::Schema, "JSON Schema of the input."),
        key("output", Kind::Schema, "JSON Schema of the output."),
        key("timeout", SPAN, "Limit of one call."),
        ENV,
        key("permissions", Kind::Map(&PERMISSIONS), "What a script may do."),
        key("limits", Kind::Map(&PLUGIN_LIMITS), "Caps on a script."),
        key("resource", Kind::Text, "What the file defines."),
        idle("name"),
        idle("version"),
    ],
};

/// An entry of `plugins`.
pub static PLUGIN: Table = Table {
    name: "plugin",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id."),
        key("source", Kind::Text, "A .wasm file inside the project, or builtin:NAME.").alias(&["path", "component"]),
        key("digest", Kind::Text, "sha256: and 64 hex digits."),
        key("kind", Kind::Choice(&["tool", "llm", "embedder", "template"]), "What it exports.").default("tool"),
        key("permissions", Kind::Map(&PERMISSIONS), "What it may do; absent: nothing."),
        key("limits", Kind::Map(&PLUGIN_LIMITS), "Caps on one call."),
        key("config", Kind::Any, "Passed to the component."),
        key("resource", Kind::Text, "What the file defines."),
        idle("name"),
        idle("description"),
        idle("version"),
    ],
};

/// `permissions`.
pub static PERMISSIONS: Table = Table {
    name: "permissions",
    is_settings: false,
    keys: &[
        key("http", TEXTS, "Patterns [scheme://]host[:port]."),
        key("sql", Kind::List(&GRANT), "Databases of `databases:`."),
        key("vector", Kind::List(&GRANT), "Vector databases."),
        key("kv", Kind::Text, "none, read or read-write (true)."),
        key("env", TEXTS, "Variables readable in clear."),
        key("secrets", TEXTS, "Variables seen as placeholders."),
        key("fs", Kind::List(&PATH_GRANT), "Folders inside the project."),
        key("llm", Kind::Either(&[Kind::Map(&MODEL_GRANT), Kind::Bool]), "Whether it may ask the LLM providers."),
    ],
};

/// `permissions.llm` as a map: the budget is that of one call of the plugin.
pub static MODEL_GRANT: Table = Table {
    name: "llm grant",
    is_settings: false,
    keys: &[
        key("providers", TEXTS, "Provider entries it may ask; absent: all."),
        key("calls", Kind::Int(1, 1_000_000), "Questions per call of the plugin.").default("20"),
        key("tokens", Kind::Int(1, i64::MAX), "Tokens read and written per call of the plugin.").default("100000"),
    ],
};

const GRANT: Kind = Kind::Either(&[Kind::Map(&GRANT_TABLE), Kind::Text]);
const PATH_GRANT: Kind = Kind::Either(&[Kind::Map(&PATH_GRANT_TABLE), Kind::Text]);

/// `{id, mode}`.
pub static GRANT_TABLE: Table = Table {
    name: "grant",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id of what is granted."),
        key("mode", Kind::Choice(&["ro", "rw", "read", "read-write"]), "How far it goes.").default("ro"),
    ],
};

/// `{path, mode}`.
pub static PATH_GRANT_TABLE: Table = Table {
    name: "grant",
    is_settings: false,
    keys: &[
        key("path", Kind::Text, "A folder inside the project."),
        key("mode", Kind::Choice(&["ro", "rw", "read", "read-write"]), "How far it goes.").default("ro"),
    ],
};

/// `limits` of a plugin.
pub static PLUGIN_LIMITS: Table = Table {
    name: "limits",
    is_settings: false,
    keys: &[
        key("memory", Kind::Size, "Linear memory of one instance.").default("64MiB"),
        key("timeout", SPAN, "Longest call.").default("30s"),
        key("output", Kind::Size, "Bytes of one answer.").default("10MiB"),
        key("fuel", COUNT, "Fuel of one call; absent: off."),
    ],
};

/// An entry of `schemas`: a JSON Schema with an id.
pub static SCHEMA: Table = Table {
    name: "schema",
    is_settings: false,
    keys: &[key("id", Kind::Text, "Id."), key("*", Kind::Any, "Keywords of JSON Schema.")],
};

/// An entry of `mcps`.
pub static MCP: Table = Table {
    name: "mcp",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id."),
        key("url", Kind::Template, "Address."),
        key("command", Kind::Text, "Program."),
        key("args", TEXTS, "Arguments of the program."),
        key("headers", TEMPLATE_MAP, "Request headers."),
        ENV,
        key("transport", Kind::Text, "stdio, sse or streamable-http."),
        key("proto", Kind::Text, "Protocol version."),
        key("start_timeout", SPAN, "Limit of the start."),
        key("max_sessions", COUNT, "Sessions at once."),
        key("allow_tools", TEXTS, "Tools that may be called."),
        key("resource", Kind::Text, "What the file defines."),
        idle("name"),
        idle("description"),
    ],
};

/// An attachment.
pub static ATTACHMENT: Table = Table {
    name: "attachment",
    is_settings: false,
    keys: &[
        key("type", Kind::Choice(&["image", "pdf", "document", "audio", "video", "url", "file"]), "What it is."),
        key("name", Kind::Template, "Name."),
        key("mime", Kind::Text, "Media type."),
        key("meta", Kind::Any, "Free values."),
        key("max_pages", COUNT, "Most pages."),
        key("optional", Kind::Bool, "Left out when it cannot be loaded."),
        key("url", Kind::Template, "Address."),
        key("path", Kind::Template, "Path inside the project."),
        key("urls", Kind::List(&Kind::Template), "Addresses."),
        key("paths", Kind::List(&Kind::Template), "Paths or globs inside the project."),
    ],
};
