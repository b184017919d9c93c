//! The lines of the NDJSON form, and the hashes over them.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::storage::table::Table;
use crate::storage::transfer::{Cell, Row};

/// The members of a row in the order of its columns.
pub(super) fn members(table: &'static Table, row: &Row) -> Map<String, Value> {
    table.travelling().zip(row).map(|(column, cell)| (column.name.to_owned(), value(cell))).collect()
}

/// A cell as JSON.
pub(super) fn value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => (*number).into(),
        Cell::Text(text) => text.as_str().into(),
    }
}

/// The line of a row, its line break included.
pub(super) fn row(table: &str, members: &str) -> String {
    format!("{{\"kind\":\"row\",\"table\":\"{table}\",\"row\":{members}}}\n")
}

/// The line of any other piece.
pub(super) fn line(value: &Value) -> String {
    format!("{value}\n")
}

/// The line after a table.
pub(super) fn table_end(table: &str, count: u64, sha256: &str) -> Value {
    json!({"kind": "table_end", "table": table, "count": count, "sha256": sha256})
}

/// The hash of one line, as text.
pub(super) fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A sum of hashes, the same in whatever order they come: what was written is read back in another order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum([u64; 4]);

impl Sum {
    /// Adds the hash of a line.
    pub(super) fn add(&mut self, line: &str) {
        let digest = Sha256::digest(line.as_bytes());
        for (word, bytes) in self.0.iter_mut().zip(digest.chunks(8)) {
            let bytes: [u8; 8] = bytes.try_into().unwrap_or_default();
            *word = word.wrapping_add(u64::from_be_bytes(bytes));
        }
    }

    /// Both together.
    pub(super) fn with(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word = word.wrapping_add(more));
        self
    }

    /// Its text.
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|word| format!("{word:016x}")).collect()
    }

    /// What [`Self::text`] gave.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let word = |index: usize| u64::from_str_radix(text.get(index * 16..index * 16 + 16)?, 16).ok();
        Some(Self([word(0)?, word(1)?, word(2)?, word(3)?]))
    }
}
