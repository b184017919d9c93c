//! Every table with its columns.

use super::{Class, Column, Kind, Table, Travels};

/// Version of this list: the number of the migration that made it so.
pub const VERSION: i64 = 5;

/// Status words of runs, steps and attempts.
pub const STATUS: &[&str] = &["PENDING", "RUNNING", "WAITING", "PAUSED", "SUCCESS", "FAILED", "TIMED_OUT", "CANCELED"];

/// Every table, those that travel first.
pub const TABLES: &[Table] = &[
    Table {
        name: "definitions",
        columns: &[text("digest"), text("kind"), text("id"), json("content"), local(integer("created_at"))],
        key: &["digest"],
        order: &["digest"],
        class: Some(Class::Definitions),
        joined: &[],
    },
    Table {
        name: "definition_heads",
        columns: &[
            text("kind"),
            text("id"),
            unasked(text("digest")),
            unasked(words("source", &["file", "api"])),
            local(integer("updated_at")),
        ],
        key: &["kind", "id"],
        order: &["kind", "id"],
        class: Some(Class::Definitions),
        joined: &[],
    },
    Table {
        name: "payloads",
        columns: &[text("hash"), of("data", Kind::Blob), local(integer("created_at"))],
        key: &["hash"],
        order: &["hash"],
        class: Some(Class::Executions),
        joined: &[],
    },
    Table {
        name: "executions",
        columns: &[
            text("exec_id"),
            words("component", &["workflow", "agent", "task"]),
            text("workflow_id"),
            text("definition_digest"),
            words("status", STATUS),
            optional(text("reason")),
            large("input"),
            optional(large("output")),
            optional(large("error")),
            json("trigger"),
            json("tags"),
            optional(text("parent_exec_id")),
            text("root_exec_id"),
            optional(text("forked_from")),
            words("durability", &["memory", "normal", "full"]),
            integer("priority"),
            optional(text("concurrency_key")),
            at_least(1, optional(integer("concurrency_limit"))),
            optional(integer("deadline")),
            json("state"),
            local(optional(text("owner_node"))),
            local(optional(text("affinity_node"))),
            local(integer("epoch")),
            at_least(0, integer("last_seq")),
            at_least(1, integer("journal_from")),
            optional(json("cancel_request")),
            optional(json("pause_request")),
            // The export that it came with, and the SHA-256 of its row there.
            local(optional(text("import_id"))),
            local(optional(text("import_hash"))),
            integer("created_at"),
            optional(integer("started_at")),
            integer("updated_at"),
            optional(integer("finished_at")),
            optional(integer("trimmed_at")),
        ],
        key: &["exec_id"],
        // Outermost runs come before those inside of others.
        order: &["exec_id"],
        class: Some(Class::Executions),
        joined: &[],
    },
    Table {
        name: "steps",
        columns: &[
            text("exec_id"),
            text("step_key"),
            text("task_exec_id"),
            text("task_id"),
            text("kind"),
            words("status", STATUS),
            integer("attempt"),
            optional(text("parent")),
            integer("position"),
            optional(large("input")),
            optional(large("output")),
            optional(large("error")),
            optional(json("waiting_for")),
            json("state"),
            optional(integer("result_seq")),
            integer("started_at"),
            optional(integer("finished_at")),
        ],
        key: &["exec_id", "step_key"],
        order: &["exec_id", "step_key"],
        class: Some(Class::Executions),
        joined: &[],
    },
    // An exported row says with `exec_id` and `step_key` whose attempt it is; the database knows by `task_exec_id`.
    Table {
        name: "attempts",
        columns: &[
            text("task_exec_id"),
            integer("attempt"),
            local(text("node")),
            local(integer("epoch")),
            words("outcome", STATUS),
            optional(large("error")),
            integer("started_at"),
            integer("finished_at"),
        ],
        key: &["task_exec_id", "attempt"],
        order: &["exec_id", "step_key", "attempt"],
        class: Some(Class::Executions),
        joined: &[text("exec_id"), text("step_key")],
    },
    Table {
        name: "journal",
        columns: &[
            text("exec_id"),
            at_least(1, integer("seq")),
            integer("at"),
            text("event"),
            optional(text("task_id")),
            large("data"),
        ],
        key: &["exec_id", "seq"],
        order: &["exec_id", "seq"],
        class: Some(Class::Executions),
        joined: &[],
    },
    Table {
        name: "timers",
        columns: &[text("exec_id"), text("timer_id"), text("kind"), optional(text("step_key")), integer("due_at")],
        key: &["exec_id", "timer_id"],
        order: &["exec_id", "timer_id"],
        class: Some(Class::Executions),
        joined: &[],
    },
    // `position` is given by the database and orders them; the order is what travels.
    Table {
        name: "signals",
        columns: &[
            local(integer("position")),
            text("exec_id"),
            text("signal_id"),
            text("name"),
            large("payload"),
            json("metadata"),
            words("state", &["queued", "consumed", "ignored"]),
            flag("noted"),
            optional(text("dedupe_key")),
            optional(text("consumed_by")),
            integer("received_at"),
            optional(integer("settled_at")),
        ],
        key: &["position"],
        order: &["exec_id", "position"],
        class: Some(Class::Executions),
        joined: &[],
    },
    Table {
        name: "usage",
        columns: &[
            text("exec_id"),
            text("step_key"),
            text("provider"),
            text("model"),
            integer("prompt_tokens"),
            integer("completion_tokens"),
        ],
        key: &["exec_id", "step_key", "provider", "model"],
        order: &["exec_id", "step_key", "provider", "model"],
        class: Some(Class::Executions),
        joined: &[],
    },
    Table {
        name: "events",
        columns: &[text("event_id"), text("name"), json("payload"), text("source"), integer("published_at")],
        key: &["event_id"],
        order: &["event_id"],
        class: Some(Class::Executions),
        joined: &[],
    },
    Table {
        name: "schedules",
        columns: &[
            text("schedule_id"),
            text("workflow_id"),
            optional(json("declared")),
            optional(json("override")),
            unasked(optional(integer("next_fire_at"))),
            unasked(optional(integer("last_fire_at"))),
            unasked(optional(text("last_exec_id"))),
            unasked(integer("updated_at")),
        ],
        key: &["schedule_id"],
        order: &["schedule_id"],
        class: Some(Class::Schedules),
        joined: &[],
    },
    Table {
        name: "schedule_fires",
        columns: &[
            text("schedule_id"),
            integer("fire_at"),
            words("state", &["started", "skipped", "buffered", "failed"]),
            optional(text("exec_id")),
            unasked(integer("recorded_at")),
        ],
        key: &["schedule_id", "fire_at"],
        order: &["schedule_id", "fire_at"],
        class: Some(Class::Schedules),
        joined: &[],
    },
    Table {
        name: "idempotency_keys",
        columns: &[
            text("scope"),
            text("key"),
            text("request_hash"),
            text("exec_id"),
            integer("expires_at"),
            optional(text("answer")),
        ],
        key: &["scope", "key"],
        order: &["scope", "key"],
        class: Some(Class::Idempotency),
        joined: &[],
    },
    Table {
        name: "memory_instances",
        columns: &[
            text("ref"),
            text("key"),
            integer("version"),
            text("writer"),
            at_least(1, integer("next_seq")),
            at_least(0, integer("message_count")),
            at_least(0, integer("token_count")),
            at_least(0, integer("byte_count")),
            flag("backup"),
            integer("created_at"),
            unasked(integer("used_at")),
            unasked(optional(integer("expires_at"))),
        ],
        key: &["ref", "key"],
        order: &["ref", "key"],
        class: Some(Class::Memory),
        joined: &[],
    },
    Table {
        name: "memory_messages",
        columns: &[
            text("ref"),
            text("key"),
            at_least(1, integer("seq")),
            text("role"),
            text("content"),
            at_least(0, integer("tokens")),
            flag("summary"),
            integer("created_at"),
            unasked(integer("used_at")),
        ],
        key: &["ref", "key", "seq"],
        order: &["ref", "key", "seq"],
        class: Some(Class::Memory),
        joined: &[],
    },
    Table {
        name: "meta",
        columns: &[local(text("key")), local(text("value"))],
        key: &["key"],
        order: &[],
        class: None,
        joined: &[],
    },
    Table {
        name: "migrations",
        columns: &[
            local(integer("version")),
            local(text("name")),
            local(text("checksum")),
            local(integer("applied_at")),
        ],
        key: &["version"],
        order: &[],
        class: None,
        joined: &[],
    },
    Table {
        name: "nodes",
        columns: &[
            local(text("node_id")),
            local(words("kind", &["server", "embedded"])),
            local(text("version")),
            local(integer("pid")),
            local(integer("lease_until")),
            local(flag("draining")),
        ],
        key: &["node_id"],
        order: &[],
        class: None,
        joined: &[],
    },
    Table {
        name: "workflow_runs",
        columns: &[local(text("workflow_id")), local(integer("runs"))],
        key: &["workflow_id"],
        order: &[],
        class: None,
        joined: &[],
    },
    Table {
        name: "ready",
        columns: &[
            local(text("exec_id")),
            local(integer("not_before")),
            local(integer("priority")),
            local(optional(text("concurrency_key"))),
            local(optional(text("affinity_node"))),
            local(text("workflow_id")),
            local(optional(integer("concurrency_limit"))),
            local(flag("gated")),
        ],
        key: &["exec_id"],
        order: &[],
        class: None,
        joined: &[],
    },
    Table {
        name: "concurrency_holders",
        columns: &[local(text("exec_id")), local(text("concurrency_key"))],
        key: &["exec_id"],
        order: &[],
        class: None,
        joined: &[],
    },
    Table {
        name: "payload_refs",
        columns: &[local(text("hash")), local(text("exec_id"))],
        key: &["hash", "exec_id"],
        order: &[],
        class: None,
        joined: &[],
    },
    Table {
        name: "kv",
        columns: &[
            local(text("space")),
            local(text("key")),
            local(of("value", Kind::Blob)),
            local(optional(integer("expires_at"))),
        ],
        key: &["space", "key"],
        order: &[],
        class: None,
        joined: &[],
    },
    // A row for each table of the file, and one with the name '' for the file as a whole.
    Table {
        name: "import_progress",
        columns: &[
            local(text("export_id")),
            local(text("table_name")),
            // Rows of the file that are dealt with, and how many of them were there already.
            local(integer("taken")),
            local(integer("skipped")),
            // SHA-256 of the rows so far, and the sum of the hashes of those that were written.
            local(text("sha256")),
            local(text("written")),
            local(optional(json("options"))),
            local(words("state", &["open", "closed"])),
            local(integer("updated_at")),
        ],
        key: &["export_id", "table_name"],
        order: &[],
        class: None,
        joined: &[],
    },
    // What waits for the end of an import: runs, and rows that belong to none.
    Table {
        name: "import_rows",
        columns: &[
            local(text("export_id")),
            local(text("table_name")),
            // The run, or the digest of a definition; else empty.
            local(text("name")),
            local(integer("position")),
            // To be inserted; to take the place of a run with all its rows; known already; left out.
            local(words("act", &["insert", "replace", "same", "known", "left"])),
            local(optional(json("content"))),
        ],
        key: &["export_id", "table_name", "name", "position"],
        order: &[],
        class: None,
        joined: &[],
    },
];

const fn of(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: false, travels: Travels::Yes, words: &[], least: i64::MIN }
}

const fn text(name: &'static str) -> Column {
    of(name, Kind::Text)
}

const fn integer(name: &'static str) -> Column {
    of(name, Kind::Integer)
}

const fn flag(name: &'static str) -> Column {
    of(name, Kind::Flag)
}

const fn json(name: &'static str) -> Column {
    of(name, Kind::Json)
}

const fn large(name: &'static str) -> Column {
    of(name, Kind::Large)
}

const fn words(name: &'static str, words: &'static [&'static str]) -> Column {
    Column { words, ..text(name) }
}

const fn at_least(least: i64, column: Column) -> Column {
    Column { least, ..column }
}

const fn optional(column: Column) -> Column {
    Column { nullable: true, ..column }
}

const fn unasked(column: Column) -> Column {
    Column { travels: Travels::Unasked, ..column }
}

const fn local(column: Column) -> Column {
    Column { travels: Travels::No, ..column }
}
