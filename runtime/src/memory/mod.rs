//! Memories: messages kept under keys, within limits (dialect §13.1).
//!
//! [`rule`] decides, as pure code, what a memory holds after a change; [`message`] and [`privacy`] what may get into it.
//! [`Keeper`] looks at the present state, lets the rule decide and prepares the change: [`Prepared`] is written with the
//! result of the step that asked for it, or at once for everybody else. From the look to the write it holds the key, so
//! that changes of one process follow each other; that another process was faster is noticed when it is written.

mod holds;
mod keeper;
pub mod message;
mod operations;
mod options;
mod privacy;
mod process;
pub mod rule;
mod summary;

use compozy_lang::plan::MemoryDefinition;
use compozy_lang::plan::memory::is_memory_key;

pub use keeper::{Asked, Keeper, Limits, Prepared, Seen};
pub use message::Message;
pub use operations::{Flush, Operation, Ready, unconfirmed};
pub use options::{FLUSH, Settings};

use crate::provider;
use crate::storage;

/// Why an operation on a memory failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for cannot be (CZ0323). Nothing was written.
    #[error("{0}")]
    Refused(String),
    /// The model that was asked for a summary failed. Nothing was written.
    #[error("the summary failed: {0}")]
    Summary(provider::Error),
    /// It was called off.
    #[error("canceled")]
    Canceled,
    /// The database refused or failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

impl Error {
    /// Whether the same may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Canceled => false,
            Self::Summary(error) => error.retryable(),
            Self::Storage(_) => true,
        }
    }
}

/// One key of a memory.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The memory.
    pub memory: &'a MemoryDefinition,
    /// A key that a memory may have.
    pub key: &'a str,
}

impl<'a> Place<'a> {
    /// The place of `key` in `memory`.
    ///
    /// # Errors
    /// [`Error::Refused`] when no memory may have such a key.
    pub fn new(memory: &'a MemoryDefinition, key: &'a str) -> Result<Self, Error> {
        if is_memory_key(key) {
            return Ok(Self { memory, key });
        }
        let shown: String = key.chars().take(64).flat_map(char::escape_debug).collect();
        let rule = "a key is 1 to 256 letters, digits and _ : @ . * -, without __ at the start or end";
        Err(Error::Refused(format!("'{shown}' is not a key: {rule}")))
    }
}
