//! How many runs wait in the queue, so that a start can be refused before anything is stored.
//!
//! The rows are the truth. What this node counts beside them is put right whenever it looks at them: when it is
//! launched, with its lease, and when another process has written.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

use crate::storage::row::QueueLength;

/// Runs that wait, as far as this node knows.
#[derive(Debug)]
pub(crate) struct Pending {
    limit: i64,
    /// Stored, whatever they wait for. Below zero for a moment when a run was claimed before whoever stored it said so.
    stored: AtomicI64,
    /// Those of them that wait for a free place.
    claimable: AtomicI64,
    /// Being stored now.
    coming: AtomicI64,
    /// How often one of these numbers has changed.
    changes: AtomicU64,
    /// Of a claim, or of a count: one that saw half of a claim would be wrong by what that took.
    turn: Mutex<()>,
}

/// A place in the queue for a run that is being stored; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Pending);

impl Pending {
    /// A queue of at most `limit` runs, empty until it is counted.
    pub(crate) fn new(limit: u64) -> Self {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let [stored, claimable, coming] = [const { AtomicI64::new(0) }; 3];
        Self { limit, stored, claimable, coming, changes: AtomicU64::new(0), turn: Mutex::default() }
    }

    /// No place is left.
    pub(crate) fn is_full(&self) -> bool {
        let all = self.stored.load(Ordering::Relaxed).saturating_add(self.coming.load(Ordering::Relaxed));
        all >= self.limit
    }

    /// A place in the queue; `None` when it is full.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        let stored = self.stored.load(Ordering::Relaxed);
        let fits = |coming: i64| (stored.saturating_add(coming) < self.limit).then_some(coming + 1);
        self.coming.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok().map(|_| Place(self))
    }

    /// Some run waits for a free place: a new one must not take it first.
    pub(crate) fn any_claimable(&self) -> bool {
        self.claimable.load(Ordering::Relaxed) > 0
    }

    /// So many were stored with somebody else's write, without having asked for a place.
    pub(crate) fn queued(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.stored.fetch_add(count, Ordering::Relaxed);
        self.claimable.fetch_add(count, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Something is stored, as far as this node knows.
    pub(crate) fn is_any(&self) -> bool {
        self.stored.load(Ordering::Relaxed) != 0
    }

    /// The turn of a claim until it is told of here, or of a count: they exclude each other.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// So many were claimed; `all`: nothing claimable is left.
    pub(crate) fn claimed(&self, count: u64, all: bool) {
        let count = signed(count);
        self.stored.fetch_sub(count, Ordering::Relaxed);
        if all {
            self.claimable.store(0, Ordering::Relaxed);
        } else {
            self.claimable.fetch_sub(count, Ordering::Relaxed);
        }
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// A number that is another one after each change; `None` while rows come. Rows that were counted between two equal
    /// answers, in their own [turn](Self::turn), are what is there.
    pub(crate) fn quiet(&self) -> Option<u64> {
        (self.coming.load(Ordering::Acquire) == 0).then(|| self.changes.load(Ordering::Acquire))
    }

    /// So it is stored.
    pub(crate) fn counted(&self, length: QueueLength) {
        self.stored.store(signed(length.claimable.saturating_add(length.gated)), Ordering::Relaxed);
        self.claimable.store(signed(length.claimable), Ordering::Relaxed);
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Place<'_> {
    /// The run is stored.
    pub(crate) fn stored(self) {
        self.0.queued(1);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.changes.fetch_add(1, Ordering::Release);
        self.0.coming.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::Pending;
    use crate::storage::row::QueueLength;

    #[test]
    fn a_full_queue_has_no_place_until_something_is_claimed() {
        let pending = Pending::new(2);
        let (first, second) = (pending.place().unwrap(), pending.place().unwrap());
        assert!(pending.place().is_none());
        assert!(!pending.any_claimable());
        first.stored();
        drop(second);
        assert!(pending.any_claimable());
        pending.place().unwrap().stored();
        assert!(pending.place().is_none());
        pending.claimed(1, false);
        assert!(pending.any_claimable() && pending.place().is_some());
        pending.claimed(0, true);
        assert!(!pending.is_full());
        assert!(!pending.any_claimable());
        pending.counted(QueueLength { claimable: 0, gated: 2 });
        assert!(pending.place().is_none() && !pending.any_claimable());
    }

    #[test]
    fn what_was_counted_beside_a_start_is_known_to_be_old() {
        let pending = Pending::new(9);
        let before = pending.quiet();
        assert!(before.is_some() && pending.quiet() == before);
        let place = pending.place();
        assert_eq!(pending.quiet(), None);
        drop(place);
        assert!(pending.quiet().is_some() && pending.quiet() != before, "a start that began and ended in between");
        let before = pending.quiet();
        pending.queued(1);
        assert!(pending.quiet().is_some() && pending.quiet() != before);
    }
}
