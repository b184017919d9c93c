//! Keys of workflow files.

use super::definitions::{AGENT, MCP, SCHEMA, TOOL};
use super::knowledge::KNOWLEDGE_BASE;
use super::project::{AUTHOR, BINDINGS, ENV, ON_ERROR, RETRIES, RETRY_POLICY};
use super::task::TASK;
use super::trigger::{SCHEDULE, TRIGGER};
use super::{Kind, SPAN, Table, idle, key};

/// A workflow.
pub static WORKFLOW: Table = Table {
    name: "workflow",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id; absent: the file name without extension."),
        key("resource", Kind::Text, "What the file defines; absent: workflow."),
        key("name", Kind::Text, "Free text."),
        key("version", Kind::Text, "Free text."),
        key("description", Kind::Text, "Free text."),
        key("author", Kind::Either(&[Kind::Map(&AUTHOR), Kind::Text]), "Who wrote it."),
        key("config", Kind::Map(&WORKFLOW_CONFIG), "Input, timeout and defaults of the tasks."),
        key("input", Kind::Schema, "JSON Schema of the input; short for config.input.").alias(&["input_schema"]),
        key("schemas", Kind::List(&Kind::Map(&SCHEMA)), "JSON Schemas with an id."),
        key("agents", Kind::List(&Kind::Map(&AGENT)), "Agents, registered project-wide."),
        key("tools", Kind::List(&Kind::Map(&TOOL)), "Tools, registered project-wide."),
        key("mcps", Kind::List(&Kind::Map(&MCP)), "MCP servers, registered project-wide."),
        key("knowledge_bases", Kind::List(&Kind::Map(&KNOWLEDGE_BASE)), "Knowledge bases, registered project-wide."),
        key("knowledge", BINDINGS, "Bindings of every prompt task."),
        key("triggers", Kind::List(&Kind::Map(&TRIGGER)), "What starts the workflow."),
        key("schedule", Kind::List(&Kind::Map(&SCHEDULE)), "When it starts by itself."),
        key("flow", Kind::Choice(&["auto", "sequential", "explicit"]), "How tasks follow each other.").default("auto"),
        key("tasks", Kind::List(&Kind::Map(&TASK)), "Tasks; the first is the entry point."),
        key("outputs", Kind::Templates, "Templates of the run's output.").alias(&["output"]),
        idle("CWD"),
        idle("file_path"),
    ],
};

/// `concurrency` of a workflow's `config`.
pub static CONCURRENCY: Table = Table {
    name: "concurrency",
    is_settings: false,
    keys: &[
        key("key", Kind::Text, "Runs with equal keys count together; {{ .input.NAME }} is a value of the input."),
        key("limit", Kind::Int(1, 100_000), "Most runs of one key under way at once.").default("1"),
    ],
};

/// `config` of a workflow.
pub static WORKFLOW_CONFIG: Table = Table {
    name: "config",
    is_settings: false,
    keys: &[
        key("input", Kind::Schema, "JSON Schema of the input."),
        ON_ERROR,
        RETRY_POLICY,
        RETRIES,
        ENV,
        key("timeout", SPAN, "Limit of the whole run.").alias(&["start_to_close_timeout"]),
        key(
            "concurrency",
            Kind::Either(&[Kind::Map(&CONCURRENCY), Kind::Int(1, 100_000)]),
            "How many runs are under way at once; a number is the limit of all runs of the workflow.",
        ),
        key("durability", Kind::Choice(&["full", "normal", "memory"]), "What survives; absent: as the database."),
        idle("schedule_to_start_timeout"),
        idle("schedule_to_close_timeout"),
        idle("heartbeat_timeout"),
        idle("source_of_truth"),
    ],
};
