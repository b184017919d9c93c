//! What this process remembers of runs it writes, so that a commit need not ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::row::Durability;
use super::super::work::encode::{Definition, Encoded, TERMINAL, durability_of};
use super::super::work::operation::Claimed;
use super::super::work::turns::Turns;
use super::batch;
use crate::id::ExecId;

/// Runs that are remembered; more are forgotten at once, and the statements find out by themselves.
const REMEMBERED: usize = 100_000;

/// Facts about rows that only this process writes while it owns their runs.
#[derive(Debug, Default)]
pub(super) struct Known {
    facts: Mutex<Facts>,
    turns: Mutex<Turns>,
}

#[derive(Debug, Default)]
struct Facts {
    /// Level of a run, and whether its end concerns other runs.
    runs: HashMap<ExecId, (Durability, bool)>,
    /// Definitions stored as heads: kind and id to digest.
    heads: HashMap<(Arc<str>, Arc<str>), Arc<str>>,
}

impl Known {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who of the queue had a turn when. Never held over a query.
    pub(super) fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The level of a run.
    pub(super) fn durability(&self, exec_id: &ExecId) -> Option<Durability> {
        self.facts().runs.get(exec_id).map(|(level, _)| *level)
    }

    /// Whether one statement can write `member` together with others.
    pub(super) fn is_plain(&self, member: &Encoded) -> bool {
        if !batch::fits(member) {
            return false;
        }
        let ends = member.update.as_ref().is_some_and(|update| update.ends);
        !ends || !self.facts().runs.get(&member.exec_id).is_some_and(|(_, concerns_others)| *concerns_others)
    }

    /// Those of the members' definitions that may not be stored as heads yet.
    pub(super) fn new_definitions<'a>(&self, members: &[&'a Encoded]) -> Vec<&'a Definition> {
        let facts = self.facts();
        let known =
            |one: &Definition| facts.heads.get(&(Arc::clone(&one.kind), Arc::clone(&one.id))) == Some(&one.digest);
        batch::definitions(members).filter(|one| !known(one)).collect()
    }

    /// Keeps what was written of a member.
    pub(super) fn wrote(&self, member: &Encoded) {
        let mut facts = self.facts();
        if facts.runs.len() > REMEMBERED {
            facts.runs.clear();
        }
        if member.update.as_ref().is_some_and(|update| update.ends) {
            facts.runs.remove(&member.exec_id);
        }
        facts.started(member);
        member.starts().iter().for_each(|start| facts.started(start));
    }

    /// Keeps what is known of runs just claimed.
    pub(super) fn claimed(&self, claimed: &[Claimed], concerns_others: impl Fn(&ExecId) -> bool) {
        let mut facts = self.facts();
        for run in claimed {
            let level = durability_of(&run.durability).unwrap_or(Durability::Full);
            facts.runs.insert(run.exec_id.clone(), (level, concerns_others(&run.exec_id)));
        }
    }
}

impl Facts {
    fn started(&mut self, member: &Encoded) {
        let Some(start) = &member.started else { return };
        if !TERMINAL.contains(&&*start.status) {
            let concerns_others = start.concurrency_key.is_some() || member.has_parent();
            self.runs.insert(member.exec_id.clone(), (start.durability, concerns_others));
        }
        if let Some(definition) = &start.definition {
            let key = (Arc::clone(&definition.kind), Arc::clone(&definition.id));
            self.heads.insert(key, Arc::clone(&definition.digest));
        }
    }
}
