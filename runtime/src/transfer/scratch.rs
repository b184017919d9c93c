//! A database that is gone afterwards: what a dry run writes to.

use std::path::PathBuf;
use std::sync::Arc;

use super::Error;
use crate::clock::Clock;
use crate::storage::row::Durability;
use crate::storage::sqlite::{self, Role};
use crate::storage::{self, Storage};

/// A database in a folder of its own.
#[derive(Debug)]
pub struct Scratch {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
}

impl Scratch {
    /// Makes one below the system's folder for temporary files.
    ///
    /// # Errors
    /// There is no room, or no right to make it.
    pub async fn new(clock: &Clock) -> Result<Self, Error> {
        let folder = std::env::temp_dir().join(format!("compozy-dry-run-{}", clock.ulid()));
        let path = folder.join("scratch.db");
        let mut options = sqlite::Options::new(&path.to_string_lossy(), Role::Embedded, clock.clone());
        options.durability = Durability::Normal;
        let storage = storage::open(storage::Options::Sqlite(options)).await?;
        Ok(Self { storage, folder })
    }

    /// The database.
    #[must_use]
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// Removes it.
    pub async fn remove(self) {
        self.storage.close().await;
        // Whoever cleans up temporary files will find what cannot be removed.
        let _left = tokio::fs::remove_dir_all(&self.folder).await;
    }
}
