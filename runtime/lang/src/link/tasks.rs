//! Tasks at every depth: lists and single children.

use std::collections::BTreeMap;

use crate::document::Name;
use crate::document::task::{Body, Collection, Executor, Memory, Parallel, Task as TaskDocument, TaskList, Wait};
use crate::document::workflow::Defaults;
use crate::plan::{self, Composite, MemoryDefinition, Task, TaskKind, Template, Tool, ToolCall, Typed};

use super::Linker;
use super::flow::{Link, is_explicit};

/// What surrounds the tasks of a workflow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around<'d> {
    /// Id of the workflow.
    pub(super) workflow: &'d str,
    pub(super) defaults: &'d Defaults,
    pub(super) project: &'d Defaults,
}

/// What the tasks of a workflow use and how they lie in each other.
#[derive(Debug, Default)]
pub(super) struct Used {
    pub(super) tools: BTreeMap<String, Tool>,
    pub(super) memories: BTreeMap<String, MemoryDefinition>,
    /// Ids by the list they stand in, for ids that stand in two.
    pub(super) ids: Vec<(usize, Name)>,
    /// Lists seen so far.
    lists: usize,
    /// The containers around.
    containers: Vec<String>,
}

/// What a task does, with what its agent and action add.
pub(super) struct Executed {
    pub(super) kind: TaskKind,
    pub(super) with: Option<plan::ValueTemplate>,
    pub(super) env: BTreeMap<String, Template>,
    pub(super) input: Option<crate::document::SchemaRef>,
    pub(super) output: Option<crate::document::SchemaRef>,
}

impl Linker<'_> {
    /// A list whose tasks follow each other; whether it follows only written transitions.
    pub(super) fn list(
        &mut self,
        written: TaskList,
        owner: &str,
        around: Around<'_>,
        used: &mut Used,
    ) -> (Vec<Task>, bool) {
        let explicit = is_explicit(&written);
        self.siblings(&written.tasks, used);
        let defaults = [around.defaults.on_error.as_ref(), around.project.on_error.as_ref()];
        let links = self.links(&written, owner, defaults, explicit);
        let mut tasks = Vec::with_capacity(links.len());
        for (task, link) in written.tasks.into_iter().zip(links) {
            tasks.extend(self.task(task, link, around, used));
        }
        (tasks, explicit)
    }

    /// Ids of a list: well formed, each once.
    fn siblings(&mut self, tasks: &[TaskDocument], used: &mut Used) {
        let names: Vec<Name> =
            tasks.iter().filter(|task| task.id_template.is_none()).map(|task| task.id.clone()).collect();
        let unique = self.unique_ids("task", &names);
        let list = used.lists;
        used.lists += 1;
        used.ids.extend(names.into_iter().zip(unique).filter(|(_, is_first)| *is_first).map(|(name, _)| (list, name)));
    }

    /// CZ0204 as a warning: one id in two lists, where `.tasks.<id>` means the one that ran last.
    pub(super) fn same_ids(&mut self, ids: &[(usize, Name)]) {
        let mut first: BTreeMap<&str, &Name> = BTreeMap::new();
        for (_, name) in ids {
            match first.get(name.text.as_str()) {
                Some(known) => {
                    let message = format!("duplicate task id '{}': {}, {}", name.text, known.place, name.place);
                    let problem = name.diagnostic("CZ0204", message).severity(crate::diagnostic::Severity::Warning);
                    let problem = problem.related(known.place.clone(), "first here");
                    self.report(problem.help("rename one: .tasks cannot tell two containers apart"));
                }
                None => {
                    first.insert(&name.text, name);
                }
            }
        }
    }

    /// One task, with everything in it.
    fn task(&mut self, task: TaskDocument, link: Link, around: Around<'_>, used: &mut Used) -> Option<Task> {
        for unsupported in &task.unsupported {
            self.report(unsupported.diagnostic());
        }
        self.bindings(&task.bindings);
        let place = task.node.place();
        let is_wait = matches!(task.body, Some(Body::Wait(_)));
        let Link { on_success, on_error, on_timeout, routes, targeted } = link;
        let mut executed =
            Executed { kind: TaskKind::Aggregate, with: task.with, env: task.env, input: None, output: None };
        match task.body? {
            Body::Basic(Executor::Tool(reference)) => {
                let (key, tool) = self.tool_of(reference, &task.id)?;
                used.tools.insert(key.clone(), tool);
                executed.kind = TaskKind::Tool(ToolCall { tool: key });
            }
            Body::Basic(Executor::Prompt(prompt)) => {
                executed = self.prompt(*prompt, &task.id, around.workflow, executed.with, executed.env)?;
            }
            Body::Router(router) => {
                executed.kind = TaskKind::Router(plan::Router { condition: router.condition, routes });
            }
            Body::Parallel(parallel) => executed.kind = self.parallel(parallel, &task.id, around, used)?,
            Body::Collection(collection) => executed.kind = self.collection(*collection, &task.id, around, used)?,
            Body::Composite(list) => executed.kind = self.composite(list, &task.id, around, used)?,
            Body::Aggregate => {}
            Body::Wait(wait) => executed.kind = self.wait(*wait, on_timeout, place.clone(), &task.id, around, used)?,
            Body::Signal(signal) => {
                self.not_yet("signal tasks", place.clone());
                executed.kind = TaskKind::Signal(*signal);
            }
            Body::Memory(memory) => executed.kind = self.memory(*memory, &task.id, place.clone(), used)?,
            Body::Workflow(call) => {
                self.not_yet("workflow tasks", place.clone());
                executed.kind = self.sub_workflow(&call.workflow, call.wait, around.workflow)?;
            }
        }
        Some(Task {
            kind: executed.kind,
            with: executed.with,
            input_schema: self.schema(task.input.or(executed.input)),
            output_schema: self.schema(task.output.or(executed.output)),
            outputs: task.outputs,
            env: executed.env,
            condition: task.condition,
            on_success,
            on_error,
            sleep: task.sleep,
            is_final: task.is_final,
            timeout: if is_wait { task.timeout } else { self.timeout(task.timeout) },
            retry: task.retry.over(&around.defaults.retry).over(&around.project.retry).policy(),
            targeted,
            place,
            id: task.id.text,
        })
    }

    /// Goes into a container; `None`: it lies too deep (reported).
    fn enter(&mut self, id: &Name, used: &mut Used) -> Option<()> {
        let most = self.settings.limits.max_nesting_depth as usize;
        used.containers.push(id.text.clone());
        if used.containers.len() <= most {
            return Some(());
        }
        let chain: Vec<&str> = used.containers.iter().map(String::as_str).collect();
        let message = format!("'{}' lies more than {most} containers deep: {}", id.text, super::chain(&chain));
        self.report(
            id.diagnostic("CZ0313", message).help("make it a workflow of its own, or raise limits.max_nesting_depth"),
        );
        used.containers.pop();
        None
    }

    fn composite(&mut self, list: TaskList, id: &Name, around: Around<'_>, used: &mut Used) -> Option<TaskKind> {
        self.enter(id, used)?;
        let (tasks, explicit) = self.list(list, &format!("composite '{}'", id.text), around, used);
        used.containers.pop();
        Some(TaskKind::Composite(Composite { tasks, explicit }))
    }

    fn parallel(&mut self, parallel: Parallel, id: &Name, around: Around<'_>, used: &mut Used) -> Option<TaskKind> {
        self.enter(id, used)?;
        // Tasks written in the routes of a router among the children have no place here; `unordered` says so.
        let children: Vec<TaskDocument> =
            parallel.list.tasks.into_iter().filter(|child| child.router.is_none()).collect();
        self.siblings(&children, used);
        let container = format!("parallel '{}'", id.text);
        let mut tasks = Vec::with_capacity(children.len());
        for child in children {
            tasks.extend(self.child(child, &container, around, used));
        }
        used.containers.pop();
        Some(TaskKind::Parallel(plan::Parallel {
            tasks,
            strategy: parallel.strategy,
            max_workers: parallel.max_workers,
        }))
    }

    /// A task that nothing follows.
    fn child(&mut self, task: TaskDocument, container: &str, around: Around<'_>, used: &mut Used) -> Option<Task> {
        self.unordered(&task, container);
        let mut link = Link::default();
        if let Some(Body::Router(router)) = &task.body {
            link.routes = router.routes.iter().map(|(key, _)| (key.clone(), plan::Route::End)).collect();
        }
        self.task(task, link, around, used)
    }

    fn collection(&mut self, written: Collection, id: &Name, around: Around<'_>, used: &mut Used) -> Option<TaskKind> {
        self.enter(id, used)?;
        let child = written.child.into_iter().next();
        let child_id = child.as_ref().and_then(|child| child.id_template.clone());
        let child = child.and_then(|child| {
            // Its children are `<id>-<index>`, or what the template gives: no other task can have such an id by mistake.
            if child.id_template.is_none() {
                self.check_id(&child.id, false);
            }
            self.child(child, &format!("collection '{}'", id.text), around, used)
        });
        used.containers.pop();
        Some(TaskKind::Collection(plan::Collection {
            items: written.items,
            filter: written.filter,
            item_var: written.item_var,
            index_var: written.index_var,
            sequential: written.sequential,
            batch: written.batch,
            max_workers: written.max_workers,
            strategy: written.strategy,
            child: Box::new(child?),
            child_id,
        }))
    }

    fn wait(
        &mut self,
        wait: Wait,
        on_timeout: Option<plan::Next>,
        place: crate::source::Place,
        id: &Name,
        around: Around<'_>,
        used: &mut Used,
    ) -> Option<TaskKind> {
        self.not_yet("wait tasks", place);
        let has_processor = !wait.processor.is_empty();
        let processor = wait.processor.into_iter().next().and_then(|processor| {
            self.siblings(std::slice::from_ref(&processor), used);
            self.child(processor, &format!("the processor of '{}'", id.text), around, used)
        });
        if has_processor && processor.is_none() {
            return None;
        }
        Some(TaskKind::Wait(plan::Wait {
            wait_for: wait.wait_for,
            condition: wait.condition,
            processor: processor.map(Box::new),
            on_timeout,
        }))
    }

    fn memory(&mut self, task: Memory, id: &Name, place: crate::source::Place, used: &mut Used) -> Option<TaskKind> {
        self.not_yet("memory tasks", place);
        let Some(definition) = self.memories.get(&task.memory.text).cloned() else {
            let known: Vec<String> = self.memories.keys().cloned().collect();
            self.not_found("memory", &task.memory, &known);
            return None;
        };
        if task.key.is_none() && definition.default_key.is_none() {
            let message = format!("memory task '{}' needs 'key_template'", id.text);
            let problem =
                id.diagnostic("CZ0309", message).related(definition.place.clone(), "the memory has no default");
            self.report(problem.help("add it, or default_key_template to the memory"));
        }
        used.memories.insert(definition.id.clone(), definition);
        Some(TaskKind::Memory(plan::Memory {
            operation: task.operation,
            memory: task.memory.text,
            key: task.key,
            payload: task.payload,
            options: task.options,
        }))
    }

    fn sub_workflow(&mut self, name: &Name, wait: bool, from: &str) -> Option<TaskKind> {
        if !self.workflow_ids.contains(&name.text) {
            let near = super::did_you_mean(&name.text, &self.workflow_ids);
            let message = format!("workflow '{}' not found{near}", name.text);
            self.report(name.diagnostic("CZ0202", message).help("fix the id, or add the workflow"));
            return None;
        }
        self.calls.push(super::calls::Call { from: from.to_owned(), to: name.clone() });
        Some(TaskKind::Workflow(plan::SubWorkflow { workflow: name.text.clone(), wait }))
    }

    /// The task's timeout under the project's default and cap.
    fn timeout(&self, written: Option<Typed<std::time::Duration>>) -> Option<Typed<std::time::Duration>> {
        let runtime = &self.settings.runtime;
        let cap = runtime.task_execution_timeout_max;
        match written {
            Some(Typed::Fixed(timeout)) => Some(Typed::Fixed(cap.map_or(timeout, |cap| timeout.min(cap)))),
            Some(template) => Some(template),
            None => runtime
                .task_execution_timeout_default
                .or(cap)
                .map(|timeout| Typed::Fixed(cap.map_or(timeout, |cap| timeout.min(cap)))),
        }
    }
}
