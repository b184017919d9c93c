//! The simulated store: rows as text, and logical transactions guarded as the product guards them.

use std::collections::BTreeMap;
use std::sync::Arc;

use compozy_engine::status::Status;

use super::fault::Fault;

/// How long a node is taken to be alive, in microseconds.
pub(crate) const LEASE: i64 = 10_000_000;

/// One row of `executions`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) exec_id: String,
    pub(crate) workflow: String,
    pub(crate) status: String,
    pub(crate) owner: Option<String>,
    pub(crate) epoch: i64,
    pub(crate) last_seq: i64,
    pub(crate) state: String,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) deadline: Option<i64>,
    pub(crate) parent: Option<(String, String)>,
    pub(crate) cancel_request: bool,
    /// Someone wants it to be paused.
    pub(crate) pause_request: bool,
}

/// One row of `steps`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepRow {
    pub(crate) key: String,
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) position: u64,
    pub(crate) status: String,
    pub(crate) attempt: u32,
    pub(crate) input: Option<String>,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) state: String,
    pub(crate) result_seq: Option<i64>,
    pub(crate) started_at: i64,
    pub(crate) finished_at: Option<i64>,
}

/// One row of `journal`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JournalRow {
    pub(crate) seq: i64,
    pub(crate) event: String,
    pub(crate) data: String,
}

/// One row of `signals`, in the order they arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SignalRow {
    pub(crate) id: String,
    /// Place in the order in which signals came.
    pub(crate) position: i64,
    pub(crate) name: String,
    pub(crate) payload: String,
    /// `sent` until the run has heard of it, then `queued`, `consumed` or `ignored`.
    pub(crate) state: String,
}

/// A run with all its rows.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) row: Row,
    pub(crate) steps: BTreeMap<String, StepRow>,
    pub(crate) journal: Vec<JournalRow>,
    pub(crate) timers: BTreeMap<String, i64>,
    pub(crate) signals: Vec<SignalRow>,
}

impl Run {
    pub(crate) fn new(row: Row) -> Self {
        Self { row, steps: BTreeMap::new(), journal: Vec::new(), timers: BTreeMap::new(), signals: Vec::new() }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.row.status.parse().is_ok_and(Status::is_terminal)
    }

    pub(crate) fn is_owned(&self, node: &str, epoch: i64) -> bool {
        self.row.owner.as_deref() == Some(node) && self.row.epoch == epoch
    }
}

/// What one decision changes.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    pub(crate) status: String,
    pub(crate) state: String,
    pub(crate) output: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    /// Seq of the last event before these.
    pub(crate) after: i64,
    pub(crate) journal: Vec<JournalRow>,
    pub(crate) steps: Vec<StepRow>,
    pub(crate) timers_set: Vec<(String, i64)>,
    pub(crate) timers_cleared: Vec<String>,
    /// What became of signals, by id.
    pub(crate) settled: Vec<(String, &'static str)>,
    /// Signals to runs.
    pub(crate) sent: Vec<(String, SignalRow)>,
    pub(crate) children: Vec<Row>,
    pub(crate) canceled: Vec<String>,
    pub(crate) paused: Vec<String>,
    pub(crate) resumed: Vec<String>,
}

/// A logical transaction.
#[derive(Debug, Clone)]
pub(crate) enum Tx {
    /// A run is asked for. With an owner it begins at once, with these changes.
    Start(Box<Row>, Option<Arc<Changes>>),
    Commit {
        exec_id: String,
        node: String,
        epoch: i64,
        changes: Arc<Changes>,
    },
    Claim {
        node: String,
        limit: usize,
    },
    Renew {
        node: String,
    },
    /// A node hands a run back.
    Release {
        exec_id: String,
        node: String,
        epoch: i64,
    },
    /// A node takes a run that it owns up again, under a new epoch.
    TakeUp {
        exec_id: String,
        node: String,
        epoch: i64,
    },
    /// Frees the runs of nodes whose lease has ended.
    Recover {
        node: String,
    },
    /// A node knows that its former life is over.
    Bury {
        node: String,
    },
    Cancel {
        exec_id: String,
    },
    Pause {
        exec_id: String,
        paused: bool,
    },
    Signal {
        exec_id: String,
        signal: SignalRow,
    },
}

/// What a transaction came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Done,
    /// Someone else owns the run.
    Fenced,
    /// The run is not where the transaction thought.
    Conflict,
    /// Nothing was written.
    Unavailable,
    /// Nobody knows.
    Unknown,
}

/// What the store did with a transaction.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) reply: Reply,
    /// Runs whose rows changed.
    pub(crate) touched: Vec<String>,
    /// A run was written by someone who did not own it under that epoch.
    pub(crate) stolen: bool,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) runs: BTreeMap<String, Run>,
    pub(crate) ready: BTreeMap<String, i64>,
    pub(crate) leases: BTreeMap<String, i64>,
    pub(crate) fault: Option<Fault>,
}

impl Store {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self { runs: BTreeMap::new(), ready: BTreeMap::new(), leases: BTreeMap::new(), fault }
    }

    /// Applies a transaction at the store's time.
    pub(crate) fn apply(&mut self, tx: &Tx, now: i64) -> Applied {
        let mut stolen = false;
        let (reply, touched) = match tx {
            Tx::Start(row, changes) => (Reply::Done, self.start(row, changes.as_deref(), now)),
            Tx::Commit { exec_id, node, epoch, changes } => {
                let owned = self.runs.get(exec_id).is_some_and(|run| run.is_owned(node, *epoch));
                let (reply, touched) = self.commit(exec_id, node, *epoch, changes, now);
                stolen = reply == Reply::Done && !owned;
                (reply, touched)
            }
            Tx::Claim { node, limit } => (Reply::Done, self.claim(node, *limit)),
            Tx::Renew { node } => {
                self.leases.insert(node.clone(), now + LEASE);
                (Reply::Done, Vec::new())
            }
            Tx::Release { exec_id, node, epoch } => {
                let owned = self.runs.get(exec_id).is_some_and(|run| run.is_owned(node, *epoch));
                (Reply::Done, if owned { self.free(&|id, _| id == exec_id, now) } else { Vec::new() })
            }
            Tx::TakeUp { exec_id, node, epoch } => {
                let owned = self.runs.get_mut(exec_id).filter(|run| run.is_owned(node, *epoch));
                (Reply::Done, owned.map(|run| run.row.epoch += 1).map(|()| exec_id.clone()).into_iter().collect())
            }
            Tx::Recover { node } => (Reply::Done, self.recover(node, now)),
            Tx::Bury { node } => {
                self.leases.remove(node);
                (Reply::Done, self.free(&|_, owner| owner == node, now))
            }
            Tx::Cancel { exec_id } => self.request(exec_id, now, |row| row.cancel_request = true),
            Tx::Pause { exec_id, paused } => {
                let (reply, touched) = self.request(exec_id, now, |row| row.pause_request = *paused);
                if *paused && self.runs.get(exec_id).is_some_and(|run| run.row.status == "PAUSED") {
                    // It waits for `resume`, not for a node.
                    self.unqueue_paused(exec_id);
                }
                (reply, touched)
            }
            Tx::Signal { exec_id, signal } => (Reply::Done, self.signal(exec_id, signal)),
        };
        Applied { reply, touched, stolen }
    }

    fn start(&mut self, row: &Row, changes: Option<&Changes>, now: i64) -> Vec<String> {
        if self.runs.contains_key(&row.exec_id) {
            return Vec::new();
        }
        let mut touched = vec![row.exec_id.clone()];
        self.runs.insert(row.exec_id.clone(), Run::new(row.clone()));
        match changes {
            Some(changes) => touched.extend(self.write(&row.exec_id, changes, now)),
            None => {
                self.ready.insert(row.exec_id.clone(), now);
            }
        }
        touched
    }

    fn commit(&mut self, exec_id: &str, node: &str, epoch: i64, changes: &Changes, now: i64) -> (Reply, Vec<String>) {
        let Some(run) = self.runs.get(exec_id) else { return (Reply::Fenced, Vec::new()) };
        let owner = run.row.owner.as_deref() == Some(node);
        let fenced = match self.fault {
            Some(Fault::DropFencing) => false,
            Some(Fault::DropEpoch) => !owner,
            _ => !owner || run.row.epoch != epoch,
        };
        if fenced {
            return (Reply::Fenced, Vec::new());
        }
        let follows = run.row.last_seq == changes.after || self.fault == Some(Fault::DropSeqGuard);
        if !follows || run.is_terminal() {
            return (Reply::Conflict, Vec::new());
        }
        let mut touched = vec![exec_id.to_owned()];
        touched.extend(self.write(exec_id, changes, now));
        (Reply::Done, touched)
    }

    /// Writes changes and returns the other runs they concern.
    fn write(&mut self, exec_id: &str, changes: &Changes, now: i64) -> Vec<String> {
        let fault = self.fault;
        let Some(run) = self.runs.get_mut(exec_id) else { return Vec::new() };
        run.row.status.clone_from(&changes.status);
        run.row.state.clone_from(&changes.state);
        run.row.output = changes.output.clone().or(run.row.output.take());
        run.row.error = changes.error.clone().or(run.row.error.take());
        run.row.started_at = changes.started_at.or(run.row.started_at);
        run.row.finished_at = changes.finished_at;
        run.row.last_seq = changes.after + i64::try_from(changes.journal.len()).unwrap();
        run.journal.extend(changes.journal.iter().cloned());
        let torn = fault == Some(Fault::TornCommit) && changes.steps.len() > 1;
        for step in changes.steps.iter().skip(usize::from(torn)) {
            run.steps.insert(step.key.clone(), step.clone());
        }
        run.timers.extend(changes.timers_set.iter().cloned());
        if fault != Some(Fault::ForgetDisarm) {
            run.timers.retain(|timer, _| !changes.timers_cleared.contains(timer));
        }
        for (id, state) in &changes.settled {
            let unsettled = fault == Some(Fault::ForgetSettled) && *state != "queued";
            if let Some(signal) = run.signals.iter_mut().find(|signal| signal.id == *id && !unsettled) {
                signal.state = (*state).to_owned();
            }
        }
        if changes.finished_at.is_some() {
            run.row.owner = None;
            run.timers.clear();
            self.ready.remove(exec_id);
        }
        self.write_others(changes, now)
    }

    fn write_others(&mut self, changes: &Changes, now: i64) -> Vec<String> {
        let fault = self.fault;
        let mut touched = Vec::new();
        for child in &changes.children {
            touched.extend(self.start(child, None, now));
        }
        for (target, signal) in &changes.sent {
            touched.extend(self.signal(target, signal));
        }
        if fault != Some(Fault::LeaveChildren) {
            for child in &changes.canceled {
                touched.extend(self.request(child, now, |row| row.cancel_request = true).1);
            }
        }
        if fault != Some(Fault::ForgetChildPause) {
            for child in &changes.paused {
                touched.extend(self.request(child, now, |row| row.pause_request = true).1);
            }
        }
        for child in &changes.resumed {
            touched.extend(self.request(child, now, |row| row.pause_request = false).1);
        }
        touched
    }

    fn signal(&mut self, exec_id: &str, signal: &SignalRow) -> Vec<String> {
        let Some(run) = self.runs.get_mut(exec_id) else { return Vec::new() };
        if run.is_terminal() || run.signals.iter().any(|known| known.id == signal.id) {
            return Vec::new();
        }
        let position = i64::try_from(run.signals.len()).unwrap_or(i64::MAX);
        run.signals.push(SignalRow { position, ..signal.clone() });
        vec![exec_id.to_owned()]
    }

    /// Notes what someone wants of a run. One that nobody owns is queued, so that a node hears of it.
    fn request(&mut self, exec_id: &str, now: i64, note: impl FnOnce(&mut Row)) -> (Reply, Vec<String>) {
        let Some(run) = self.runs.get_mut(exec_id).filter(|run| !run.is_terminal()) else {
            return (Reply::Done, Vec::new());
        };
        note(&mut run.row);
        if run.row.owner.is_none() {
            self.ready.entry(exec_id.to_owned()).or_insert(now);
        }
        (Reply::Done, vec![exec_id.to_owned()])
    }

    fn unqueue_paused(&mut self, exec_id: &str) {
        if self.runs.get(exec_id).is_some_and(|run| !run.row.cancel_request) {
            self.ready.remove(exec_id);
        }
    }

    fn claim(&mut self, node: &str, limit: usize) -> Vec<String> {
        let ids: Vec<String> = self.ready.keys().take(limit).cloned().collect();
        for id in &ids {
            if self.fault != Some(Fault::KeepReady) {
                self.ready.remove(id);
            }
            if let Some(run) = self.runs.get_mut(id).filter(|run| !run.is_terminal()) {
                run.row.owner = Some(node.to_owned());
                run.row.epoch += 1;
            }
        }
        ids
    }

    fn recover(&mut self, me: &str, now: i64) -> Vec<String> {
        let leases = self.leases.clone();
        let freed = self.free(&|_, owner| owner != me && leases.get(owner).is_none_or(|until| *until <= now), now);
        self.leases.retain(|node, until| node == me || *until > now);
        freed
    }

    fn free(&mut self, which: &dyn Fn(&str, &str) -> bool, now: i64) -> Vec<String> {
        let fault = self.fault;
        let mut freed = Vec::new();
        for (id, run) in &mut self.runs {
            if !run.row.owner.as_deref().is_some_and(|owner| which(id, owner)) {
                continue;
            }
            run.row.owner = None;
            freed.push(id.clone());
            // A paused run waits for `resume` and not for a node, unless something was asked of it since.
            let asked = run.row.cancel_request || !run.row.pause_request;
            let asked = asked && fault != Some(Fault::ForgetPausedRequests);
            if (run.row.status != "PAUSED" || asked) && fault != Some(Fault::ForgetReady) {
                self.ready.insert(id.clone(), now);
            }
        }
        freed
    }
}
