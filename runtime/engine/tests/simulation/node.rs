//! A node: claims runs, renews its lease, polls for what it was not told, and drives runs.

use std::collections::BTreeMap;

use compozy_engine::decide::{decide, resume};
use compozy_engine::event::{Event, TimerKey};
use compozy_engine::state::{RunState, StepKey};
use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;

use super::driver::{Driver, Heard};
use super::fault::Fault;
use super::projection;
use super::store::{LEASE, Reply, Row, Tx};
use super::world::{MILLISECOND, SECOND, World};

/// Most runs of a node at once.
const SLOTS: usize = 4;

/// What a node hears of.
#[derive(Debug)]
pub(crate) enum Message {
    Poll,
    /// A client wants a run to begin here.
    Start {
        wish: u64,
        row: Box<Row>,
    },
    /// Something about a run has changed.
    Look {
        exec_id: String,
    },
    /// A transaction came to this.
    Reply {
        ticket: u64,
        reply: Reply,
    },
    /// A call has ended.
    Ended {
        exec_id: String,
        driver: u64,
        key: StepKey,
        call: u64,
    },
    /// A timer may be due.
    Timer {
        exec_id: String,
        driver: u64,
        timer: TimerKey,
    },
    /// A commit has not been answered, or is to be tried again.
    Overdue {
        exec_id: String,
        ticket: u64,
    },
}

/// A process.
#[derive(Debug)]
pub(crate) struct Node {
    /// Name of this life of it.
    pub(crate) id: String,
    pub(crate) life: u64,
    pub(crate) up: bool,
    /// How far its clock is off, in microseconds.
    pub(crate) offset: i64,
    pub(crate) paused_until: i64,
    /// When it asked for the lease it has.
    renewed_at: Option<i64>,
    asked_at: i64,
    renewals: BTreeMap<u64, i64>,
    starts: BTreeMap<u64, u64>,
    claims: Vec<u64>,
    pub(crate) drivers: BTreeMap<String, Driver>,
    /// The last epoch under which it has driven a run.
    driven: BTreeMap<String, i64>,
}

impl Node {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            id: format!("n{index}.0"),
            life: 0,
            up: false,
            offset: 0,
            paused_until: 0,
            renewed_at: None,
            asked_at: 0,
            renewals: BTreeMap::new(),
            starts: BTreeMap::new(),
            claims: Vec::new(),
            drivers: BTreeMap::new(),
            driven: BTreeMap::new(),
        }
    }

    /// It may start steps: its lease is not older than two thirds.
    fn may_work(&self, now: i64) -> bool {
        self.renewed_at.is_some_and(|at| now - at <= LEASE * 2 / 3)
    }
}

impl World {
    pub(crate) fn restart(&mut self, at: usize) {
        let life = self.nodes[at].life + 1;
        let former = std::mem::replace(
            &mut self.nodes[at],
            Node { id: format!("n{at}.{life}"), life, up: true, ..Node::new(at) },
        );
        self.trace(|world| format!("{} begins", world.nodes[at].id));
        // On one machine the lock file tells at once that the former process is dead.
        if former.life > 0 && self.rng.mille(500) {
            self.send(at, Tx::Bury { node: former.id });
        }
        self.tell(at, self.now, Message::Poll);
    }

    pub(crate) fn receive(&mut self, at: usize, message: Message) {
        let lost = !self.nodes[at].may_work(self.now) && !self.nodes[at].drivers.is_empty();
        if lost && self.fault != Some(Fault::IgnoreLease) {
            self.trace(|world| format!("{} has lost its lease", world.nodes[at].id));
            self.nodes[at].drivers.clear();
        }
        match message {
            Message::Poll => self.poll(at),
            Message::Start { wish, row } => self.start_here(at, wish, *row),
            Message::Look { exec_id } => {
                self.look(at, &exec_id, true);
                self.go_on(at, &exec_id);
            }
            Message::Reply { ticket, reply } => self.replied(at, ticket, &reply),
            Message::Ended { exec_id, driver, key, call } => {
                if let Some(there) = self.driver(at, &exec_id).filter(|there| there.id == driver) {
                    there.heard.push_back(Heard::Ended { key, call });
                    self.go_on(at, &exec_id);
                }
            }
            Message::Timer { exec_id, driver, timer } => {
                if self.driver(at, &exec_id).is_some_and(|there| there.id == driver) {
                    self.timer_rings(at, &exec_id, timer);
                    self.go_on(at, &exec_id);
                }
            }
            Message::Overdue { exec_id, ticket } => self.overdue(at, &exec_id, ticket),
        }
    }

    pub(crate) fn driver(&mut self, at: usize, exec_id: &str) -> Option<&mut Driver> {
        self.nodes[at].drivers.get_mut(exec_id)
    }

    /// The time on the node's clock.
    pub(crate) fn clock(&self, at: usize) -> i64 {
        self.now + self.nodes[at].offset
    }

    fn poll(&mut self, at: usize) {
        let wait = self.rng.between(100 * MILLISECOND, 600 * MILLISECOND);
        self.tell(at, self.now + wait, Message::Poll);
        let node = &self.nodes[at];
        let id = node.id.clone();
        if node.renewed_at.is_none() || self.now - node.asked_at >= LEASE / 3 {
            let ticket = self.send(at, Tx::Renew { node: id.clone() });
            self.nodes[at].renewals.insert(ticket, self.now);
            self.nodes[at].asked_at = self.now;
        }
        if !self.nodes[at].may_work(self.now) {
            return;
        }
        if self.rng.mille(200) {
            self.send(at, Tx::Recover { node: id.clone() });
        }
        // A run that only waits takes no slot, or runs that wait for their sub-runs would keep these from starting.
        let drivers = self.nodes[at].drivers.values();
        let busy = drivers.filter(|driver| matches!(driver.state.status, Status::Pending | Status::Running)).count();
        let free = SLOTS.saturating_sub(busy);
        if free > 0 && !self.store.ready.is_empty() {
            let limit = 1 + usize::try_from(self.rng.below(free as u64)).unwrap();
            let ticket = self.send(at, Tx::Claim { node: id, limit });
            self.nodes[at].claims.push(ticket);
        }
        self.sweep(at);
        let driven: Vec<String> = self.nodes[at].drivers.keys().cloned().collect();
        for exec_id in driven {
            self.look(at, &exec_id, false);
            self.go_on(at, &exec_id);
        }
    }

    /// Goes on with runs that this node owns and does not drive: a claim, a start or a commit whose answer was lost.
    fn sweep(&mut self, at: usize) {
        if self.fault == Some(Fault::ForgetUnknownClaims) {
            return;
        }
        self.adopt_all(at);
    }

    fn adopt_all(&mut self, at: usize) {
        let node = &self.nodes[at];
        let owned = self.store.runs.values().filter(|run| run.row.owner.as_ref() == Some(&node.id));
        let driven = |exec_id: &str, epoch: i64| node.drivers.get(exec_id).is_some_and(|driver| driver.epoch == epoch);
        let idle = owned.filter(|run| !driven(&run.row.exec_id, run.row.epoch));
        let idle: Vec<(String, i64)> = idle.map(|run| (run.row.exec_id.clone(), run.row.epoch)).collect();
        for (exec_id, epoch) in idle {
            let node = &self.nodes[at];
            // A commit that was given up may still be on its way. Under the same epoch it would be taken for one that
            // is decided from here on.
            let again = node.driven.get(&exec_id) == Some(&epoch) && self.fault != Some(Fault::SameEpochAgain);
            if again {
                let node = node.id.clone();
                self.send(at, Tx::TakeUp { exec_id, node, epoch });
            } else if node.up {
                self.adopt(at, &exec_id);
            }
        }
    }

    /// Loads a run that this node owns and goes on with it.
    pub(crate) fn adopt(&mut self, at: usize, exec_id: &str) {
        let Some(run) = self.store.runs.get(exec_id).filter(|run| !run.is_terminal()) else { return };
        let program = self.programs[&run.row.workflow].clone();
        let state = projection::restore(&program, run, self.fault);
        let (epoch, paused) = (run.row.epoch, run.row.pause_request);
        let mut commands = resume(&state);
        if self.fault == Some(Fault::ForgetTimers) {
            commands.retain(|command| !matches!(command, compozy_engine::command::Command::Arm { .. }));
        }
        let pending = state.status == Status::Pending;
        let id = self.id();
        let mut driver = Driver::new(id, exec_id, epoch, program, state);
        if pending {
            driver.heard.extend(paused.then_some(Heard::Pause));
            driver.heard.push_back(Heard::Start);
            commands.clear();
        }
        self.trace(|world| format!("{} goes on with {exec_id}, epoch {epoch}", world.nodes[at].id));
        self.nodes[at].driven.insert(exec_id.to_owned(), epoch);
        self.nodes[at].drivers.insert(exec_id.to_owned(), driver);
        self.carry_out(at, exec_id, commands);
        self.look(at, exec_id, false);
        self.go_on(at, exec_id);
    }

    fn start_here(&mut self, at: usize, wish: u64, mut row: Row) {
        if !self.nodes[at].may_work(self.now) {
            return;
        }
        row.owner = Some(self.nodes[at].id.clone());
        row.epoch = 1;
        let program = self.programs[&row.workflow].clone();
        let mut state = RunState::new(projection::facts(&row.exec_id, row.deadline), 0);
        let now = self.clock(at);
        let decision = decide(&program.plan, &mut state, Event::Start, Timestamp(now));
        let changes = projection::changes(&state, &decision, now);
        let ticket = self.send(at, Tx::Start(Box::new(row), Some(changes.into())));
        self.nodes[at].starts.insert(ticket, wish);
    }

    fn replied(&mut self, at: usize, ticket: u64, reply: &Reply) {
        let node = &mut self.nodes[at];
        if let Some(asked_at) = node.renewals.remove(&ticket) {
            if *reply == Reply::Done {
                node.renewed_at = node.renewed_at.max(Some(asked_at));
            }
            return;
        }
        if let Some(wish) = node.starts.remove(&ticket) {
            if *reply == Reply::Done {
                self.answer(wish);
                self.adopt_owned(at);
            }
            return;
        }
        if let Some(claim) = node.claims.iter().position(|claim| *claim == ticket) {
            node.claims.remove(claim);
            if *reply == Reply::Done {
                self.adopt_owned(at);
            }
            return;
        }
        self.committed(at, ticket, reply);
    }

    fn adopt_owned(&mut self, at: usize) {
        if self.nodes[at].may_work(self.now) {
            self.adopt_all(at);
        }
    }

    /// Reads what others have asked of a run, what its sub-runs have come to and which timers are due.
    fn look(&mut self, at: usize, exec_id: &str, told: bool) {
        let node = &self.nodes[at];
        let clock = self.now + node.offset;
        let Some(driver) = node.drivers.get(exec_id) else { return };
        let Some(run) = self.store.runs.get(exec_id).filter(|run| run.is_owned(&node.id, driver.epoch)) else { return };
        let mut heard = Vec::new();
        if run.row.cancel_request && !driver.heard.contains(&Heard::Cancel) {
            heard.push(Heard::Cancel);
        }
        let asked = driver.heard.iter().any(|heard| matches!(heard, Heard::Pause | Heard::Resume));
        if run.row.pause_request != driver.state.paused && !asked {
            heard.push(if run.row.pause_request { Heard::Pause } else { Heard::Resume });
        }
        for signal in &run.signals {
            let again = self.fault == Some(Fault::RedeliverSignals);
            if (signal.state == "sent" || again) && !driver.offered.contains(&signal.id) {
                heard.push(Heard::Signal(projection::signal(signal)));
            }
        }
        if told || self.fault != Some(Fault::MissChildEnds) {
            let ended = |id: &String| self.store.runs.get(id).is_some_and(|child| child.is_terminal());
            let ended = driver.awaited.iter().filter(|(_, id)| ended(id));
            heard.extend(ended.map(|(key, id)| Heard::Child { key: key.clone(), exec_id: id.clone() }));
        }
        let due = driver.timers.iter().filter(|(_, due)| **due <= clock);
        heard.extend(due.map(|(timer, _)| Heard::Timer(timer.clone())));
        if let Some(driver) = self.driver(at, exec_id) {
            for what in heard {
                if let Heard::Signal(signal) = &what {
                    driver.offered.insert(signal.id.clone());
                }
                driver.heard.push_back(what);
            }
        }
    }

    fn timer_rings(&mut self, at: usize, exec_id: &str, timer: TimerKey) {
        let clock = self.clock(at);
        let Some(driver) = self.driver(at, exec_id) else { return };
        let (id, due) = (driver.id, driver.timers.get(&timer).copied());
        match due {
            Some(due) if due <= clock => driver.heard.push_back(Heard::Timer(timer)),
            // The clock was set back.
            Some(due) => {
                let exec_id = exec_id.to_owned();
                let wait = (due - clock).min(10 * SECOND);
                self.tell(at, self.now + wait, Message::Timer { exec_id, driver: id, timer });
            }
            None => {}
        }
    }
}
