//! The node's own view of its lease: when it must no longer act as the owner of its runs.
//!
//! Others take what a node has once its lease has ended by the database's clock. The node itself stops before that, at two
//! thirds, by a clock of its own that also counts while the machine is suspended. Not even the node can tell a renewal
//! that is late from one that will never come, so whatever was driven then is taken up again only under a new epoch.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::Kind;
use crate::clock::Clock;
use crate::storage::Info;

/// How often the lease has been lost: what was taken under an older number is no longer held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing(u64);

/// The lease of this node.
#[derive(Debug)]
pub(crate) struct Lease {
    length: Duration,
    /// Others take what it covers when it ends.
    is_bound: bool,
    /// Since boot, in microseconds, when the last renewal that succeeded was asked for.
    renewed: AtomicU64,
    is_lost: AtomicBool,
    /// How often it was lost, and whether it is.
    losses: watch::Sender<(Standing, bool)>,
}

/// Whether a lease of `length` that was renewed so long ago lets its node act: for two thirds of it.
fn lasts(length: Duration, since_renewal: Duration) -> bool {
    since_renewal < length / 3 * 2
}

/// Whether others take what a silent node has. The one server of a SQLite file cannot be replaced while it lives: its lock
/// proves that, however long a slow disk keeps its renewals waiting. Commands beside it have nothing but their leases.
fn is_bound(kind: Kind, storage: &Info) -> bool {
    match (storage.driver, kind) {
        _ if storage.ephemeral => false,
        ("sqlite", Kind::Server) => false,
        _ => true,
    }
}

impl Lease {
    /// A lease that is not asked for yet.
    pub(crate) fn new(length: Duration, kind: Kind, storage: &Info, clock: &Clock) -> Self {
        let losses = watch::Sender::new((Standing::default(), false));
        let (is_bound, is_lost) = (is_bound(kind, storage), AtomicBool::new(false));
        Self { length, is_bound, renewed: AtomicU64::new(micros(clock.since_boot())), is_lost, losses }
    }

    /// How long it lasts.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Whether it can be lost.
    pub(crate) fn is_bound(&self) -> bool {
        self.is_bound
    }

    fn age(&self, clock: &Clock) -> Duration {
        let renewed = Duration::from_micros(self.renewed.load(Ordering::Relaxed));
        clock.since_boot().saturating_sub(renewed)
    }

    /// Whether the node may act as an owner now. The first to find that it may not says so in the log.
    pub(crate) fn holds(&self, clock: &Clock) -> bool {
        if !self.is_bound {
            return true;
        }
        if self.is_lost.load(Ordering::Acquire) {
            return false;
        }
        let age = self.age(clock);
        if lasts(self.length, age) {
            return true;
        }
        self.losses.send_if_modified(|(standing, is_lost)| {
            // Somebody else may have found out, or a renewal may have come, since.
            if *is_lost || lasts(self.length, self.age(clock)) {
                return false;
            }
            tracing::error!(
                seconds = age.as_secs(),
                "the lease was not renewed for two thirds of it; runs of this node are dropped until it is"
            );
            (standing.0, *is_lost) = (standing.0 + 1, true);
            self.is_lost.store(true, Ordering::Release);
            true
        });
        !self.is_lost.load(Ordering::Acquire)
    }

    /// What to compare with later.
    pub(crate) fn standing(&self, clock: &Clock) -> Standing {
        self.holds(clock);
        self.losses.borrow().0
    }

    /// Whether the node has held its lease since `standing` without a break.
    pub(crate) fn holds_since(&self, standing: Standing, clock: &Clock) -> bool {
        !self.is_bound || (self.holds(clock) && self.losses.borrow().0 == standing)
    }

    /// For `/health`: whether it holds; one that nobody takes away, whether it was renewed in time.
    pub(crate) fn is_well(&self, clock: &Clock) -> bool {
        if self.is_bound { self.holds(clock) } else { self.age(clock) < self.length }
    }

    /// A renewal that was asked for at `since_boot` has succeeded. True: the lease was lost until now.
    pub(crate) fn renewed(&self, since_boot: Duration, clock: &Clock) -> bool {
        self.renewed.fetch_max(micros(since_boot), Ordering::Relaxed);
        // One that came too late is none.
        self.losses.send_if_modified(|(_, is_lost)| {
            let regained = *is_lost && lasts(self.length, self.age(clock));
            if regained {
                *is_lost = false;
                self.is_lost.store(false, Ordering::Release);
            }
            regained
        })
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use compozy_engine::time::Timestamp;

    use super::*;
    use crate::storage::row::Durability;

    fn info(driver: &'static str, ephemeral: bool) -> Info {
        let (location, database_id) = (String::new(), String::new());
        let (durability, identity_key) = (Durability::Full, [0; 32]);
        Info { driver, location, durability, database_id, identity_key, schema_version: 1, ephemeral }
    }

    #[test]
    fn two_thirds_of_a_lease_may_pass() {
        let second = Duration::from_secs(1);
        for (length, since, expected) in [
            (10 * second, Duration::ZERO, true),
            (10 * second, 6 * second, true),
            (10 * second, Duration::from_micros(6_666_665), true),
            (10 * second, Duration::from_micros(6_666_667), false),
            (10 * second, 3600 * second, false),
            (3 * second, 2 * second, false),
        ] {
            assert_eq!(lasts(length, since), expected, "{length:?} {since:?}");
        }
    }

    #[test]
    fn who_may_be_replaced_while_it_lives() {
        for (driver, ephemeral, kind, expected) in [
            ("postgres", false, Kind::Server, true),
            ("postgres", false, Kind::Embedded, true),
            ("sqlite", false, Kind::Server, false),
            ("sqlite", false, Kind::Embedded, true),
            ("sqlite", true, Kind::Server, false),
            ("sqlite", true, Kind::Embedded, false),
        ] {
            assert_eq!(is_bound(kind, &info(driver, ephemeral)), expected, "{driver} {ephemeral} {kind:?}");
        }
    }

    #[test]
    fn a_suspended_machine_loses_it_and_a_renewal_gives_it_back() {
        let clock = Clock::simulated(Timestamp(0));
        let lease = Lease::new(Duration::from_secs(9), Kind::Server, &info("postgres", false), &clock);
        let begun = lease.standing(&clock);
        clock.advance(Duration::from_secs(3));
        assert!(!lease.renewed(clock.since_boot(), &clock), "it was never lost");
        let asked = clock.since_boot();
        clock.advance(Duration::from_secs(5));
        assert!(lease.holds_since(begun, &clock));
        clock.set(Timestamp(i64::MAX / 2));
        assert!(lease.holds_since(begun, &clock), "what a wall clock shows is nothing to it");
        clock.suspend(Duration::from_secs(60));
        assert!(!lease.holds(&clock) && !lease.is_well(&clock));
        assert!(!lease.renewed(asked, &clock), "the answer to a renewal of before the suspension");
        assert!(!lease.holds(&clock));
        assert!(lease.renewed(clock.since_boot(), &clock));
        assert!(lease.holds(&clock) && !lease.holds_since(begun, &clock), "what was held before is not held again");
        assert!(lease.holds_since(lease.standing(&clock), &clock));
    }

    #[test]
    fn one_that_nobody_takes_away_is_never_lost() {
        let clock = Clock::simulated(Timestamp(0));
        let lease = Lease::new(Duration::from_secs(9), Kind::Server, &info("sqlite", false), &clock);
        let begun = lease.standing(&clock);
        clock.advance(Duration::from_secs(600));
        assert!(lease.holds_since(begun, &clock) && !lease.is_well(&clock));
    }
}
