//! Memories: messages under keys, and what a change makes of them.

use compozy_engine::time::Timestamp;

/// What a memory holds under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryState {
    /// Which state it is; a change says which one it was decided on. 0: there is no such key.
    pub version: i64,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// It is a copy that clearing another key has left.
    pub backup: bool,
    /// Oldest first.
    pub messages: Vec<MemoryMessage>,
}

/// A stored message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryMessage {
    /// Place in the order, from 1; with gaps where messages went.
    pub seq: i64,
    /// Who said it.
    pub role: String,
    /// What was said; empty when it was not asked for.
    pub content: String,
    /// Bytes of the content.
    pub bytes: u64,
    /// Tokens of the content.
    pub tokens: u64,
    /// It stands for messages that are gone.
    pub summary: bool,
    /// When it was last read or written.
    pub used_at: i64,
}

/// A message to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Place in the order, that of a message which goes; `None`: after all others.
    pub seq: Option<i64>,
    /// Who says it.
    pub role: String,
    /// What is said.
    pub content: String,
    /// Tokens of the content.
    pub tokens: u64,
    /// It stands for messages that go.
    pub summary: bool,
}

/// What happens to one key of a memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryChange {
    /// Id of the memory.
    pub memory: String,
    /// Key in it.
    pub key: String,
    /// Unique for each change; the same change written twice is written once.
    pub writer: String,
    /// When the key expires from now on; `None`: never.
    pub expires_at: Option<Timestamp>,
    /// What happens.
    pub act: MemoryAct,
}

/// Kinds of changes of a memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryAct {
    /// It was read: the key and its messages count as used now. Nothing happens to a key that is not there.
    Used,
    /// Messages go and come. A key that is not there is made.
    Write {
        /// The state this was decided on.
        version: i64,
        /// Everything that was there goes.
        cleared: bool,
        /// Seqs of messages that go.
        dropped: Vec<i64>,
        /// Messages that come, in order.
        added: Vec<NewMessage>,
        /// The key is a copy that clearing another has left.
        backup: bool,
    },
    /// The key goes with everything under it.
    Delete {
        /// The state this was decided on.
        version: i64,
    },
}

/// What all keys of a memory hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryTotals {
    /// Id of the memory.
    pub memory: String,
    /// Keys.
    pub keys: u64,
    /// Messages.
    pub messages: u64,
    /// Tokens.
    pub tokens: u64,
}
