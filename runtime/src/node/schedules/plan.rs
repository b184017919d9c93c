//! What a schedule calls for at a moment, as a pure function: nothing here reads a clock or a database.
//!
//! A fire is known by its own time, never by when it was noticed, and the database records each of these once. So
//! whatever a node misjudges here (a clock that jumped, another node that was quicker), no time runs twice.

use std::time::Duration;

use compozy_engine::time::Timestamp;
use compozy_lang::plan::Overlap;

use super::effective::{Effective, before};

/// A time that a living node notices later than this (its database was out of reach) runs only if none has come since.
const LATE: Duration = Duration::from_secs(60);

/// A plan that lies so far behind what follows now was made by a clock that was wrong.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of a schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// The time it was planned for.
    pub(crate) planned: Option<Timestamp>,
    /// The time that waits for the end of the run before it.
    pub(crate) kept: Option<Timestamp>,
    /// The run it started last has not ended. Only asked for where a time is due or kept.
    pub(crate) busy: bool,
    /// Since when schedules have been watched without a gap; what was due before that was missed.
    pub(crate) watched_since: Timestamp,
    /// Now.
    pub(crate) now: Timestamp,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing before this moment; `None`: before something changes.
    Rest(Option<Timestamp>),
    /// Write down for when it is planned.
    Plan(Option<Timestamp>),
    /// Record what becomes of a time, and look again.
    Record {
        /// Which time.
        time: Timestamp,
        /// What becomes of it.
        outcome: Outcome,
        /// What is planned then.
        next: Option<Timestamp>,
    },
}

/// What becomes of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A run starts.
    Start,
    /// A run starts and the one before it is canceled.
    Replace,
    /// It waits for the end of the run before it.
    Keep,
    /// It is left out.
    Skip(Reason),
}

/// Why a time is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nobody was there when it was due.
    Missed,
    /// The run before it has not ended.
    Running,
    /// The schedule was switched off while the time waited.
    Disabled,
}

/// Whether something about `seen` hangs on the run that was started last.
pub(crate) fn asks_for_the_run(planned: Option<Timestamp>, kept: Option<Timestamp>, now: Timestamp) -> bool {
    kept.is_some() || planned.is_some_and(|planned| planned <= now)
}

/// Decides. Called again after whatever it says was done, until it says to rest.
pub(crate) fn decide(schedule: &Effective, seen: &Seen) -> Decision {
    if !schedule.enabled {
        return match (seen.kept, seen.planned) {
            (Some(time), _) => Decision::Record { time, outcome: Outcome::Skip(Reason::Disabled), next: None },
            (None, Some(_)) => Decision::Plan(None),
            (None, None) => Decision::Rest(None),
        };
    }
    if let Some(time) = seen.kept.filter(|_| !seen.busy) {
        return Decision::Record { time, outcome: Outcome::Start, next: seen.planned };
    }
    let Some(planned) = seen.planned.filter(|planned| is_sound(schedule, *planned, seen.now)) else {
        let next = schedule.next(seen.now);
        return if next == seen.planned { Decision::Rest(None) } else { Decision::Plan(next) };
    };
    let due = schedule.due(planned);
    if due > seen.now {
        return Decision::Rest(Some(due));
    }
    if due < seen.watched_since {
        return missed(schedule, planned, seen);
    }
    let is_late = seen.now.since(due) > LATE;
    let time = if is_late { latest_due(schedule, planned, seen.now) } else { planned };
    Decision::Record { time, outcome: overlapping(schedule.overlap, seen), next: schedule.next(time) }
}

/// A planned time is one of the schedule's, and not one that only a clock far ahead could have planned.
fn is_sound(schedule: &Effective, planned: Timestamp, now: Timestamp) -> bool {
    let too_far = || schedule.next(now).is_some_and(|next| planned.since(next) > FAR);
    schedule.has(planned) && !(planned > now && too_far())
}

/// Of the times that were due while nobody watched, the latest runs if it is young enough.
fn missed(schedule: &Effective, planned: Timestamp, seen: &Seen) -> Decision {
    let time = latest_due(schedule, planned, before(seen.watched_since));
    let is_young = seen.now.since(schedule.due(time)) <= schedule.catch_up;
    let outcome = if is_young { overlapping(schedule.overlap, seen) } else { Outcome::Skip(Reason::Missed) };
    Decision::Record { time, outcome, next: schedule.next(time) }
}

/// The latest time from `planned` on that was due by `until`; `planned` is one.
fn latest_due(schedule: &Effective, planned: Timestamp, until: Timestamp) -> Timestamp {
    let Some(time) = schedule.latest(planned, until) else { return planned };
    if schedule.due(time) <= until {
        return time;
    }
    // Every time is due before the next one comes, so the one before was.
    schedule.latest(planned, before(time)).unwrap_or(planned)
}

fn overlapping(policy: Overlap, seen: &Seen) -> Outcome {
    match policy {
        _ if !seen.busy => Outcome::Start,
        Overlap::Allow => Outcome::Start,
        Overlap::CancelOther => Outcome::Replace,
        Overlap::BufferOne if seen.kept.is_none() => Outcome::Keep,
        Overlap::BufferOne | Overlap::Skip => Outcome::Skip(Reason::Running),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
