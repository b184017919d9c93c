//! Workflows and their tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::Name;
use crate::document::agent::Agent;
use crate::document::task::PromptExecutor;
use crate::document::workflow::{Defaults, Workflow as WorkflowDocument};
use crate::plan::{ProjectFacts, Prompt, TaskKind, Template, Toolbox, Workflow};

use super::Linker;
use super::tasks::{Around, Executed, Used};

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
        self.workflow_ids = names.into_iter().map(|name| name.text).collect();
        let mut workflows = BTreeMap::new();
        for (document, is_first) in documents.into_iter().zip(unique) {
            let workflow = self.workflow(document, defaults, facts);
            if is_first {
                workflows.insert(workflow.id.clone(), Arc::new(workflow));
            }
        }
        self.calls();
        workflows
    }

    fn workflow(&mut self, document: WorkflowDocument, project: &Defaults, facts: &ProjectFacts) -> Workflow {
        for unsupported in &document.unsupported {
            self.report(unsupported.diagnostic());
        }
        self.bindings(&document.bindings);
        if document.tasks.tasks.is_empty() && document.tasks.is_complete {
            let problem = document.id.diagnostic("CZ0301", format!("workflow '{}' has no tasks", document.id.text));
            self.report(problem.help("add tasks:"));
        }
        let id = document.id.text.clone();
        let around = Around { workflow: &id, defaults: &document.defaults, project };
        let mut used = Used::default();
        let (tasks, explicit) = self.list(document.tasks, &format!("workflow '{id}'"), around, &mut used);
        self.same_ids(&used.ids);
        let triggers = self.triggers(document.triggers, &id);
        let schedules = self.schedules(document.schedules, &id);
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
            concurrency: document.concurrency,
            tools: used.tools,
            memories: used.memories,
            triggers,
            schedules,
            digest: String::new(),
            id,
        }
    }

    pub(super) fn prompt(
        &mut self,
        executor: PromptExecutor,
        task: &Name,
        workflow: &str,
        with: Option<crate::plan::ValueTemplate>,
        env: BTreeMap<String, Template>,
        used: &mut Used,
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
        let toolbox =
            Toolbox { tools: Vec::new(), guards: self.tool_guards(agent.max_iterations, choice.provider.as_deref()) };
        let memories = agent.memories.iter().filter_map(|memory| self.memory_binding(memory, used)).collect();
        let mut params = agent.params;
        params.extend(choice.params);
        let mut prompt = Prompt {
            prompt,
            instructions: agent.instructions,
            provider: choice.provider,
            model: if executor.model_config.is_some() {
                choice.model.or(agent.model)
            } else {
                agent.model.or(choice.model)
            },
            params,
            memories,
            toolbox,
        };
        self.prompt_tools(&mut prompt, agent.tools, task, used);
        let kind = TaskKind::Prompt(prompt);
        let mut all_env = agent.env;
        all_env.extend(env);
        Some(Executed { kind, with, env: all_env, input, output })
    }
}
