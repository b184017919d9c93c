//! How a driver writes, and what it hears meanwhile.

use std::time::Duration;

use super::super::held::HANDED_BACK;
use super::{Control, Driver, Ended};
use crate::storage;
use crate::storage::row::{Changes, Journal, RunUpdate, Woken};

/// First and longest wait before a commit that met a full or busy disk is tried again.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

impl Driver {
    /// Writes what a run of level `memory` has held, so that the next owner goes on from here.
    pub(super) async fn hand_over(&mut self) {
        let Some(held) = self.held.take() else { return };
        let storage = &self.worker.storage;
        let mut changes = match held.into_changes() {
            Some(changes) => changes,
            // Nothing has happened since the last commit, but whoever goes on must be told that nothing is missing.
            None => match storage.run(&self.exec_id).await {
                Ok(Some(run)) => Changes { run: Some(RunUpdate::of(&run)), ..Changes::default() },
                _ => return,
            },
        };
        changes.at = self.worker.clock.now();
        if let Some(run) = &mut changes.run {
            run.reason = Some(HANDED_BACK.to_owned());
        }
        let written = storage.commit(&self.exec_id, &self.worker.id, self.epoch, &changes).await;
        if let Err(error) = written {
            tracing::warn!(run.id = %self.exec_id, "failed to write a run of level memory, it is lost: {error}");
        }
    }

    /// Commits, waiting out a full or busy disk: a result that is known must not be lost because space ran out.
    pub(super) async fn commit(&mut self, changes: Changes) -> Option<Ended> {
        let mut wait = RETRY.0;
        loop {
            // What is known to be too late is not even tried.
            if self.is_dropped() {
                return Some(Ended::Dropped);
            }
            let Some(written) = self.write(&changes).await else { return Some(Ended::Dropped) };
            match written {
                Ok(woken) => {
                    self.tell(changes.journal);
                    self.worker.wake_up(&woken);
                    super::super::triggers::recorded(&self.worker, &changes.starts);
                    return None;
                }
                Err(storage::Error::Fenced) => {
                    tracing::warn!(run.id = %self.exec_id, "run is owned elsewhere now, dropping it");
                    return Some(Ended::Fenced);
                }
                Err(error @ (storage::Error::DiskFull | storage::Error::Busy(_) | storage::Error::Unavailable(_))) => {
                    tracing::warn!(run.id = %self.exec_id, "commit waits: {error}");
                    if let Some(ended) = self.ended_while_waiting(wait).await {
                        return Some(ended);
                    }
                    wait = (wait * 2).min(RETRY.1);
                }
                Err(error) => {
                    // Nothing of it was written; whoever claims the run next goes on from what is recorded.
                    tracing::error!(run.id = %self.exec_id, "failed to record a step: {error}");
                    return Some(Ended::HandedBack);
                }
            }
        }
    }

    /// One try. `None`: the lease was lost meanwhile. Should the transaction still be carried out, then as if it had been
    /// before, and whoever takes the run up has a new epoch.
    async fn write(&mut self, changes: &Changes) -> Option<Result<Vec<Woken>, storage::Error>> {
        let storage = std::sync::Arc::clone(&self.worker.storage);
        let write = storage.commit(&self.exec_id, &self.worker.id, self.epoch, changes);
        tokio::pin!(write);
        loop {
            tokio::select! {
                biased;
                written = &mut write => return Some(written),
                control = self.control.recv() => match control {
                    Some(Control::Drop) => return None,
                    control => self.heard.push_back(control.unwrap_or(Control::Stop)),
                },
            }
        }
    }

    /// Waits before the next try, unless the driver has to end.
    async fn ended_while_waiting(&mut self, wait: Duration) -> Option<Ended> {
        if self.heard.iter().any(|control| matches!(control, Control::Stop)) {
            return Some(Ended::HandedBack);
        }
        let clock = self.worker.clock.clone();
        tokio::select! {
            () = clock.sleep(wait) => None,
            control = self.control.recv() => match control {
                Some(Control::Stop) | None => Some(Ended::HandedBack),
                Some(Control::Drop) => Some(Ended::Dropped),
                Some(other) => {
                    self.heard.push_back(other);
                    None
                }
            },
        }
    }

    /// Asked only after the commit: who begins to watch later reads these events from the journal.
    pub(super) fn tell(&self, events: Vec<Journal>) {
        if self.worker.watchers.any(&self.exec_id) {
            self.worker.watchers.committed(&self.exec_id, events);
        }
    }
}
