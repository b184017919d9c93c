//! The only source of time, sleep and randomness.
//!
//! Everything that waits or asks for the time takes a [`Clock`], so that a simulated one can stand in its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use compozy_engine::time::Timestamp;

use crate::id::{ExecId, NodeId, ulid};

/// A clock and a source of ids. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock {
    /// The last time handed out: two calls never give the same microsecond nor run backwards within the process.
    last: Arc<AtomicI64>,
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
        Self { last: Arc::new(AtomicI64::new(0)) }
    }

    /// Now; never earlier than any time this clock gave before, also when the machine's clock is set back.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now(&self) -> Timestamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = i64::try_from(wall.as_micros()).unwrap_or(i64::MAX);
        let last = self.last.fetch_max(wall, Ordering::Relaxed);
        Timestamp(wall.max(last))
    }

    /// Waits for `duration`.
    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
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
