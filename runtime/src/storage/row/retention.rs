//! How long finished runs are kept.

use std::time::Duration;

/// What may go (cli-and-api §9.5).
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// How long runs that ended with SUCCESS are kept.
    pub success: Duration,
    /// How long other finished runs are kept.
    pub failed: Duration,
    /// How long after its end the journal of a run is kept; its last event stays with the run.
    pub journal: Duration,
    /// Newest runs of each workflow that never go.
    pub keep_last: u32,
}

/// What one step of a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs removed.
    pub runs: u64,
    /// Rows removed, those of runs included.
    pub rows: u64,
    /// Pages given back to the file system.
    pub pages: u64,
    /// Where the next step goes on, opaque; `None`: the sweep is over.
    pub next: Option<String>,
    /// There was too much else to write, and nothing was done.
    pub postponed: bool,
}
