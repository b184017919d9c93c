//! Keys that somebody is changing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Entries from which those nobody waits for are forgotten.
const MANY: usize = 1_024;

/// Who waits for a key stands in line at its lock; it is gone with the last of them.
type Lock = Weak<tokio::sync::Mutex<()>>;

/// Whoever changes a key holds it from the look to the write. First come, first served.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<HashMap<(String, String), Lock>>);

/// A key is held as long as this lives.
#[derive(Debug)]
pub(super) struct Hold(#[expect(dead_code, reason = "held, not read")] OwnedMutexGuard<()>);

impl Holds {
    /// Waits for the key.
    pub(super) async fn take(&self, memory: &str, key: &str) -> Hold {
        let lock = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= MANY {
                all.retain(|_, lock| lock.strong_count() > 0);
            }
            let entry = all.entry((memory.to_owned(), key.to_owned())).or_default();
            entry.upgrade().unwrap_or_else(|| {
                let lock = Arc::default();
                *entry = Arc::downgrade(&lock);
                lock
            })
        };
        Hold(lock.lock_owned().await)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_key_has_one_holder() {
        let holds = Holds::default();
        let first = holds.take("m", "a").await;
        let other = holds.take("m", "b").now_or_never();
        assert!(other.is_some(), "another key is free");
        assert!(holds.take("m", "a").now_or_never().is_none());
        drop(first);
        assert!(holds.take("m", "a").now_or_never().is_some());
        for number in 0..MANY * 2 {
            drop(holds.take("m", &number.to_string()).await);
        }
        assert!(holds.0.lock().unwrap().len() <= MANY);
    }
}
