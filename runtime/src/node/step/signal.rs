//! Signal tasks: what they send. It is sent, and the runs it starts are recorded, in the commit of the task's result.

use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Sent};
use compozy_engine::json::Json;
use compozy_lang::plan::Signal;
use compozy_lang::schema_check;
use serde_json::{Value, json};

use super::super::Error;
use super::render::Batch;
use super::{Attempt, Executor, Raw, Scope};

impl Executor {
    /// Renders the signal and checks its payload against the triggers that listen to it.
    pub(super) async fn send(&self, attempt: &Attempt<'_>, signal: &Signal, with: &Value) -> Result<Done, StepError> {
        let name = self.name_of(attempt, &signal.name, with, "signal.id").await?;
        let mut batch = Batch::new(&self.environment);
        let payload = signal.payload.as_ref().map(|payload| batch.value(payload)).transpose()?;
        let target = signal.target.as_ref().map(|target| batch.scalar(target)).transpose()?;
        let values = self.render(attempt, batch, Scope { with: Some(with), ..Scope::default() }).await?;
        let payload = payload.map_or(Value::Null, |payload| values.fill(payload));
        let target = target.map(|target| values.text(target).trim().to_owned());
        if target.as_deref().is_some_and(str::is_empty) {
            let message = format!("signal.target of task '{}': expected an execution id, got nothing", attempt.task.id);
            return Err(StepError::new("CZ0110", ErrorKind::Template, message));
        }
        let listening = self.listening();
        let checked = match target {
            Some(_) => listening.check_payload(&self.schemas, &name, &payload),
            None => listening.check_broadcast(&self.schemas, &name, &payload),
        };
        checked.map_err(|error| refused(&name, error))?;
        // The step's own id: every attempt sends the same signal.
        let signal_id = attempt.step.id.clone();
        let output = json!({"signal_dispatched": true, "signal_id": signal_id});
        let raw = Raw::new(Json::from(&output));
        let mut done = self.follow_up(attempt, with, raw).await?;
        done.signals.push(Sent { signal_id, name, payload: Json::from(&payload), target });
        Ok(done)
    }
}

fn refused(name: &str, error: Error) -> StepError {
    let reason = match error {
        Error::PayloadInvalid { violations, .. } => schema_check::describe(&violations),
        other => other.to_string(),
    };
    let message = format!("signal '{name}': payload does not match its schema: {reason}");
    let mut error = StepError::new("CZ0905", ErrorKind::Schema, message);
    error.help = Some("fix the payload".to_owned());
    error
}
