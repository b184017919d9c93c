//! Clients: what they want, and that they ask again until they are answered.

use super::node::Message;
use super::programs;
use super::projection;
use super::store::{SignalRow, Tx};
use super::world::{Happening, MILLISECOND, Request, SECOND, Sender, World};

/// What a client wants and has not been told to be done.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) tx: Tx,
    /// The first try goes through a node that begins the run at once.
    pub(crate) through_node: bool,
}

impl World {
    /// Draws what clients will want, and when.
    pub(crate) fn plan(&mut self) {
        for number in 0..1 + self.rng.below(3) {
            let exec_id = format!("r{number}");
            let workflow = programs::ROOTS[usize::try_from(self.rng.below(2)).unwrap()];
            let start = self.rng.between(0, 10 * SECOND);
            let hurried = !self.settings.calm && self.rng.mille(200);
            let deadline = hurried.then(|| start + self.rng.between(SECOND, 60 * SECOND));
            let row = projection::new_row(&exec_id, workflow, deadline);
            let through_node = self.rng.mille(500);
            self.wish(start, Tx::Start(Box::new(row), None), through_node);
            self.wanted.push(exec_id.clone());
            for _ in 0..self.rng.below(5) {
                let at = start + self.rng.between(0, 40 * SECOND);
                let signal = self.new_signal();
                self.wish(at, Tx::Signal { exec_id: exec_id.clone(), signal }, false);
            }
            if self.rng.mille(300) {
                for _ in 0..1 + self.rng.below(3) {
                    let at = start + self.rng.between(0, 30 * SECOND);
                    let until = at + self.rng.between(0, 15 * SECOND);
                    self.wish(at, Tx::Pause { exec_id: exec_id.clone(), paused: true }, false);
                    self.wish(until, Tx::Pause { exec_id: exec_id.clone(), paused: false }, false);
                }
            }
            if self.rng.mille(150) {
                let at = start + self.rng.between(0, 40 * SECOND);
                self.wish(at, Tx::Cancel { exec_id }, false);
            }
        }
    }

    fn new_signal(&mut self) -> SignalRow {
        let matches = self.rng.mille(600);
        SignalRow {
            position: 0,
            id: format!("s{}", self.id()),
            name: if self.rng.mille(500) { "a" } else { "b" }.to_owned(),
            payload: format!("{{\"match\":{matches}}}"),
            state: "sent".to_owned(),
        }
    }

    fn wish(&mut self, at: i64, tx: Tx, through_node: bool) {
        let id = self.id();
        self.wishes.insert(id, Wish { tx, through_node });
        self.at(at, Happening::Ask(id));
    }

    pub(crate) fn ask(&mut self, id: u64) {
        let Some(wish) = self.wishes.get_mut(&id) else { return };
        let through_node = std::mem::take(&mut wish.through_node);
        let tx = wish.tx.clone();
        self.at(self.now + SECOND, Happening::Ask(id));
        match tx {
            Tx::Start(row, _) if through_node => {
                let node = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap();
                self.tell(node, self.now + MILLISECOND, Message::Start { wish: id, row });
            }
            // Nobody can ask anything of a run that is not there yet.
            Tx::Cancel { exec_id } | Tx::Pause { exec_id, .. } | Tx::Signal { exec_id, .. }
                if !self.store.runs.contains_key(&exec_id) => {}
            tx => {
                if let Some(at) = self.delivery(20 * SECOND) {
                    self.at(at, Happening::Arrives(Request { from: Sender::Client(id), ticket: 0, tx }));
                }
            }
        }
    }

    pub(crate) fn answered(&mut self, id: u64) {
        let Some(wish) = self.wishes.remove(&id) else { return };
        if let Err(violation) = self.audit.acknowledged(&self.store, &wish.tx) {
            self.fail(violation);
        }
    }

    /// Sends signals to waits that would wait for ever and ends pauses that nobody ends.
    pub(crate) fn garden(&mut self) {
        let wait = if self.quiet { 2 } else { 5 };
        self.at(self.now + wait * SECOND, Happening::Garden);
        let mut wishes = Vec::new();
        for (exec_id, run) in &self.store.runs {
            if run.is_terminal() {
                continue;
            }
            if self.quiet && run.row.pause_request && run.row.parent.is_none() {
                wishes.push(Tx::Pause { exec_id: exec_id.clone(), paused: false });
            }
            let state = projection::restore(&self.programs[&run.row.workflow], run, None);
            let names = state.steps.listening().filter_map(|step| step.opening.as_ref()?.waiting());
            for name in names.map(|wait| wait.name.clone()) {
                let coming = |row: &SignalRow| row.name == name && (row.state == "sent" || row.state == "queued");
                if !run.signals.iter().any(coming) {
                    let signal = SignalRow { name, ..self.new_signal_for(exec_id, &run.signals) };
                    wishes.push(Tx::Signal { exec_id: exec_id.clone(), signal });
                }
            }
        }
        for tx in wishes {
            self.wish(self.now, tx, false);
        }
    }

    /// A signal that matches.
    fn new_signal_for(&self, exec_id: &str, known: &[SignalRow]) -> SignalRow {
        SignalRow {
            position: 0,
            id: format!("g{}.{}.{exec_id}", self.now, known.len()),
            name: String::new(),
            payload: "{\"match\":true}".to_owned(),
            state: "sent".to_owned(),
        }
    }
}
