//! Waking other nodes: `NOTIFY` on a connection that writes nothing else, and whoever listens.
//!
//! Nothing depends on it. A notification that is lost costs as much as the next look is away, and a database in trouble
//! is told nothing: hot transactions never notify (cli-and-api §10).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;

use super::sql;
use crate::clock::Clock;

/// Between two notifications of a process: at most 20 in a second.
const BETWEEN: Duration = Duration::from_millis(50);

/// First and longest wait before a lost connection is made anew.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Longest a process that closes waits for its last notification.
const LAST: Duration = Duration::from_secs(1);

/// The bell of one database: its nodes ring it and hear it.
#[derive(Debug)]
pub(super) struct Bell {
    /// Connections beside the pool.
    aside: PgPool,
    clock: Clock,
    /// Of this database and of no other, whatever else the server holds.
    channel: String,
    /// It is to be rung.
    is_due: AtomicBool,
    due: Notify,
    /// Somebody has rung.
    heard: Notify,
    /// How often this process has rung.
    rung: AtomicU64,
}

impl Bell {
    /// The bell of the database with this id.
    pub(super) fn new(aside: PgPool, clock: Clock, database_id: &str) -> Arc<Self> {
        let channel = format!("compozy_{}", database_id.to_ascii_lowercase());
        let (due, heard) = (Notify::new(), Notify::new());
        Arc::new(Self { aside, clock, channel, is_due: AtomicBool::new(false), due, heard, rung: AtomicU64::new(0) })
    }

    /// Tells other nodes to look, soon.
    pub(super) fn ring(&self) {
        if !self.is_due.swap(true, Ordering::AcqRel) {
            self.due.notify_one();
        }
    }

    /// Waits until somebody has rung since the last call.
    pub(super) async fn heard(&self) {
        self.heard.notified().await;
    }

    /// How often this process has rung.
    #[cfg(test)]
    pub(super) fn rung(&self) -> u64 {
        self.rung.load(Ordering::Relaxed)
    }

    /// Rings whenever it is due, until it is aborted.
    pub(super) async fn serve(self: Arc<Self>) {
        loop {
            self.due.notified().await;
            if let Err(error) = self.notify().await {
                tracing::debug!("failed to wake other nodes, which find out by themselves: {error}");
            }
            self.clock.sleep(BETWEEN).await;
        }
    }

    /// Rings once more, if it is due: a command that has ended rings no later.
    pub(super) async fn finish(&self) {
        tokio::select! {
            _rung = self.notify() => {}
            () = self.clock.sleep(LAST) => {}
        }
    }

    async fn notify(&self) -> Result<(), sqlx::Error> {
        if !self.is_due.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        sql::query("SELECT pg_notify($1, '')").bind(&self.channel).execute(&self.aside).await?;
        self.rung.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Listens until it is aborted, over connections that are lost.
    pub(super) async fn listen(self: Arc<Self>) {
        let mut wait = AGAIN.0;
        loop {
            match self.hear(&mut wait).await {
                Ok(()) => tracing::debug!("the connection that listens is lost"),
                Err(error) => tracing::debug!("failed to listen for other nodes: {error}"),
            }
            self.clock.sleep(wait).await;
            wait = (wait * 2).min(AGAIN.1);
        }
    }

    async fn hear(&self, wait: &mut Duration) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.aside).await?;
        listener.eager_reconnect(false);
        listener.listen(&self.channel).await?;
        *wait = AGAIN.0;
        // Whatever was rung before nobody heard.
        self.heard.notify_one();
        while listener.try_recv().await?.is_some() {
            self.heard.notify_one();
        }
        Ok(())
    }
}
