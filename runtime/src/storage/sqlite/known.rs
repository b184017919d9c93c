//! What the writer remembers of what it wrote, so that the next batch need not ask.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::Error;
use super::super::row::{Durability, PublishOutcome, Started};
use super::super::work::encode::{Definition, Encoded, TERMINAL, durability_of};
use super::super::work::operation::{Operation, Outcome, Work};
use super::super::work::turns::Turns;
use crate::id::ExecId;

/// Runs whose status is remembered; more are forgotten at once and looked at again by the statements.
const REMEMBERED: usize = 100_000;

/// Facts about rows that only this process writes.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Status and durability of runs this process writes. An empty status is in doubt.
    runs: HashMap<ExecId, (Arc<str>, Durability)>,
    /// Definitions stored as heads: kind and id to digest.
    heads: HashMap<(Arc<str>, Arc<str>), Arc<str>>,
    /// Node ids registered by this process.
    own_nodes: HashSet<String>,
    turns: Turns,
}

impl Known {
    /// Who of the queue had a turn when.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Whether the run's row has this status.
    pub(super) fn is_at(&self, exec_id: &ExecId, status: &Arc<str>) -> bool {
        self.runs.get(exec_id).is_some_and(|(known, _)| known == status)
    }

    /// The level of a run.
    pub(super) fn durability(&self, exec_id: &ExecId) -> Option<Durability> {
        self.runs.get(exec_id).map(|(_, durability)| *durability)
    }

    /// Whether this revision is stored and is the head.
    pub(super) fn has_head(&self, definition: &Definition) -> bool {
        let key = (Arc::clone(&definition.kind), Arc::clone(&definition.id));
        self.heads.get(&key) == Some(&definition.digest)
    }

    /// Whether this process registered the node.
    pub(super) fn is_own(&self, node: &str) -> bool {
        self.own_nodes.contains(node)
    }

    /// Keeps what the next batch is decided by.
    pub(super) fn remember(&mut self, work: &Work, outcome: &Result<Outcome, Error>) {
        if self.runs.len() > REMEMBERED {
            self.runs.clear();
        }
        match (work, outcome) {
            (Work::Rows(encoded), Ok(outcome)) => self.remember_rows(encoded, outcome),
            (
                Work::Operation(operation),
                Ok(Outcome::Told(Some(_)) | Outcome::Published(PublishOutcome::Published(_))),
            ) => {
                operation.starts().iter().for_each(|start| self.remember_start(start));
            }
            (Work::Operation(Operation::PutNode(node)), Ok(_)) => {
                self.own_nodes.insert(node.node_id.as_str().to_owned());
            }
            (Work::Operation(_), Ok(Outcome::Claimed(runs))) => {
                for run in runs {
                    let durability = durability_of(&run.durability).unwrap_or(Durability::Full);
                    self.runs.insert(run.exec_id.clone(), (Arc::clone(&run.status), durability));
                }
            }
            (Work::Operation(Operation::HandBack { .. } | Operation::Recover { .. } | Operation::Import(_)), Ok(_)) => {
                self.runs.clear()
            }
            (work, Err(_)) => self.forget(work),
            (Work::Operation(_), Ok(_)) => {}
        }
    }

    fn remember_rows(&mut self, encoded: &Encoded, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Started(Started::Replayed(_))) {
            self.remember_start(encoded);
        }
        match encoded.update.as_ref().and_then(|update| Some((update, update.status.as_ref()?))) {
            Some((update, _)) if update.ends => {
                self.runs.remove(&encoded.exec_id);
            }
            Some((_, status)) => {
                if let Some((known, _)) = self.runs.get_mut(&encoded.exec_id) {
                    *known = Arc::clone(status);
                }
            }
            None => {}
        }
    }

    /// What was written of a start, and of those it starts itself.
    fn remember_start(&mut self, encoded: &Encoded) {
        if let Some(start) = &encoded.started {
            if !TERMINAL.contains(&&*start.status) {
                self.runs.insert(encoded.exec_id.clone(), (Arc::clone(&start.status), start.durability));
            }
            if let Some(definition) = &start.definition {
                let key = (Arc::clone(&definition.kind), Arc::clone(&definition.id));
                self.heads.insert(key, Arc::clone(&definition.digest));
            }
        }
        encoded.starts().iter().for_each(|start| self.remember_start(start));
    }

    /// A batch failed: what it was to write may or may not be there.
    pub(super) fn forget(&mut self, work: &Work) {
        if let Work::Rows(encoded) = work {
            // Its durability stays known if it is; only its status is in doubt.
            if let Some((status, _)) = self.runs.get_mut(&encoded.exec_id) {
                *status = "".into();
            }
        }
    }
}
