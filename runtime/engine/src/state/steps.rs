//! The steps of a run with what is counted about them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use compozy_lang::plan::{TaskKind, Workflow};

use super::{Step, StepKey};
use crate::opening::Tally;
use crate::status::Status;

/// Latest execution of each task, by path, with the counters that decisions read.
#[derive(Debug, Clone, Default)]
pub struct Steps {
    by_path: BTreeMap<String, Step>,
    /// Paths whose step has not ended.
    open: BTreeSet<String>,
    /// Paths whose `sleep` is running.
    sleeping: BTreeSet<String>,
    /// Paths of waits that take the next signal of their name.
    listening: BTreeSet<String>,
    /// Steps of which something is under way.
    executing: usize,
}

/// What a step counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    open: bool,
    sleeping: bool,
    listening: bool,
    executing: bool,
}

impl Counted {
    fn of(step: &Step) -> Self {
        let open = !step.status.is_terminal();
        Self {
            open,
            sleeping: step.pause.is_some(),
            listening: open && step.opening.as_ref().is_some_and(|opening| opening.listens()),
            executing: step.executes(),
        }
    }
}

impl Steps {
    /// The latest execution of the task at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Step> {
        self.by_path.get(path)
    }

    /// That very execution, if it is the latest.
    #[must_use]
    pub fn at(&self, key: &StepKey) -> Option<&Step> {
        self.get(&key.path).filter(|step| step.key == *key)
    }

    /// All of them, by path.
    pub fn iter(&self) -> impl Iterator<Item = &Step> {
        self.by_path.values()
    }

    /// Steps that have not ended, by path.
    pub fn open(&self) -> impl Iterator<Item = &Step> {
        self.open.iter().filter_map(|path| self.get(path))
    }

    /// Steps whose `sleep` is running.
    pub fn sleeping(&self) -> impl Iterator<Item = &Step> {
        self.sleeping.iter().filter_map(|path| self.get(path))
    }

    /// Waits that take the next signal of their name.
    pub fn listening(&self) -> impl Iterator<Item = &Step> {
        self.listening.iter().filter_map(|path| self.get(path))
    }

    /// Steps whose path begins with `prefix`.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Step> {
        let from = self.by_path.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(path, _)| path.starts_with(prefix)).map(|(_, step)| step)
    }

    /// Something is under way.
    #[must_use]
    pub fn any_executing(&self) -> bool {
        self.executing > 0
    }

    /// Paths below `container` that are open or sleep, the innermost first.
    pub(crate) fn active_below(&self, container: &str) -> Vec<String> {
        let prefix = format!("{container}/");
        let below = |paths: &BTreeSet<String>| -> Vec<String> {
            paths.range(prefix.clone()..).take_while(|path| path.starts_with(&prefix)).cloned().collect()
        };
        let mut active = below(&self.open);
        active.reverse();
        active.extend(below(&self.sleeping));
        active
    }

    /// All paths that are open or sleep, the innermost first.
    pub(crate) fn active(&self) -> Vec<String> {
        self.open.iter().rev().chain(&self.sleeping).cloned().collect()
    }

    /// Puts a step in the place of the former execution of its task, which it returns.
    pub fn put(&mut self, step: Step) -> Option<Step> {
        let path = step.key.path.clone();
        let after = Counted::of(&step);
        let former = self.by_path.insert(path.clone(), step);
        self.recount(&path, former.as_ref().map(Counted::of), after);
        former
    }

    /// Changes a step in place; `None` when there is none at `path`.
    pub(crate) fn change<R>(&mut self, path: &str, change: impl FnOnce(&mut Step) -> R) -> Option<R> {
        let step = self.by_path.get_mut(path)?;
        let before = Counted::of(step);
        let result = change(step);
        let after = Counted::of(step);
        if before != after {
            self.recount(path, Some(before), after);
        }
        Some(result)
    }

    fn recount(&mut self, path: &str, before: Option<Counted>, after: Counted) {
        let mark = |paths: &mut BTreeSet<String>, marked: bool| {
            if marked {
                paths.insert(path.to_owned());
            } else {
                paths.remove(path);
            }
        };
        let was = |what: fn(Counted) -> bool| before.is_some_and(what);
        if was(|counted| counted.open) != after.open {
            mark(&mut self.open, after.open);
        }
        if was(|counted| counted.sleeping) != after.sleeping {
            mark(&mut self.sleeping, after.sleeping);
        }
        if was(|counted| counted.listening) != after.listening {
            mark(&mut self.listening, after.listening);
        }
        self.executing += usize::from(after.executing);
        self.executing -= usize::from(was(|counted| counted.executing));
    }

    /// Counts again how far every open container has got. Asked once, when all steps of a run are loaded.
    pub fn count_children(&mut self, plan: &Workflow) {
        let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
        for child in self.by_path.values() {
            let Some(container) = child.parent.as_ref().and_then(|key| self.at(key)) else { continue };
            let side_by_side = container.opening.as_ref().is_some_and(|opening| opening.branches().is_some());
            if !side_by_side || !child.belongs_to(container) {
                continue;
            }
            let tally = tallies.entry(container.key.path.clone()).or_default();
            tally.started += 1;
            match child.status {
                _ if !child.status.is_terminal() || child.pause.is_some() => tally.open += 1,
                Status::Success => tally.succeeded += 1,
                Status::Failed | Status::TimedOut => tally.failed += 1,
                _ => {}
            }
        }
        let containers: Vec<String> = self.by_path.keys().cloned().collect();
        for path in containers {
            let tally = tallies.get(&path).copied();
            let task = self.get(&path).and_then(|step| plan.task(&step.address));
            let holds = task.is_some_and(|task| matches!(task.kind, TaskKind::Parallel(_) | TaskKind::Collection(_)));
            if !holds {
                continue;
            }
            self.change(&path, |step| {
                if let Some(branches) = step.opening.as_mut().and_then(|opening| opening.branches_mut()) {
                    branches.tally = tally.unwrap_or_default();
                }
            });
        }
    }
}
