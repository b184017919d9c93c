//! Moves the write-ahead log into the database file, on a connection of its own so that no commit waits for it.
//!
//! Passive from 4 MiB of new log; from 64 MiB of log the writer stands aside for the short rest and the file is cut.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Row, SqliteConnection};
use tokio::sync::Notify;

use super::super::Error;
use super::error::from_sqlx;
use super::writer::Connection;
use crate::clock::Clock;

/// Frames of the log are a page and a header of 24 bytes (<https://www.sqlite.org/fileformat.html#walformat>).
const FRAME_BYTES: i64 = 4_096 + 24;
/// New log from which it is moved.
const PASSIVE_BYTES: i64 = 4 << 20;
/// Log from which it is cut.
const TRUNCATE_BYTES: i64 = 64 << 20;
/// How often the size of the log is looked at while there are commits.
const STEP: Duration = Duration::from_millis(20);

/// Runs until `connection` fails or the task is aborted.
pub(super) async fn work(
    mut connection: SqliteConnection,
    writer: Connection,
    committed: Arc<Notify>,
    clock: Clock,
) {
    loop {
        committed.notified().await;
        clock.sleep(STEP).await;
        if let Err(error) = step(&mut connection, &writer).await {
            // The log only grows; the next commit tries again.
            tracing::warn!(error = %error, "checkpoint failed");
            clock.sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn step(connection: &mut SqliteConnection, writer: &Connection) -> Result<(), Error> {
    let (log, moved) = checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)").await?;
    if (log - moved) * FRAME_BYTES < PASSIVE_BYTES {
        return Ok(());
    }
    let (log, _) = checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)").await?;
    if log * FRAME_BYTES < TRUNCATE_BYTES {
        return Ok(());
    }
    let _no_commit_meanwhile = writer.lock().await;
    checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)").await?;
    Ok(())
}

/// Frames in the log, and how many of them are in the database file.
pub(super) async fn checkpoint(connection: &mut SqliteConnection, sql: &'static str) -> Result<(i64, i64), Error> {
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(from_sqlx)?;
    let number = |index: usize| row.try_get_unchecked::<i64, _>(index).map_err(from_sqlx);
    Ok((number(1)?, number(2)?))
}
