//! The SQLite driver: one file or one private in-memory database, one writer per process.

#[cfg(test)]
mod catalog;
mod changes;
mod check;
mod checkpoint;
mod claim;
mod control;
mod database;
mod desk;
mod error;
mod export;
mod gate;
mod import;
mod known;
mod list;
mod locks;
mod memory;
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
mod transfer;
mod writer;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use compozy_engine::time::Timestamp;
use sqlx::Row;

pub use self::database::SqliteStorage;
use self::database::{lock, unexpected};
use self::error::from_sqlx;
pub(super) use self::migrate::{change_schema, schema_status};
pub use self::open::{Options, Role, open};
use super::row::{
    Changes, Declared, Demand, EndedRun, Fire, Idempotency, Journal, KvEntry, LoadedRun, MemoryChange, MemoryState,
    MemoryTotals, NewRun, NewSignal, Node, Page, Published, QueueLength, Retention, Run, RunFilter, Schedule, Signal,
    SignalOutcome, Started, Step, Swept, Usage, Woken, WorkflowSummary,
};
use super::work::control::{NewlySent, Publication};
use super::work::encode;
use super::work::operation::{Operation, Outcome};
use super::work::outward::EncodedSignal;
use super::work::schedule::{EncodedFire, Setting};
use super::{Error, Info, RequestOutcome, Storage};
use crate::id::{ExecId, NodeId};

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
        let query = sqlx::query(claim::ANY).bind(now.0).bind(node.as_str());
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

    async fn ended(&self, runs: &[ExecId]) -> Result<Vec<EndedRun>, Error> {
        read::ended(&mut *self.reader.get().await?, runs).await
    }

    async fn signals(&self, exec_id: &ExecId, queued: bool) -> Result<Vec<Signal>, Error> {
        read::signals(&mut *self.reader.get().await?, exec_id, queued).await
    }

    async fn news(&self, node: &NodeId) -> Result<Vec<ExecId>, Error> {
        list::news(&mut *self.reader.get().await?, node).await
    }

    async fn publish(&self, event: Published, starts: Vec<NewRun>) -> Result<super::row::PublishOutcome, Error> {
        let signal = EncodedSignal::new(&NewSignal {
            signal_id: event.event_id.clone(),
            name: event.name.clone(),
            payload: event.payload.clone(),
            metadata: event.metadata.clone(),
            dedupe_key: None,
        });
        let starts = starts.into_iter().map(encode::start).collect::<Result<_, _>>()?;
        match self.operation(Operation::Publish(Box::new(Publication { event, signal, starts }))).await? {
            Outcome::Published(outcome) => Ok(outcome),
            other => unexpected(&other),
        }
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
        let setting = Setting::Override { overriding, now };
        self.flag(Operation::SetSchedule { schedule_id: schedule_id.into(), setting, next_fire_at }).await
    }

    async fn plan_schedule(&self, schedule_id: &str, next_fire_at: Option<Timestamp>) -> Result<bool, Error> {
        let setting = Setting::Next;
        self.flag(Operation::SetSchedule { schedule_id: schedule_id.into(), setting, next_fire_at }).await
    }

    async fn fire(&self, fire: Fire) -> Result<Option<Vec<Woken>>, Error> {
        self.told(Operation::Fire(Box::new(EncodedFire::new(fire)?))).await
    }

    async fn memory(&self, memory: &str, key: &str, contents: bool) -> Result<Option<MemoryState>, Error> {
        memory::read(&mut *self.reader.get().await?, memory, key, contents).await
    }

    async fn change_memory(&self, changes: Vec<MemoryChange>, now: Timestamp) -> Result<(), Error> {
        self.operation(Operation::Memory { changes, now }).await.map(|_| ())
    }

    async fn memory_totals(&self, now: Timestamp) -> Result<Vec<MemoryTotals>, Error> {
        memory::totals(&mut *self.reader.get().await?, now).await
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

    async fn queue_length(&self) -> Result<QueueLength, Error> {
        list::queue_length(&mut *self.reader.get().await?).await
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

    async fn kv_bytes(&self, space: &str) -> Result<u64, Error> {
        list::kv_bytes(&mut *self.reader.get().await?, space).await
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
        self.wait_for_others().await;
    }

    async fn check(&self) -> Result<Vec<String>, Error> {
        check::check(&mut *self.reader.get().await?).await
    }

    fn transfer(&self) -> Option<&dyn super::transfer::Transfer> {
        Some(self)
    }

    async fn close(&self) {
        self.shut().await;
    }
}
