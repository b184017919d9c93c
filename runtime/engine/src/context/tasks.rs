//! `.tasks`: which tasks a place can name, and what it sees of them.
//!
//! A name means the nearest: a sibling, then a task of the lists around the container, then of the workflow's own list,
//! then a named child of a container of those. Children that a collection makes have no place of their own outside it.

use std::collections::BTreeMap;

use compozy_lang::plan::{Task, TaskKind};

use super::{Object, Site, Wanted, error_or_null};
use crate::container;
use crate::json::Json;
use crate::state::Step;
use crate::status::Status;

/// A list of tasks with the path of the container that holds it; empty for the workflow's own.
struct List<'a> {
    tasks: &'a [Task],
    prefix: String,
    /// The container's step, of which a child must be.
    container: Option<&'a Step>,
}

/// A task with the step of it that can be seen.
#[derive(Clone, Copy)]
struct Found<'a> {
    task: &'a Task,
    step: Option<&'a Step>,
}

impl<'a> Site<'a> {
    pub(super) fn tasks(&self, wanted: &Wanted<'_>) -> String {
        let lists = self.lists();
        let found: Vec<(String, Found<'a>)> = match wanted.members("tasks") {
            None => self.all(&lists).into_iter().collect(),
            Some(ids) => ids.into_iter().filter_map(|id| Some((id.to_owned(), self.find(&lists, id)?))).collect(),
        };
        let mut object = Object::open();
        for (id, found) in found {
            object.raw(&id, &self.task_facts(found, wanted.below_task(&id).as_deref()));
        }
        object.close()
    }

    /// The lists that a name is looked up in, the nearest first.
    fn lists(&self) -> Vec<List<'a>> {
        let mut lists = Vec::new();
        let mut inner = self.step;
        while let Some(container) = inner.and_then(|step| self.holder(step)) {
            if let Some(task) = self.plan.task(&container.address) {
                lists.push(List::of(container, task));
            }
            inner = Some(container);
        }
        lists.push(List { tasks: &self.plan.tasks, prefix: String::new(), container: None });
        lists
    }

    fn find(&self, lists: &[List<'a>], id: &str) -> Option<Found<'a>> {
        let direct = lists.iter().find_map(|list| self.find_in(list, id));
        direct.or_else(|| lists.iter().find_map(|list| self.find_below(list, id)))
    }

    fn find_in(&self, list: &List<'a>, id: &str) -> Option<Found<'a>> {
        let step = self.state.steps.get(&list.path(id)).filter(|step| list.holds(step));
        // A run of many tasks must not look at all of them for each step.
        let task = match step {
            Some(step) => self.plan.task(&step.address).filter(|task| task.id == id),
            None => list.tasks.iter().find(|task| task.id == id),
        };
        task.map(|task| Found { task, step })
    }

    /// A named child of a container of `list`, at any depth.
    fn find_below(&self, list: &List<'a>, id: &str) -> Option<Found<'a>> {
        list.tasks.iter().filter(|task| has_named_children(task)).find_map(|task| {
            let inner = self.below(list, task);
            self.find_in(&inner, id).or_else(|| self.find_below(&inner, id))
        })
    }

    fn below(&self, list: &List<'a>, task: &'a Task) -> List<'a> {
        let path = list.path(&task.id);
        let step = self.state.steps.get(&path).filter(|step| list.holds(step));
        List { tasks: task.children(), prefix: path, container: step }
    }

    /// Every task that can be named, the nearest of each name.
    fn all(&self, lists: &[List<'a>]) -> BTreeMap<String, Found<'a>> {
        let mut found = BTreeMap::new();
        for list in lists {
            self.collect(list, &mut found, false);
        }
        for list in lists {
            self.collect(list, &mut found, true);
        }
        found
    }

    fn collect(&self, list: &List<'a>, found: &mut BTreeMap<String, Found<'a>>, below: bool) {
        for task in list.tasks.iter().filter(|task| !task.id.is_empty()) {
            if let Some(this) = self.find_in(list, &task.id) {
                found.entry(task.id.clone()).or_insert(this);
            }
            if below && has_named_children(task) {
                self.collect(&self.below(list, task), found, true);
            }
        }
    }

    /// What is seen of a task; only the members at `paths`, `None`: all.
    fn task_facts(&self, found: Found<'_>, paths: Option<&[&[String]]>) -> String {
        let has = |member: &str| {
            paths.is_none_or(|paths| paths.iter().any(|path| path.first().is_none_or(|first| first == member)))
        };
        let Found { task, step } = found;
        // Members of a container's output that are no part of it are looked for among its children.
        let holds = matches!(task.kind, TaskKind::Parallel(_) | TaskKind::Composite(_) | TaskKind::Collection(_));
        let virtual_members = holds
            && paths.is_some_and(|paths| {
                paths.iter().any(|path| path.first().is_some_and(|first| first == "output") && path.len() > 1)
            });
        let mut object = Object::open();
        object.text("status", step.map_or(Status::Pending, |step| step.status).word());
        if has("id") {
            object.text("id", &task.id);
        }
        if has("type") || virtual_members {
            object.text("type", task.kind_word());
        }
        let Some(step) = step else { return object.close() };
        object.raw("skipped", if step.skipped { "true" } else { "false" });
        if has("attempts") {
            object.raw("attempts", &step.attempt.to_string());
        }
        if has("input") {
            object.raw("input", step.input.as_ref().map_or("null", Json::as_str));
        }
        if has("output") {
            object.raw("output", step.output.as_ref().map_or("null", Json::as_str));
        }
        if has("error") {
            object.raw("error", &error_or_null(step));
        }
        if has("winner")
            && let Some(winner) = container::winner(step)
        {
            object.text("winner", winner);
        }
        // Without `outputs` a map of children has their ids as keys already.
        let replaced = task.outputs.is_some() || matches!(task.kind, TaskKind::Collection(_));
        if (has("children") || virtual_members && replaced)
            && let Some(children) = self.children_of(step)
        {
            object.raw("children", &children);
        }
        object.close()
    }
}

impl<'a> List<'a> {
    fn of(container: &'a Step, task: &'a Task) -> Self {
        Self { tasks: task.children(), prefix: container.key.path.clone(), container: Some(container) }
    }

    fn path(&self, id: &str) -> String {
        if self.prefix.is_empty() { id.to_owned() } else { format!("{}/{id}", self.prefix) }
    }

    /// Whether a step at one of its paths is of the present attempt of its container.
    fn holds(&self, step: &Step) -> bool {
        match self.container {
            Some(container) => step.belongs_to(container),
            None => self.prefix.is_empty(),
        }
    }
}

fn has_named_children(task: &Task) -> bool {
    matches!(task.kind, TaskKind::Parallel(_) | TaskKind::Composite(_))
}
