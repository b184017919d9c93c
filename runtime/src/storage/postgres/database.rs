//! The database's parts, and how a logical transaction reaches them.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tokio::task::JoinHandle;

use super::super::row::{Run, Started, Woken};
use super::super::work::encode::Encoded;
use super::super::work::operation::{Claimed, Operation, Outcome, replay};
use super::super::work::slot::Slot;
use super::super::{Error, Info, crash};
use super::changes::Seen;
use super::error::{Refused, from_sqlx};
use super::known::Known;
use super::lanes::{self, Desk};
use super::notify::Bell;
use super::queue::Queue;
use super::settings::{Options, Role, keep_few};
use super::sql;
use super::{nodes, operation, read, tries};
use crate::clock::Clock;
use crate::id::NodeId;

/// Connections that write what is written together. Two of them take turns at the disk and wait for each other's flush;
/// with more the server flushes for several at once.
const LANES: u32 = 4;
/// Most connections that write what needs a transaction of its own.
const ALONE: u32 = 8;

/// A PostgreSQL database.
#[derive(Debug)]
pub struct PgStorage {
    pub(super) info: Info,
    pool: PgPool,
    desk: Arc<Desk>,
    writes: bool,
    lanes: Mutex<Vec<JoinHandle<()>>>,
    /// Ids of nodes that this process has registered.
    pub(super) nodes: Mutex<Vec<String>>,
    pub(super) seen: Mutex<Seen>,
    /// Connections beside the pool.
    aside: PgPool,
    /// `None`: nobody is woken, everybody looks.
    pub(super) bell: Option<Arc<Bell>>,
    /// What goes on until the database is closed.
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Somebody listens.
    listens: AtomicBool,
    pub(super) health_check_timeout: Duration,
}

/// A connection to read with. Where sessions are not ours it is in a transaction, which leaves nothing behind.
#[derive(Debug)]
pub(super) enum Reader {
    /// Of the pool.
    Own(PoolConnection<Postgres>),
    /// In a transaction.
    Pooled(Transaction<'static, Postgres>),
}

impl Deref for Reader {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Own(connection) => connection,
            Self::Pooled(transaction) => transaction,
        }
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Own(connection) => connection,
            Self::Pooled(transaction) => transaction,
        }
    }
}

impl PgStorage {
    pub(super) fn new(info: Info, options: &Options) -> Self {
        let pool = options.pool();
        let most = options.max_connections;
        // A connection is left for whoever reads.
        let lanes = LANES.min(most.saturating_sub(2)).max(1);
        let desk = Arc::new(Desk {
            queue: Queue::new((most / 3).clamp(1, ALONE) as usize),
            known: Known::default(),
            pool: pool.clone(),
            clock: options.clock.clone(),
            durability: options.durability,
            keeps: most > lanes + 1,
            pooled: options.is_pooled(),
        });
        let aside = options.aside();
        let bell = options.notifies().then(|| Bell::new(aside.clone(), options.clock.clone(), &info.database_id));
        let writes = options.role != Role::ReadOnly;
        let lanes = if writes { lanes } else { 0 };
        let lanes = (0..lanes).map(|_| tokio::spawn(lanes::serve(Arc::clone(&desk)))).collect();
        let keep = keep_few(pool.clone(), options.max_idle, options.idle_check, options.clock.clone());
        let mut tasks = vec![tokio::spawn(keep)];
        tasks.extend(bell.iter().map(|bell| tokio::spawn(Arc::clone(bell).serve())));
        Self {
            info,
            pool,
            desk,
            writes,
            lanes: Mutex::new(lanes),
            nodes: Mutex::default(),
            seen: Mutex::default(),
            aside,
            bell,
            tasks: Mutex::new(tasks),
            listens: AtomicBool::new(false),
            health_check_timeout: options.health_check_timeout,
        }
    }

    /// Begins to listen for other nodes, once.
    pub(super) fn listen(&self) {
        if let Some(bell) = &self.bell
            && !self.listens.swap(true, Ordering::Relaxed)
        {
            lock(&self.tasks).push(tokio::spawn(Arc::clone(bell).listen()));
        }
    }

    /// Wakes other nodes.
    fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.desk.clock
    }

    pub(super) fn is_closed(&self) -> bool {
        self.desk.queue.is_closed()
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.desk.queue.is_loaded()
    }

    /// Every connection.
    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection to read with.
    pub(super) async fn reader(&self) -> Result<Reader, Error> {
        self.reader_of(&self.pool).await
    }

    /// One to look with, which does not wait behind others.
    pub(super) async fn reader_aside(&self) -> Result<Reader, Error> {
        self.reader_of(&self.aside).await
    }

    async fn reader_of(&self, pool: &PgPool) -> Result<Reader, Error> {
        if self.desk.pooled {
            return pool.begin_with(sql::begin_text()).await.map(Reader::Pooled).map_err(from_sqlx);
        }
        pool.acquire().await.map(Reader::Own).map_err(from_sqlx)
    }

    /// Hands a start or a commit to the lanes.
    pub(super) async fn rows(&self, member: Encoded) -> Result<Outcome, Error> {
        let closed = || Error::Unavailable("the database is closed or open for reading only".into());
        if !self.writes {
            return Err(closed());
        }
        let member = Arc::new(member);
        let answer = self.desk.queue.put(Arc::clone(&member)).ok_or_else(closed)?;
        let outcome = answer.await.map_err(|_| closed())??;
        if member.outward.is_some() || member.rows.iter().any(|(slot, _)| *slot == Slot::Ready) || self.wakes(&outcome)
        {
            self.ring();
        }
        Ok(outcome)
    }

    /// Whether a commit concerns runs of other nodes, or of nobody.
    fn wakes(&self, outcome: &Outcome) -> bool {
        let Outcome::Committed(woken) = outcome else { return false };
        let is_own = |owner: &NodeId| lock(&self.nodes).iter().any(|node| node == owner.as_str());
        woken.iter().any(|woken| !woken.owner.as_ref().is_some_and(is_own))
    }

    /// Carries an operation out. One of which nobody knows whether it was is asked about or done again, where that
    /// changes nothing (cli-and-api §9.3).
    pub(super) async fn operation(&self, operation: Operation) -> Result<Outcome, Error> {
        if !self.writes || self.is_closed() {
            return Err(Error::Unavailable("the database is closed or open for reading only".into()));
        }
        let outcome = match self.transact(&operation).await {
            Err(refused) if refused.is_lost() => match operation.again() {
                Some(again) => self.transact(&again).await,
                None => Err(refused),
            },
            outcome => outcome,
        };
        if outcome.is_ok() && concerns_others(&operation) {
            self.ring();
        }
        if let (Operation::PutNode(node), Ok(_)) = (&operation, &outcome) {
            let mut nodes = lock(&self.nodes);
            let id = node.node_id.as_str();
            if !nodes.iter().any(|node| node == id) {
                nodes.push(id.to_owned());
            }
        }
        Ok(outcome?)
    }

    async fn transact(&self, operation: &Operation) -> Result<Outcome, Refused> {
        let mut tries = tries::Tries::new(self.clock());
        loop {
            let refused = match self.try_once(operation).await {
                Ok(ended) => return ended,
                Err(refused) => refused,
            };
            if !tries.again(&refused).await {
                return Err(refused);
            }
        }
    }

    /// Outside: what certainly did not happen, and may be tried again. Inside: how it ended, as far as is known.
    async fn try_once(&self, operation: &Operation) -> Result<Result<Outcome, Refused>, Refused> {
        // A lease must not end because its renewal waits for a connection.
        let is_lease = matches!(operation, Operation::PutNode(_));
        let mut connection = if is_lease { &self.aside } else { &self.pool }.acquire().await?;
        if is_one_statement(operation) && !self.desk.pooled {
            crash::point(crash::Side::Before)?;
            let outcome = operation::run(&mut connection, &self.desk.known, operation).await;
            return Ok(outcome.and_then(|outcome| Ok(crash::point(crash::Side::After).map(|()| outcome)?)));
        }
        let mut transaction = self.desk.begin(&mut connection).await?;
        match operation::run(&mut transaction, &self.desk.known, operation).await {
            Ok(outcome) => {
                crash::point(crash::Side::Before)?;
                let committed = transaction.commit().await.map_err(Refused::from);
                let told = committed.and_then(|()| Ok(crash::point(crash::Side::After)?));
                if told.is_ok() {
                    operation.starts().iter().for_each(|start| self.desk.known.wrote(start));
                }
                Ok(told.map(|()| outcome))
            }
            Err(refused) => {
                let _connection_gone = transaction.rollback().await;
                Err(refused)
            }
        }
    }

    /// Frees the runs of dead nodes, some at a time.
    pub(super) async fn freed(&self, recover: impl Fn() -> Operation) -> Result<u64, Error> {
        let mut all = 0;
        loop {
            let freed = match self.operation(recover()).await? {
                Outcome::Count(freed) => freed,
                other => return unexpected(&other),
            };
            all += freed;
            if !nodes::is_cut_off(freed) {
                return Ok(all);
            }
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
        let query = sql::query_as(lanes::KNOWN_KEY).bind(&*key.scope).bind(&*key.key).bind(start.at.0);
        let found = query.fetch_optional(&mut *self.reader().await?).await.map_err(from_sqlx)?;
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
        read::runs_of(&mut *self.reader().await?, &ids).await
    }

    /// Finishes the queue and closes every connection.
    pub(super) async fn shut(&self) {
        self.desk.queue.close();
        let lanes = std::mem::take(&mut *lock(&self.lanes));
        for lane in lanes {
            let _panicked = lane.await;
        }
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
        if let Some(bell) = &self.bell {
            bell.finish().await;
        }
        self.aside.close().await;
        self.pool.close().await;
    }
}

/// Those that need no transaction around them.
fn is_one_statement(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::PutNode(_)
            | Operation::RemoveNode(_)
            | Operation::KvDelete { .. }
            | Operation::Claimed { .. }
            | Operation::Ping
    )
}

pub(super) fn unexpected<T>(outcome: &Outcome) -> Result<T, Error> {
    Err(Error::Driver(format!("the writer answered {outcome:?}")))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those after which other nodes may have something to do.
fn concerns_others(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::HandBack { .. }
            | Operation::Request { .. }
            | Operation::Signal(_)
            | Operation::Publish(_)
            | Operation::Fire(_)
            | Operation::SetSchedule { .. }
            | Operation::Declare { .. }
            | Operation::Import(_)
    )
}

impl Drop for PgStorage {
    fn drop(&mut self) {
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
        self.desk.queue.close();
    }
}
