//! Tasks at every depth: lists and single children.

use std::collections::BTreeMap;

use crate::document::Name;
use crate::document::task::{Body, Collection, Executor, Parallel, Task as TaskDocument, TaskList, Wait};
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

impl Used {
    /// Keeps a tool; the key it has from now on. Tools written in two tasks may have the same id and differ.
    pub(super) fn keep_tool(&mut self, key: String, tool: Tool) -> String {
        let is_inline = key.contains('#');
        let mut free = key;
        while is_inline && self.tools.contains_key(&free) {
            free.push('+');
        }
        self.tools.insert(free.clone(), tool);
        free
    }
}

/// What is known of a task besides what it does.
#[derive(Debug)]
pub(super) struct Written<'t> {
    pub(super) id: &'t Name,
    place: crate::source::Place,
    link: &'t Link,
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
    fn task(&mut self, mut task: TaskDocument, link: Link, around: Around<'_>, used: &mut Used) -> Option<Task> {
        for unsupported in &task.unsupported {
            self.report(unsupported.diagnostic());
        }
        self.bindings(&task.bindings);
        let body = task.body.take()?;
        let is_wait = matches!(body, Body::Wait(_));
        let written = Written { id: &task.id, place: task.node.place(), link: &link };
        let executed = match body {
            Body::Basic(executor) => {
                let mut executed = self.basic(executor, &written, (task.with.take(), task.env), around, used)?;
                self.prompt_memories(&mut executed.kind, task.memories, used);
                if let TaskKind::Prompt(prompt) = &mut executed.kind {
                    self.prompt_tools(prompt, task.tools, &task.id, used);
                }
                executed
            }
            body => {
                let kind = self.kind(body, &written, around, used)?;
                Executed { kind, with: task.with.take(), env: task.env, input: None, output: None }
            }
        };
        let mut under = around.defaults.retry.over(&around.project.retry);
        if matches!(
            executed.kind,
            TaskKind::Parallel(_) | TaskKind::Collection(_) | TaskKind::Composite(_) | TaskKind::Workflow(_)
        ) {
            // Its children have had their attempts: what is not asked for here is not multiplied with theirs.
            under.maximum_attempts = Some(1);
        }
        Some(Task {
            kind: executed.kind,
            with: executed.with,
            input_schema: self.schema(task.input.or(executed.input)),
            output_schema: self.schema(task.output.or(executed.output)),
            outputs: task.outputs,
            env: executed.env,
            condition: task.condition,
            place: written.place,
            on_success: link.on_success,
            on_error: link.on_error,
            targeted: link.targeted,
            sleep: task.sleep,
            is_final: task.is_final,
            timeout: if is_wait { task.timeout } else { self.timeout(task.timeout) },
            retry: task.retry.over(&under).policy(),
            id: task.id.text,
        })
    }

    fn basic(
        &mut self,
        executor: Executor,
        task: &Written<'_>,
        (with, env): (Option<plan::ValueTemplate>, BTreeMap<String, Template>),
        around: Around<'_>,
        used: &mut Used,
    ) -> Option<Executed> {
        match executor {
            Executor::Tool(reference) => {
                let (key, tool) = self.tool_of(reference, task.id)?;
                let key = used.keep_tool(key, tool);
                Some(Executed { kind: TaskKind::Tool(ToolCall { tool: key }), with, env, input: None, output: None })
            }
            Executor::Prompt(prompt) => self.prompt(*prompt, task.id, around.workflow, with, env, used),
        }
    }

    /// What a task of another type than basic does.
    fn kind(&mut self, body: Body, task: &Written<'_>, around: Around<'_>, used: &mut Used) -> Option<TaskKind> {
        match body {
            Body::Basic(_) | Body::Aggregate => Some(TaskKind::Aggregate),
            Body::Router(router) => {
                let routes = task.link.routes.clone();
                Some(TaskKind::Router(plan::Router { condition: router.condition, routes }))
            }
            Body::Parallel(parallel) => self.parallel(parallel, task.id, around, used),
            Body::Collection(collection) => self.collection(*collection, task.id, around, used),
            Body::Composite(list) => self.composite(list, task.id, around, used),
            Body::Wait(wait) => self.wait(*wait, task, around, used),
            Body::Signal(signal) => Some(TaskKind::Signal(*signal)),
            Body::Memory(memory) => self.memory(*memory, task, used),
            Body::Workflow(call) => self.sub_workflow(&call.workflow, call.wait, around.workflow),
        }
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

    fn wait(&mut self, wait: Wait, task: &Written<'_>, around: Around<'_>, used: &mut Used) -> Option<TaskKind> {
        let has_processor = !wait.processor.is_empty();
        let processor = wait.processor.into_iter().next().and_then(|processor| {
            self.siblings(std::slice::from_ref(&processor), used);
            self.child(processor, &format!("the processor of '{}'", task.id.text), around, used)
        });
        if has_processor && processor.is_none() {
            return None;
        }
        Some(TaskKind::Wait(plan::Wait {
            wait_for: wait.wait_for,
            condition: wait.condition,
            processor: processor.map(Box::new),
            on_timeout: task.link.on_timeout.clone(),
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
