//! What every part of a node shares.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use compozy_lang::plan::Project;
use tokio::sync::{Notify, mpsc};

use super::definitions::Definitions;
use super::driver::Control;
use super::pending::Pending;
use super::schedules::Schedules;
use super::schemas::Schemas;
use super::secrets::Secrets;
use super::slots::Slots;
use super::step::Executor;
use super::watchers::Watchers;
use crate::clock::Clock;
use crate::id::{ExecId, NodeId};
use crate::storage::Storage;
use crate::storage::row::Woken;

/// What every part of a node shares.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: NodeId,
    pub(crate) kind: super::Kind,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Clock,
    pub(crate) steps: Arc<Executor>,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) slots: Slots,
    pub(crate) schemas: Arc<Schemas>,
    pub(crate) schedules: Schedules,
    pub(crate) lease: Duration,
    /// Runs in the queue.
    pub(crate) pending: Pending,
    /// Wakes the claim loop.
    pub(crate) wake: Notify,
    pub(crate) stopping: AtomicBool,
    /// When the lease was last renewed, in microseconds.
    pub(crate) renewed_at: AtomicI64,
    /// Why the last renewal, the one write that is always made, failed.
    trouble: Mutex<Option<&'static str>>,
    pub(crate) definitions: Arc<Definitions>,
    runs: Mutex<HashMap<ExecId, mpsc::UnboundedSender<Control>>>,
}

impl Worker {
    /// The parts of `options`, nothing running yet.
    pub(crate) fn new(
        options: super::Options,
        id: NodeId,
        steps: Arc<Executor>,
        watchers: Arc<Watchers>,
        definitions: Arc<Definitions>,
    ) -> Self {
        Self {
            id,
            kind: options.kind,
            storage: options.storage,
            clock: options.clock,
            watchers,
            slots: Slots::new(options.max_concurrent_runs),
            schemas: steps.schemas.clone(),
            schedules: Schedules::default(),
            steps,
            lease: options.lease,
            pending: Pending::new(options.max_pending as u64),
            wake: Notify::new(),
            stopping: AtomicBool::new(false),
            renewed_at: AtomicI64::new(0),
            trouble: Mutex::default(),
            definitions,
            runs: Mutex::default(),
        }
    }

    pub(crate) fn project(&self) -> Arc<Project> {
        self.definitions.project()
    }

    pub(crate) fn replace_project(&self, project: Arc<Project>) {
        self.definitions.replace(project);
        self.schedules.project_changed();
    }

    pub(crate) fn secrets(&self) -> Arc<Secrets> {
        self.watchers.secrets()
    }

    pub(crate) fn replace_secrets(&self, values: &[String]) {
        self.watchers.replace_secrets(Secrets::new(values));
    }

    /// Keeps how the last write of the node's row ended.
    pub(crate) fn note_trouble(&self, trouble: Option<&'static str>) {
        *lock(&self.trouble) = trouble;
    }

    pub(crate) fn trouble(&self) -> Option<&'static str> {
        *lock(&self.trouble)
    }

    /// Makes a run reachable for [`Control`]. One that comes while the node stops hears that at once.
    pub(crate) fn register(&self, exec_id: &ExecId) -> mpsc::UnboundedReceiver<Control> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut runs = lock(&self.runs);
        // Looked at under the lock: whoever is not yet in the map when all are told sees the flag.
        if self.stopping.load(Ordering::Relaxed) {
            drop(sender.send(Control::Drain));
        }
        runs.insert(exec_id.clone(), sender);
        receiver
    }

    pub(crate) fn forget(&self, exec_id: &ExecId) {
        lock(&self.runs).remove(exec_id);
    }

    /// A start would have to wait, and no place is left in the queue.
    pub(crate) fn is_overloaded(&self) -> bool {
        let waits = self.pending.any_claimable() || self.slots.free() == 0;
        self.kind == super::Kind::Server && waits && self.pending.is_full()
    }

    /// Whether this node drives the run.
    pub(crate) fn drives(&self, exec_id: &ExecId) -> bool {
        lock(&self.runs).contains_key(exec_id)
    }

    /// Tells one run; false when this node does not drive it.
    pub(crate) fn tell(&self, exec_id: &ExecId, control: Control) -> bool {
        lock(&self.runs).get(exec_id).is_some_and(|run| run.send(control).is_ok())
    }

    /// Sees to it that runs which have something new to look at do so.
    pub(crate) fn wake_up(&self, woken: &[Woken]) {
        for Woken { exec_id, owner } in woken {
            match owner {
                // Another process hears of the commit by itself.
                Some(owner) if *owner != self.id => {}
                Some(_) => {
                    let _ended_meanwhile = self.tell(exec_id, Control::Look);
                }
                None => self.wake.notify_one(),
            }
        }
    }

    /// Tells every run this node drives.
    pub(crate) fn tell_all(&self, control: impl Fn() -> Control) {
        // A driver that has just ended does not hear it, and need not.
        lock(&self.runs).values().for_each(|run| drop(run.send(control())));
    }

    pub(crate) fn running(&self) -> usize {
        lock(&self.runs).len()
    }
}

/// These sections only insert, remove and look up; a panic in one of them leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
