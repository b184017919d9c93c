//! Waiting and measuring; always granted.

use std::time::Duration;

use crate::bindings::host::wasi::clocks::monotonic_clock;

/// Waits for `duration`; the call's deadline ends it early.
pub fn sleep(duration: Duration) {
    monotonic_clock::subscribe_duration(to_nanoseconds(duration)).block();
}

/// Time since some fixed moment of this call; only differences mean something.
pub fn elapsed() -> Duration {
    Duration::from_nanos(monotonic_clock::now())
}

fn to_nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
