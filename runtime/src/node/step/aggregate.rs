//! Aggregate tasks: nothing runs, `outputs` is the output.

use compozy_engine::error::StepError;
use compozy_engine::json::Json;
use serde_json::Value;

use super::render::Batch;
use super::{Attempt, Executor, Raw, Scope};

impl Executor {
    pub(super) async fn aggregate(&self, attempt: &Attempt<'_>, with: &Value) -> Result<Raw, StepError> {
        let mut batch = Batch::new(&self.environment);
        let shape = attempt.task.outputs.as_ref().map(|outputs| batch.value(outputs)).transpose()?;
        let values = self.render(attempt, batch, Scope { with: Some(with), ..Scope::default() }).await?;
        let output = shape.map_or_else(|| Json::from_valid("{}"), |shape| Json::from(&values.fill(shape)));
        Ok(Raw::new(output))
    }
}
