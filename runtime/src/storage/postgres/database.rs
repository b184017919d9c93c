//! The database's parts, and how a logical transaction reaches them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgPool, Postgres};
use tokio::task::JoinHandle;

use super::super::row::{Run, Started, Woken};
use super::super::work::encode::Encoded;
use super::super::work::operation::{Claimed, Operation, Outcome, replay};
use super::super::{Error, Info, crash};
use super::changes::Seen;
use super::error::{Refused, from_sqlx};
use super::known::Known;
use super::lanes::{self, Desk};
use super::queue::Queue;
use super::settings::{Options, Role};
use super::{nodes, operation, read, tries};
use crate::clock::Clock;

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
        });
        let writes = options.role != Role::ReadOnly;
        let lanes = if writes { lanes } else { 0 };
        let lanes = (0..lanes).map(|_| tokio::spawn(lanes::serve(Arc::clone(&desk)))).collect();
        Self { info, pool, desk, writes, lanes: Mutex::new(lanes), nodes: Mutex::default(), seen: Mutex::default() }
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
    pub(super) async fn reader(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.pool.acquire().await.map_err(from_sqlx)
    }

    /// Hands a start or a commit to the lanes.
    pub(super) async fn rows(&self, member: Encoded) -> Result<Outcome, Error> {
        let closed = || Error::Unavailable("the database is closed or open for reading only".into());
        if !self.writes {
            return Err(closed());
        }
        let answer = self.desk.queue.put(Arc::new(member)).ok_or_else(closed)?;
        answer.await.map_err(|_| closed())?
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
        let mut connection = self.pool.acquire().await?;
        if is_one_statement(operation) {
            crash::point(crash::Side::Before)?;
            let outcome = operation::run(&mut connection, &self.desk.known, operation).await;
            return Ok(outcome.and_then(|outcome| Ok(crash::point(crash::Side::After).map(|()| outcome)?)));
        }
        let mut transaction = connection.begin().await?;
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
        let query = sqlx::query_as(lanes::KNOWN_KEY).bind(&*key.scope).bind(&*key.key).bind(start.at.0);
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

impl Drop for PgStorage {
    fn drop(&mut self) {
        self.desk.queue.close();
    }
}
