//! Where runs live: the only user of sqlx and rusqlite.
//!
//! [`Storage`] is what the rest of the program sees. A driver is one folder beside this file. The rules every driver
//! keeps, tested by one suite over all of them:
//!
//! - A call that returns `Ok` is durable at the level of the run (cli-and-api §9.4); a failed commit leaves no trace.
//! - Each call that writes is one logical transaction. Many are committed together, but one that fails (a fenced
//!   write, a violated constraint) fails alone.
//! - Every write of a run is guarded by its owner and epoch; zero matching rows is [`Error::Fenced`] and nothing of
//!   that transaction is written.
//! - State tables are projections of the journal, written in the same transaction.

pub(crate) mod crash;
pub mod migrate;
pub mod named;
pub mod postgres;
pub mod row;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod suite;
pub mod table;
pub mod transfer;
mod work;

use std::sync::Arc;

use async_trait::async_trait;
use compozy_engine::time::Timestamp;

use crate::id::{ExecId, NodeId};
use row::{
    Changes, Declared, Demand, EndedRun, Fire, Idempotency, Journal, KvEntry, LoadedRun, MemoryChange, MemoryState,
    MemoryTotals, NewRun, NewSignal, Node, Page, Published, QueueLength, Retention, Run, RunFilter, Schedule, Signal,
    SignalOutcome, Started, Step, Swept, Usage, Woken, WorkflowSummary,
};

/// Why storage refused or failed, split by what the caller can do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The run is owned by someone else or was claimed anew; drop it at once.
    #[error("the run is owned by another node or epoch")]
    Fenced,
    /// No such row.
    #[error("{0} not found")]
    NotFound(String),
    /// The row is there already with other content.
    #[error("{0}")]
    Conflict(String),
    /// The run has ended, with this status.
    #[error("the run has ended: {0}")]
    Finished(String),
    /// Locked or briefly out of reach; try again.
    #[error("database is busy: {0}")]
    Busy(String),
    /// No space left; running runs wait, new starts are refused.
    #[error("no space left on the database's disk")]
    DiskFull,
    /// It cannot be reached or opened.
    #[error("{0}")]
    Unavailable(String),
    /// A newer release has brought its schema further than this one knows. Nothing was written.
    #[error("{0}")]
    TooNew(String),
    /// The file is damaged or not ours. Nothing was written.
    #[error("{0}")]
    Unusable(String),
    /// A cursor that no page gave out.
    #[error("invalid cursor")]
    InvalidCursor,
    /// Anything else the driver said.
    #[error("database error: {0}")]
    Driver(String),
}

impl Error {
    /// What happened, without names of files and without the driver's words, for answers to anyone.
    #[must_use]
    pub fn in_short(&self) -> &'static str {
        match self {
            Self::DiskFull => "no space is left on the database's disk",
            Self::Busy(_) => "the database is locked",
            Self::Unavailable(_) => "the database cannot be reached",
            _ => "the database fails",
        }
    }
}

/// What a storage is, for logs, health and discovery.
#[derive(Debug, Clone)]
pub struct Info {
    /// `sqlite` or `postgres`.
    pub driver: &'static str,
    /// What follows `driver=…` on the start line: `path=./data/compozy.db`, the path as written.
    pub location: String,
    /// `full`, `normal` or `memory`.
    pub durability: row::Durability,
    /// Made with the database, 26 characters.
    pub database_id: String,
    /// Made with the database, 32 random bytes (cli-and-api §4.2).
    pub identity_key: [u8; 32],
    /// Version of the newest applied migration.
    pub schema_version: i64,
    /// Nothing survives the process (`:memory:`).
    pub ephemeral: bool,
}

/// What a request to cancel, pause or resume a run met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Recorded; `owner` is the node that must act, if any owns the run.
    Requested {
        /// Present owner.
        owner: Option<NodeId>,
    },
    /// The run is so already, or a request was recorded before.
    Already {
        /// Present owner.
        owner: Option<NodeId>,
    },
}

/// Which database, and how to open it.
#[derive(Debug, Clone)]
pub enum Options {
    /// A SQLite file or a private in-memory database.
    Sqlite(sqlite::Options),
    /// A PostgreSQL server.
    Postgres(Box<postgres::Options>),
}

/// Opens the database of runs with the driver that `options` name.
///
/// # Errors
/// See [`sqlite::open`] and [`postgres::open`].
pub async fn open(options: Options) -> Result<Arc<dyn Storage>, Error> {
    match options {
        Options::Sqlite(options) => Ok(Arc::new(sqlite::open(options).await?)),
        Options::Postgres(options) => Ok(Arc::new(postgres::open(*options).await?)),
    }
}

/// The database of runs.
#[async_trait]
pub trait Storage: Send + Sync + std::fmt::Debug {
    /// What this storage is.
    fn info(&self) -> &Info;

    /// Says who serves this database; a second server is refused with `text` (`process 4242 at http://…`).
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be written down. Without a server's lock nothing happens.
    fn announce(&self, text: &str) -> Result<(), Error>;

    /// Records a run with its first rows, its definition and its idempotency key, in one transaction. Repeated for the
    /// same run after an error that left open whether it was recorded, it says [`Started::New`] and writes nothing more.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the idempotency key was used with another request hash.
    async fn start(&self, run: NewRun) -> Result<Started, Error>;

    /// Writes the changes of one decision of the engine, and what it does to other runs. Returns the runs that have
    /// something new to look at because of it: those that got a signal or a demand, and the parent of a run that ended.
    /// A run without owner is made claimable by the same transaction. Repeated after an error that left open whether
    /// they were written, it finds them in the journal under this epoch and writes nothing more.
    ///
    /// # Errors
    /// [`Error::Fenced`] when the run is not owned by `node` under `epoch` any more; [`Error::Conflict`] when a signal
    /// was settled before, or a memory is not as it was when its change was decided.
    async fn commit(&self, exec_id: &ExecId, node: &NodeId, epoch: i64, changes: &Changes)
    -> Result<Vec<Woken>, Error>;

    /// Takes at most `limit` claimable runs (rows of `ready` that are due at `now`, have no foreign affinity and do not
    /// wait for a concurrency key), sets their owner and increments their epoch. The highest priority goes first and
    /// within it the workflows in turn; one of eight goes to whoever has waited longest, so that nobody waits for ever.
    async fn claim(&self, node: &NodeId, limit: u32, now: Timestamp) -> Result<Vec<Run>, Error>;

    /// Takes one run for embedded execution, whoever had it before its lease ended; `None` if it is owned by a live
    /// node, waits for its concurrency key, or has ended.
    async fn claim_one(&self, node: &NodeId, exec_id: &ExecId, now: Timestamp) -> Result<Option<Run>, Error>;

    /// A run with everything the engine needs to go on.
    async fn load(&self, exec_id: &ExecId) -> Result<Option<LoadedRun>, Error>;

    /// Makes claimable again what this node owns, clearing owner and affinity. Returns how many.
    async fn hand_back(&self, node: &NodeId, now: Timestamp) -> Result<u64, Error>;

    /// Records what is wanted of a run: that it be canceled, paused or resumed. A run without owner becomes claimable
    /// where a node must carry it out.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Finished`].
    async fn request(&self, demand: &Demand, now: Timestamp) -> Result<RequestOutcome, Error>;

    /// Keeps a signal for a run. With `idempotency`, its key and the request are recorded in the same transaction.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Finished`]; [`Error::Conflict`] when the idempotency key was used with another
    /// request hash.
    async fn put_signal(
        &self,
        exec_id: &ExecId,
        signal: NewSignal,
        idempotency: Option<Idempotency>,
        now: Timestamp,
    ) -> Result<SignalOutcome, Error>;

    /// Those of `runs` that have ended.
    async fn ended(&self, runs: &[ExecId]) -> Result<Vec<EndedRun>, Error>;

    /// Signals of a run in the order they came; with `queued`, only those that nothing has taken yet.
    async fn signals(&self, exec_id: &ExecId, queued: bool) -> Result<Vec<Signal>, Error>;

    /// Runs of `node` for which something may wait: a queued signal, a request, a sub-run that has ended.
    async fn news(&self, node: &NodeId) -> Result<Vec<ExecId>, Error>;

    /// Records a published event, sends it as a signal to every run that waits for its name, and records the runs it
    /// starts, in one transaction.
    ///
    /// # Errors
    /// [`Error::Conflict`] when its idempotency key was used with another request hash, or a run to start does not fit.
    async fn publish(&self, event: Published, starts: Vec<NewRun>) -> Result<row::PublishOutcome, Error>;

    /// Makes `declared` what the project says; schedules it no longer names and that were not set at run time go.
    async fn declare_schedules(&self, declared: Vec<Declared>, now: Timestamp) -> Result<(), Error>;

    /// Every schedule, by id.
    async fn schedules(&self) -> Result<Vec<Schedule>, Error>;

    /// Sets what overrides the declared schedule (JSON text), or takes it away, and says when it fires next. False when
    /// there is no such schedule.
    async fn set_schedule(
        &self,
        schedule_id: &str,
        overriding: Option<String>,
        next_fire_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Says when a schedule fires next. False when there is no such schedule.
    async fn plan_schedule(&self, schedule_id: &str, next_fire_at: Option<Timestamp>) -> Result<bool, Error>;

    /// Records that a time of a schedule has come, with the run it starts, in one transaction. `None`: this time was
    /// dealt with before, and nothing was done.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such schedule.
    async fn fire(&self, fire: Fire) -> Result<Option<Vec<Woken>>, Error>;

    /// What a memory holds under a key, expired or not; without `contents` the texts of its messages are empty.
    async fn memory(&self, memory: &str, key: &str, contents: bool) -> Result<Option<MemoryState>, Error>;

    /// Changes memories outside of runs, in one transaction.
    ///
    /// # Errors
    /// [`Error::Conflict`] when one was decided on another state than the present one; nothing was written.
    async fn change_memory(&self, changes: Vec<MemoryChange>, now: Timestamp) -> Result<(), Error>;

    /// What the keys of each memory that has any hold together, by its id; expired keys do not count.
    async fn memory_totals(&self, now: Timestamp) -> Result<Vec<MemoryTotals>, Error>;

    /// One small step of removing what `retention` lets go, from `cursor` (`None`: the beginning). Short enough not to
    /// be felt by commits, and postponed while there are many.
    async fn sweep(&self, retention: &Retention, cursor: Option<&str>, now: Timestamp) -> Result<Swept, Error>;

    /// Fewest bytes to which this process has cut the file by itself; `None`: it has not.
    fn shrunk_to(&self) -> Option<u64>;

    /// Registers or renews a node; its lease ends at `node.lease_until`.
    async fn put_node(&self, node: Node) -> Result<(), Error>;

    /// Forgets a node that handed everything back.
    async fn remove_node(&self, node: &NodeId) -> Result<(), Error>;

    /// Makes claimable the runs of nodes that are dead: all others when `sole` (the server lock proves it, embedded
    /// nodes with a live lease excepted), else those whose lease ended before `now`. Removes those nodes. Returns how
    /// many runs were freed.
    async fn recover(&self, me: &NodeId, sole: bool, now: Timestamp) -> Result<u64, Error>;

    /// The stored definition of `digest`, JSON text.
    async fn definition(&self, digest: &str) -> Result<Option<String>, Error>;

    /// One run.
    async fn run(&self, exec_id: &ExecId) -> Result<Option<Run>, Error>;

    /// Runs whose id starts with `prefix`, at most `limit`, newest first.
    async fn runs_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<Run>, Error>;

    /// A page of runs, newest first unless the filter says otherwise.
    async fn runs(&self, filter: &RunFilter) -> Result<Page<Run>, Error>;

    /// Steps of a run in the order they started.
    async fn steps(&self, exec_id: &ExecId) -> Result<Vec<Step>, Error>;

    /// Tokens used by a run, by step, provider and model.
    async fn usage(&self, exec_id: &ExecId) -> Result<Vec<Usage>, Error>;

    /// Events of a run with `seq > after`, at most `limit`, in order.
    async fn journal(&self, exec_id: &ExecId, after: i64, limit: u32) -> Result<Vec<Journal>, Error>;

    /// Per workflow that has runs: how many, and the latest.
    async fn workflow_summaries(&self) -> Result<Vec<WorkflowSummary>, Error>;

    /// Number of runs that have not ended, by status word.
    async fn active_counts(&self) -> Result<Vec<(String, u64)>, Error>;

    /// How many runs wait in the queue.
    async fn queue_length(&self) -> Result<QueueLength, Error>;

    /// One value of a plugin's key-value space; expired entries are absent.
    async fn kv_get(&self, space: &str, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, Error>;

    /// Stores one value. With `expected`, only if the present value equals it; false when it does not.
    async fn kv_set(&self, entry: KvEntry, expected: Option<Option<Vec<u8>>>, now: Timestamp) -> Result<bool, Error>;

    /// Bytes of all keys and values of a space, expired ones included. Reads all of it.
    async fn kv_bytes(&self, space: &str) -> Result<u64, Error>;

    /// Removes one value; true when it was there.
    async fn kv_delete(&self, space: &str, key: &str) -> Result<bool, Error>;

    /// Keys that start with `prefix` after `after`, in byte order.
    async fn kv_keys(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<String>, Error>;

    /// A round trip through a reader and the writer.
    async fn ping(&self) -> Result<std::time::Duration, Error>;

    /// Waits until another process may have changed the database (SQLite: `data_version`, polled every 250 ms).
    async fn changed_elsewhere(&self);

    /// Every violated invariant of cli-and-api §9.2, one sentence each; empty when the database is sound.
    async fn check(&self) -> Result<Vec<String>, Error>;

    /// Export and import; `None`: this storage has neither.
    fn transfer(&self) -> Option<&dyn transfer::Transfer> {
        None
    }

    /// Finishes the queue, checkpoints and closes. Later calls fail with [`Error::Unavailable`].
    async fn close(&self);
}
