//! Moving runs between databases: what an export looks like, written and read as a stream (cli-and-api §11).
//!
//! [`export`](fn@export) writes a snapshot; [`import`](fn@import) reads one into another database. Both hold no more than
//! a page of rows. A file is hostile input: [`scan`] finds its pieces and bounds their size, [`item`] gives them types,
//! [`decide`] says what becomes of each row, and the storage reads back what was written before anybody sees it. Nothing
//! of a file is ever a path, a statement or a template.
//!
//! Hashes are those of the lines of the NDJSON form, whatever form a file has: the same rows give the same hashes from
//! every database.

mod adapt;
mod decide;
mod export;
mod import;
mod item;
mod line;
mod scan;
mod scratch;
#[cfg(test)]
mod tests;
mod verify;
mod words;
mod zstd;

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

pub use self::export::{Exported, Form, Request as ExportRequest, export};
pub use self::import::{InFlight, OnConflict, Report, Request as ImportRequest, TableReport, import};
pub use self::scratch::Scratch;
pub use self::verify::Compared;
pub use self::words::{classes, usual};
use crate::storage;

/// Version of the format.
pub const FORMAT_VERSION: i64 = 1;

/// Why something could not be exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not an export, is damaged, or says what cannot be.
    #[error("{place}: {message}")]
    Invalid {
        /// `line 12`, `byte 4096`, or `the file`.
        place: String,
        /// One sentence.
        message: String,
    },
    /// The file ends too early.
    #[error("the file is truncated: {0}")]
    Truncated(String),
    /// The file needs a newer release.
    #[error("{0}")]
    TooNew(String),
    /// A row is there already with other content, or somebody else is at it.
    #[error("{0}")]
    Conflict(String),
    /// The database can neither export nor import.
    #[error("this database cannot be exported or imported")]
    Unsupported,
    /// Reading or writing the file failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The database.
    #[error(transparent)]
    Storage(storage::Error),
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Fenced => Self::Conflict("another process imports into this database".to_owned()),
            storage::Error::Conflict(message) => Self::Conflict(message),
            other => Self::Storage(other),
        }
    }
}

impl Error {
    /// Something at a place of the file that cannot be.
    pub(crate) fn at(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { place: place.into(), message: message.into() }
    }
}

/// The bytes of a file as they come.
pub type Chunks = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// Where an export goes.
#[async_trait]
pub trait Sink: Send {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// Whatever stands in the way.
    async fn write(&mut self, bytes: Vec<u8>) -> std::io::Result<()>;
}

/// How far it is: the table, and how many rows of it are done.
pub type Progress<'a> = &'a mut (dyn FnMut(&'static str, u64) + Send);
