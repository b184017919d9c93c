//! Waits: what a wait listens for, and whether a signal is what it waits for.

use compozy_engine::context;
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Opened, Opens, Outcome};
use compozy_engine::json::Json;
use compozy_engine::opening::Signal as Received;
use compozy_engine::state::{RunState, Step};
use compozy_lang::plan::{Template, Typed, Wait};
use serde_json::{Map, Value, json};

use super::render::Batch;
use super::{Attempt, Executor, Lost, Raw, Scope};

/// Longest name of a signal, bytes, as over HTTP: names are listed and printed.
const LONGEST_NAME: usize = 255;

/// The signal a wait looks at, with what its processor made of it.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub(super) signal: Received,
    pub(super) processor: Option<Step>,
}

impl Looked {
    /// What the step `step` looks at: a wait, or the processor of one.
    pub(super) fn by(state: &RunState, step: &Step) -> Option<Self> {
        let held = |step: &Step| step.opening.as_ref()?.waiting()?.signal.clone();
        if let Some(signal) = held(step) {
            let prefix = format!("{}/", step.key.path);
            let latest = state.steps.below(&prefix).find(|child| child.belongs_to(step)).cloned();
            return Some(Self { signal, processor: latest });
        }
        let signal = held(state.steps.at(step.parent.as_ref()?)?)?;
        Some(Self { signal, processor: None })
    }

    /// `.signal` and `.processor` of templates.
    pub(super) fn seen(&self) -> context::Looked<'_> {
        context::Looked { signal: &self.signal, processor: self.processor.as_ref() }
    }
}

impl Executor {
    /// A wait begins to listen.
    pub(super) async fn listen(&self, attempt: &Attempt<'_>, wait: &Wait, with: &Value) -> Result<Opened, StepError> {
        let timeout = self.timeout(attempt, with).await?;
        // A wait without limit is written, never the accident of a value that is not there.
        if timeout.is_none() && matches!(attempt.task.timeout, Some(Typed::Template(_))) {
            let message = format!("timeout of task '{}': expected a duration, got nothing", attempt.task.id);
            let error = StepError::new("CZ0110", ErrorKind::Template, message);
            return Err(StepError { help: Some("give it a default, or write timeout: none".to_owned()), ..error });
        }
        let name = self.name_of(attempt, &wait.wait_for, with, "wait_for").await?;
        Ok(Opened { input: Some(Json::from(with)), timeout, body: Opens::Wait { name } })
    }

    /// Whether the signal a wait holds is the one it waits for, and what follows if it is.
    pub(super) async fn look(&self, attempt: &Attempt<'_>, wait: &Wait) -> Result<Outcome, Lost> {
        let with = attempt.step.input.as_ref().map_or_else(|| Value::Object(Map::new()), Json::to_value);
        let keep = |error: StepError| Lost { input: Some(with.clone()), ..error.into() };
        let scope = Scope { with: Some(&with), ..Scope::default() };
        if let Some(condition) = &wait.condition
            && !self.holds(attempt, condition, scope).await.map_err(keep)?
        {
            return Ok(Outcome::Unmatched);
        }
        let Some(looked) = &attempt.looked else { return Ok(Outcome::Unmatched) };
        let processed: Value =
            serde_json::from_str(&context::processor_object(looked.processor.as_ref())).unwrap_or_default();
        let output = json!({
            "wait_status": "completed",
            "signal": {"payload": looked.signal.payload, "metadata": looked.signal.metadata},
            "processor_output": processed,
        });
        let raw = Raw::new(Json::from(&output));
        self.follow_up(attempt, &with, raw).await.map(Outcome::Done).map_err(keep)
    }

    /// A name of a signal, rendered.
    pub(super) async fn name_of(
        &self,
        attempt: &Attempt<'_>,
        template: &Template,
        with: &Value,
        field: &str,
    ) -> Result<String, StepError> {
        let mut batch = Batch::new(&self.environment);
        let shape = batch.scalar(template)?;
        let values = self.render(attempt, batch, Scope { with: Some(with), ..Scope::default() }).await?;
        let name = values.text(shape).trim().to_owned();
        if name.is_empty() {
            let message = format!("{field} of task '{}': expected the name of a signal, got nothing", attempt.task.id);
            return Err(StepError::new("CZ0110", ErrorKind::Template, message));
        }
        if name.len() > LONGEST_NAME {
            let (task, bytes) = (&attempt.task.id, name.len());
            let message =
                format!("{field} of task '{task}': a name has at most {LONGEST_NAME} bytes, this one {bytes}");
            return Err(StepError::new("CZ0110", ErrorKind::Template, message));
        }
        Ok(name)
    }
}
