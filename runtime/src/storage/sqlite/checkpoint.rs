//! Moves the write-ahead log into the database file, on a connection of its own so that no commit waits for it.
//!
//! Passive from 4 MiB of new log. Under load later, up to 32 MiB: the same pages are in the log many times, and each is
//! moved only once. Then the writer stands aside for the short rest, so that the log starts anew at its beginning: a
//! commit into a log that does not grow takes a third of the time, because the file system has no size to record.
//! A log of 64 MiB, grown behind a long read, is cut.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, Row, SqliteConnection};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

use super::super::Error;
use super::error::from_sqlx;
use super::writer::Gate;
use crate::clock::Clock;

/// Frames of the log are a page and a header of 24 bytes (<https://www.sqlite.org/fileformat.html#walformat>).
const FRAME_BYTES: i64 = 4_096 + 24;
/// New log from which it is moved.
const PASSIVE_BYTES: i64 = 4 << 20;
/// Under load, up to this many times as much.
const LOADED: u64 = 8;
/// Log from which it is cut.
const TRUNCATE_BYTES: i64 = 64 << 20;
/// How often the size of the log is looked at while there are commits.
const STEP: Duration = Duration::from_millis(20);

/// What the writer tells the checkpoint.
#[derive(Debug, Default)]
pub(super) struct Progress {
    committed: Notify,
    batches: AtomicU64,
    members: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    /// A batch of `members` logical transactions is durable.
    pub(super) fn committed(&self, members: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.members.fetch_add(members as u64, Ordering::Relaxed);
        self.committed.notify_one();
    }

    /// Ends the checkpoint's task.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.committed.notify_one();
    }

    /// Mean members per batch since the last call, at least 1.
    fn mean(&self) -> u64 {
        let batches = self.batches.swap(0, Ordering::Relaxed);
        self.members.swap(0, Ordering::Relaxed) / batches.max(1)
    }
}

/// Runs until [`Progress::stop`].
pub(super) async fn work(mut connection: SqliteConnection, gate: Gate, progress: Arc<Progress>, clock: Clock) {
    loop {
        progress.committed.notified().await;
        if progress.stopped.load(Ordering::Relaxed) {
            drop(connection.close().await);
            return;
        }
        clock.sleep(STEP).await;
        let load = i64::try_from(progress.mean().clamp(1, LOADED)).unwrap_or(1);
        if let Err(error) = step(&mut connection, &gate, PASSIVE_BYTES * load).await {
            // The log only grows; the next commit tries again.
            tracing::warn!(error = %error, "checkpoint failed");
            clock.sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn step(connection: &mut SqliteConnection, gate: &Gate, from: i64) -> Result<(), Error> {
    let (log, moved) = checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)").await?;
    if (log - moved) * FRAME_BYTES < from {
        return Ok(());
    }
    checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)").await?;
    let _no_commit_meanwhile = gate.lock().await;
    let (log, _) = checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)").await?;
    if log * FRAME_BYTES >= TRUNCATE_BYTES {
        checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)").await?;
    }
    Ok(())
}

/// Frames in the log, and how many of them are in the database file.
pub(super) async fn checkpoint(connection: &mut SqliteConnection, sql: &'static str) -> Result<(i64, i64), Error> {
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(from_sqlx)?;
    let number = |index: usize| row.try_get_unchecked::<i64, _>(index).map_err(from_sqlx);
    Ok((number(1)?, number(2)?))
}
