//! Where starts and commits wait for a lane.
//!
//! A run has one transaction under way at a time, whichever lane has it, so that its events keep their order. Starts go
//! with one lane at a time: they count runs per workflow in rows that two lanes would only wait for.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::super::Error;
use super::super::work::encode::Encoded;
use super::super::work::operation::Outcome;
use super::known::Known;
use crate::id::ExecId;

/// Most logical transactions of one commit (cli-and-api §9.3).
const BATCH: usize = 256;
/// Transactions in the queue from which there is load.
const LOADED: usize = 8;

/// A logical transaction in the queue.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) member: Arc<Encoded>,
    pub(super) reply: oneshot::Sender<Result<Outcome, Error>>,
}

/// What a lane has to do next.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Written together.
    pub(super) together: Vec<Request>,
    /// Each written in a transaction of its own.
    pub(super) alone: Vec<Request>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    /// Runs with a transaction under way.
    busy: HashSet<ExecId>,
    /// A lane has starts.
    starting: bool,
    /// Transactions of their own under way.
    alone: usize,
    closed: bool,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Notify,
    /// Most transactions of their own at once.
    most_alone: usize,
}

impl Queue {
    pub(super) fn new(most_alone: usize) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), most_alone }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a transaction in; its outcome comes through the receiver. `None`: the queue is closed.
    pub(super) fn put(&self, member: Arc<Encoded>) -> Option<oneshot::Receiver<Result<Outcome, Error>>> {
        let (reply, answer) = oneshot::channel();
        {
            let mut state = self.state();
            if state.closed {
                return None;
            }
            state.waiting.push_back(Request { member, reply });
        }
        self.filled.notify_one();
        Some(answer)
    }

    /// Whether so much waits to be written that what is not urgent should.
    pub(super) fn is_loaded(&self) -> bool {
        self.state().waiting.len() >= LOADED
    }

    /// Takes nothing more in. Lanes end when it is empty.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_one();
    }

    /// Whether [`close`](Self::close) was called.
    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits for something to do. `None`: the queue is closed and empty.
    pub(super) async fn take(&self, known: &Known) -> Option<Taken> {
        loop {
            {
                let mut state = self.state();
                let taken = state.take(known, self.most_alone);
                if !taken.together.is_empty() || !taken.alone.is_empty() {
                    return Some(taken);
                }
                if state.closed && state.waiting.is_empty() {
                    break;
                }
            }
            self.filled.notified().await;
        }
        // The next lane ends too.
        self.filled.notify_one();
        None
    }

    /// These transactions have ended, `alone` or together.
    pub(super) fn done<'a>(&self, members: impl Iterator<Item = &'a Encoded>, alone: bool) {
        let mut state = self.state();
        for member in members {
            state.busy.remove(&member.exec_id);
            if alone {
                state.alone -= 1;
            } else if member.started.is_some() {
                state.starting = false;
            }
        }
        drop(state);
        self.filled.notify_one();
    }
}

impl State {
    fn take(&mut self, known: &Known, most_alone: usize) -> Taken {
        let mut taken = Taken::default();
        let mut left = VecDeque::new();
        let mut keys = HashSet::new();
        let may_start = !self.starting;
        // Runs and their order: what stays holds back what comes after it.
        let mut held: HashSet<ExecId> = HashSet::new();
        while taken.together.len() < BATCH
            && let Some(request) = self.waiting.pop_front()
        {
            let member = &request.member;
            let exec_id = &member.exec_id;
            let plain = known.is_plain(member);
            let room = if plain { member.started.is_none() || may_start } else { self.alone < most_alone };
            let key = member.key().map(|(_, key)| (Arc::clone(&key.scope), Arc::clone(&key.key)));
            let fits = room && !self.busy.contains(exec_id) && !held.contains(exec_id);
            if !fits || key.is_some_and(|key| !keys.insert(key)) {
                held.insert(exec_id.clone());
                left.push_back(request);
                continue;
            }
            self.busy.insert(exec_id.clone());
            if plain {
                self.starting |= member.started.is_some();
                taken.together.push(request);
            } else {
                self.alone += 1;
                taken.alone.push(request);
            }
        }
        left.append(&mut self.waiting);
        self.waiting = left;
        taken
    }
}
