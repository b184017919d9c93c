//! Workflows and their tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::Name;
use crate::document::agent::Agent;
use crate::document::task::{Executor, PromptExecutor, Task as TaskDocument};
use crate::document::workflow::{Defaults, Workflow as WorkflowDocument};
use crate::plan::{Expression, ProjectFacts, Prompt, Task, TaskKind, Template, Tool, ToolCall, Typed, Workflow};

use super::Linker;

/// What a task does, with what its agent and action add.
struct Executed {
    kind: TaskKind,
    with: Option<crate::plan::ValueTemplate>,
    env: BTreeMap<String, Template>,
    input: Option<crate::document::SchemaRef>,
    output: Option<crate::document::SchemaRef>,
}

impl Linker<'_> {
    /// Links every workflow.
    pub(super) fn workflows(
        &mut self,
        documents: Vec<WorkflowDocument>,
        defaults: &Defaults,
        facts: &ProjectFacts,
    ) -> BTreeMap<String, Arc<Workflow>> {
        let names: Vec<Name> = documents.iter().map(|document| document.id.clone()).collect();
        let unique = self.unique_ids("workflow", &names);
        let mut workflows = BTreeMap::new();
        for (document, is_first) in documents.into_iter().zip(unique) {
            let workflow = self.workflow(document, defaults, facts);
            if is_first {
                workflows.insert(workflow.id.clone(), Arc::new(workflow));
            }
        }
        workflows
    }

    fn workflow(&mut self, document: WorkflowDocument, project: &Defaults, facts: &ProjectFacts) -> Workflow {
        for unsupported in &document.unsupported {
            self.report(unsupported.diagnostic());
        }
        self.bindings(&document.bindings);
        if document.entries == 0 {
            let problem = document.id.diagnostic("CZ0301", format!("workflow '{}' has no tasks", document.id.text));
            self.report(problem.help("add tasks:"));
        }
        let is_complete = document.tasks.len() == document.entries;
        let id = document.id.text.clone();
        let explicit = self.is_explicit(&document);
        let links = self.links(&document, project, explicit, is_complete);
        let mut tools = BTreeMap::new();
        let mut tasks = Vec::new();
        for (task, link) in document.tasks.into_iter().zip(links) {
            tasks.extend(self.task(task, link, &id, &document.defaults, project, &mut tools));
        }
        let mut env = project.env.clone();
        env.extend(document.defaults.env.clone());
        Workflow {
            name: document.name,
            version: document.version,
            description: document.description,
            file: document.file,
            input_schema: self.schema(document.input),
            output_schema: self.schema(document.output_schema),
            timeout: document.defaults.timeout.or(project.timeout),
            tasks,
            explicit,
            outputs: document.outputs,
            env,
            project: facts.clone(),
            limits: self.settings.limits.engine.clone(),
            durability: document.durability,
            tools,
            triggers: Vec::new(),
            schedules: Vec::new(),
            digest: String::new(),
            id,
        }
    }

    fn task(
        &mut self,
        task: TaskDocument,
        link: super::flow::Link,
        workflow: &str,
        defaults: &Defaults,
        project: &Defaults,
        tools: &mut BTreeMap<String, Tool>,
    ) -> Option<Task> {
        for unsupported in &task.unsupported {
            self.report(unsupported.diagnostic());
        }
        self.bindings(&task.bindings);
        let own_input = task.input;
        let own_output = task.output;
        let executed = match task.executor? {
            Executor::Tool(reference) => {
                let (key, tool) = self.tool_of(reference, &task.id)?;
                tools.insert(key.clone(), tool);
                Executed {
                    kind: TaskKind::Tool(ToolCall { tool: key }),
                    with: task.with,
                    env: task.env,
                    input: None,
                    output: None,
                }
            }
            Executor::Prompt(prompt) => self.prompt(*prompt, &task.id, workflow, task.with, task.env)?,
        };
        Some(Task {
            kind: executed.kind,
            with: executed.with,
            input_schema: self.schema(own_input.or(executed.input)),
            output_schema: self.schema(own_output.or(executed.output)),
            outputs: task.outputs,
            env: executed.env,
            condition: task.condition.map(Expression::Template),
            on_success: link.on_success,
            on_error: link.on_error,
            sleep: task.sleep,
            is_final: task.is_final,
            timeout: self.timeout(task.timeout),
            retry: task.retry.over(&defaults.retry).over(&project.retry).policy(),
            targeted: link.targeted,
            place: task.node.place(),
            id: task.id.text,
        })
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

    fn prompt(
        &mut self,
        executor: PromptExecutor,
        task: &Name,
        workflow: &str,
        with: Option<crate::plan::ValueTemplate>,
        env: BTreeMap<String, Template>,
    ) -> Option<Executed> {
        let agent = match &executor.agent {
            Some(reference) => self.agent(reference)?,
            None => Agent::default(),
        };
        for unsupported in &agent.unsupported {
            self.report(unsupported.diagnostic());
        }
        self.bindings(&agent.bindings);
        let action = match &executor.action {
            Some(name) => Some(self.action(&agent, name)?),
            None => None,
        };
        let owner = format!("{workflow}.{}", task.text);
        let choice = self.choose(agent.llm.as_ref(), executor.model_config.as_ref(), &owner, task);
        let (action_prompt, action_with, input, output) = match action {
            Some(action) => (action.prompt, action.with, action.input, action.output),
            None => (None, None, None, None),
        };
        let under = self.overlay(agent.with, action_with, task);
        let with = self.overlay(under, with, task);
        let Some(prompt) = super::agents::join(action_prompt, executor.prompt) else {
            let problem = task.diagnostic("CZ0305", format!("task '{}' has nothing to run", task.text));
            self.report(problem.help("give it a prompt, or name an action of its agent"));
            return None;
        };
        let mut params = agent.params;
        params.extend(choice.params);
        let kind = TaskKind::Prompt(Prompt {
            prompt,
            instructions: agent.instructions,
            provider: choice.provider,
            model: if executor.model_config.is_some() {
                choice.model.or(agent.model)
            } else {
                agent.model.or(choice.model)
            },
            params,
        });
        let mut all_env = agent.env;
        all_env.extend(env);
        Some(Executed { kind, with, env: all_env, input, output })
    }
}
