//! The world: time, the network, clients, and what goes wrong.

use std::collections::{BTreeMap, VecDeque};

use super::audit::Audit;
use super::clients::Wish;
use super::fault::Fault;
use super::node::{Message, Node};
use super::programs::{self, Programs};
use super::rng::Rng;
use super::store::{Reply, Store, Tx};

pub(crate) const MILLISECOND: i64 = 1_000;
pub(crate) const SECOND: i64 = 1_000_000;

/// How long after the last fault everything must have come to its end.
const PATIENCE: i64 = 3_600 * SECOND;

/// Events of a trace that are kept.
const KEPT: usize = 60;

/// What is drawn once for a seed.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Programs whose result does not depend on what comes first.
    pub(crate) calm: bool,
    /// Attempts that are carried out again may end otherwise.
    pub(crate) fickle: bool,
    /// When things stop going wrong.
    until: i64,
    /// How often a node crashes between two commands, in a thousand.
    pub(crate) mid_crash: u64,
    /// How often something befalls a node, in microseconds.
    trouble: i64,
    /// How often messages and batches are lost or late, in a thousand.
    loss: u64,
}

/// What happens next.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A transaction reaches the store.
    Arrives(Request),
    /// The store commits what has reached it.
    Flush,
    /// A message reaches a node.
    Message { node: usize, life: u64, message: Message },
    /// A node comes up.
    Restart(usize),
    /// Something befalls a node.
    Trouble,
    /// A client asks, and asks again until it is answered.
    Ask(u64),
    /// A client is answered.
    Answered(u64),
    /// Nothing goes wrong from now on.
    Calm,
    /// Clients look after what waits for them.
    Garden,
}

/// A transaction on its way.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) from: Sender,
    pub(crate) ticket: u64,
    pub(crate) tx: Tx,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Sender {
    Node { node: usize, life: u64 },
    Client(u64),
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: i64,
    pub(crate) store: Store,
    pub(crate) nodes: Vec<Node>,
    pub(crate) programs: Programs,
    pub(crate) settings: Settings,
    pub(crate) fault: Option<Fault>,
    pub(crate) audit: Audit,
    /// Nothing goes wrong any more.
    pub(crate) quiet: bool,
    pub(crate) violation: Option<String>,
    queue: BTreeMap<(i64, u64), Happening>,
    ids: u64,
    arrived: Vec<Request>,
    pub(crate) wishes: BTreeMap<u64, Wish>,
    /// Runs that clients want.
    pub(crate) wanted: Vec<String>,
    trace: Option<VecDeque<String>>,
}

/// What a simulation came to.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) violation: Option<String>,
    pub(crate) trace: Vec<String>,
    /// Runs of it.
    pub(crate) runs: usize,
    /// Runs compared with the oracle.
    pub(crate) compared: usize,
    /// Commits of it.
    pub(crate) commits: u64,
}

impl World {
    pub(crate) fn new(seed: u64, fault: Option<Fault>, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let smooth = rng.mille(80);
        let settings = Settings {
            calm: rng.mille(600),
            fickle: rng.mille(200),
            until: if smooth { 0 } else { rng.between(20, 60) * SECOND },
            mid_crash: rng.below(15),
            trouble: rng.between(1, 15) * SECOND,
            loss: rng.below(60),
        };
        let nodes = 1 + usize::try_from(rng.below(3)).unwrap();
        let programs = programs::generate(&mut rng, settings.calm);
        let mut world = Self {
            now: 0,
            store: Store::new(fault),
            nodes: (0..nodes).map(Node::new).collect(),
            programs,
            fault,
            audit: Audit::default(),
            quiet: smooth,
            violation: None,
            queue: BTreeMap::new(),
            ids: 0,
            arrived: Vec::new(),
            wishes: BTreeMap::new(),
            wanted: Vec::new(),
            trace: traced.then(VecDeque::new),
            settings,
            rng,
        };
        world.begin();
        world.plan();
        world
    }

    fn begin(&mut self) {
        for node in 0..self.nodes.len() {
            self.at(self.now, Happening::Restart(node));
        }
        self.at(self.settings.until, Happening::Calm);
        self.at(SECOND, Happening::Garden);
        self.at(self.settings.trouble, Happening::Trouble);
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> End {
        while self.violation.is_none() {
            let Some(((at, _), happening)) = self.queue.pop_first() else { break };
            self.now = at;
            if self.now > self.settings.until + PATIENCE {
                let open = self.store.runs.values().filter(|run| !run.is_terminal());
                let open: Vec<_> = open.map(|run| (&run.row, self.store.ready.get(&run.row.exec_id))).collect();
                self.violation = Some(format!("not everything ends: {open:?}, wishes {:?}", self.wishes));
                break;
            }
            if matches!(happening, Happening::Garden) && self.is_over() {
                break;
            }
            self.happen(happening);
        }
        let compared = match &self.violation {
            None => self.audit.finish(&self.store, &self.programs, &self.settings),
            Some(_) => Ok(0),
        };
        let violation = self.violation.or_else(|| compared.clone().err());
        End {
            violation,
            trace: self.trace.unwrap_or_default().into(),
            runs: self.store.runs.len(),
            compared: compared.unwrap_or_default(),
            commits: self.audit.commits,
        }
    }

    fn is_over(&self) -> bool {
        let terminal = |id: &String| self.store.runs.get(id).is_some_and(|run| run.is_terminal());
        self.quiet
            && self.wishes.is_empty()
            && self.wanted.iter().all(terminal)
            && self.store.runs.values().all(|run| run.is_terminal())
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(request) => {
                if self.arrived.is_empty() {
                    let wait = self.rng.between(200, 3 * MILLISECOND);
                    self.at(self.now + wait, Happening::Flush);
                }
                if let (Sender::Client(wish), Some(Fault::AcknowledgeEarly)) = (request.from, self.fault) {
                    self.answered(wish);
                }
                self.arrived.push(request);
            }
            Happening::Flush => self.flush(),
            Happening::Message { node, life, message } => self.arrive(node, life, message),
            Happening::Restart(node) => self.restart(node),
            Happening::Trouble => self.trouble(),
            Happening::Ask(wish) => self.ask(wish),
            Happening::Answered(wish) => self.answered(wish),
            Happening::Calm => self.calm(),
            Happening::Garden => self.garden(),
        }
    }

    fn arrive(&mut self, node: usize, life: u64, message: Message) {
        let there = &self.nodes[node];
        if !there.up || there.life != life {
            return;
        }
        if there.paused_until > self.now {
            return self.at(there.paused_until, Happening::Message { node, life, message });
        }
        self.receive(node, message);
    }

    /// The store commits a batch, or fails to, or does and nobody hears of it.
    fn flush(&mut self) {
        let batch = std::mem::take(&mut self.arrived);
        let loss = if self.quiet { 0 } else { self.settings.loss };
        let (fails, unheard, lost) = (self.rng.mille(loss), self.rng.mille(loss), self.rng.mille(loss));
        if fails || unheard || lost {
            self.trace(|_| format!("batch: fails {fails}, unheard {unheard}, lost {lost}"));
        }
        for request in batch {
            let alone = self.rng.mille(loss / 2);
            let reply = match (fails || alone, lost) {
                (true, _) => Reply::Unavailable,
                (false, true) => Reply::Unknown,
                (false, false) => {
                    let heard = self.apply(&request);
                    if unheard { Reply::Unknown } else { heard }
                }
            };
            if self.violation.is_some() {
                return;
            }
            self.reply(&request, reply);
        }
    }

    fn apply(&mut self, request: &Request) -> Reply {
        if let Some(rest) = self.split(request) {
            return rest;
        }
        let applied = self.store.apply(&request.tx, self.now);
        self.trace(|_| format!("store: {:?} of {:?} -> {:?}", brief(&request.tx), request.from, applied.reply));
        if applied.stolen {
            self.fail("a run was written by a node that does not own it".to_owned());
        }
        for exec_id in &applied.touched {
            if let Err(violation) = self.audit.check(&self.store, &self.programs, exec_id) {
                self.fail(format!("{exec_id}: {violation}"));
                return applied.reply;
            }
            self.wake(exec_id);
        }
        applied.reply
    }

    /// With [`Fault::SplitCommit`] the first half of the events is one commit and the rest a second, if the node lives.
    fn split(&mut self, request: &Request) -> Option<Reply> {
        if self.fault != Some(Fault::SplitCommit) {
            return None;
        }
        let Tx::Commit { exec_id, node, epoch, changes } = &request.tx else { return None };
        let half = changes.journal.len() / 2;
        if half == 0 {
            return None;
        }
        let (mut first, mut second) = ((**changes).clone(), (**changes).clone());
        second.journal = first.journal.split_off(half);
        let seq = first.journal.last().map_or(0, |row| row.seq);
        let recorded = |step: &super::store::StepRow| step.result_seq.is_some_and(|result| result <= seq);
        first.steps.retain(recorded);
        second.steps.retain(|step| !recorded(step));
        second.after = seq;
        let commit = |changes| Request {
            from: request.from,
            ticket: request.ticket,
            tx: Tx::Commit {
                exec_id: exec_id.clone(),
                node: node.clone(),
                epoch: *epoch,
                changes: std::sync::Arc::new(changes),
            },
        };
        let (first, second) = (commit(first), commit(second));
        self.fault = None;
        let reply = self.apply(&first);
        self.fault = Some(Fault::SplitCommit);
        if reply == Reply::Done {
            self.at(self.now + MILLISECOND, Happening::Arrives(second));
            return Some(Reply::Unavailable);
        }
        Some(reply)
    }

    fn reply(&mut self, request: &Request, reply: Reply) {
        let Some(at) = self.delivery(5 * SECOND) else { return };
        match request.from {
            Sender::Node { node, life } => {
                let message = Message::Reply { ticket: request.ticket, reply };
                self.at(at, Happening::Message { node, life, message });
            }
            Sender::Client(wish) if reply == Reply::Done => self.at(at, Happening::Answered(wish)),
            Sender::Client(_) => {}
        }
    }

    /// Tells the owners of a run and of its parent that something has changed, unless the word is lost.
    fn wake(&mut self, exec_id: &str) {
        let Some(run) = self.store.runs.get(exec_id) else { return };
        let parent = run.row.parent.as_ref().map(|(parent, _)| parent.clone()).filter(|_| run.is_terminal());
        for exec_id in [Some(exec_id.to_owned()), parent].into_iter().flatten() {
            let owner = self.store.runs.get(&exec_id).and_then(|run| run.row.owner.clone());
            let Some(node) = self.nodes.iter().position(|node| Some(&node.id) == owner.as_ref()) else { continue };
            for _ in 0..1 + self.rng.below(2) {
                if self.rng.mille(600) {
                    let delay = self.rng.between(100, 50 * MILLISECOND);
                    self.tell(node, self.now + delay, Message::Look { exec_id: exec_id.clone() });
                }
            }
        }
    }

    /// When a message that is sent now arrives; `None`: never.
    pub(crate) fn delivery(&mut self, late: i64) -> Option<i64> {
        let delay = self.rng.between(100, 3 * MILLISECOND);
        if self.quiet {
            return Some(self.now + delay);
        }
        if self.rng.mille(self.settings.loss) {
            return None;
        }
        let late = if self.rng.mille(self.settings.loss) { self.rng.between(0, late) } else { 0 };
        Some(self.now + delay + late)
    }

    /// Sends a transaction to the store; returns its ticket.
    pub(crate) fn send(&mut self, node: usize, tx: Tx) -> u64 {
        let ticket = self.id();
        let life = self.nodes[node].life;
        if let Some(at) = self.delivery(20 * SECOND) {
            self.at(at, Happening::Arrives(Request { from: Sender::Node { node, life }, ticket, tx }));
        }
        ticket
    }

    /// A message to a node, or of a node to itself.
    pub(crate) fn tell(&mut self, node: usize, at: i64, message: Message) {
        let life = self.nodes[node].life;
        self.at(at, Happening::Message { node, life, message });
    }

    pub(crate) fn answer(&mut self, wish: u64) {
        if let Some(at) = self.delivery(5 * SECOND) {
            self.at(at, Happening::Answered(wish));
        }
    }

    fn trouble(&mut self) {
        if self.quiet {
            return;
        }
        let wait = self.rng.between(1, 2 * self.settings.trouble);
        self.at(self.now + wait, Happening::Trouble);
        let node = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap();
        match self.rng.below(3) {
            0 => self.crash(node),
            1 => {
                let pause = self.rng.between(1, 30) * SECOND;
                self.trace(|_| format!("n{node} stands still for {} s", pause / SECOND));
                self.nodes[node].paused_until = self.now + pause;
            }
            _ => {
                let offset = self.rng.between(-20, 20) * SECOND;
                self.trace(|_| format!("n{node} clock is off by {} s", offset / SECOND));
                self.nodes[node].offset = offset;
            }
        }
    }

    /// A node and all it knows is gone.
    pub(crate) fn crash(&mut self, node: usize) {
        if !self.nodes[node].up {
            return;
        }
        self.trace(|_| format!("n{node} crashes"));
        self.nodes[node].up = false;
        self.nodes[node].drivers.clear();
        let wait = self.rng.between(100 * MILLISECOND, 20 * SECOND);
        self.at(self.now + wait, Happening::Restart(node));
    }

    fn calm(&mut self) {
        self.trace(|_| "nothing goes wrong any more".to_owned());
        self.quiet = true;
        for node in &mut self.nodes {
            node.paused_until = node.paused_until.min(self.now);
            node.offset = 0;
        }
    }

    pub(crate) fn at(&mut self, at: i64, happening: Happening) {
        let id = self.id();
        self.queue.insert((at.max(self.now), id), happening);
    }

    /// A number that nobody else has.
    pub(crate) fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub(crate) fn fail(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_none() {
            return;
        }
        let line = format!("{:>12.6}  {}", self.now as f64 / SECOND as f64, line(self));
        if let Some(trace) = &mut self.trace {
            trace.push_back(line);
            if trace.len() > KEPT {
                trace.pop_front();
            }
        }
    }
}

/// A transaction in a line of a trace.
fn brief(tx: &Tx) -> String {
    match tx {
        Tx::Commit { exec_id, node, epoch, changes } => {
            let events: Vec<String> =
                changes.journal.iter().map(|row| format!("{} {} {}", row.seq, row.event, row.data)).collect();
            format!("commit {exec_id} by {node} epoch {epoch} after {}: {}", changes.after, events.join("; "))
        }
        Tx::Start(row, _) => format!("start {} for {:?}", row.exec_id, row.owner),
        other => format!("{other:?}"),
    }
}
