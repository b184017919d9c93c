//! What a step does: render its templates, call what it calls, render what follows. One file per kind of effect.
//!
//! Everything here may run more than once for one step (a crash, a retry); only what the engine then records counts.

mod agent;
mod aggregate;
mod condition;
mod container;
mod follow;
mod items;
mod memory;
mod prompt;
pub(crate) mod render;
pub(crate) mod request;
mod router;
mod script;
mod signal;
mod tool;
mod wait;
mod workflow;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use compozy_engine::cel;
use compozy_engine::context::{Item, Site};
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Attachment, Done, Failure, Outcome, Rendered, Usage};
use compozy_engine::json::{Json, MAX_DEPTH};
use compozy_engine::state::{RunState, Step, StepKey};
use compozy_lang::environment::ProjectEnvironment;
use compozy_lang::plan::{Task, TaskKind, Template, Workflow};
use compozy_lang::schema_check;
use serde_json::{Map, Value};

use super::definitions::Definitions;
use super::kept::Kept;
use super::schemas::Schemas;
use super::state::Shared;
use super::triggers::{Listening, Triggers};
use super::watchers::Watchers;
use crate::clock::Clock;
use crate::memory::Keeper;
use crate::plugin::ModelCalls;
use crate::plugin::cancel::CancelToken;
use crate::plugin::template::Renderer;
use crate::provider::Providers;
use render::{Batch, EnvLayers};
pub use tool::Tools;
use wait::Looked;

/// Carries out steps.
#[derive(Debug)]
pub struct Executor {
    renderer: Arc<Renderer>,
    providers: Arc<Providers>,
    tools: Arc<Tools>,
    environment: ProjectEnvironment,
    watchers: Arc<Watchers>,
    /// `llm.provider_timeout`.
    prompt_timeout: Duration,
    pub(crate) schemas: Arc<Schemas>,
    definitions: Arc<Definitions>,
    clock: Clock,
    memory: Keeper,
    /// CEL by its text.
    expressions: Kept<String, Result<cel::Compiled, StepError>>,
    triggers: Triggers,
}

/// One attempt of one step.
struct Attempt<'a> {
    plan: &'a Workflow,
    state: &'a Shared,
    /// The step as it was when the attempt began.
    step: Step,
    task: &'a Task,
    /// The signal that it, or the wait it processes for, looks at.
    looked: Option<Looked>,
    cancel: CancelToken,
    /// What its plugins ask models.
    models: ModelCalls,
}

/// What an executor gave.
struct Raw {
    output: Json,
    usage: Vec<Usage>,
    /// What is recorded with the result.
    attached: Vec<Attachment>,
}

impl Raw {
    fn new(output: Json) -> Self {
        Self { output, usage: Vec::new(), attached: Vec::new() }
    }
}

/// An attempt that failed, with what was known by then.
struct Lost {
    error: StepError,
    input: Option<Value>,
    /// What a container keeps of its children.
    output: Option<Json>,
    usage: Vec<Usage>,
}

impl From<StepError> for Lost {
    fn from(error: StepError) -> Self {
        Self { error, input: None, output: None, usage: Vec::new() }
    }
}

/// What templates of a stage see besides the run: nothing at first.
#[derive(Clone, Copy, Default)]
struct Scope<'a> {
    with: Option<&'a Value>,
    output: Option<&'a Json>,
    error: Option<&'a StepError>,
    item: Option<Item<'a>>,
}

impl Executor {
    /// An executor of a node with these options.
    pub(crate) fn new(options: &super::Options, watchers: Arc<Watchers>, definitions: Arc<Definitions>) -> Self {
        Self {
            renderer: options.renderer.clone(),
            providers: options.providers.clone(),
            tools: options.tools.clone(),
            environment: options.environment.clone(),
            watchers,
            prompt_timeout: options.prompt_timeout,
            memory: Keeper::new(
                options.storage.clone(),
                options.clock.clone(),
                options.providers.clone(),
                options.prompt_timeout,
                (&options.project.settings.limits).into(),
            ),
            schemas: Arc::default(),
            definitions,
            clock: options.clock.clone(),
            expressions: Kept::default(),
            triggers: Triggers::default(),
        }
    }

    /// Who listens to what, by the present definitions.
    pub(crate) fn listening(&self) -> Arc<Listening> {
        self.triggers.of(&self.definitions.project())
    }

    /// The memories of this process.
    pub(crate) fn memory(&self) -> &Keeper {
        &self.memory
    }

    /// Runs the present attempt of a step, or ends one that is open.
    pub(crate) async fn execute(&self, plan: &Workflow, state: &Shared, key: &StepKey, cancel: CancelToken) -> Outcome {
        let found = {
            let state = state.read();
            let step = state.steps.at(key);
            step.and_then(|step| Some((step.clone(), plan.task(&step.address)?, Looked::by(&state, step))))
        };
        let Some((step, task, looked)) = found else {
            let error = StepError::new("internal", ErrorKind::Internal, format!("step {key} is not in the plan"));
            return failed(error.into(), Rendered::default());
        };
        let attempt = Attempt { plan, state, step, task, looked, cancel, models: ModelCalls::default() };
        let outcome = match (&attempt.step.opening, &task.kind) {
            (None, _) => self.attempt(&attempt).await,
            (Some(opening), TaskKind::Wait(wait)) if opening.closing.is_none() => {
                Box::pin(self.look(&attempt, wait)).await
            }
            (Some(_), _) => Box::pin(self.close(&attempt)).await.map(Outcome::Done),
        };
        match outcome {
            Ok(outcome) => outcome,
            Err(lost) => match self.on_error(&attempt, &lost.error).await {
                Ok(transition) => failed(lost, transition),
                // A broken error transition hides nothing: the step's own error stands.
                Err(error) => {
                    tracing::warn!(task.id = %key.path, "failed to render on_error: {}", error.message);
                    failed(lost, Rendered::default())
                }
            },
        }
    }

    /// The run's output: the workflow's `outputs`, or the output of the last task that ran.
    pub(crate) async fn workflow_outputs(&self, plan: &Workflow, state: &Shared) -> Result<Json, StepError> {
        let output = match &plan.outputs {
            None => last_output(plan, &state.read()),
            Some(outputs) => {
                let mut batch = Batch::new(&self.environment);
                let shape = batch.value(outputs)?;
                let layers = [&plan.env];
                let prepared = {
                    let state = state.read();
                    let env = BTreeMap::new();
                    let site = Site::new(plan, &state, None, &env);
                    let ambient = render::ambient(state.started_at.unwrap_or_default(), &state.facts.exec_id);
                    batch.prepare(site, &EnvLayers(&layers), ambient)?
                };
                let values = prepared.render(&self.renderer, &plan.limits.template).await;
                let values = values.map_err(|error| StepError {
                    message: format!("outputs could not be rendered: {}", error.message),
                    code: "CZ0322".to_owned(),
                    detail: Some(error.code.clone()),
                    ..error
                })?;
                Json::from(&values.fill(shape))
            }
        };
        let depth = output.depth();
        if depth > MAX_DEPTH {
            let message = format!("outputs are nested {depth} levels deep; the limit is {MAX_DEPTH}");
            return Err(StepError::new("CZ0322", ErrorKind::Schema, message));
        }
        let site = format!("output of workflow '{}'", plan.id);
        self.check_output(plan, &site, plan.output_schema.as_ref(), &output, "CZ0319")?;
        Ok(output)
    }

    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Outcome, Lost> {
        let task = attempt.task;
        let Some(with) = self.input(attempt).await? else {
            return Ok(Outcome::Done(Done { skipped: true, ..Done::new(Json::null()) }));
        };
        let keep_input = |lost: Lost| Lost { input: Some(with.clone()), ..lost };
        if task.input_schema.is_some() {
            let site = format!("input of task '{}'", attempt.name());
            let checked = self.check(attempt.plan, &site, task.input_schema.as_ref(), &with, "CZ0208");
            checked.map_err(|error| keep_input(error.into()))?;
        }
        // Boxed is all but the tool: a call is as large as the largest thing it may wait for, and tools are most calls.
        let raw = match &task.kind {
            TaskKind::Prompt(prompt) => Box::pin(self.prompt(attempt, prompt, &with)).await,
            TaskKind::Tool(call) => self.tool(attempt, call, &with).await,
            TaskKind::Aggregate => Box::pin(self.aggregate(attempt, &with)).await.map_err(Lost::from),
            TaskKind::Router(router) => {
                let done = Box::pin(self.route(attempt, router, &with)).await;
                return done.map(Outcome::Done).map_err(|error| keep_input(error.into()));
            }
            TaskKind::Parallel(_) | TaskKind::Collection(_) | TaskKind::Composite(_) => {
                let opened = Box::pin(self.open(attempt, &with)).await;
                return opened.map(Outcome::Opened).map_err(|error| keep_input(error.into()));
            }
            TaskKind::Wait(wait) => {
                let opened = Box::pin(self.listen(attempt, wait, &with)).await;
                return opened.map(Outcome::Opened).map_err(|error| keep_input(error.into()));
            }
            TaskKind::Signal(signal) => {
                let done = Box::pin(self.send(attempt, signal, &with)).await;
                return done.map(Outcome::Done).map_err(|error| keep_input(error.into()));
            }
            TaskKind::Workflow(sub) => {
                let begun = Box::pin(self.sub_workflow(attempt, sub, &with)).await;
                return begun.map_err(|error| keep_input(error.into()));
            }
            TaskKind::Memory(memory) => Box::pin(self.use_memory(attempt, memory, &with)).await,
        };
        let raw = match raw {
            Ok(raw) => Raw { usage: attempt.usage(raw.usage), ..raw },
            Err(lost) => return Err(keep_input(Lost { usage: attempt.usage(lost.usage), ..lost })),
        };
        let usage = raw.usage.clone();
        let done = self.follow_up(attempt, &with, raw).await;
        done.map(Outcome::Done).map_err(|error| keep_input(Lost { usage, ..error.into() }))
    }

    /// `with`, rendered, over what lies under it; `None` when the condition is false.
    async fn input(&self, attempt: &Attempt<'_>) -> Result<Option<Value>, StepError> {
        let task = attempt.task;
        let has_own_condition = matches!(task.kind, TaskKind::Router(_) | TaskKind::Wait(_));
        if let Some(condition) = task.condition.as_ref().filter(|_| !has_own_condition)
            && !self.holds(attempt, condition, Scope::default()).await?
        {
            return Ok(None);
        }
        self.with(attempt).await.map(Some)
    }

    /// `with`, rendered, over what lies under it.
    async fn with(&self, attempt: &Attempt<'_>) -> Result<Value, StepError> {
        let task = attempt.task;
        let defaults = match &task.kind {
            TaskKind::Tool(call) => attempt.plan.tools.get(&call.tool).and_then(|tool| tool.with.as_ref()),
            _ => None,
        };
        let mut batch = Batch::new(&self.environment);
        let defaults = defaults.map(|defaults| batch.value(defaults)).transpose()?;
        let with = task.with.as_ref().map(|with| batch.value(with)).transpose()?;
        let values = self.render(attempt, batch, Scope::default()).await?;
        let mut input = Map::new();
        if let Some(defaults) = defaults {
            lay_over(&mut input, values.fill(defaults));
        }
        if let Some(lent) = self.lent(attempt).await? {
            lay_over(&mut input, lent);
        }
        if let Some(with) = with {
            lay_over(&mut input, values.fill(with));
        }
        if let Some(overlay) = attempt.step.overlay.clone() {
            lay_over(&mut input, overlay);
        }
        Ok(Value::Object(input))
    }

    /// What a collection lays under the `with` of its children.
    async fn lent(&self, attempt: &Attempt<'_>) -> Result<Option<Value>, StepError> {
        if attempt.step.index.is_none() {
            return Ok(None);
        }
        let holder = {
            let state = attempt.state.read();
            attempt.step.parent.as_ref().and_then(|parent| state.steps.at(parent).cloned())
        };
        let found = holder.and_then(|step| attempt.plan.task(&step.address).map(|task| (step, task)));
        let Some((step, task)) = found else { return Ok(None) };
        // Secrets are masked in what is recorded, so a `with` that may hold some is rendered again.
        if task.with.as_ref().is_some_and(render::reads_environment) {
            let (plan, state, cancel) = (attempt.plan, attempt.state, attempt.cancel.clone());
            let models = ModelCalls::default();
            let container = Attempt { plan, state, step, task, looked: None, cancel, models };
            return Box::pin(self.with(&container)).await.map(Some);
        }
        Ok(step.input.as_ref().map(Json::to_value))
    }

    async fn render(
        &self,
        attempt: &Attempt<'_>,
        batch: Batch<'_>,
        scope: Scope<'_>,
    ) -> Result<render::Values, StepError> {
        if batch.is_empty() {
            return Ok(render::Values::default());
        }
        let layers = attempt.env_layers();
        let prepared = {
            let state = attempt.state.read();
            let env = BTreeMap::new();
            let ambient = render::ambient(attempt.step.started_at, &attempt.step.id);
            batch.prepare(attempt.site(&state, &env, scope), &EnvLayers(&layers), ambient)?
        };
        prepared.render(&self.renderer, &attempt.plan.limits.template).await
    }

    /// Checks `output` against the schema at `site`, if there is one.
    fn check_output(
        &self,
        plan: &Workflow,
        site: &str,
        schema: Option<&Value>,
        output: &Json,
        code: &str,
    ) -> Result<(), StepError> {
        match schema {
            None => Ok(()),
            Some(_) => self.check(plan, site, schema, &output.to_value(), code),
        }
    }

    /// Checks `value` against the schema at `site`, if there is one. `site` says what the value is, in words.
    fn check(
        &self,
        plan: &Workflow,
        site: &str,
        schema: Option<&Value>,
        value: &Value,
        code: &str,
    ) -> Result<(), StepError> {
        let Some(schema) = schema else { return Ok(()) };
        self.schemas.check(&plan.digest, site, schema, value).map_err(|violations| {
            let message = format!("{site} does not match its schema: {}", schema_check::describe(&violations));
            StepError::new(code, ErrorKind::Schema, message)
        })
    }
}

impl<'a> Attempt<'a> {
    fn site<'s>(&'s self, state: &'s RunState, env: &'s BTreeMap<String, String>, scope: Scope<'s>) -> Site<'s> {
        let Scope { with, output, error, item } = scope;
        let signal = self.looked.as_ref().map(Looked::seen);
        Site { with, output, error, item, signal, ..Site::new(self.plan, state, Some(&self.step), env) }
    }

    /// What was asked of models, by the step itself (`own`) and by its plugins.
    fn usage(&self, own: Vec<Usage>) -> Vec<Usage> {
        let asked = self.models.take().into_iter().map(|used| Usage {
            provider: used.provider,
            model: used.model,
            prompt_tokens: used.prompt_tokens,
            completion_tokens: used.completion_tokens,
        });
        asked.fold(own, |mut usage, more| {
            agent::add(&mut usage, more);
            usage
        })
    }

    /// The task with the tasks that hold it, innermost first.
    fn around(&self) -> impl Iterator<Item = &'a Task> {
        let (plan, address) = (self.plan, &self.step.address);
        (1..=address.len()).rev().filter_map(move |length| plan.task(address.get(..length)?))
    }

    /// Ids of the tasks that hold this one and its own, as the plan names them: the name of its schemas.
    fn name(&self) -> String {
        let mut ids: Vec<&str> = self.around().map(|task| task.id.as_str()).collect();
        ids.reverse();
        ids.join("/")
    }

    /// `env:` maps, narrowest first.
    fn env_layers(&self) -> Vec<&'a BTreeMap<String, Template>> {
        self.around().map(|task| &task.env).chain([&self.plan.env]).collect()
    }

    /// The tasks of the list it stands in.
    fn siblings(&self) -> &'a [Task] {
        match self.step.address.split_last() {
            Some((_, [])) | None => &self.plan.tasks,
            Some((_, above)) => self.plan.task(above).map_or(&[], Task::children),
        }
    }
}

fn failed(lost: Lost, transition: Rendered) -> Outcome {
    Outcome::Failed(Failure {
        input: lost.input.as_ref().map(Json::from),
        output: lost.output,
        error: lost.error,
        transition,
        usage: lost.usage,
    })
}

fn last_output(plan: &Workflow, state: &RunState) -> Json {
    let step = state.ended_with.and_then(|index| state.step(plan, index));
    step.and_then(|step| step.output.clone()).unwrap_or_else(Json::null)
}

/// Top-level keys of `over` win. Anything but a map becomes `{"value": …}`.
fn lay_over(input: &mut Map<String, Value>, over: Value) {
    match over {
        Value::Object(members) => input.extend(members),
        Value::Null => {}
        other => {
            input.insert("value".to_owned(), other);
        }
    }
}
