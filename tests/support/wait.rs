//! Waiting for something that another process does, with an end.

use std::time::{Duration, Instant};

/// How long anything may take here. Debug builds on two busy cores are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer; panics with `what` when patience ends.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: nothing after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
