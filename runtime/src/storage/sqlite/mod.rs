//! The SQLite driver: one file or one private in-memory database, one writer per process.

mod changes;
mod check;
mod checkpoint;
mod control;
mod desk;
mod encode;
mod error;
mod known;
mod list;
mod locks;
mod migrate;
mod open;
mod operation;
mod outward;
mod read;
mod repeat;
mod rows;
mod schedule;
mod statement;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use compozy_engine::time::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use self::control::{NewlySent, Publication};
use self::desk::Desk;
use self::encode::Encoded;
use self::error::from_sqlx;
use self::locks::Locks;
pub use self::open::{Options, Role, open};
use self::operation::Operation;
use self::outward::EncodedSignal;
use self::read::Reader;
use self::writer::{Claimed, Message, Outcome, Request, Work};
use super::row::{
    Changes, Declared, Demand, Fire, Idempotency, Journal, KvEntry, LoadedRun, NewRun, NewSignal, Node, Page,
    Published, Retention, Run, RunFilter, Schedule, Signal, SignalOutcome, Started, Step, Swept, Usage, Woken,
    WorkflowSummary,
};
use super::{Error, Info, RequestOutcome, Storage};
use crate::clock::Clock;
use crate::id::{ExecId, NodeId};

/// A SQLite database.
#[derive(Debug)]
pub struct SqliteStorage {
    info: Info,
    clock: Clock,
    reader: Reader,
    /// `None` when opened to read.
    desk: Option<Arc<Desk>>,
    /// `None` when opened to read, or closed.
    queue: std::sync::Mutex<Option<std::sync::mpsc::Sender<Message>>>,
    tasks: std::sync::Mutex<Tasks>,
    /// Counts commits of other processes once somebody asks.
    changes: watch::Sender<u64>,
    delivered: AtomicU64,
    /// Fewest bytes of the file after a vacuum; `u64::MAX` before the first.
    shrunk_to: AtomicU64,
    locks: std::sync::Mutex<Option<Locks>>,
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
    fn new(
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

    async fn write(&self, work: Work) -> Result<Outcome, Error> {
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

    async fn rows(&self, encoded: Arc<Encoded>) -> Result<Outcome, Error> {
        self.write(Work::Rows(encoded)).await
    }

    /// Carries an operation out. One of which nobody knows whether it was is asked about or done again, where that
    /// changes nothing (cli-and-api §9.3).
    async fn operation(&self, operation: Operation) -> Result<Outcome, Error> {
        let again = operation.again();
        match (self.write(Work::Operation(operation)).await, again) {
            (Err(Error::Unavailable(_)), Some(again)) => self.write(Work::Operation(again)).await,
            (outcome, _) => outcome,
        }
    }

    async fn flag(&self, operation: Operation) -> Result<bool, Error> {
        match self.operation(operation).await? {
            Outcome::Flag(flag) => Ok(flag),
            other => unexpected(&other),
        }
    }

    async fn told(&self, operation: Operation) -> Result<Option<Vec<Woken>>, Error> {
        match self.operation(operation).await? {
            Outcome::Told(woken) => Ok(woken),
            other => unexpected(&other),
        }
    }

    /// The run that an idempotency key stands for already, as far as is committed.
    async fn known_key(&self, encoded: &Encoded) -> Result<Option<Started>, Error> {
        let Some((start, key)) = encoded.key() else { return Ok(None) };
        let query = sqlx::query(operation::KNOWN_KEY).bind(&*key.scope).bind(&*key.key).bind(start.at.0);
        let row = query.fetch_optional(&mut *self.reader.get().await?).await.map_err(from_sqlx)?;
        let text = |row: &SqliteRow, column: usize| row.try_get_unchecked(column).map_err(from_sqlx);
        let found = row.map(|row| Ok::<(String, String), Error>((text(&row, 0)?, text(&row, 1)?))).transpose()?;
        operation::replay(found, &key.request_hash, &encoded.exec_id)
    }

    /// The rows of runs just claimed.
    async fn claimed(&self, operation: Operation) -> Result<Vec<Run>, Error> {
        let claimed = match self.operation(operation).await? {
            Outcome::Claimed(claimed) => claimed,
            other => return unexpected(&other),
        };
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = claimed.iter().map(|Claimed { exec_id, .. }| exec_id.as_str()).collect();
        read::runs_of(&mut *self.reader.get().await?, &operation::list(&ids)).await
    }
}

fn unexpected<T>(outcome: &Outcome) -> Result<T, Error> {
    Err(Error::Driver(format!("the writer answered {outcome:?}")))
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[async_trait]
impl Storage for SqliteStorage {
    fn info(&self) -> &Info {
        &self.info
    }

    fn announce(&self, text: &str) -> Result<(), Error> {
        match lock(&self.locks).as_ref() {
            Some(locks) => locks.announce(text).map_err(|error| Error::Unavailable(error.to_string())),
            None => Ok(()),
        }
    }

    async fn start(&self, run: NewRun) -> Result<Started, Error> {
        let encoded = Arc::new(encode::start(run)?);
        if let Some(replayed) = self.known_key(&encoded).await? {
            return Ok(replayed);
        }
        let started = match self.rows(Arc::clone(&encoded)).await {
            // The node must know whether it has a run to drive: asking again answers that.
            Err(Error::Unavailable(_)) => self.rows(encoded).await,
            started => started,
        };
        match started? {
            Outcome::Started(started) => Ok(started),
            other => unexpected(&other),
        }
    }

    async fn commit(
        &self,
        exec_id: &ExecId,
        node: &NodeId,
        epoch: i64,
        changes: &Changes,
    ) -> Result<Vec<Woken>, Error> {
        match self.rows(Arc::new(encode::commit(exec_id, node, epoch, changes)?)).await? {
            Outcome::Committed(woken) => Ok(woken),
            other => unexpected(&other),
        }
    }

    async fn claim(&self, node: &NodeId, limit: u32, now: Timestamp) -> Result<Vec<Run>, Error> {
        // Most of the time there is nothing: find out without the writer.
        let any = operation::claimable("1", "LIMIT 1");
        let query = sqlx::query(AssertSqlSafe(any)).bind(now.0).bind(node.as_str());
        if query.fetch_optional(&mut *self.reader.get().await?).await.map_err(from_sqlx)?.is_none() {
            return Ok(Vec::new());
        }
        self.claimed(Operation::Claim { node: node.clone(), limit, now }).await
    }

    async fn claim_one(&self, node: &NodeId, exec_id: &ExecId, now: Timestamp) -> Result<Option<Run>, Error> {
        let operation = Operation::ClaimOne { node: node.clone(), exec_id: exec_id.clone(), now };
        Ok(self.claimed(operation).await?.into_iter().next())
    }

    async fn load(&self, exec_id: &ExecId) -> Result<Option<LoadedRun>, Error> {
        read::load(&mut *self.reader.get().await?, exec_id).await
    }

    async fn hand_back(&self, node: &NodeId, now: Timestamp) -> Result<u64, Error> {
        match self.operation(Operation::HandBack { node: node.clone(), now }).await? {
            Outcome::Count(count) => Ok(count),
            other => unexpected(&other),
        }
    }

    async fn request(&self, demand: &Demand, now: Timestamp) -> Result<RequestOutcome, Error> {
        match self.operation(Operation::Request { demand: demand.clone(), now }).await? {
            Outcome::Requested(outcome) => Ok(outcome),
            other => unexpected(&other),
        }
    }

    async fn put_signal(
        &self,
        exec_id: &ExecId,
        signal: NewSignal,
        idempotency: Option<Idempotency>,
        now: Timestamp,
    ) -> Result<SignalOutcome, Error> {
        let sent = NewlySent { exec_id: exec_id.clone(), signal: EncodedSignal::new(&signal), idempotency, now };
        match self.operation(Operation::Signal(Box::new(sent))).await? {
            Outcome::Signal(outcome) => Ok(outcome),
            other => unexpected(&other),
        }
    }

    async fn signals(&self, exec_id: &ExecId, queued: bool) -> Result<Vec<Signal>, Error> {
        read::signals(&mut *self.reader.get().await?, exec_id, queued).await
    }

    async fn news(&self, node: &NodeId) -> Result<Vec<ExecId>, Error> {
        list::news(&mut *self.reader.get().await?, node).await
    }

    async fn publish(&self, event: Published, starts: Vec<NewRun>) -> Result<Option<Vec<Woken>>, Error> {
        let signal = EncodedSignal::new(&NewSignal {
            signal_id: event.event_id.clone(),
            name: event.name.clone(),
            payload: event.payload.clone(),
            metadata: event.metadata.clone(),
            dedupe_key: None,
        });
        let starts = starts.into_iter().map(encode::start).collect::<Result<_, _>>()?;
        self.told(Operation::Publish(Box::new(Publication { event, signal, starts }))).await
    }

    async fn declare_schedules(&self, declared: Vec<Declared>, now: Timestamp) -> Result<(), Error> {
        self.operation(Operation::Declare { declared, now }).await.map(|_| ())
    }

    async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        schedule::all(&mut *self.reader.get().await?).await
    }

    async fn set_schedule(
        &self,
        schedule_id: &str,
        overriding: Option<String>,
        next_fire_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let setting = schedule::Setting::Override { overriding, now };
        self.flag(Operation::SetSchedule { schedule_id: schedule_id.into(), setting, next_fire_at }).await
    }

    async fn plan_schedule(&self, schedule_id: &str, next_fire_at: Option<Timestamp>) -> Result<bool, Error> {
        let setting = schedule::Setting::Next;
        self.flag(Operation::SetSchedule { schedule_id: schedule_id.into(), setting, next_fire_at }).await
    }

    async fn fire(&self, fire: Fire) -> Result<Option<Vec<Woken>>, Error> {
        self.told(Operation::Fire(Box::new(schedule::EncodedFire::new(fire)?))).await
    }

    async fn sweep(&self, retention: &Retention, cursor: Option<&str>, now: Timestamp) -> Result<Swept, Error> {
        sweep::step(self, retention, cursor, now).await
    }

    fn shrunk_to(&self) -> Option<u64> {
        Some(self.shrunk_to.load(Ordering::Relaxed)).filter(|bytes| *bytes < u64::MAX)
    }

    async fn put_node(&self, node: Node) -> Result<(), Error> {
        self.operation(Operation::PutNode(node)).await.map(|_| ())
    }

    async fn remove_node(&self, node: &NodeId) -> Result<(), Error> {
        self.operation(Operation::RemoveNode(node.clone())).await.map(|_| ())
    }

    async fn recover(&self, me: &NodeId, sole: bool, now: Timestamp) -> Result<u64, Error> {
        match self.operation(Operation::Recover { me: me.clone(), sole, now }).await? {
            Outcome::Count(count) => Ok(count),
            other => unexpected(&other),
        }
    }

    async fn definition(&self, digest: &str) -> Result<Option<String>, Error> {
        let query = sqlx::query("SELECT content FROM definitions WHERE digest = ?").bind(digest);
        let row = query.fetch_optional(&mut *self.reader.get().await?).await.map_err(from_sqlx)?;
        row.map(|row| row.try_get_unchecked(0).map_err(from_sqlx)).transpose()
    }

    async fn run(&self, exec_id: &ExecId) -> Result<Option<Run>, Error> {
        read::run(&mut *self.reader.get().await?, exec_id).await
    }

    async fn runs_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<Run>, Error> {
        list::by_prefix(&mut *self.reader.get().await?, prefix, limit).await
    }

    async fn runs(&self, filter: &RunFilter) -> Result<Page<Run>, Error> {
        list::runs(&mut *self.reader.get().await?, filter).await
    }

    async fn steps(&self, exec_id: &ExecId) -> Result<Vec<Step>, Error> {
        read::steps(&mut *self.reader.get().await?, exec_id).await
    }

    async fn usage(&self, exec_id: &ExecId) -> Result<Vec<Usage>, Error> {
        read::usage(&mut *self.reader.get().await?, exec_id).await
    }

    async fn journal(&self, exec_id: &ExecId, after: i64, limit: u32) -> Result<Vec<Journal>, Error> {
        read::journal(&mut *self.reader.get().await?, exec_id, after, limit).await
    }

    async fn workflow_summaries(&self) -> Result<Vec<WorkflowSummary>, Error> {
        list::workflow_summaries(&mut *self.reader.get().await?).await
    }

    async fn active_counts(&self) -> Result<Vec<(String, u64)>, Error> {
        list::active_counts(&mut *self.reader.get().await?).await
    }

    async fn kv_get(&self, space: &str, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, Error> {
        let query = sqlx::query("SELECT value FROM kv WHERE space = ? AND key = ? AND coalesce(expires_at > ?, TRUE)");
        let query = query.bind(space).bind(key).bind(now.0);
        let row = query.fetch_optional(&mut *self.reader.get().await?).await.map_err(from_sqlx)?;
        row.map(|row| row.try_get_unchecked(0).map_err(from_sqlx)).transpose()
    }

    async fn kv_set(&self, entry: KvEntry, expected: Option<Option<Vec<u8>>>, now: Timestamp) -> Result<bool, Error> {
        self.flag(Operation::KvSet { entry, expected, now }).await
    }

    async fn kv_delete(&self, space: &str, key: &str) -> Result<bool, Error> {
        self.flag(Operation::KvDelete { space: space.into(), key: key.into() }).await
    }

    async fn kv_keys(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<String>, Error> {
        let connection = &mut *self.reader.get().await?;
        list::kv_keys(connection, space, prefix, after, limit, now).await
    }

    async fn ping(&self) -> Result<Duration, Error> {
        let since = Instant::now();
        sqlx::query("SELECT 1").execute(&mut *self.reader.get().await?).await.map_err(from_sqlx)?;
        if lock(&self.queue).is_some() {
            self.operation(Operation::Ping).await?;
        }
        Ok(since.elapsed())
    }

    async fn changed_elsewhere(&self) {
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

    async fn check(&self) -> Result<Vec<String>, Error> {
        check::check(&mut *self.reader.get().await?).await
    }

    async fn close(&self) {
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
