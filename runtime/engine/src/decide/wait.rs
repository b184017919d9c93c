//! Signals: kept in the order they came, handed to one wait at a time, consumed or ignored.

use super::Turn;
use super::step::Begin;
use crate::command::Command;
use crate::opening::Signal;
use crate::record::{Record, SignalState};
use crate::state::StepKey;

impl Turn<'_> {
    /// A signal reached the run.
    pub(super) fn signal(&mut self, signal: Signal) {
        let held = |id: &str| {
            let waits = self.state.steps.open().filter_map(|step| step.opening.as_ref()?.waiting()?.signal.as_ref());
            waits.into_iter().any(|signal| signal.id == id)
        };
        if self.state.inbox.iter().any(|known| known.id == signal.id) || held(&signal.id) {
            return;
        }
        let (signal_id, name) = (signal.id.clone(), signal.name.clone());
        self.state.inbox.push_back(signal);
        self.record(Record::Signal { signal_id, name, state: SignalState::Queued, key: None });
        self.offer();
    }

    /// Hands kept signals to the waits for them: the oldest signal to the wait that began first.
    pub(super) fn offer(&mut self) {
        if self.state.paused {
            return;
        }
        while let Some((at, key)) = self.match_up() {
            let Some(signal) = self.state.inbox.remove(at) else { return };
            self.take(&key, signal);
        }
    }

    /// The first kept signal that a wait listens for, and that wait.
    fn match_up(&self) -> Option<(usize, StepKey)> {
        self.state.inbox.iter().enumerate().find_map(|(at, signal)| {
            let listening = self.state.steps.listening().filter(|step| {
                step.opening.as_ref().and_then(|opening| opening.waiting()).is_some_and(|wait| wait.name == signal.name)
            });
            let first = listening.min_by_key(|step| step.position)?;
            Some((at, first.key.clone()))
        })
    }

    fn take(&mut self, key: &StepKey, signal: Signal) {
        let Some(step) = self.state.steps.at(key) else { return };
        let mut address = step.address.clone();
        let processor = self.plan.task(&address).and_then(|task| task.children().first());
        let processing = processor.is_some();
        self.change(&key.path, |step| {
            if let Some(wait) = step.opening.as_mut().and_then(|opening| opening.waiting_mut()) {
                wait.signal = Some(signal);
                wait.processing = processing;
            }
        });
        let Some(processor) = processor else { return self.command(Command::Match(key.clone())) };
        address.push(0);
        let id = processor.id.clone();
        self.begin(Begin { parent: Some(key.clone()), address, id, index: None, overlay: None, cause: None });
    }

    /// The processor of a wait has ended, well or not; the condition tells what that means.
    pub(super) fn processed(&mut self, key: &StepKey) {
        let waits = self.change(&key.path, |step| {
            let wait = step.opening.as_mut().and_then(|opening| opening.waiting_mut());
            wait.is_some_and(|wait| std::mem::take(&mut wait.processing))
        });
        if waits == Some(true) {
            self.command(Command::Match(key.clone()));
        }
    }

    /// The condition does not hold: the signal is gone and waiting goes on.
    pub(super) fn unmatched(&mut self, key: &StepKey) {
        self.settle_signal(key, SignalState::Ignored);
        self.offer();
    }

    /// Records what became of the signal that the wait `key` holds, if it is one.
    pub(super) fn settle_signal(&mut self, key: &StepKey, state: SignalState) {
        let Some(signal) = self.give_up_signal(key) else { return };
        let Signal { id, name, .. } = signal;
        self.record(Record::Signal { signal_id: id.clone(), name, state, key: Some(key.clone()) });
        self.out.settled.push((id, state));
    }

    /// A wait ends without having looked at the signal it holds, which is kept for the next, in its old place.
    pub(super) fn keep_signal(&mut self, key: &StepKey) {
        if let Some(signal) = self.give_up_signal(key) {
            let at = self.state.inbox.partition_point(|kept| kept.position < signal.position);
            self.state.inbox.insert(at, signal);
        }
    }

    fn give_up_signal(&mut self, key: &StepKey) -> Option<Signal> {
        let wait = self.state.steps.at(key)?.opening.as_ref()?.waiting()?;
        wait.signal.as_ref()?;
        self.change(&key.path, |step| {
            let wait = step.opening.as_mut()?.waiting_mut()?;
            wait.processing = false;
            wait.signal.take()
        })?
    }
}
