//! What a run of durability level `memory` keeps back until it ends.
//!
//! Its start, its end and its waits for signals are rows; what lies in between lives in memory only. A killed process loses such a run, which
//! then fails in the open. A process that stops in order writes what it holds and the run goes on elsewhere.

use std::collections::{BTreeMap, HashMap};

use crate::storage::row::{Changes, Timer};

/// `reason` of a run of level `memory` that was handed back in order. Without it such a run is lost.
pub(crate) const HANDED_BACK: &str = "handed back";

/// Whether changes must be seen before the run ends: a signal to everyone who waits is sent to those whose waiting is
/// recorded.
pub(crate) fn is_seen(changes: &Changes) -> bool {
    changes.steps.iter().any(|step| step.kind == "wait")
}

/// Changes that wait. What is added costs the same however much is held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    changes: Option<Changes>,
    /// Place of each step in `changes`, by its key.
    steps: HashMap<String, usize>,
    /// Timers that are armed, by id; not in `changes`.
    timers: BTreeMap<String, Timer>,
}

impl Held {
    /// Keeps `later` back.
    pub(crate) fn hold(&mut self, later: Changes) {
        let all = self.changes.get_or_insert_default();
        for step in later.steps {
            match self.steps.get(&step.step_key).and_then(|place| all.steps.get_mut(*place)) {
                Some(known) => *known = step,
                None => {
                    self.steps.insert(step.step_key.clone(), all.steps.len());
                    all.steps.push(step);
                }
            }
        }
        self.timers.extend(later.timers_set.into_iter().map(|timer| (timer.timer_id.clone(), timer)));
        later.timers_cleared.iter().for_each(|id| drop(self.timers.remove(id)));
        all.timers_cleared.extend(later.timers_cleared);
        all.journal.extend(later.journal);
        all.attempts.extend(later.attempts);
        all.usage.extend(later.usage);
        all.noted.extend(later.noted);
        all.settled.extend(later.settled);
        all.sent.extend(later.sent);
        all.starts.extend(later.starts);
        all.demands.extend(later.demands);
        all.memory.extend(later.memory);
        all.run = later.run.or(all.run.take());
        all.at = later.at;
    }

    /// Everything held, then `later`, as one transaction.
    pub(crate) fn with(mut self, later: Changes) -> Changes {
        self.hold(later);
        self.into_changes().unwrap_or_default()
    }

    /// Everything held; `None` when there is nothing.
    pub(crate) fn into_changes(self) -> Option<Changes> {
        let timers_set = self.timers.into_values().collect();
        self.changes.map(|all| Changes { timers_set, ..all })
    }
}

#[cfg(test)]
mod tests {
    use compozy_engine::time::Timestamp;

    use super::Held;
    use crate::storage::row::{Changes, Step, Timer};

    fn step(number: usize, status: &str) -> Step {
        Step {
            step_key: format!("each/c-{number}#1"),
            task_exec_id: String::new(),
            task_id: String::new(),
            kind: "basic".into(),
            status: status.into(),
            attempt: 1,
            parent: None,
            position: 0,
            input: None,
            output: None,
            error: None,
            waiting_for: None,
            state: String::new(),
            result_seq: None,
            started_at: Timestamp(0),
            finished_at: None,
        }
    }

    fn timer(number: usize) -> Timer {
        Timer { timer_id: format!("sleep:{number}"), kind: "sleep".into(), step_key: None, due_at: Timestamp(0) }
    }

    #[test]
    fn the_last_of_a_step_counts_and_a_cleared_timer_is_gone() {
        let mut held = Held::default();
        held.hold(Changes {
            steps: vec![step(1, "RUNNING"), step(2, "RUNNING")],
            timers_set: vec![timer(1), timer(2)],
            ..Changes::default()
        });
        held.hold(Changes { timers_cleared: vec![timer(1).timer_id], ..Changes::default() });
        let all = held.with(Changes { steps: vec![step(1, "SUCCESS")], ..Changes::default() });
        let seen: Vec<_> = all.steps.iter().map(|step| (step.step_key.as_str(), step.status.as_str())).collect();
        assert_eq!(seen, [("each/c-1#1", "SUCCESS"), ("each/c-2#1", "RUNNING")]);
        let armed: Vec<_> = all.timers_set.iter().map(|timer| timer.timer_id.as_str()).collect();
        assert_eq!(armed, ["sleep:2"]);
    }

    /// With a look at everything held for each change this takes minutes.
    #[test]
    fn a_hundred_thousand_steps_cost_no_more_each() {
        let count = 100_000;
        let mut held = Held::default();
        for number in 0..count {
            held.hold(Changes {
                steps: vec![step(number, "RUNNING")],
                timers_set: vec![timer(number)],
                ..Changes::default()
            });
        }
        for number in 0..count {
            held.hold(Changes { timers_cleared: vec![timer(number).timer_id], ..Changes::default() });
        }
        let all = held.into_changes().unwrap();
        assert_eq!((all.steps.len(), all.timers_set.len()), (count, 0));
    }
}
