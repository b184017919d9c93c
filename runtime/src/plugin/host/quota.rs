//! How much a plugin keeps in its key-value space.
//!
//! Counting a space reads all of it, so it is counted once and what is set is added: overwritten, expired and removed
//! values make the sum too large, never too small. Only a sum over the cap is counted anew.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::storage::{self, Storage};

/// Most bytes of all keys and values of one space.
pub(crate) const SPACE_BYTES: u64 = 256 << 20;

/// How long a space that was counted full counts as full, so that a loop of refused calls does not read it each time.
const STAYS_FULL: Duration = Duration::from_secs(1);

/// What is known of the spaces.
#[derive(Debug, Default)]
pub struct Quotas(Mutex<HashMap<String, Held>>);

#[derive(Debug, Clone, Copy)]
struct Held {
    /// At most so many bytes are there.
    bytes: u64,
    counted: Instant,
}

impl Quotas {
    /// Whether `more` bytes fit into `space`; if so they are taken as written.
    ///
    /// # Errors
    /// The space cannot be counted.
    pub(crate) async fn take(&self, storage: &dyn Storage, space: &str, more: u64) -> Result<bool, storage::Error> {
        if let Some(fits) = self.known(space, more) {
            return Ok(fits);
        }
        let bytes = storage.kv_bytes(space).await?;
        let counted = Held { bytes, counted: Instant::now() };
        self.lock().insert(space.to_owned(), counted);
        Ok(self.known(space, more).unwrap_or(false))
    }

    /// Something was removed: a full space is worth counting again.
    pub(crate) fn removed(&self, space: &str) {
        let mut held = self.lock();
        if held.get(space).is_some_and(|held| held.bytes >= SPACE_BYTES / 2) {
            held.remove(space);
        }
    }

    /// `None`: only counting can tell.
    fn known(&self, space: &str, more: u64) -> Option<bool> {
        let mut spaces = self.lock();
        let held = spaces.get_mut(space)?;
        let after = held.bytes.saturating_add(more);
        if after <= SPACE_BYTES {
            held.bytes = after;
            return Some(true);
        }
        (held.counted.elapsed() < STAYS_FULL).then_some(false)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use compozy_engine::time::Timestamp;

    use super::{Quotas, SPACE_BYTES};
    use crate::plugin::tests::memory::Memory;
    use crate::storage::Storage;
    use crate::storage::row::KvEntry;

    #[tokio::test]
    async fn a_full_space_takes_nothing_until_something_is_removed() {
        let (quotas, storage) = (Quotas::default(), Memory::default());
        let entry =
            |key: &str| KvEntry { space: "greedy".into(), key: key.into(), value: vec![0; 1 << 20], expires_at: None };
        let bytes = (1 << 20) + 2;
        let mut written = 0;
        while quotas.take(&storage, "greedy", bytes).await.unwrap() {
            storage.kv_set(entry(&format!("{written:02x}")), None, Timestamp(0)).await.unwrap();
            written += 1;
            assert!(written <= 256);
        }
        assert_eq!(written, SPACE_BYTES / bytes);
        assert!(quotas.take(&storage, "modest", bytes).await.unwrap(), "spaces are apart");
        assert!(!quotas.take(&storage, "greedy", bytes).await.unwrap());
        assert!(quotas.take(&storage, "greedy", 10).await.unwrap(), "what fits is taken");
        storage.kv_delete("greedy", "00").await.unwrap();
        quotas.removed("greedy");
        assert!(quotas.take(&storage, "greedy", bytes).await.unwrap());
    }
}
