//! A storage that holds key-value spaces in memory and nothing else.

use std::collections::BTreeMap;
use std::sync::Mutex;

use compozy_engine::time::Timestamp;
use wasmtime_wasi::async_trait;

use crate::id::{ExecId, NodeId};
use crate::storage::row::*;
use crate::storage::{Error, Info, RequestOutcome, Storage};

#[derive(Debug, Default)]
pub(in crate::plugin) struct Memory(Mutex<BTreeMap<(String, String), KvEntry>>);

impl Memory {
    fn live(&self, space: &str, key: &str, now: Timestamp) -> Option<Vec<u8>> {
        let entries = self.0.lock().unwrap();
        let entry = entries.get(&(space.to_owned(), key.to_owned()))?;
        entry.expires_at.is_none_or(|at| at.0 > now.0).then(|| entry.value.clone())
    }
}

fn none<T>() -> Result<T, Error> {
    Err(Error::Unavailable("not kept".into()))
}

#[async_trait]
impl Storage for Memory {
    async fn kv_get(&self, space: &str, key: &str, now: Timestamp) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.live(space, key, now))
    }

    async fn kv_set(&self, entry: KvEntry, expected: Option<Option<Vec<u8>>>, now: Timestamp) -> Result<bool, Error> {
        if expected.is_some_and(|expected| self.live(&entry.space, &entry.key, now) != expected) {
            return Ok(false);
        }
        self.0.lock().unwrap().insert((entry.space.clone(), entry.key.clone()), entry);
        Ok(true)
    }

    async fn kv_bytes(&self, space: &str) -> Result<u64, Error> {
        let entries = self.0.lock().unwrap();
        let of_space = entries.values().filter(|entry| entry.space == space);
        Ok(of_space.map(|entry| (entry.key.len() + entry.value.len()) as u64).sum())
    }

    async fn kv_delete(&self, space: &str, key: &str) -> Result<bool, Error> {
        Ok(self.0.lock().unwrap().remove(&(space.to_owned(), key.to_owned())).is_some())
    }

    async fn kv_keys(
        &self,
        space: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        _now: Timestamp,
    ) -> Result<Vec<String>, Error> {
        let entries = self.0.lock().unwrap();
        let keys = entries.keys().filter(|(owner, _)| owner == space).map(|(_, key)| key);
        let keys = keys.filter(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        Ok(keys.take(limit as usize).cloned().collect())
    }

    fn info(&self) -> &Info {
        panic!("this storage has no description")
    }
    fn announce(&self, _: &str) -> Result<(), Error> {
        none()
    }
    async fn start(&self, _: NewRun) -> Result<Started, Error> {
        none()
    }
    async fn commit(&self, _: &ExecId, _: &NodeId, _: i64, _: &Changes) -> Result<Vec<Woken>, Error> {
        none()
    }
    async fn claim(&self, _: &NodeId, _: u32, _: Timestamp) -> Result<Vec<Run>, Error> {
        none()
    }
    async fn claim_one(&self, _: &NodeId, _: &ExecId, _: Timestamp) -> Result<Option<Run>, Error> {
        none()
    }
    async fn claim_anew(&self, _: &NodeId, _: &ExecId, _: Timestamp) -> Result<Option<Run>, Error> {
        none()
    }
    async fn owned(&self, _: &NodeId) -> Result<Vec<ExecId>, Error> {
        none()
    }
    async fn load(&self, _: &ExecId) -> Result<Option<LoadedRun>, Error> {
        none()
    }
    async fn hand_back(&self, _: &NodeId, _: Timestamp) -> Result<u64, Error> {
        none()
    }
    async fn request(&self, _: &Demand, _: Timestamp) -> Result<RequestOutcome, Error> {
        none()
    }
    async fn put_signal(
        &self,
        _: &ExecId,
        _: NewSignal,
        _: Option<Idempotency>,
        _: Timestamp,
    ) -> Result<SignalOutcome, Error> {
        none()
    }
    async fn ended(&self, _runs: &[ExecId]) -> Result<Vec<EndedRun>, Error> {
        none()
    }

    async fn signals(&self, _: &ExecId, _: bool) -> Result<Vec<Signal>, Error> {
        none()
    }
    async fn news(&self, _: &NodeId) -> Result<Vec<ExecId>, Error> {
        none()
    }
    async fn publish(&self, _: Published, _: Vec<NewRun>) -> Result<PublishOutcome, Error> {
        none()
    }
    async fn declare_schedules(&self, _: Vec<Declared>, _: Timestamp) -> Result<(), Error> {
        none()
    }
    async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        none()
    }
    async fn set_schedule(
        &self,
        _: &str,
        _: Option<String>,
        _: Option<Timestamp>,
        _: Timestamp,
    ) -> Result<bool, Error> {
        none()
    }
    async fn plan_schedule(&self, _: &str, _: Option<Timestamp>) -> Result<bool, Error> {
        none()
    }
    async fn fire(&self, _: Fire) -> Result<Option<Vec<Woken>>, Error> {
        none()
    }
    async fn memory(&self, _: &str, _: &str, _: bool) -> Result<Option<MemoryState>, Error> {
        none()
    }
    async fn change_memory(&self, _: Vec<MemoryChange>, _: Timestamp) -> Result<(), Error> {
        none()
    }
    async fn memory_totals(&self, _: Timestamp) -> Result<Vec<MemoryTotals>, Error> {
        none()
    }
    async fn sweep(&self, _: &Retention, _: Option<&str>, _: Timestamp) -> Result<Swept, Error> {
        none()
    }
    fn shrunk_to(&self) -> Option<u64> {
        None
    }
    async fn put_node(&self, _: Node) -> Result<(), Error> {
        none()
    }
    async fn remove_node(&self, _: &NodeId) -> Result<(), Error> {
        none()
    }
    async fn recover(&self, _: &NodeId, _: bool, _: Timestamp) -> Result<u64, Error> {
        none()
    }
    async fn definition(&self, _: &str) -> Result<Option<String>, Error> {
        none()
    }
    async fn run(&self, _: &ExecId) -> Result<Option<Run>, Error> {
        none()
    }
    async fn runs_by_prefix(&self, _: &str, _: u32) -> Result<Vec<Run>, Error> {
        none()
    }
    async fn runs(&self, _: &RunFilter) -> Result<Page<Run>, Error> {
        none()
    }
    async fn steps(&self, _: &ExecId) -> Result<Vec<Step>, Error> {
        none()
    }
    async fn usage(&self, _: &ExecId) -> Result<Vec<Usage>, Error> {
        none()
    }
    async fn journal(&self, _: &ExecId, _: i64, _: u32) -> Result<Vec<Journal>, Error> {
        none()
    }
    async fn workflow_summaries(&self) -> Result<Vec<WorkflowSummary>, Error> {
        none()
    }
    async fn active_counts(&self) -> Result<Vec<(String, u64)>, Error> {
        none()
    }
    async fn queue_length(&self) -> Result<QueueLength, Error> {
        none()
    }
    async fn ping(&self) -> Result<std::time::Duration, Error> {
        none()
    }
    async fn changed_elsewhere(&self) {}
    async fn check(&self) -> Result<Vec<String>, Error> {
        none()
    }
    async fn close(&self) {}
}
