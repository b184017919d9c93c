//! Where the writer sits between two batches, and where a caller may use it on its own thread.
//!
//! Two changes of thread cost a lone step as much as the flush itself. So when transactions have been coming one at a
//! time and their commits were fast, the caller commits here, at once; the thread takes over as soon as a second one
//! waits or a commit is slow. A caller's thread is one of the runtime's: it is held up for no longer than [`FAST`], give
//! or take one commit.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::Error;
use super::super::work::operation::{Outcome, Work};
use super::writer::Writer;

/// Lone batches in a row after which callers commit themselves.
const LONE: u32 = 8;
/// Longest commit that counts as fast.
const FAST: Duration = Duration::from_millis(1);
/// Transactions in the queue from which there is load.
const LOADED: usize = 8;

/// The writer's place. It is empty once the writer has ended.
#[derive(Debug)]
pub(super) struct Desk {
    writer: Mutex<Option<Writer>>,
    /// Transactions in the queue or with the writer's thread.
    waiting: AtomicUsize,
    /// Lone, fast batches in a row.
    lone: AtomicU32,
}

impl Desk {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer: Mutex::new(Some(writer)), waiting: AtomicUsize::new(0), lone: AtomicU32::new(0) }
    }

    /// Commits `work` on this thread, if the writer is idle and expected to be fast. `None`: the queue is the way to go.
    pub(super) fn at_once(&self, work: &Work) -> Option<Result<Outcome, Error>> {
        let is_rows = matches!(work, Work::Rows(_));
        if !is_rows || self.lone.load(Ordering::Relaxed) < LONE || self.waiting.load(Ordering::SeqCst) > 0 {
            return None;
        }
        let mut writer = self.writer.try_lock().ok()?;
        let since = Instant::now();
        let outcome = writer.as_mut()?.commit_alone(work);
        if outcome.is_none() || since.elapsed() > FAST || self.waiting.load(Ordering::SeqCst) > 0 {
            self.lone.store(0, Ordering::Relaxed);
        }
        outcome
    }

    /// A transaction enters the queue.
    pub(super) fn queued(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether so much waits to be written that what is not urgent should.
    pub(super) fn is_loaded(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) >= LOADED
    }

    /// The thread has committed `members` transactions from the queue together.
    pub(super) fn served(&self, members: usize, took: Duration) {
        let before = self.waiting.fetch_sub(members, Ordering::SeqCst);
        if members > 1 || before > members || took > FAST {
            self.lone.store(0, Ordering::Relaxed);
        } else if members == 1 {
            self.lone.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Uses the writer.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(work)
    }

    /// Takes the writer away for good.
    pub(super) fn take(&self) -> Option<Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
