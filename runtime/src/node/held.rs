//! What a run of durability level `memory` keeps back until it ends.
//!
//! Its start and its end are rows; in between its steps live in memory only. A killed process loses such a run, which
//! then fails in the open. A process that stops in order writes what it holds and the run goes on elsewhere.

use crate::storage::row::Changes;

/// `reason` of a run of level `memory` that was handed back in order. Without it such a run is lost.
pub(crate) const HANDED_BACK: &str = "handed back";

/// Changes that wait.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<Changes>);

impl Held {
    /// Keeps `changes` back.
    pub(crate) fn hold(&mut self, changes: Changes) {
        *self = Self(Some(std::mem::take(self).with(changes)));
    }

    /// Everything held, then `later`, as one transaction.
    pub(crate) fn with(self, later: Changes) -> Changes {
        let Some(mut all) = self.0 else { return later };
        all.journal.extend(later.journal);
        for step in later.steps {
            all.steps.retain(|known| known.step_key != step.step_key);
            all.steps.push(step);
        }
        all.attempts.extend(later.attempts);
        all.timers_set.extend(later.timers_set);
        all.timers_set.retain(|timer| !later.timers_cleared.contains(&timer.timer_id));
        all.timers_cleared.extend(later.timers_cleared);
        all.usage.extend(later.usage);
        all.noted.extend(later.noted);
        all.settled.extend(later.settled);
        all.sent.extend(later.sent);
        all.starts.extend(later.starts);
        all.demands.extend(later.demands);
        all.run = later.run.or(all.run);
        all.at = later.at;
        all
    }

    /// Everything held; `None` when there is nothing.
    pub(crate) fn into_changes(self) -> Option<Changes> {
        self.0
    }
}
