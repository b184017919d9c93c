//! What a step does: render its templates, call what it calls, render what follows. One file per kind of effect.
//!
//! Everything here may run more than once for one step (a crash, a retry); only what the engine then records counts.

mod prompt;
pub(crate) mod render;
mod tool;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use compozy_engine::context::Site;
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Failure, Outcome, Rendered, Target, Usage};
use compozy_engine::json::{Json, MAX_DEPTH};
use compozy_engine::state::{ListState, ROOT, RunState, Step, StepKey};
use compozy_lang::duration::{self as durations, Bare};
use compozy_lang::environment::ProjectEnvironment;
use compozy_lang::plan::{Expression, Next, Task, TaskKind, Transition, Typed, Workflow};
use compozy_lang::schema_check;
use serde_json::Value;

use super::schemas::Schemas;
use super::watchers::Watchers;
use crate::plugin::cancel::CancelToken;
use crate::plugin::template::Renderer;
use crate::provider::Providers;
use render::{Batch, EnvLayers, Shape};
pub use tool::Tools;

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
}

/// One attempt of one step.
struct Attempt<'a> {
    plan: &'a Workflow,
    state: &'a RunState,
    step: &'a Step,
    task: &'a Task,
    cancel: CancelToken,
}

/// What an executor gave.
struct Raw {
    output: Json,
    usage: Vec<Usage>,
}

/// An attempt that failed, with what was known by then.
struct Lost {
    error: StepError,
    input: Option<Value>,
    usage: Vec<Usage>,
}

impl From<StepError> for Lost {
    fn from(error: StepError) -> Self {
        Self { error, input: None, usage: Vec::new() }
    }
}

impl Executor {
    /// An executor of a node with these options.
    pub(crate) fn new(options: &super::Options, watchers: Arc<Watchers>) -> Self {
        Self {
            renderer: options.renderer.clone(),
            providers: options.providers.clone(),
            tools: options.tools.clone(),
            environment: options.environment.clone(),
            watchers,
            prompt_timeout: options.prompt_timeout,
            schemas: Arc::default(),
        }
    }

    /// Runs the present attempt of a step.
    pub(crate) async fn execute(
        &self,
        plan: &Workflow,
        state: &RunState,
        key: &StepKey,
        cancel: CancelToken,
    ) -> Outcome {
        let found = state.steps.get(&key.path).and_then(|step| Some((step, plan.tasks.get(step.task)?)));
        let Some((step, task)) = found else {
            let error = StepError::new("internal", ErrorKind::Internal, format!("step {key} is not in the plan"));
            return failed(error.into(), Rendered::default());
        };
        let attempt = Attempt { plan, state, step, task, cancel };
        match self.attempt(&attempt).await {
            Ok(done) => Outcome::Done(done),
            Err(lost) => match self.transition(&attempt, &task.on_error, None, Some(&lost.error)).await {
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
    pub(crate) async fn workflow_outputs(&self, plan: &Workflow, state: &RunState) -> Result<Json, StepError> {
        let output = match &plan.outputs {
            None => last_output(plan, state),
            Some(outputs) => {
                let mut batch = Batch::new(&self.environment);
                let shape = batch.value(outputs)?;
                let site =
                    Site { plan, state, step: None, with: None, output: None, error: None, env: &BTreeMap::new() };
                let ambient = render::ambient(state.started_at.unwrap_or_default(), &state.facts.exec_id);
                let layers = [&plan.env];
                let values =
                    batch.render(&self.renderer, site, &EnvLayers(&layers), ambient, &plan.limits.template).await;
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

    async fn attempt(&self, attempt: &Attempt<'_>) -> Result<Done, Lost> {
        let task = attempt.task;
        let Some(with) = self.input(attempt).await? else {
            return Ok(skipped());
        };
        let keep_input = |error: StepError| Lost { error, input: Some(with.clone()), usage: Vec::new() };
        if task.input_schema.is_some() {
            let site = format!("input of task '{}'", task.id);
            self.check(attempt.plan, &site, task.input_schema.as_ref(), &with, "CZ0208").map_err(keep_input)?;
        }
        let raw = match &task.kind {
            TaskKind::Prompt(prompt) => self.prompt(attempt, prompt, &with).await,
            TaskKind::Tool(call) => self.tool(attempt, call, &with).await,
            _ => Err(Lost::from(not_yet(task))),
        };
        let raw = raw.map_err(|lost| Lost { input: Some(with.clone()), ..lost })?;
        let usage = raw.usage.clone();
        self.follow_up(attempt, &with, raw).await.map_err(|error| Lost { error, input: Some(with.clone()), usage })
    }

    /// `condition` and `with`, rendered; `None` when the condition is false.
    async fn input(&self, attempt: &Attempt<'_>) -> Result<Option<Value>, StepError> {
        let task = attempt.task;
        let defaults = match &task.kind {
            TaskKind::Tool(call) => attempt.plan.tools.get(&call.tool).and_then(|tool| tool.with.as_ref()),
            _ => None,
        };
        let mut batch = Batch::new(&self.environment);
        let condition = match &task.condition {
            Some(Expression::Template(condition)) => Some(batch.scalar(condition)?),
            Some(Expression::Cel(_)) => return Err(not_yet(task)),
            None => None,
        };
        let defaults = defaults.map(|defaults| batch.value(defaults)).transpose()?;
        let with = task.with.as_ref().map(|with| batch.value(with)).transpose()?;
        let values = self.render(attempt, batch, None, None, None).await?;
        if condition.is_some_and(|condition| !truth(&values.fill(condition))) {
            return Ok(None);
        }
        let mut input = serde_json::Map::new();
        for layer in [defaults, with].into_iter().flatten() {
            lay_over(&mut input, values.fill(layer));
        }
        if let Some(overlay) = attempt.step.overlay.clone() {
            lay_over(&mut input, overlay);
        }
        Ok(Some(Value::Object(input)))
    }

    /// `outputs`, `final`, `sleep` and `on_success` over the raw output.
    async fn follow_up(&self, attempt: &Attempt<'_>, with: &Value, raw: Raw) -> Result<Done, StepError> {
        let task = attempt.task;
        let output = match &task.outputs {
            None => raw.output,
            Some(outputs) => {
                let mut batch = Batch::new(&self.environment);
                let shape = batch.value(outputs)?;
                let values = self.render(attempt, batch, Some(with), Some(&raw.output), None).await?;
                Json::from(&values.fill(shape))
            }
        };
        check_size(attempt.plan, task, &output)?;
        // A prompt's schema has been asked of the model; what `outputs` makes of it is another value.
        if task.output_schema.is_some() && !matches!(task.kind, TaskKind::Prompt(_)) {
            let site = format!("output of task '{}'", task.id);
            self.check_output(attempt.plan, &site, task.output_schema.as_ref(), &output, "CZ0319")?;
        }
        let mut batch = Batch::new(&self.environment);
        let ends_list = typed(&mut batch, task.is_final.as_ref())?;
        let sleep = typed(&mut batch, task.sleep.as_ref())?;
        let values = self.render(attempt, batch, Some(with), Some(&output), None).await?;
        let ends_list = match ends_list {
            TypedShape::Fixed(value) => value.unwrap_or(false),
            TypedShape::Rendered(shape) => truth(&values.fill(shape)),
        };
        let sleep = match sleep {
            TypedShape::Fixed(value) => value,
            TypedShape::Rendered(shape) => duration(task, "sleep", &values.fill(shape))?,
        };
        let transition = self.transition(attempt, &task.on_success, Some((with, &output)), None).await?;
        let input = Some(Json::from(with));
        Ok(Done { input, output, skipped: false, ends_list, sleep, transition, usage: raw.usage })
    }

    /// `on_success` or `on_error`, rendered.
    async fn transition(
        &self,
        attempt: &Attempt<'_>,
        transition: &Transition,
        done: Option<(&Value, &Json)>,
        error: Option<&StepError>,
    ) -> Result<Rendered, StepError> {
        let mut batch = Batch::new(&self.environment);
        let next = match &transition.next {
            Some(Next::Template(template)) => Some(batch.scalar(template)?),
            Some(Next::Task(_)) | None => None,
        };
        let with = transition.with.as_ref().map(|with| batch.value(with)).transpose()?;
        let (input, output) = done.unzip();
        let values = self.render(attempt, batch, input, output, error).await?;
        let next = match (&transition.next, next) {
            (Some(Next::Task(index)), _) => Some(Target::Task(*index)),
            (_, Some(shape)) => target(attempt.plan, &values.fill(shape)),
            _ => None,
        };
        Ok(Rendered { next, with: with.map(|with| values.fill(with)) })
    }

    async fn render(
        &self,
        attempt: &Attempt<'_>,
        batch: Batch<'_>,
        with: Option<&Value>,
        output: Option<&Json>,
        error: Option<&StepError>,
    ) -> Result<render::Values, StepError> {
        let Attempt { plan, state, step, task, .. } = *attempt;
        let site = Site { plan, state, step: Some(step), with, output, error, env: &BTreeMap::new() };
        let ambient = render::ambient(step.started_at, &step.id);
        let layers = [&task.env, &plan.env];
        batch.render(&self.renderer, site, &EnvLayers(&layers), ambient, &plan.limits.template).await
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

    /// The task's `timeout`, rendered.
    async fn timeout(&self, attempt: &Attempt<'_>, with: &Value) -> Result<Option<Duration>, StepError> {
        let mut batch = Batch::new(&self.environment);
        match typed(&mut batch, attempt.task.timeout.as_ref())? {
            TypedShape::Fixed(value) => Ok(value),
            TypedShape::Rendered(shape) => {
                let values = self.render(attempt, batch, Some(with), None, None).await?;
                duration(attempt.task, "timeout", &values.fill(shape))
            }
        }
    }
}

fn failed(lost: Lost, transition: Rendered) -> Outcome {
    Outcome::Failed(Failure {
        input: lost.input.as_ref().map(Json::from),
        error: lost.error,
        transition,
        usage: lost.usage,
    })
}

/// The loader refuses what this version cannot run, so only a definition stored by a later one gets here.
fn not_yet(task: &Task) -> StepError {
    let message = format!("task '{}' needs a later version: {} tasks", task.id, task.kind_word());
    StepError::new("CZ0001", ErrorKind::Internal, message)
}

/// What a task gives whose condition is false.
fn skipped() -> Done {
    Done {
        input: None,
        output: Json::null(),
        skipped: true,
        ends_list: false,
        sleep: None,
        transition: Rendered::default(),
        usage: Vec::new(),
    }
}

fn last_output(plan: &Workflow, state: &RunState) -> Json {
    let last = match state.lists.get(ROOT) {
        Some(ListState::Ended { last }) => *last,
        _ => None,
    };
    let step = last.and_then(|index| state.step(plan, index));
    step.and_then(|step| step.output.clone()).unwrap_or_else(Json::null)
}

/// Top-level keys of `over` win. Anything but a map becomes `{"value": …}`.
fn lay_over(input: &mut serde_json::Map<String, Value>, over: Value) {
    match over {
        Value::Object(members) => input.extend(members),
        Value::Null => {}
        other => {
            input.insert("value".to_owned(), other);
        }
    }
}

/// Truth as templates see it (dialect §6.6), and the words a condition may print.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.trim().to_ascii_lowercase().as_str(), "" | "false" | "no" | "0" | "off"),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// A rendered `next`; empty or null is absent.
fn target(plan: &Workflow, value: &Value) -> Option<Target> {
    let id = match value {
        Value::Null => return None,
        Value::String(id) if id.trim().is_empty() => return None,
        Value::String(id) => id.trim().to_owned(),
        other => other.to_string(),
    };
    let index = plan.tasks.iter().position(|task| task.id == id);
    Some(index.map_or(Target::Unknown(id), Target::Task))
}

/// A typed field, fixed or waiting for its rendered value.
enum TypedShape<T> {
    Fixed(Option<T>),
    Rendered(Shape),
}

fn typed<'a, T: Clone>(batch: &mut Batch<'a>, field: Option<&'a Typed<T>>) -> Result<TypedShape<T>, StepError> {
    match field {
        None => Ok(TypedShape::Fixed(None)),
        Some(Typed::Fixed(value)) => Ok(TypedShape::Fixed(Some(value.clone()))),
        Some(Typed::Template(template)) => batch.scalar(template).map(TypedShape::Rendered),
    }
}

fn duration(task: &Task, field: &str, value: &Value) -> Result<Option<Duration>, StepError> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    durations::parse(&text, Bare::Refused).map(Some).ok_or_else(|| {
        let message = format!("{field} of task '{}': expected a duration, got '{text}'", task.id);
        let mut error = StepError::new("CZ0110", ErrorKind::Template, message);
        error.help = Some("write a unit, for example 5s or 2m".to_owned());
        error
    })
}

fn check_size(plan: &Workflow, task: &Task, output: &Json) -> Result<(), StepError> {
    let depth = output.depth();
    if depth > MAX_DEPTH {
        let message = format!("output of task '{}' is nested {depth} levels deep; the limit is {MAX_DEPTH}", task.id);
        return Err(StepError::new("CZ0410", ErrorKind::Schema, message));
    }
    let limit = plan.limits.max_output_bytes;
    if output.as_str().len() as u64 <= limit {
        return Ok(());
    }
    let message = format!("output of task '{}' is {} bytes; the limit is {limit}", task.id, output.as_str().len());
    let mut error = StepError::new("CZ0410", ErrorKind::Schema, message);
    error.help = Some("make it smaller, or raise limits.max_output_size".to_owned());
    Err(error)
}
