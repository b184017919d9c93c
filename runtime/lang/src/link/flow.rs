//! Which task of a list runs next (dialect §4.2): transitions resolved, targets marked, unreachable tasks named.

use std::collections::HashMap;

use crate::diagnostic::Severity;
use crate::document::Name;
use crate::document::task::{Body, Flow, NextRef, RouteRef, Task as TaskDocument, TaskList};
use crate::document::task::{Router, Transition as TransitionDocument};
use crate::plan::{Next, Route, TaskIndex, Transition, Typed};
use crate::suggest;

use super::Linker;

/// Where a task leads.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) on_success: Transition,
    pub(super) on_error: Transition,
    pub(super) on_timeout: Option<Next>,
    pub(super) routes: Vec<(String, Route)>,
    pub(super) targeted: bool,
}

impl Link {
    /// Fixed targets and whether one is only known at run time.
    fn targets(&self) -> (Vec<TaskIndex>, bool) {
        let nexts = [self.on_success.next.as_ref(), self.on_error.next.as_ref(), self.on_timeout.as_ref()];
        let is_open = nexts.iter().flatten().any(|next| matches!(next, Next::Template(_)));
        let fixed = nexts
            .into_iter()
            .flatten()
            .filter_map(|next| if let Next::Task(index) = next { Some(*index) } else { None });
        let routes = self
            .routes
            .iter()
            .filter_map(|(_, route)| if let Route::Task(index) = route { Some(*index) } else { None });
        (fixed.chain(routes).collect(), is_open)
    }
}

/// A list under way.
struct List<'d> {
    written: &'d TaskList,
    positions: HashMap<&'d str, TaskIndex>,
    /// Defaults of `on_error`, of the workflow and of the project.
    defaults: [Option<&'d TransitionDocument>; 2],
}

/// Whether a list follows only written transitions.
pub(super) fn is_explicit(list: &TaskList) -> bool {
    match list.flow {
        Flow::Explicit => true,
        Flow::Sequential => false,
        // A router goes where its routes lead, whatever else is written.
        Flow::Auto => {
            list.tasks.iter().any(|task| task.on_success.next.is_some() && !matches!(task.body, Some(Body::Router(_))))
        }
    }
}

impl Linker<'_> {
    /// Resolves the transitions of a list; `owner` is what it belongs to, for messages.
    pub(super) fn links(
        &mut self,
        written: &TaskList,
        owner: &str,
        defaults: [Option<&TransitionDocument>; 2],
        explicit: bool,
    ) -> Vec<Link> {
        let tasks = &written.tasks;
        let mut positions: HashMap<&str, TaskIndex> = HashMap::new();
        for (index, task) in tasks.iter().enumerate() {
            positions.entry(&task.id.text).or_insert(index);
        }
        let list = List { written, positions, defaults };
        let mut targeted = vec![false; tasks.len()];
        for default in defaults.iter().copied().flatten() {
            let Some(NextRef::Id(name)) = &default.next else { continue };
            if tasks.is_empty() {
                continue;
            }
            match list.positions.get(name.text.as_str()) {
                Some(index) => mark(&mut targeted, *index),
                None => {
                    let message = format!("{owner} has no task '{}'; this default does not apply to it", name.text);
                    self.report(name.diagnostic("CZ0307", message).severity(Severity::Note));
                }
            }
        }
        let mut links = Vec::with_capacity(tasks.len());
        for (index, task) in tasks.iter().enumerate() {
            let link = self.link(index, task, &list);
            link.targets().0.into_iter().for_each(|target| mark(&mut targeted, target));
            if task.router.is_some() {
                mark(&mut targeted, index);
            }
            links.push(link);
        }
        for (link, targeted) in links.iter_mut().zip(targeted) {
            link.targeted = targeted;
        }
        if written.is_complete {
            self.unreachable(tasks, &links, explicit);
        }
        links
    }

    fn link(&mut self, index: TaskIndex, task: &TaskDocument, list: &List<'_>) -> Link {
        let own = task.on_error.as_ref().map(|own| self.transition(task, own, list));
        let on_error = error_transition(index, own, list);
        let mut link = Link { on_error, ..Link::default() };
        match &task.body {
            Some(Body::Router(router)) => {
                link.routes = self.routes(task, router, list);
                link.on_success.with = task.on_success.with.clone();
                self.router_with_next(task);
                return link;
            }
            Some(Body::Wait(wait)) => {
                link.on_timeout = wait.on_timeout.as_ref().and_then(|next| self.next(task, next, list));
            }
            _ => {}
        }
        link.on_success = self.transition(task, &task.on_success, list);
        self.final_with_next(task);
        link
    }

    fn transition(&mut self, task: &TaskDocument, written: &TransitionDocument, list: &List<'_>) -> Transition {
        let next = written.next.as_ref().and_then(|next| self.next(task, next, list));
        Transition { next, with: written.with.clone() }
    }

    fn next(&mut self, task: &TaskDocument, written: &NextRef, list: &List<'_>) -> Option<Next> {
        match written {
            NextRef::Template(template) => Some(Next::Template(template.clone())),
            NextRef::Id(name) => self.target(task, name, list).map(Next::Task),
        }
    }

    /// CZ0307: a target must be a task of the same list.
    fn target(&mut self, task: &TaskDocument, name: &Name, list: &List<'_>) -> Option<TaskIndex> {
        if let Some(index) = list.positions.get(name.text.as_str()) {
            return Some(*index);
        }
        // A task that could not be read was already reported.
        if list.written.is_complete || !list.written.ids.contains(&name.text) {
            let near = suggest::nearest(&name.text, list.positions.keys().copied());
            let near = near.map(|near| format!(". Did you mean '{near}'?")).unwrap_or_default();
            let message = format!("task '{}': next task '{}' does not exist{near}", task.id.text, name.text);
            self.report(name.diagnostic("CZ0307", message).help("fix the id; it must be a task of the same list"));
        }
        None
    }

    fn routes(&mut self, task: &TaskDocument, router: &Router, list: &List<'_>) -> Vec<(String, Route)> {
        self.unrouted(task, router);
        let mut routes = Vec::with_capacity(router.routes.len());
        for (key, route) in &router.routes {
            let route = match route {
                RouteRef::End => Some(Route::End),
                RouteRef::Task(name) => self.target(task, name, list).map(Route::Task),
                RouteRef::Unreadable => None,
            };
            routes.extend(route.map(|route| (key.clone(), route)));
        }
        routes
    }

    /// CZ0312 ahead of time: a key that the condition can give and that no route takes.
    pub(super) fn unrouted(&mut self, task: &TaskDocument, router: &Router) {
        let keys: Vec<&str> = router.routes.iter().map(|(key, _)| key.as_str()).collect();
        if keys.contains(&"default") {
            return;
        }
        let mut missing: Vec<&String> =
            router.outcomes.iter().flatten().filter(|outcome| !keys.contains(&outcome.as_str())).collect();
        missing.sort();
        missing.dedup();
        for outcome in missing {
            let message = format!("no route for '{outcome}' in router '{}'. Routes: {}", task.id.text, keys.join(", "));
            let problem = router.node.diagnostic("CZ0312", message).severity(Severity::Warning);
            self.report(problem.help("add the route, or default"));
        }
    }

    /// A router's own `on_success.next`.
    fn router_with_next(&mut self, task: &TaskDocument) {
        if let Some(next) = &task.on_success.next {
            let (_, place) = next.shown();
            let message = format!("'on_success.next' of router '{}' has no effect: its routes lead on", task.id.text);
            self.report(place.diagnostic("CZ0109", message).severity(Severity::Warning).help("remove it"));
        }
    }

    /// CZ0308: `final` wins over `on_success.next`.
    fn final_with_next(&mut self, task: &TaskDocument) {
        if !matches!(task.is_final, Some(Typed::Fixed(true))) {
            return;
        }
        let Some(next) = &task.on_success.next else { return };
        let (shown, place) = next.shown();
        let message = format!("task '{}' is final and has on_success.next '{shown}'", task.id.text);
        self.report_loose(place.diagnostic("CZ0308", message).help("remove one"));
    }

    /// What follows children that have no order leads nowhere (dialect §5.4).
    pub(super) fn unordered(&mut self, task: &TaskDocument, container: &str) {
        let on_timeout = match &task.body {
            Some(Body::Wait(wait)) => wait.on_timeout.as_ref(),
            _ => None,
        };
        let on_error = task.on_error.as_ref().and_then(|transition| transition.next.as_ref());
        let written = [
            ("on_success.next", task.on_success.next.as_ref()),
            ("on_error.next", on_error),
            ("on_timeout", on_timeout),
        ];
        for (key, next) in written {
            let Some(next) = next else { continue };
            let (_, place) = next.shown();
            let message = format!("'{key}' of task '{}' has no effect: {container} has no order", task.id.text);
            let problem = place.diagnostic("CZ0109", message).severity(Severity::Warning);
            self.report(problem.help("make the branch a composite"));
        }
        if let Some(Body::Router(router)) = &task.body {
            self.unrouted(task, router);
            for (_, route) in &router.routes {
                let RouteRef::Task(name) = route else { continue };
                let message = format!(
                    "the route to '{}' of router '{}' has no effect: {container} has no order",
                    name.text, task.id.text
                );
                let problem = name.diagnostic("CZ0109", message).severity(Severity::Warning);
                self.report(problem.help("make the branch a composite"));
            }
        }
    }

    /// CZ0310: tasks that no rule can reach.
    fn unreachable(&mut self, tasks: &[TaskDocument], links: &[Link], explicit: bool) {
        if links.iter().any(|link| link.targets().1) {
            return;
        }
        // The next task that is not targeted, from every place.
        let mut falls = vec![None; tasks.len()];
        let mut next = None;
        for (index, link) in links.iter().enumerate().rev() {
            if let Some(slot) = falls.get_mut(index) {
                *slot = next;
            }
            if !link.targeted {
                next = Some(index);
            }
        }
        let mut reached = vec![false; tasks.len()];
        let mut open = vec![0usize];
        while let Some(index) = open.pop() {
            let (Some(task), Some(link)) = (tasks.get(index), links.get(index)) else { continue };
            if std::mem::replace(reached.get_mut(index).unwrap_or(&mut true), true) {
                continue;
            }
            let is_final = matches!(task.is_final, Some(Typed::Fixed(true)));
            let is_router = matches!(task.body, Some(Body::Router(_)));
            let has_next = link.on_success.next.is_some();
            let (targets, _) = link.targets();
            open.extend(targets.into_iter().filter(|target| {
                // `final` wins over `on_success.next`, not over what follows a failure.
                !(is_final
                    && matches!(link.on_success.next, Some(Next::Task(next)) if next == *target)
                    && !matches!(link.on_error.next, Some(Next::Task(next)) if next == *target))
            }));
            if !is_final && !is_router && !has_next && !explicit {
                open.extend(falls.get(index).copied().flatten());
            }
        }
        for (task, _) in tasks.iter().zip(&reached).filter(|(_, reached)| !**reached) {
            let problem = task.id.diagnostic("CZ0310", format!("task '{}' can never run", task.id.text));
            self.report(problem.severity(Severity::Warning).help("add a transition to it"));
        }
    }
}

/// The task's own, else the workflow's, else the project's; not while the task is that handler itself.
fn error_transition(index: TaskIndex, own: Option<Transition>, list: &List<'_>) -> Transition {
    if let Some(own) = own
        && own.next.is_some()
    {
        return own;
    }
    for default in list.defaults.iter().copied().flatten() {
        let next = match &default.next {
            Some(NextRef::Id(name)) => list
                .positions
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

fn mark(targeted: &mut [bool], index: TaskIndex) {
    if let Some(flag) = targeted.get_mut(index) {
        *flag = true;
    }
}
