//! What every part of a node shares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compozy_lang::plan::Project;
use tokio::sync::Notify;

use super::definitions::Definitions;
use super::driver::Control;
use super::lease::{Lease, Standing};
use super::pending::Pending;
use super::reach::{Line, Reach};
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
    /// What it may do as the owner of runs.
    pub(crate) lease: Lease,
    /// Most runs claimed at once.
    pub(crate) claim_batch: usize,
    /// Something may be recorded as owned by this node that nobody here drives.
    in_doubt: AtomicBool,
    /// Runs in the queue.
    pub(crate) pending: Pending,
    /// Wakes the claim loop.
    pub(crate) wake: Notify,
    /// Wakes whoever looks for what was dropped.
    pub(crate) regained: Notify,
    pub(crate) stopping: AtomicBool,
    /// Why the last renewal, the one write that is always made, failed.
    trouble: Mutex<Option<&'static str>>,
    pub(crate) definitions: Arc<Definitions>,
    reach: Reach,
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
            lease: Lease::new(options.lease, options.kind, options.storage.info(), &options.clock),
            claim_batch: options.claim_batch.max(1),
            in_doubt: AtomicBool::new(false),
            storage: options.storage,
            clock: options.clock,
            watchers,
            slots: Slots::new(options.max_concurrent_runs),
            schemas: steps.schemas.clone(),
            schedules: Schedules::default(),
            steps,
            pending: Pending::new(options.max_pending as u64),
            wake: Notify::new(),
            regained: Notify::new(),
            stopping: AtomicBool::new(false),
            trouble: Mutex::default(),
            definitions,
            reach: Reach::default(),
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

    /// Makes a run reachable for [`Control`], for whoever holds what this gives. One that comes while the node stops hears
    /// that at once. The node must have held its lease since `standing`.
    pub(crate) fn register(&self, exec_id: &ExecId, standing: Standing) -> Line {
        // Looked at under the lock: whoever is not yet there when all are told sees the flag.
        self.reach.open(exec_id, standing, || self.stopping.load(Ordering::Relaxed).then_some(Control::Drain))
    }

    /// What a run taken now must be registered with.
    pub(crate) fn standing(&self) -> Standing {
        self.lease.standing(&self.clock)
    }

    /// Whether the node may take runs.
    pub(crate) fn holds_lease(&self) -> bool {
        self.lease.holds(&self.clock)
    }

    /// Notes that a write of which nobody knows whether it happened may have made this node an owner, or that a run was
    /// dropped: they are looked for.
    pub(crate) fn doubts(&self) {
        self.in_doubt.store(true, Ordering::Relaxed);
    }

    /// Whether there was doubt since the last call.
    pub(crate) fn was_in_doubt(&self) -> bool {
        self.in_doubt.swap(false, Ordering::Relaxed)
    }

    /// A start would have to wait, and no place is left in the queue.
    pub(crate) fn is_overloaded(&self) -> bool {
        let waits = self.pending.any_claimable() || self.slots.free() == 0;
        self.kind == super::Kind::Server && waits && self.pending.is_full()
    }

    /// Whether this node drives the run.
    pub(crate) fn drives(&self, exec_id: &ExecId) -> bool {
        self.reach.has(exec_id)
    }

    /// Tells one run; false when this node does not drive it.
    pub(crate) fn tell(&self, exec_id: &ExecId, control: Control) -> bool {
        self.reach.tell(exec_id, control)
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
        self.reach.tell_all(control);
    }

    pub(crate) fn running(&self) -> usize {
        self.reach.len()
    }
}

/// A panic while it is held leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
