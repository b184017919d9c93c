//! Keys of the file that says what a plugin is expected to do (`cases.yaml`).

use super::definitions::{PERMISSIONS, PLUGIN_LIMITS};
use super::{Key, Kind, Table, key};
use crate::duration::Bare;

const TEXT_MAP: Kind = Kind::MapOf(&Kind::Text);
const VALUE_MAP: Kind = Kind::MapOf(&Kind::Any);
const EXCHANGES: Kind = Kind::Map(&EXCHANGE);
const ANSWERS: Kind = Kind::Map(&ANSWER);
const STATUS: Kind = Kind::Int(100, 599);

const HTTP: Key = key("http", Kind::List(&EXCHANGES), "Requests that are answered, each once.");
const SECRETS: Key = key("secrets", TEXT_MAP, "Values behind the placeholders of granted secrets.");
const ENV: Key = key("env", TEXT_MAP, "Values of granted environment variables.");
const KV: Key = key("kv", VALUE_MAP, "What the key-value space holds at the beginning: text, or JSON.");
const SQL: Key = key("sql", Kind::MapOf(&Kind::List(&Kind::Text)), "Statements that set up a database, by its label.");
const LLM: Key = key("llm", Kind::List(&ANSWERS), "What models answer, in the order they are asked.");

/// A file of cases.
pub static CASES: Table = Table {
    name: "cases",
    is_settings: false,
    keys: &[
        key("plugin", Kind::Text, "The component, relative to this file; absent: the one the project builds."),
        key(
            "kind",
            Kind::Choice(&["tool", "llm", "embedder", "template"]),
            "What it is called as; absent: what it exports.",
        ),
        key("permissions", Kind::Map(&PERMISSIONS), "What it may do, as in a project; absent: nothing."),
        key("limits", Kind::Map(&PLUGIN_LIMITS), "Caps on one call, as in a project."),
        key(
            "config",
            Kind::Any,
            "Passed to the component; `${NAME}` stands for a value of `env` or a placeholder of `secrets`.",
        ),
        HTTP,
        SECRETS,
        ENV,
        KV,
        SQL,
        LLM,
        key("cases", Kind::List(&Kind::Map(&CASE)), "The cases."),
    ],
};

/// One case.
pub static CASE: Table = Table {
    name: "case",
    is_settings: false,
    keys: &[
        key("name", Kind::Text, "What is expected, in a few words; absent: the function and its number."),
        key("function", Kind::Text, "What is called; may be absent where the plugin has only one function."),
        key("input", Kind::Any, "Its input; absent: {}."),
        key("output", Kind::Any, "The answer, exactly."),
        key("output_contains", Kind::Any, "A part of the answer: members of objects, pieces of texts."),
        key("error", Kind::Map(&ERROR), "The error it ends with."),
        key("config", Kind::Any, "Instead of that of the file."),
        HTTP,
        SECRETS,
        ENV,
        KV,
        SQL,
        LLM,
    ],
};

/// An expected error.
pub static ERROR: Table = Table {
    name: "error",
    is_settings: false,
    keys: &[
        key("code", Kind::Text, "Its code, exactly."),
        key("message", Kind::Text, "A piece of its message."),
        key("retryable", Kind::Bool, "Whether the call may be tried again."),
    ],
};

/// A request and its answer.
pub static EXCHANGE: Table = Table {
    name: "exchange",
    is_settings: false,
    keys: &[
        key("method", Kind::Text, "The method.").default("GET"),
        key("url", Kind::Text, "The whole address."),
        key("expect", Kind::Map(&REQUEST), "What the request must hold besides."),
        key("reply", Kind::Map(&REPLY), "The answer."),
    ],
};

/// What a request must hold.
pub static REQUEST: Table = Table {
    name: "expect",
    is_settings: false,
    keys: &[
        key("headers", TEXT_MAP, "Headers with their values; others may come with them."),
        key("body", Kind::Any, "The body: a text exactly, anything else as JSON."),
    ],
};

/// What is answered.
pub static REPLY: Table = Table {
    name: "reply",
    is_settings: false,
    keys: &[
        key("status", STATUS, "The status.").default("200"),
        key("headers", TEXT_MAP, "Its headers."),
        key("json", Kind::Any, "A body as JSON."),
        key("text", Kind::Text, "A body as text."),
        key("delay", Kind::Duration(Bare::Refused), "How long the answer takes.").default("0s"),
    ],
};

/// What a model answers.
pub static ANSWER: Table = Table {
    name: "answer",
    is_settings: false,
    keys: &[
        key("expect", Kind::Text, "A piece of the last message."),
        key("text", Kind::Text, "The answer."),
        key("json", Kind::Any, "The answer as JSON."),
        key("vectors", Kind::Any, "The answer to texts that are embedded."),
        key("error", Kind::Map(&ERROR), "The error it gives instead."),
    ],
};
