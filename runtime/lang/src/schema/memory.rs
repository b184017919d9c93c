//! Keys of memory resources.

use super::{COUNT, Kind, SPAN, TEXTS, Table, idle, key};

/// An entry of `memories`.
pub static MEMORY: Table = Table {
    name: "memory",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id."),
        key("type", Kind::Choice(&["token_based", "message_count_based", "buffer"]), "What limits it; absent: buffer."),
        key("description", Kind::Text, "Free text."),
        key("max_tokens", COUNT, "Most tokens."),
        key("max_messages", COUNT, "Most messages."),
        key("max_context_ratio", Kind::Float, "Share of the model's context, above 0 and at most 1."),
        key("token_allocation", Kind::Map(&ALLOCATION), "Shares of the tokens."),
        key("flushing", Kind::Either(&[Kind::Map(&FLUSHING), FLUSHING_TYPE]), "How old messages go.")
            .alias(&["flushing_strategy"]),
        key("persistence", Kind::Either(&[Kind::Map(&PERSISTENCE), PERSISTENCE_TYPE]), "Where it is kept."),
        key("privacy_policy", Kind::Map(&PRIVACY), "What is not kept."),
        key("default_key_template", Kind::Template, "Key when a task gives none."),
        key("resource", Kind::Text, "What the file defines."),
        idle("version"),
        idle("locking"),
        idle("eviction_policy"),
        idle("token_provider"),
        idle("name"),
    ],
};

/// Ways of flushing.
pub const FLUSHING_TYPE: Kind = Kind::Choice(&["simple_fifo", "lru", "hybrid_summary", "token_aware_lru"]);

/// Places a memory is kept in; redis is read as database.
pub const PERSISTENCE_TYPE: Kind = Kind::Choice(&["database", "in_memory", "redis"]);

/// `flushing`.
pub static FLUSHING: Table = Table {
    name: "flushing",
    is_settings: false,
    keys: &[
        key("type", FLUSHING_TYPE, "Which messages go first; absent: simple_fifo."),
        key("summarize_threshold", Kind::Float, "Share of the limit at which it is flushed."),
        key("summary_tokens", COUNT, "Most tokens of a summary."),
        key("summarize_oldest_percent", Kind::Float, "Share of the messages that is summarised."),
    ],
};

/// An entry of `memory` of a prompt or an agent.
pub static BINDING: Table = Table {
    name: "memory binding",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "The memory."),
        key(
            "mode",
            Kind::Choice(&["read-write", "read-only"]),
            "Whether prompt and answer are added; absent: read-write.",
        ),
        key("key", Kind::Template, "Key inside the memory.").alias(&["key_template"]),
    ],
};

/// `persistence`.
pub static PERSISTENCE: Table = Table {
    name: "persistence",
    is_settings: false,
    keys: &[
        key("type", PERSISTENCE_TYPE, "Where it is kept; absent: database."),
        key("ttl", SPAN, "How long an unused key is kept; absent: always."),
    ],
};

/// `token_allocation`.
pub static ALLOCATION: Table = Table {
    name: "token_allocation",
    is_settings: false,
    keys: &[
        key("short_term", Kind::Float, "Share of the newest messages."),
        key("long_term", Kind::Float, "Share of summaries."),
        key("system", Kind::Float, "Share of system messages."),
        key("user_defined", Kind::MapOf(&Kind::Float), "Further shares by name."),
    ],
};

/// `privacy_policy`.
pub static PRIVACY: Table = Table {
    name: "privacy_policy",
    is_settings: false,
    keys: &[
        key("redact_patterns", TEXTS, "Regular expressions of what is replaced."),
        key("non_persistable_message_types", TEXTS, "Roles whose messages are not kept."),
        key("default_redaction_string", Kind::Text, "What stands in its place.").default("[REDACTED]"),
    ],
};

/// `memory` of a prompt or an agent.
pub const BINDINGS_OF_MEMORIES: Kind = Kind::List(&Kind::Either(&[Kind::Map(&BINDING), Kind::Text]));
