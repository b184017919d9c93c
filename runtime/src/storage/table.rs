//! The logical tables, once: what every driver stores, and what of it travels in an export (cli-and-api §9.1, §11).
//!
//! Each driver writes its schema in its own SQL; a test of the driver compares its catalog with this list after all
//! migrations. Export and import read nothing else than this list, so a column that is added here travels.
//!
//! What stays behind, and why:
//! - `meta`, `migrations`, `nodes`: they say which database and which processes these are.
//! - `ready`, `concurrency_holders`, `workflow_runs`, `payload_refs`: they follow from the rows that travel, and import
//!   makes them anew.
//! - `kv`: bytes that plugins keep for themselves. Nobody can tell a counter from a token in there, and no export may
//!   hold a secret.
//! - `import_progress`, `import_rows`: how far an import has come.

/// How a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number of 64 bits; times are microseconds UTC.
    Integer,
    /// 0 or 1.
    Flag,
    /// Bytes. In what travels they are UTF-8.
    Blob,
    /// JSON text, key order and spelling of numbers kept.
    Json,
    /// JSON text, or `@sha256:<hex>`, a key of `payloads`, where it is long.
    Large,
}

/// What becomes of a column in an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Travels {
    /// It travels, and two rows that differ in it are different.
    Yes,
    /// It travels, but says only when or how a row was recorded: a row that is there already is kept as it is.
    Unasked,
    /// It belongs to the database or to a node (owner, lease, epoch), and is made anew.
    No,
}

/// A column.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// May be null.
    pub nullable: bool,
    /// Whether it is in an export.
    pub travels: Travels,
    /// The words it may hold (its CHECK list); empty: any.
    pub words: &'static [&'static str],
}

/// What can be asked for with `--include`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Runs with all that belongs to them, and published events.
    Executions,
    /// Definitions and which of them are current. Those that exported runs need always go with them.
    Definitions,
    /// Schedules and their fires.
    Schedules,
    /// Memories of agents.
    Memory,
    /// What was ingested.
    Knowledge,
    /// Vectors of knowledge bases.
    Vectors,
    /// Users and hashes of keys.
    Auth,
    /// Idempotency keys, also those of webhook deliveries.
    Idempotency,
}

impl Class {
    /// Every class with its word.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Executions, "executions"),
        (Self::Definitions, "definitions"),
        (Self::Schedules, "schedules"),
        (Self::Memory, "memory"),
        (Self::Knowledge, "knowledge"),
        (Self::Vectors, "vectors"),
        (Self::Auth, "auth"),
        (Self::Idempotency, "idempotency"),
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(class, _)| *class == self).map_or("", |(_, word)| word)
    }

    /// The class of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(class, _)| *class)
    }
}

/// A table.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns, in the order in which an export writes those that travel.
    pub columns: &'static [Column],
    /// Its primary key in the database.
    pub key: &'static [&'static str],
    /// What an export orders its rows by, bytewise; unique. The first `n` columns of an exported row, or all that
    /// tells two of them apart.
    pub order: &'static [&'static str],
    /// `None`: it does not travel.
    pub class: Option<Class>,
    /// What an exported row says before its own columns, taken from its step.
    pub joined: &'static [Column],
}

impl Table {
    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// What an exported row consists of, in order.
    pub fn travelling(&self) -> impl Iterator<Item = &'static Column> + use<> {
        self.joined.iter().chain(self.columns).filter(|column| column.travels != Travels::No)
    }

    /// Columns that travel and tell two of its rows apart.
    #[must_use]
    pub fn identity(&self) -> &'static [&'static str] {
        match self.name {
            "signals" => &["exec_id", "signal_id"],
            "attempts" => self.order,
            _ => self.key,
        }
    }

    /// Place of a column in what travels.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.travelling().position(|column| column.name == name)
    }

    /// Whether its rows belong to a run, which their column `exec_id` names.
    #[must_use]
    pub fn is_of_runs(&self) -> bool {
        matches!(self.name, "steps" | "attempts" | "journal" | "timers" | "signals" | "usage")
    }
}

/// The table of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

/// Tables that travel, in the order in which an export writes them: what is referred to comes first.
pub fn travelling() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| table.class.is_some())
}

/// Status words of runs, steps and attempts.
pub const STATUS: &[&str] = &["PENDING", "RUNNING", "WAITING", "PAUSED", "SUCCESS", "FAILED", "TIMED_OUT", "CANCELED"];

const fn of(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: false, travels: Travels::Yes, words: &[] }
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

const fn optional(column: Column) -> Column {
    Column { nullable: true, ..column }
}

const fn unasked(column: Column) -> Column {
    Column { travels: Travels::Unasked, ..column }
}

const fn local(column: Column) -> Column {
    Column { travels: Travels::No, ..column }
}

/// Version of this list: the number of the migration that made it so.
pub const VERSION: i64 = 5;

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
            optional(integer("concurrency_limit")),
            optional(integer("deadline")),
            json("state"),
            local(optional(text("owner_node"))),
            local(optional(text("affinity_node"))),
            local(integer("epoch")),
            integer("last_seq"),
            integer("journal_from"),
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
            integer("seq"),
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
            integer("next_seq"),
            integer("message_count"),
            integer("token_count"),
            integer("byte_count"),
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
            integer("seq"),
            text("role"),
            text("content"),
            integer("tokens"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_fits_together() {
        for table in TABLES {
            let names: Vec<_> = table.columns.iter().map(|column| column.name).collect();
            let mut sorted = names.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), names.len(), "{} names a column twice", table.name);
            assert!(table.key.iter().all(|key| names.contains(key)), "{}", table.name);
            assert_eq!(table.class.is_some(), table.travelling().next().is_some(), "{}", table.name);
            assert_eq!(table.class.is_some(), !table.order.is_empty(), "{}", table.name);
            for column in table.columns {
                assert!(column.words.is_empty() || column.kind == Kind::Text, "{}.{}", table.name, column.name);
            }
        }
        let travels: Vec<bool> = TABLES.iter().map(|table| table.class.is_some()).collect();
        assert!(travels.is_sorted_by(|before, after| before >= after), "those that travel come first");
    }
}
