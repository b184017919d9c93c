//! Keys of tasks.

use super::definitions::{AGENT, ATTACHMENT, PROVIDER, TOOL};
use super::memory::BINDINGS_OF_MEMORIES;
use super::project::{BINDINGS, ENV, ON_ERROR, RETRIES, RETRY_POLICY};
use super::{COUNT, Kind, SPAN, Table, idle, key};

/// Task types.
pub const TYPES: &[&str] =
    &["basic", "router", "parallel", "collection", "composite", "aggregate", "wait", "signal", "memory", "workflow"];

/// When a parallel task or a collection ends.
pub const STRATEGIES: &[&str] = &["wait_all", "fail_fast", "best_effort", "race"];

/// Operations of memory tasks.
pub const OPERATIONS: &[&str] = &["read", "write", "append", "delete", "clear", "flush", "stats", "health"];

const BASIC: &[&str] = &["basic"];
const CONTAINERS: &[&str] = &["parallel", "collection", "composite"];
const PROMPTS: &[&str] = &["basic"];

/// A task of any type.
pub static TASK: Table = Table {
    name: "task",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Unique among its siblings."),
        key("type", Kind::Choice(TYPES), "What it does; absent: basic."),
        key("prompt", Kind::Template, "What the model is asked.").only(BASIC),
        key("agent", Kind::Either(&[Kind::Map(&AGENT), Kind::Text]), "Id of an agent, or an agent.").only(BASIC),
        key("action", Kind::Text, "Action of the agent.").only(&["basic", "router"]),
        key("model_config", Kind::Map(&PROVIDER), "Provider of this task.").only(BASIC),
        key("tool", Kind::Either(&[Kind::Map(&TOOL), Kind::Text]), "Id of a tool, or a tool.").only(BASIC),
        key("with", Kind::Templates, "Values of the task."),
        key("input", Kind::Schema, "JSON Schema of the rendered `with`."),
        key("output", Kind::Schema, "JSON Schema of the task's output."),
        key("outputs", Kind::Templates, "Templates over `.output`; they replace the output."),
        key(
            "condition",
            Kind::Template,
            "CEL or a template; false: the task is skipped. Of a router: gives the route.",
        ),
        key("final", Kind::Typed(&Kind::Bool), "True ends the list after this task."),
        key("sleep", Kind::Typed(&SPAN), "Pause after success, before the next task."),
        key("timeout", Kind::Typed(&SPAN), "Limit of one attempt; of a wait: how long it waits, or none."),
        key("on_success", Kind::Either(&[Kind::Map(&TRANSITION), Kind::Template]), "What runs after success."),
        key("next", Kind::Template, "Short for on_success.next."),
        ON_ERROR,
        RETRY_POLICY,
        RETRIES,
        ENV,
        key("config", Kind::Map(&TASK_CONFIG), "Retries and timeout."),
        key("knowledge", BINDINGS, "Knowledge bases asked before the prompt.").only(PROMPTS),
        key("attachments", Kind::List(&Kind::Map(&ATTACHMENT)), "Files for the model.").only(PROMPTS),
        key("memory", BINDINGS_OF_MEMORIES, "Memories of the prompt.").alias(&["memories"]).only(PROMPTS),
        key("tools", Kind::List(&Kind::Either(&[Kind::Map(&TOOL), Kind::Text])), "Tools the model may call.")
            .only(PROMPTS),
        key("mcps", Kind::List(&Kind::Any), "MCP servers the model may use.").alias(&["mcp"]).only(PROMPTS),
        key(
            "routes",
            Kind::MapOf(&Kind::Either(&[Kind::Map(&TASK), Kind::Text])),
            "Next tasks by the condition's value; null ends the list.",
        )
        .only(&["router"]),
        key("default", Kind::Either(&[Kind::Map(&TASK), Kind::Text]), "Route when no other fits.")
            .alias(&["default_route"])
            .only(&["router"]),
        key("tasks", Kind::List(&Kind::Map(&TASK)), "Children.").only(CONTAINERS),
        key("task", Kind::Map(&TASK), "The child made for every item.").only(&["collection"]),
        key("flow", Kind::Choice(&["auto", "sequential", "explicit"]), "How children follow each other.")
            .only(&["composite"]),
        key("strategy", Kind::Choice(STRATEGIES), "When the container ends.").only(CONTAINERS),
        key("max_workers", Kind::Typed(&COUNT), "Most children at once.").only(&["parallel", "collection"]),
        key("items", Kind::Templates, "What is iterated.").only(&["collection"]),
        key("filter", Kind::Template, "Drops items.").only(&["collection"]),
        key("item_var", Kind::Text, "Another name of `.item`.").only(&["collection"]),
        key("index_var", Kind::Text, "Another name of `.index`.").only(&["collection"]),
        key("mode", Kind::Choice(&["parallel", "sequential"]), "How items are run.").only(&["collection"]),
        key("batch", Kind::Typed(&COUNT), "Size of a wave.").only(&["collection"]),
        key("signal", Kind::Either(&[Kind::Map(&SIGNAL), Kind::Template]), "The signal sent or awaited.")
            .only(&["signal", "wait"]),
        key("wait_for", Kind::Template, "The signal awaited.").only(&["wait"]),
        key("processor", Kind::Map(&TASK), "Runs once per signal.").only(&["wait"]),
        key("on_timeout", Kind::Either(&[Kind::Map(&ON_TIMEOUT), Kind::Template]), "What runs after the timeout.")
            .only(&["wait"]),
        key("workflow", Kind::Text, "The workflow called.").alias(&["workflow_id"]).only(&["workflow"]),
        key("wait", Kind::Bool, "Whether the call is waited for.").only(&["workflow"]),
        key("operation", Kind::Choice(OPERATIONS), "What is done with the memory.").only(&["memory"]),
        key("memory_ref", Kind::Text, "The memory.").alias(&["ref"]).only(&["memory"]),
        key("key_template", Kind::Template, "Key inside the memory.").alias(&["key"]).only(&["memory"]),
        key("payload", Kind::Templates, "What is written.").only(&["memory", "signal"]),
        key("max_keys", Kind::Typed(&Kind::Int(0, 50_000)), "Most keys touched.").only(&["memory"]),
        key("batch_size", Kind::Typed(&Kind::Int(0, 10_000)), "Keys per batch.").only(&["memory"]),
        key("flush_config", Kind::Any, "How it is flushed.").only(&["memory"]),
        key("clear_config", Kind::Any, "How it is cleared.").only(&["memory"]),
        key("health_config", Kind::Any, "How health is told.").only(&["memory"]),
        key("stats_config", Kind::Any, "How statistics are told.").only(&["memory"]),
        idle("file_path"),
        idle("CWD"),
        idle("resource"),
        idle("name"),
        idle("description"),
        idle("version"),
    ],
};

/// `config` of a task.
pub static TASK_CONFIG: Table = Table {
    name: "config",
    is_settings: false,
    keys: &[
        ON_ERROR,
        RETRY_POLICY,
        RETRIES,
        ENV,
        key("timeout", Kind::Typed(&SPAN), "Limit of one attempt.").alias(&["start_to_close_timeout"]),
        idle("schedule_to_start_timeout"),
        idle("schedule_to_close_timeout"),
        idle("heartbeat_timeout"),
        idle("source_of_truth"),
    ],
};

/// `on_success`, `on_error` as a map.
pub static TRANSITION: Table = Table {
    name: "transition",
    is_settings: false,
    keys: &[
        key("next", Kind::Template, "Id of the next task."),
        key("with", Kind::Templates, "Values laid over the next task's `with`."),
    ],
};

/// `signal` of a signal task.
pub static SIGNAL: Table = Table {
    name: "signal",
    is_settings: false,
    keys: &[
        key("id", Kind::Template, "Name of the signal.").alias(&["name"]),
        key("payload", Kind::Templates, "What it carries."),
        key("target", Kind::Template, "The one run it is for; absent: every run that waits for it."),
    ],
};

/// `on_timeout` as a map.
pub static ON_TIMEOUT: Table =
    Table { name: "on_timeout", is_settings: false, keys: &[key("next", Kind::Template, "Id of the next task.")] };

/// `retry_policy`.
pub static RETRY: Table = Table {
    name: "retry_policy",
    is_settings: false,
    keys: &[
        key("maximum_attempts", Kind::Int(1, 1_000_000), "Attempts in all; absent: 3."),
        key("initial_interval", SPAN, "Wait before the second attempt; absent: 1s."),
        key("backoff_coefficient", Kind::Float, "Factor from wait to wait; absent: 2."),
        key("maximum_interval", SPAN, "Longest wait; absent: 1m."),
        key("non_retryable_error_types", super::TEXTS, "Codes or kinds never tried again."),
    ],
};
