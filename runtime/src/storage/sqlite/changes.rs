//! Noticing what other processes commit, where no writer of this one does.

use std::time::Duration;

use sqlx::SqlitePool;
use tokio::sync::watch;

use super::migrate;
use crate::clock::Clock;

/// How often a database open for reading looks for commits (cli-and-api §4.3).
const POLL: Duration = Duration::from_millis(250);

/// Counts commits of other processes: `data_version` of a connection changes with those of others only.
pub(super) async fn poll(pool: SqlitePool, changes: watch::Sender<u64>, clock: Clock) {
    let Ok(mut connection) = pool.acquire().await else { return };
    let mut last = None;
    loop {
        if let Ok(version) = migrate::number(&mut connection, "PRAGMA data_version").await
            && last.replace(version).is_some_and(|last| last != version)
        {
            changes.send_modify(|count| *count += 1);
        }
        clock.sleep(POLL).await;
    }
}
