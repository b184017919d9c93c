//! The only source of time, sleep and randomness.
//!
//! Everything that waits or asks for the time takes a [`Clock`], so that a simulated one can stand in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use compozy_engine::time::Timestamp;
use tokio::sync::watch;

use crate::id::{ExecId, NodeId, ulid};

/// A clock and a source of ids. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock {
    /// The last time handed out: it never runs backwards within the process.
    last: Arc<AtomicI64>,
    /// When this clock was made.
    begun: Instant,
    /// What stands in the machine's place.
    simulated: Option<Arc<watch::Sender<Simulated>>>,
}

/// A machine whose time passes only when it is told so.
#[derive(Debug, Clone, Copy)]
struct Simulated {
    /// What a wall clock shows, microseconds since 1970.
    wall: i64,
    /// How long the machine has been up; sleeps are measured by it.
    up: Duration,
    /// How long it was suspended.
    suspended: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// The clock of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self { last: Arc::new(AtomicI64::new(0)), begun: Instant::now(), simulated: None }
    }

    /// A clock that shows `wall` until it is told otherwise.
    #[must_use]
    pub fn simulated(wall: Timestamp) -> Self {
        let machine = watch::Sender::new(Simulated { wall: wall.0, up: Duration::ZERO, suspended: Duration::ZERO });
        Self { last: Arc::new(AtomicI64::new(0)), begun: Instant::now(), simulated: Some(Arc::new(machine)) }
    }

    /// Lets time pass on a simulated machine; without effect on a real one.
    pub fn advance(&self, duration: Duration) {
        if let Some(machine) = &self.simulated {
            machine.send_modify(|machine| {
                machine.wall = Timestamp(machine.wall).after(duration).0;
                machine.up = machine.up.saturating_add(duration);
            });
        }
    }

    /// Suspends a simulated machine for a while: nobody who sleeps comes closer to waking; without effect on a real one.
    pub fn suspend(&self, duration: Duration) {
        if let Some(machine) = &self.simulated {
            machine.send_modify(|machine| {
                machine.wall = Timestamp(machine.wall).after(duration).0;
                machine.suspended = machine.suspended.saturating_add(duration);
            });
        }
    }

    /// Sets the wall clock of a simulated machine, forwards or backwards; no time passes.
    pub fn set(&self, wall: Timestamp) {
        if let Some(machine) = &self.simulated {
            machine.send_modify(|machine| machine.wall = wall.0);
        }
    }

    /// The same machine seen by a process that starts now: its time may be earlier than that of the one before.
    #[must_use]
    pub fn of_another_process(&self) -> Self {
        Self { last: Arc::new(AtomicI64::new(0)), begun: Instant::now(), simulated: self.simulated.clone() }
    }

    /// Now; never earlier than any time this clock gave before, also when the machine's clock is set back.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let wall = self.reading().0;
        let last = self.last.fetch_max(wall.0, Ordering::Relaxed);
        wall.max(Timestamp(last))
    }

    /// What the machine's clock shows, also after it was set back, and how long the machine has been awake since some
    /// moment: that never jumps, and stands still while the machine sleeps.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn reading(&self) -> (Timestamp, Duration) {
        if let Some(machine) = &self.simulated {
            let machine = machine.borrow();
            return (Timestamp(machine.wall), machine.up);
        }
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Timestamp(i64::try_from(wall.as_micros()).unwrap_or(i64::MAX)), self.begun.elapsed())
    }

    /// How long it is since some moment, also while the machine was suspended: what others have waited for this process.
    /// It never jumps and cannot be set.
    #[must_use]
    pub fn since_boot(&self) -> Duration {
        if let Some(machine) = &self.simulated {
            let machine = machine.borrow();
            return machine.up.saturating_add(machine.suspended);
        }
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        // Elsewhere this one goes on during suspension, as `Instant` does not.
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default()
    }

    /// Waits for `duration`.
    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    pub async fn sleep(&self, duration: Duration) {
        let Some(machine) = &self.simulated else { return tokio::time::sleep(duration).await };
        let mut machine = machine.subscribe();
        let until = machine.borrow().up.saturating_add(duration);
        // The sender lives as long as this clock.
        let _woken = machine.wait_for(|machine| machine.up >= until).await.map(|_| ());
    }

    /// Waits until `time`, in pieces of at most a minute so that a clock that is set forward is noticed.
    pub async fn sleep_until(&self, time: Timestamp) {
        loop {
            let left = time.since(self.now());
            if left.is_zero() {
                return;
            }
            self.sleep(left.min(Duration::from_secs(60))).await;
        }
    }

    /// A new run id.
    #[must_use]
    pub fn exec_id(&self) -> ExecId {
        self.ulid().into()
    }

    /// A new node id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.ulid().into()
    }

    /// A new ULID.
    #[must_use]
    pub fn ulid(&self) -> String {
        ulid(u64::try_from(self.now().0 / 1_000).unwrap_or(0), u128::from_le_bytes(random_bytes()))
    }
}

/// `N` bytes from the operating system's random generator.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "without randomness no key or id is safe; the kernel's generator does not fail after boot"
    )]
    getrandom::fill(&mut bytes).expect("the operating system's random generator answers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn simulated_time_passes_when_told() {
        let clock = Clock::simulated(Timestamp(1_000_000));
        let sleeper = clock.clone();
        let asleep = tokio::spawn(async move { sleeper.sleep(Duration::from_secs(2)).await });
        tokio::task::yield_now().await;
        clock.set(Timestamp(99_000_000));
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
        assert!(!asleep.is_finished(), "setting the clock is not waiting");
        clock.advance(Duration::from_secs(1));
        asleep.await.unwrap();
        assert_eq!(clock.now(), Timestamp(101_000_000));
        clock.set(Timestamp(5));
        assert_eq!(clock.now(), Timestamp(101_000_000), "never backwards within a process");
        assert_eq!(clock.of_another_process().now(), Timestamp(5));
        assert_eq!(clock.since_boot(), Duration::from_secs(2));
        clock.suspend(Duration::from_secs(3));
        assert_eq!((clock.since_boot(), clock.reading().1), (Duration::from_secs(5), Duration::from_secs(2)));
    }

    #[test]
    fn the_time_since_boot_passes() {
        let clock = Clock::system();
        let before = clock.since_boot();
        assert!(before > Duration::ZERO);
        assert!(clock.since_boot() >= before);
    }
}
