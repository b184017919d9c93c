//! Who of the queue had a turn when.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// One claim of so many goes to the oldest run, whatever its priority and workflow.
const OLDEST_EVERY: u64 = 8;
/// Workflows whose last turn is remembered; more are forgotten at once, and all are equal again.
const REMEMBERED: usize = 4_096;

/// When each workflow last had its turn. In memory only: after a restart all are equal.
#[derive(Debug, Default)]
pub(in crate::storage) struct Turns {
    count: Cell<u64>,
    admitted: Cell<u64>,
    last: RefCell<HashMap<String, u64>>,
}

impl Turns {
    /// Whether the next run that gets its concurrency key is chosen by age.
    pub(in crate::storage) fn admits_the_oldest(&self) -> bool {
        (self.admitted.get() + 1).is_multiple_of(OLDEST_EVERY)
    }

    /// A run got its concurrency key.
    pub(in crate::storage) fn admitted(&self) {
        self.admitted.set(self.admitted.get() + 1);
    }

    /// Turns before the next one that goes by age.
    pub(in crate::storage) fn before_the_oldest(&self) -> u64 {
        OLDEST_EVERY - 1 - self.count.get() % OLDEST_EVERY
    }

    /// A turn goes by age.
    pub(in crate::storage) fn passed(&self) {
        self.count.set(self.count.get() + 1);
    }

    pub(in crate::storage) fn of(&self, workflow_id: &str) -> u64 {
        self.last.borrow().get(workflow_id).copied().unwrap_or(0)
    }

    pub(in crate::storage) fn took(&self, workflow_id: &str, runs: u64) {
        self.count.set(self.count.get() + runs);
        let mut last = self.last.borrow_mut();
        if last.len() >= REMEMBERED {
            last.clear();
        }
        last.insert(workflow_id.to_owned(), self.count.get());
    }
}
