//! The timers of a run, found by when they are due.

use std::collections::{BTreeMap, BTreeSet};

use compozy_engine::event::TimerKey;
use compozy_engine::time::Timestamp;

/// Timers that are armed. A run may wait for very many; none of its operations looks at all of them.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<TimerKey, Timestamp>,
    in_order: BTreeSet<(Timestamp, TimerKey)>,
}

impl Timers {
    /// Arms `timer`, in the place of an earlier one of that name.
    pub(crate) fn arm(&mut self, timer: TimerKey, due: Timestamp) {
        self.disarm(&timer);
        self.in_order.insert((due, timer.clone()));
        self.due.insert(timer, due);
    }

    /// Forgets `timer`.
    pub(crate) fn disarm(&mut self, timer: &TimerKey) {
        if let Some((timer, due)) = self.due.remove_entry(timer) {
            self.in_order.remove(&(due, timer));
        }
    }

    /// The one that is due first.
    pub(crate) fn first(&self) -> Option<&(Timestamp, TimerKey)> {
        self.in_order.first()
    }
}

#[cfg(test)]
mod tests {
    use compozy_engine::event::TimerKey;
    use compozy_engine::state::StepKey;
    use compozy_engine::time::Timestamp;

    use super::Timers;

    fn sleep(number: i64) -> TimerKey {
        TimerKey::Sleep { step: StepKey { path: format!("each/c-{number}"), execution: 1 } }
    }

    fn drain(timers: &mut Timers) -> Vec<i64> {
        let mut order = Vec::new();
        while let Some((due, timer)) = timers.first().cloned() {
            order.push(due.0);
            timers.disarm(&timer);
        }
        order
    }

    #[test]
    fn they_come_due_in_order_and_once() {
        let mut timers = Timers::default();
        for (number, due) in [(1, 30), (2, 10), (3, 20), (1, 5), (4, 10)] {
            timers.arm(sleep(number), Timestamp(due));
        }
        timers.disarm(&sleep(3));
        timers.disarm(&sleep(9));
        assert_eq!(drain(&mut timers), [5, 10, 10]);
        assert_eq!(timers.first(), None);
    }

    /// With a look at every timer for each that comes due this takes minutes.
    #[test]
    fn a_hundred_thousand_of_them_cost_no_more_each() {
        let count = 100_000;
        let mut timers = Timers::default();
        (0..count).for_each(|number| timers.arm(sleep(number), Timestamp(count - number)));
        assert_eq!(drain(&mut timers), (1..=count).collect::<Vec<_>>());
    }
}
