//! Which task runs next (dialect §4.2): transitions resolved, targets marked, unreachable tasks named.

use std::collections::HashMap;

use crate::diagnostic::Severity;
use crate::document::task::{NextRef, Task as TaskDocument, Transition as TransitionDocument};
use crate::document::workflow::{Defaults, Flow, Workflow as WorkflowDocument};
use crate::plan::{Next, TaskIndex, Transition, Typed};
use crate::suggest;

use super::Linker;

/// Where a task leads.
pub(super) struct Link {
    pub(super) on_success: Transition,
    pub(super) on_error: Transition,
    pub(super) targeted: bool,
}

impl Linker<'_> {
    /// Whether a workflow's list follows only written transitions.
    pub(super) fn is_explicit(&self, document: &WorkflowDocument) -> bool {
        match document.flow {
            Flow::Explicit => true,
            Flow::Sequential => false,
            Flow::Auto => document.tasks.iter().any(|task| task.on_success.next.is_some()),
        }
    }

    /// Resolves the transitions of a workflow's tasks.
    pub(super) fn links(
        &mut self,
        document: &WorkflowDocument,
        project: &Defaults,
        explicit: bool,
        is_complete: bool,
    ) -> Vec<Link> {
        let tasks = &document.tasks;
        let names: Vec<_> = tasks.iter().map(|task| task.id.clone()).collect();
        self.unique_ids("task", &names);
        let mut positions: HashMap<&str, TaskIndex> = HashMap::new();
        for (index, task) in tasks.iter().enumerate() {
            positions.entry(&task.id.text).or_insert(index);
        }
        let defaults = [document.defaults.on_error.as_ref(), project.on_error.as_ref()];
        let mut targeted = vec![false; tasks.len()];
        for default in defaults.iter().copied().flatten() {
            let Some(NextRef::Id(name)) = &default.next else { continue };
            match positions.get(name.text.as_str()) {
                Some(index) => mark(&mut targeted, *index),
                None => {
                    let (id, task) = (&document.id.text, &name.text);
                    let message = format!("workflow '{id}' has no task '{task}'; this default does not apply to it");
                    self.report(name.diagnostic("CZ0307", message).severity(Severity::Note));
                }
            }
        }
        let mut links = Vec::with_capacity(tasks.len());
        for (index, task) in tasks.iter().enumerate() {
            let on_success = self.transition(task, &task.on_success, document, &positions, is_complete);
            let own = task.on_error.as_ref().map(|own| self.transition(task, own, document, &positions, is_complete));
            let on_error = self.error_transition(index, own, &defaults, &positions);
            for transition in [&on_success, &on_error] {
                if let Some(Next::Task(target)) = &transition.next {
                    mark(&mut targeted, *target);
                }
            }
            self.final_with_next(task);
            links.push(Link { on_success, on_error, targeted: false });
        }
        for (link, targeted) in links.iter_mut().zip(targeted) {
            link.targeted = targeted;
        }
        if is_complete {
            self.unreachable(tasks, &links, explicit);
        }
        links
    }

    /// The task's own, else the workflow's, else the project's; not while the task is that handler itself.
    fn error_transition(
        &self,
        index: TaskIndex,
        own: Option<Transition>,
        defaults: &[Option<&TransitionDocument>; 2],
        positions: &HashMap<&str, TaskIndex>,
    ) -> Transition {
        if let Some(own) = own
            && own.next.is_some()
        {
            return own;
        }
        for default in defaults.iter().copied().flatten() {
            let next = match &default.next {
                Some(NextRef::Id(name)) => positions
                    .get(name.text.as_str())
                    .filter(|target| **target != index)
                    .map(|target| Next::Task(*target)),
                Some(NextRef::Template(template)) => Some(Next::Template(template.clone())),
                None => None,
            };
            if next.is_some() {
                return Transition { next, with: default.with.clone() };
            }
        }
        Transition::default()
    }

    fn transition(
        &mut self,
        task: &TaskDocument,
        written: &TransitionDocument,
        document: &WorkflowDocument,
        positions: &HashMap<&str, TaskIndex>,
        is_complete: bool,
    ) -> Transition {
        let next = match &written.next {
            None => None,
            Some(NextRef::Template(template)) => Some(Next::Template(template.clone())),
            Some(NextRef::Id(name)) => match positions.get(name.text.as_str()) {
                Some(index) => Some(Next::Task(*index)),
                // A task of a type this version does not have was already reported.
                None if !is_complete && document.task_ids.contains(&name.text) => None,
                None => {
                    let near = suggest::nearest(&name.text, positions.keys().copied());
                    let near = near.map(|near| format!(". Did you mean '{near}'?")).unwrap_or_default();
                    let message = format!("task '{}': next task '{}' does not exist{near}", task.id.text, name.text);
                    self.report(name.diagnostic("CZ0307", message).help("fix the id"));
                    None
                }
            },
        };
        Transition { next, with: written.with.clone() }
    }

    /// CZ0308: `final` wins over `on_success.next`.
    fn final_with_next(&mut self, task: &TaskDocument) {
        if !matches!(task.is_final, Some(Typed::Fixed(true))) {
            return;
        }
        let (name, place) = match &task.on_success.next {
            Some(NextRef::Id(name)) => (name.text.clone(), name.clone()),
            Some(NextRef::Template(_)) => ("a template".into(), task.id.clone()),
            None => return,
        };
        let message = format!("task '{}' is final and has on_success.next '{name}'", task.id.text);
        self.report_loose(place.diagnostic("CZ0308", message).help("remove one"));
    }

    /// CZ0310: tasks that no rule can reach.
    fn unreachable(&mut self, tasks: &[TaskDocument], links: &[Link], explicit: bool) {
        let is_template = |transition: &Transition| matches!(transition.next, Some(Next::Template(_)));
        if links.iter().any(|link| is_template(&link.on_success) || is_template(&link.on_error)) {
            return;
        }
        let mut reached = vec![false; tasks.len()];
        let mut open = vec![0usize];
        while let Some(index) = open.pop() {
            let (Some(task), Some(link)) = (tasks.get(index), links.get(index)) else { continue };
            if std::mem::replace(reached.get_mut(index).unwrap_or(&mut true), true) {
                continue;
            }
            if let Some(Next::Task(target)) = link.on_error.next {
                open.push(target);
            }
            if matches!(task.is_final, Some(Typed::Fixed(true))) {
                continue;
            }
            match link.on_success.next {
                Some(Next::Task(target)) => open.push(target),
                _ if !explicit => open.extend(
                    links.iter().enumerate().skip(index + 1).find(|(_, link)| !link.targeted).map(|(next, _)| next),
                ),
                _ => {}
            }
        }
        for (task, _) in tasks.iter().zip(&reached).filter(|(_, reached)| !**reached) {
            let problem = task.id.diagnostic("CZ0310", format!("task '{}' can never run", task.id.text));
            self.report(problem.severity(Severity::Warning).help("add a transition to it"));
        }
    }
}

fn mark(targeted: &mut [bool], index: TaskIndex) {
    if let Some(flag) = targeted.get_mut(index) {
        *flag = true;
    }
}
