//! What follows a raw output or an error: `outputs`, `final`, `sleep`, transitions; and typed fields.

use std::time::Duration;

use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Rendered, Target};
use compozy_engine::json::{Json, MAX_DEPTH};
use compozy_lang::duration::{self as durations, Bare};
use compozy_lang::plan::{Next, Task, TaskKind, Transition, Typed, Workflow};
use compozy_lang::suggest;
use serde_json::Value;

use super::condition::truth;
use super::render::{Batch, Shape};
use super::{Attempt, Executor, Raw, Scope};

/// A typed field, fixed or waiting for its rendered value.
enum TypedShape<T> {
    Fixed(Option<T>),
    Rendered(Shape),
}

impl Executor {
    /// `outputs`, `final`, `sleep` and `on_success` over the raw output.
    pub(super) async fn follow_up(&self, attempt: &Attempt<'_>, with: &Value, raw: Raw) -> Result<Done, StepError> {
        let task = attempt.task;
        let scope = Scope { with: Some(with), ..Scope::default() };
        let output = match &task.outputs {
            // An aggregate has nothing else, so they are its raw output already.
            Some(outputs) if !matches!(task.kind, TaskKind::Aggregate) => {
                let mut batch = Batch::new(&self.environment);
                let shape = batch.value(outputs)?;
                let values = self.render(attempt, batch, Scope { output: Some(&raw.output), ..scope }).await?;
                Json::from(&values.fill(shape))
            }
            _ => raw.output,
        };
        check_size(attempt.plan, task, &output)?;
        // A prompt's schema has been asked of the model; what `outputs` makes of it is another value.
        if task.output_schema.is_some() && !matches!(task.kind, TaskKind::Prompt(_)) {
            let site = format!("output of task '{}'", attempt.name());
            self.check_output(attempt.plan, &site, task.output_schema.as_ref(), &output, "CZ0319")?;
        }
        let scope = Scope { output: Some(&output), ..scope };
        let mut batch = Batch::new(&self.environment);
        let ends_list = typed(&mut batch, task.is_final.as_ref())?;
        let sleep = typed(&mut batch, task.sleep.as_ref())?;
        let values = self.render(attempt, batch, scope).await?;
        let ends_list = match ends_list {
            TypedShape::Fixed(value) => value.unwrap_or(false),
            TypedShape::Rendered(shape) => truth(&values.fill(shape)),
        };
        let sleep = match sleep {
            TypedShape::Fixed(value) => value,
            TypedShape::Rendered(shape) => duration(task, "sleep", &values.fill(shape))?,
        };
        let transition = self.transition(attempt, &task.on_success, scope).await?;
        // A failure like any other, which `on_error` may handle. What a router leads to is its route.
        if let Some(Target::Unknown(id)) = &transition.next
            && !matches!(task.kind, TaskKind::Router(_))
        {
            return Err(unknown_next(attempt, id));
        }
        let input = Some(Json::from(with));
        let Raw { usage, attached, .. } = raw;
        Ok(Done { input, ends_list, sleep, transition, usage, attached, ..Done::new(output) })
    }

    /// `on_success` or `on_error`, rendered.
    pub(super) async fn transition(
        &self,
        attempt: &Attempt<'_>,
        transition: &Transition,
        scope: Scope<'_>,
    ) -> Result<Rendered, StepError> {
        let mut batch = Batch::new(&self.environment);
        let next = match &transition.next {
            Some(Next::Template(template)) => Some(batch.scalar(template)?),
            Some(Next::Task(_)) | None => None,
        };
        let with = transition.with.as_ref().map(|with| batch.value(with)).transpose()?;
        let values = self.render(attempt, batch, scope).await?;
        let next = match (&transition.next, next) {
            (Some(Next::Task(index)), _) => Some(Target::Task(*index)),
            (_, Some(shape)) => target(attempt.siblings(), &values.fill(shape)),
            _ => None,
        };
        Ok(Rendered { next, with: with.map(|with| values.fill(with)) })
    }

    /// Where a failure leads: of a wait that got no signal `on_timeout`, else `on_error`.
    pub(super) async fn on_error(&self, attempt: &Attempt<'_>, error: &StepError) -> Result<Rendered, StepError> {
        let on_error = &attempt.task.on_error;
        let scope = Scope { error: Some(error), ..Scope::default() };
        if let TaskKind::Wait(wait) = &attempt.task.kind
            && wait.on_timeout.is_some()
            && error.code == "CZ0317"
        {
            let on_timeout = Transition { next: wait.on_timeout.clone(), with: on_error.with.clone() };
            let rendered = self.transition(attempt, &on_timeout, scope).await?;
            if rendered.next.is_some() {
                return Ok(rendered);
            }
        }
        self.transition(attempt, on_error, scope).await
    }

    /// The task's `timeout`, rendered.
    pub(super) async fn timeout(&self, attempt: &Attempt<'_>, with: &Value) -> Result<Option<Duration>, StepError> {
        let mut batch = Batch::new(&self.environment);
        match typed(&mut batch, attempt.task.timeout.as_ref())? {
            TypedShape::Fixed(value) => Ok(value),
            TypedShape::Rendered(shape) => {
                let values = self.render(attempt, batch, Scope { with: Some(with), ..Scope::default() }).await?;
                duration(attempt.task, "timeout", &values.fill(shape))
            }
        }
    }

    /// A count such as `max_workers`, rendered; absent is 0.
    pub(super) async fn count(
        &self,
        attempt: &Attempt<'_>,
        name: &str,
        field: Option<&Typed<u32>>,
        with: &Value,
    ) -> Result<u32, StepError> {
        let mut batch = Batch::new(&self.environment);
        let value = match typed(&mut batch, field)? {
            TypedShape::Fixed(value) => return Ok(value.unwrap_or(0)),
            TypedShape::Rendered(shape) => {
                let values = self.render(attempt, batch, Scope { with: Some(with), ..Scope::default() }).await?;
                values.fill(shape)
            }
        };
        let number = match &value {
            Value::Null => Some(0),
            Value::String(text) if text.trim().is_empty() => Some(0),
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64().and_then(|number| u32::try_from(number).ok()),
        };
        number.ok_or_else(|| {
            let message = format!("{name} of task '{}': expected a whole number from 0, got {value}", attempt.task.id);
            StepError::new("CZ0110", ErrorKind::Template, message)
        })
    }
}

/// A rendered `next`; empty or null is absent.
/// `next` was rendered to an id that the list does not have.
fn unknown_next(attempt: &Attempt<'_>, id: &str) -> StepError {
    let message = format!("task '{}': next task '{id}' does not exist", attempt.task.id);
    let mut error = StepError::new("CZ0307", ErrorKind::Template, message);
    error.help = Some(match suggest::nearest(id, attempt.siblings().iter().map(|task| task.id.as_str())) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "give the id of a task of the same list".to_owned(),
    });
    error
}

fn target(siblings: &[Task], value: &Value) -> Option<Target> {
    let id = match value {
        Value::Null => return None,
        Value::String(id) if id.trim().is_empty() => return None,
        Value::String(id) => id.trim().to_owned(),
        other => other.to_string(),
    };
    let index = siblings.iter().position(|task| task.id == id);
    Some(index.map_or(Target::Unknown(id), Target::Task))
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
        let message = format!("{field} of task '{}': '{text}' is not a duration", task.id);
        let mut error = StepError::new("CZ0111", ErrorKind::Template, message);
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
