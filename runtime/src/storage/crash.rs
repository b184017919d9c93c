//! Crash points of the tests: `COMPOZY_CRASH_POINT=SIDE:WHICH`. Only debug builds read the variable.
//!
//! Sides: `before` and `after` end the process as `kill -9` would, right before or right after the commit; `unknown`
//! lets the commit succeed and tells its callers that the database was lost. Which: `N` is the N-th commit of the
//! process, `run:N` the N-th from the latest start of a run on, which is number 1; `run:each` is the first commit of the
//! first run started, the second of the second, and so on.

/// Which side of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Nothing of the batch is durable yet.
    Before,
    /// All of it is, and nobody has been told.
    After,
}

pub(crate) use self::imp::{begin, point};

#[cfg(not(debug_assertions))]
mod imp {
    use super::Side;
    use crate::id::ExecId;
    use crate::storage::Error;

    /// A run is being started with the next commit.
    pub(crate) fn begin<'a>(_started: impl Iterator<Item = &'a ExecId>) {}

    /// Marks a side of a commit.
    pub(crate) fn point(_side: Side) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(debug_assertions)]
mod imp {
    use std::sync::{Mutex, OnceLock, PoisonError};

    use super::Side;
    use crate::id::ExecId;
    use crate::storage::Error;

    /// What happens at the commit that is meant.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Deed {
        Die(Side),
        Lose,
    }

    /// Which commit is meant.
    #[derive(Debug, Clone, Copy)]
    enum Which {
        Total(u64),
        OfRun(u64),
        OfEachRun,
    }

    #[derive(Debug)]
    struct Counter {
        total: u64,
        starts: u64,
        since_start: u64,
        latest: Option<ExecId>,
    }

    static WANTED: OnceLock<Option<(Deed, Which)>> = OnceLock::new();
    static COUNTER: Mutex<Counter> = Mutex::new(Counter { total: 0, starts: 0, since_start: 0, latest: None });

    /// The runs that the next commit starts. One that is started again is the same.
    pub(crate) fn begin<'a>(mut started: impl Iterator<Item = &'a ExecId>) {
        if WANTED.get_or_init(wanted).is_none() {
            return;
        }
        let mut counter = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exec_id) = started.find(|exec_id| counter.latest.as_ref() != Some(exec_id)) {
            counter.latest = Some(exec_id.clone());
            counter.starts += 1;
            counter.since_start = 0;
        }
    }

    /// Marks a side of a commit.
    ///
    /// # Errors
    /// [`Error::Unavailable`] after the commit whose outcome nobody shall know.
    pub(crate) fn point(side: Side) -> Result<(), Error> {
        let Some((deed, which)) = WANTED.get_or_init(wanted) else { return Ok(()) };
        let mut counter = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
        if side == Side::Before {
            counter.total += 1;
            counter.since_start += 1;
        }
        let meant = match which {
            Which::Total(number) => counter.total == *number,
            Which::OfRun(number) => counter.starts > 0 && counter.since_start == *number,
            Which::OfEachRun => counter.starts > 0 && counter.since_start == counter.starts,
        };
        if meant && *deed == Deed::Die(side) {
            // Whoever was told of this commit too early has the time to say so, and is caught.
            std::thread::sleep(std::time::Duration::from_millis(50));
            std::process::abort();
        }
        if meant && *deed == Deed::Lose && side == Side::After {
            tracing::warn!(commit = counter.total, "crash point: nobody is told that this commit succeeded");
            return Err(Error::Unavailable("the outcome of a commit is unknown".into()));
        }
        Ok(())
    }

    fn wanted() -> Option<(Deed, Which)> {
        let text = std::env::var("COMPOZY_CRASH_POINT").ok()?;
        let (side, which) = text.split_once(':')?;
        let deed = match side {
            "before" => Deed::Die(Side::Before),
            "after" => Deed::Die(Side::After),
            "unknown" => Deed::Lose,
            _ => return None,
        };
        let which = match which.strip_prefix("run:") {
            Some("each") => Which::OfEachRun,
            Some(number) => Which::OfRun(number.parse().ok()?),
            None => Which::Total(which.parse().ok()?),
        };
        Some((deed, which))
    }
}
