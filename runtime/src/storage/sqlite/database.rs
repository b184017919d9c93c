//! The database's parts, and how an operation reaches the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::super::row::{Run, Started, Woken};
use super::super::work::encode::Encoded;
use super::super::work::operation::{Claimed, Operation, Outcome, Work, list, replay};
use super::super::{Error, Info};
use super::desk::Desk;
use super::error::from_sqlx;
use super::locks::Locks;
use super::read::Reader;
use super::writer::{self, Message, Request};
use super::{changes, checkpoint, open, operation, read};
use crate::clock::Clock;

/// A SQLite database.
#[derive(Debug)]
pub struct SqliteStorage {
    pub(super) info: Info,
    clock: Clock,
    pub(super) reader: Reader,
    /// `None` when opened to read.
    pub(super) desk: Option<Arc<Desk>>,
    /// `None` when opened to read, or closed.
    pub(super) queue: std::sync::Mutex<Option<std::sync::mpsc::Sender<Message>>>,
    tasks: std::sync::Mutex<Tasks>,
    /// Counts commits of other processes once somebody asks.
    changes: watch::Sender<u64>,
    delivered: AtomicU64,
    /// Fewest bytes of the file after a vacuum; `u64::MAX` before the first.
    pub(super) shrunk_to: AtomicU64,
    pub(super) locks: std::sync::Mutex<Option<Locks>>,
}

/// The checkpoint's task and how it is stopped.
type Checkpoint = (Arc<checkpoint::Progress>, JoinHandle<()>);

#[derive(Debug, Default)]
struct Tasks {
    writer: Option<oneshot::Receiver<rusqlite::Connection>>,
    checkpoint: Option<Checkpoint>,
    /// Counts commits of others, where no writer does.
    poll: Option<JoinHandle<()>>,
    watched: bool,
}

impl SqliteStorage {
    pub(super) fn new(
        info: Info,
        clock: Clock,
        reader: Reader,
        writer: Option<writer::Handle>,
        checkpoint: Option<Checkpoint>,
        locks: Option<Locks>,
    ) -> Self {
        let desk = writer.as_ref().map(|writer| Arc::clone(&writer.desk));
        let (queue, writer) = writer.map(|writer| (writer.queue, writer.ended)).unzip();
        Self {
            info,
            clock,
            reader,
            desk,
            queue: std::sync::Mutex::new(queue),
            tasks: std::sync::Mutex::new(Tasks { writer, checkpoint, ..Tasks::default() }),
            changes: watch::Sender::new(0),
            delivered: AtomicU64::new(0),
            shrunk_to: AtomicU64::new(u64::MAX),
            locks: std::sync::Mutex::new(locks),
        }
    }

    pub(super) async fn write(&self, work: Work) -> Result<Outcome, Error> {
        let closed = || Error::Unavailable("the database is closed or open for reading only".into());
        let desk = self.desk.as_ref().ok_or_else(closed)?;
        if let Some(outcome) = desk.at_once(&work) {
            // A long run that never waits would keep its thread from everybody else.
            tokio::task::coop::consume_budget().await;
            return outcome;
        }
        let (reply, answer) = oneshot::channel();
        {
            let queue = lock(&self.queue);
            let queue = queue.as_ref().ok_or_else(closed)?;
            desk.queued();
            queue.send(Message::Request(Request { work, reply })).map_err(|_| closed())?;
        }
        answer.await.map_err(|_| closed())?
    }

    pub(super) async fn rows(&self, encoded: Arc<Encoded>) -> Result<Outcome, Error> {
        self.write(Work::Rows(encoded)).await
    }

    /// Carries an operation out. One of which nobody knows whether it was is asked about or done again, where that
    /// changes nothing (cli-and-api §9.3).
    pub(super) async fn operation(&self, operation: Operation) -> Result<Outcome, Error> {
        let again = operation.again();
        match (self.write(Work::Operation(operation)).await, again) {
            (Err(Error::Unavailable(_)), Some(again)) => self.write(Work::Operation(again)).await,
            (outcome, _) => outcome,
        }
    }

    pub(super) async fn flag(&self, operation: Operation) -> Result<bool, Error> {
        match self.operation(operation).await? {
            Outcome::Flag(flag) => Ok(flag),
            other => unexpected(&other),
        }
    }

    pub(super) async fn told(&self, operation: Operation) -> Result<Option<Vec<Woken>>, Error> {
        match self.operation(operation).await? {
            Outcome::Told(woken) => Ok(woken),
            other => unexpected(&other),
        }
    }

    /// The run that an idempotency key stands for already, as far as is committed.
    pub(super) async fn known_key(&self, encoded: &Encoded) -> Result<Option<Started>, Error> {
        let Some((start, key)) = encoded.key() else { return Ok(None) };
        let query = sqlx::query(operation::KNOWN_KEY).bind(&*key.scope).bind(&*key.key).bind(start.at.0);
        let row = query.fetch_optional(&mut *self.reader.get().await?).await.map_err(from_sqlx)?;
        let text = |row: &SqliteRow, column: usize| row.try_get_unchecked(column).map_err(from_sqlx);
        let found = row.map(|row| Ok::<(String, String), Error>((text(&row, 0)?, text(&row, 1)?))).transpose()?;
        replay(found, &key.request_hash, &encoded.exec_id)
    }

    /// The rows of runs just claimed.
    pub(super) async fn claimed(&self, operation: Operation) -> Result<Vec<Run>, Error> {
        let claimed = match self.operation(operation).await? {
            Outcome::Claimed(claimed) => claimed,
            other => return unexpected(&other),
        };
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = claimed.iter().map(|Claimed { exec_id, .. }| exec_id.as_str()).collect();
        read::runs_of(&mut *self.reader.get().await?, &list(&ids)).await
    }

    /// Waits until another process may have changed the database.
    pub(super) async fn wait_for_others(&self) {
        if self.info.ephemeral {
            // Nobody else can reach it.
            return std::future::pending().await;
        }
        let mut changes = self.changes.subscribe();
        {
            let mut tasks = lock(&self.tasks);
            if !std::mem::replace(&mut tasks.watched, true) {
                match lock(&self.queue).as_ref() {
                    Some(queue) => drop(queue.send(Message::Watch(self.changes.clone()))),
                    None => {
                        let poll = changes::poll(self.reader.pool.clone(), self.changes.clone(), self.clock.clone());
                        tasks.poll = Some(tokio::spawn(poll));
                    }
                }
            }
        }
        // What came between two calls counts too.
        let now = *changes.borrow_and_update();
        if self.delivered.swap(now, Ordering::Relaxed) < now {
            return;
        }
        if changes.changed().await.is_ok() {
            let now = *changes.borrow();
            self.delivered.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// Finishes the queue, checkpoints and closes.
    pub(super) async fn shut(&self) {
        drop(lock(&self.queue).take());
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        let writer = match tasks.writer {
            Some(ended) => ended.await.ok(),
            None => None,
        };
        if let Some(poll) = tasks.poll {
            poll.abort();
            let _aborted = poll.await;
        }
        // It closes its connection itself: the last one to close finishes the log.
        if let Some((progress, task)) = tasks.checkpoint {
            progress.stop();
            let _panicked = task.await;
        }
        self.reader.pool.close().await;
        if let Some(connection) = writer {
            let _panicked = tokio::task::spawn_blocking(move || open::close(connection)).await;
        }
        drop(lock(&self.locks).take());
    }
}

pub(super) fn unexpected<T>(outcome: &Outcome) -> Result<T, Error> {
    Err(Error::Driver(format!("the writer answered {outcome:?}")))
}

pub(super) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Drop for SqliteStorage {
    fn drop(&mut self) {
        let tasks = lock(&self.tasks);
        if let Some(poll) = &tasks.poll {
            poll.abort();
        }
        if let Some((progress, _)) = &tasks.checkpoint {
            progress.stop();
        }
    }
}
