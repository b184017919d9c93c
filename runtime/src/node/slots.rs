//! How many runs execute at once. A run that only waits holds no slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The slots of a node.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    taken: AtomicUsize,
    /// Wakes the claim loop when a slot is given back.
    freed: Notify,
}

impl Slots {
    /// `limit` slots, none taken.
    pub(crate) fn new(limit: usize) -> Self {
        Self { shared: Arc::new(Shared { limit, taken: AtomicUsize::new(0), freed: Notify::new() }) }
    }

    /// How many there are.
    pub(crate) fn limit(&self) -> usize {
        self.shared.limit
    }

    /// Slots that are free now.
    pub(crate) fn free(&self) -> usize {
        self.shared.limit.saturating_sub(self.shared.taken.load(Ordering::Relaxed))
    }

    /// A slot, if one is free.
    pub(crate) fn try_take(&self) -> Option<Slot> {
        let take = |taken: usize| (taken < self.shared.limit).then_some(taken + 1);
        let taken = self.shared.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.ok().map(|_| Slot { slots: self.clone(), held: true })
    }

    /// A slot also when none is free: for runs that must go on (a timer fired, a run was claimed).
    pub(crate) fn take(&self) -> Slot {
        self.shared.taken.fetch_add(1, Ordering::Relaxed);
        Slot { slots: self.clone(), held: true }
    }

    /// Waits until a slot was given back since the last call.
    pub(crate) async fn freed(&self) {
        self.shared.freed.notified().await;
    }
}

/// The slot of one run; given back while the run waits and when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    held: bool,
}

impl Slot {
    /// Says whether the run executes.
    pub(crate) fn set(&mut self, executing: bool) {
        match (self.held, executing) {
            (false, true) => {
                self.slots.shared.taken.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) => {
                self.slots.shared.taken.fetch_sub(1, Ordering::Relaxed);
                self.slots.shared.freed.notify_one();
            }
            _ => {}
        }
        self.held = executing;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn a_waiting_run_frees_its_slot_and_takes_it_again() {
        let slots = Slots::new(1);
        let mut slot = slots.try_take().unwrap();
        assert!(slots.try_take().is_none());
        slot.set(false);
        assert_eq!(slots.free(), 1);
        slot.set(true);
        assert_eq!(slots.free(), 0);
        drop(slot);
        assert_eq!(slots.free(), 1);
    }
}
