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

mod list;

pub use self::list::{STATUS, TABLES, VERSION};

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
    /// The least number it may hold.
    pub least: i64,
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
