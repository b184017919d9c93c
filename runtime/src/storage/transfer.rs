//! What export and import need of a database, over any driver (cli-and-api §11).
//!
//! Rows travel as [`Row`]s: the columns of [`Table::travelling`] in order, references to payloads as they are stored.
//! Text is ordered bytewise everywhere, so that two databases give the same rows in the same order.
//!
//! An import is hidden until its last transaction. Rows of tables that belong to no run wait in `import_rows`, and so do
//! the rows of `executions`; what belongs to a run that is new is written where it belongs at once, since nobody looks
//! there without the run. [`Transfer::import_finish`] moves what waits in one transaction.

mod check;

use std::collections::HashMap;

use async_trait::async_trait;
use compozy_engine::time::Timestamp;

pub use self::check::{Seen, check};
use super::Error;
use super::table::{Class, Table};

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    /// Nothing.
    Null,
    /// A whole number, a time, or a flag.
    Integer(i64),
    /// Text, JSON, or bytes that are UTF-8.
    Text(String),
}

impl Cell {
    /// The text, if it is some.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Integer(_) => None,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Null | Self::Text(_) => None,
        }
    }
}

/// A row: what [`Table::travelling`] names, in order.
pub type Row = Vec<Cell>;

/// What of a database is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Which classes of tables.
    pub include: Vec<Class>,
    /// Which runs; a run always brings the whole tree it belongs to.
    pub runs: RunChoice,
}

impl Selection {
    /// Whether the class was asked for.
    #[must_use]
    pub fn includes(&self, class: Class) -> bool {
        self.include.contains(&class)
    }
}

/// Which runs are exported; nothing set: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunChoice {
    /// Of this workflow.
    pub workflow_id: Option<String>,
    /// This run.
    pub exec_id: Option<String>,
    /// With one of these status words; empty: any.
    pub statuses: Vec<String>,
    /// Created at or after.
    pub since: Option<Timestamp>,
}

impl RunChoice {
    /// Whether every run is meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }
}

/// Which rows a snapshot gives.
#[derive(Debug, Clone)]
pub enum Source {
    /// What is selected of the visible database.
    Selected(Selection),
    /// What the unfinished import of this export has written to tables of runs, apart from what waits.
    Imported(String),
}

/// The database at one moment. Dropped, it lets go of it.
#[async_trait]
pub trait Snapshot: Send {
    /// How many rows of `table` there are.
    async fn count(&mut self, table: &'static Table) -> Result<u64, Error>;

    /// The next rows of `table`, at most `limit`, in the order of [`Table::order`]; none: that was all. Rows of
    /// `executions` that are inside of no other run come first.
    async fn next(&mut self, table: &'static Table, limit: u32) -> Result<Vec<Row>, Error>;
}

/// What becomes of a row of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It is new.
    Insert,
    /// It takes the place of a run, with all its rows.
    Replace,
    /// Its run is there with equal content; rows of the run must be too.
    Same,
    /// Its run is there; rows of the run are passed over.
    Known,
    /// Its run is left out, and what belongs to it.
    Left,
}

impl Act {
    /// Every act with its word.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Insert, "insert"),
        (Self::Replace, "replace"),
        (Self::Same, "same"),
        (Self::Known, "known"),
        (Self::Left, "left"),
    ];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(act, _)| *act == self).map_or("", |(_, word)| word)
    }

    /// The act of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(act, _)| *act)
    }
}

/// A row that waits for the end of its import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Its table.
    pub table: &'static Table,
    /// Its run, or the digest of a definition; else empty.
    pub name: String,
    /// Its place in the file's table.
    pub position: i64,
    /// What becomes of it.
    pub act: Act,
    /// The row, where it is to be written; one of `executions` has its hash in the file as one cell more.
    pub row: Option<Row>,
}

/// How far an import has come with one table, or as a whole: one row of `import_progress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which export is imported.
    pub export_id: String,
    /// Name of the table; empty for the file as a whole.
    pub table: String,
    /// Rows that are dealt with.
    pub taken: i64,
    /// How many of them were there already or were left out.
    pub skipped: i64,
    /// SHA-256 of the rows so far; of the header for the file.
    pub sha256: String,
    /// Sum of the hashes of the rows that were written.
    pub written: String,
    /// What was asked for, JSON text; only for the file.
    pub options: Option<String>,
    /// The table is complete; the import is finished.
    pub closed: bool,
    /// Last change.
    pub updated_at: Timestamp,
}

/// One step of an import, written in one transaction.
#[derive(Debug, Clone)]
pub struct ImportBatch {
    /// What [`Progress::taken`] was before; `None`: there is no row yet.
    pub before: Option<i64>,
    /// How far it has come with this step.
    pub progress: Progress,
    /// The table of `rows`.
    pub table: Option<&'static Table>,
    /// Rows to write where they belong: payloads, and what belongs to new runs.
    pub rows: Vec<Row>,
    /// Rows that wait.
    pub staged: Vec<Staged>,
}

/// Export and import of one database.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// A snapshot to read from; it is at the moment of this call and holds up nobody who writes.
    async fn export(&self, source: Source) -> Result<Box<dyn Snapshot>, Error>;

    /// The visible rows of `table` whose [`Table::identity`] has these values, one answer for each of `keys`.
    async fn stored(&self, table: &'static Table, keys: &[Row]) -> Result<Vec<Option<Row>>, Error>;

    /// Which of these payloads are stored.
    async fn payloads(&self, hashes: &[&str]) -> Result<Vec<String>, Error>;

    /// The export and the hash of its row that each of these runs was imported from, for those that were.
    async fn imported_from(&self, runs: &[&str]) -> Result<HashMap<String, (String, String)>, Error>;

    /// Every row of `import_progress`.
    async fn imports(&self) -> Result<Vec<Progress>, Error>;

    /// What the unfinished import of this export has decided about these rows of `table`, by [`Staged::name`].
    async fn import_acts(
        &self,
        export_id: &str,
        table: &'static Table,
        names: &[&str],
    ) -> Result<HashMap<String, Act>, Error>;

    /// Rows of `table` that wait, after the given name and position, by name and position, at most `limit`.
    async fn import_staged(
        &self,
        export_id: &str,
        table: &'static Table,
        after: (&str, i64),
        limit: u32,
    ) -> Result<Vec<Staged>, Error>;

    /// Writes a step.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the progress is not what [`ImportBatch::before`] says: somebody else is at it.
    /// [`Error::Conflict`] when a row is there already.
    async fn import_write(&self, batch: ImportBatch, now: Timestamp) -> Result<(), Error>;

    /// Makes everything visible, and runs under way claimable unless they are to stay paused, in one transaction.
    /// Done again it does nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a row has come up meanwhile, or a run to replace has gone further than the new one;
    /// nothing was written. [`Error::NotFound`] when there is no such import.
    async fn import_finish(&self, export_id: &str, now: Timestamp) -> Result<(), Error>;

    /// Removes what an unfinished import has written, a little at a time.
    async fn import_abort(&self, export_id: &str) -> Result<(), Error>;
}
