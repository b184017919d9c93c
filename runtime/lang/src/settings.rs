//! Settings of the project file outside its definitions.

use std::time::Duration;

/// Every section that configures the process rather than a workflow.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `database`.
    pub database: Database,
}

/// `database` (dialect §12).
#[derive(Debug, Clone)]
pub struct Database {
    /// Which driver.
    pub driver: Driver,
    /// SQLite: path as written (`:memory:`, a path or a `file:` URI).
    pub path: String,
    /// SQLite: longest wait for a lock.
    pub busy_timeout: Duration,
}

/// Database drivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Embedded SQLite.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

impl Default for Database {
    fn default() -> Self {
        Self { driver: Driver::Sqlite, path: "./.compozy/compozy.db".into(), busy_timeout: Duration::from_secs(5) }
    }
}
