//! Crash points of the tests: `COMPOZY_CRASH_POINT=before:N` or `after:N` ends the process as `kill -9` would, right
//! before or right after its N-th commit. Only debug builds read the variable.

/// Which side of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Nothing of the batch is durable yet.
    Before,
    /// All of it is, and nobody has been told.
    After,
}

/// Marks a side of a commit.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_side: Side) {}

/// Marks a side of a commit.
#[cfg(debug_assertions)]
pub(crate) fn point(side: Side) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(Side, u64)>> = OnceLock::new();
    static COMMITS: AtomicU64 = AtomicU64::new(0);
    let Some((wanted, number)) = WANTED.get_or_init(wanted) else { return };
    let commits = match side {
        Side::Before => COMMITS.fetch_add(1, Ordering::SeqCst) + 1,
        Side::After => COMMITS.load(Ordering::SeqCst),
    };
    if side == *wanted && commits == *number {
        // Whoever was told of this commit too early has the time to say so, and is caught.
        std::thread::sleep(std::time::Duration::from_millis(50));
        std::process::abort();
    }
}

#[cfg(debug_assertions)]
fn wanted() -> Option<(Side, u64)> {
    let text = std::env::var("COMPOZY_CRASH_POINT").ok()?;
    let (side, number) = text.split_once(':')?;
    let side = match side {
        "before" => Side::Before,
        "after" => Side::After,
        _ => return None,
    };
    Some((side, number.parse().ok()?))
}
