//! Conditions: CEL over the context of the step, or a template.

use std::collections::BTreeMap;

use compozy_engine::cel;
use compozy_engine::context;
use compozy_engine::error::StepError;
use compozy_lang::plan::{Cel, Expression};
use serde_json::Value;

use super::render::{Batch, EnvLayers};
use super::{Attempt, Executor, Scope};

impl Executor {
    /// Whether a condition is true. CEL has to give true or false, a template is read as truth.
    pub(super) async fn holds(
        &self,
        attempt: &Attempt<'_>,
        condition: &Expression,
        scope: Scope<'_>,
    ) -> Result<bool, StepError> {
        match condition {
            Expression::Cel(expression) => {
                let context = self.cel_context(attempt, expression, scope)?;
                let limit = attempt.plan.limits.max_cel_cost;
                self.compiled(expression, |compiled| compiled.truth(&context, limit))
            }
            Expression::Template(_) => self.value_of(attempt, condition, scope).await.map(|value| truth(&value)),
        }
    }

    /// The value of an expression.
    pub(super) async fn value_of(
        &self,
        attempt: &Attempt<'_>,
        expression: &Expression,
        scope: Scope<'_>,
    ) -> Result<Value, StepError> {
        match expression {
            Expression::Cel(expression) => {
                let context = self.cel_context(attempt, expression, scope)?;
                let limit = attempt.plan.limits.max_cel_cost;
                self.compiled(expression, |compiled| compiled.evaluate(&context, limit))
            }
            Expression::Template(template) => {
                let mut batch = Batch::new(&self.environment);
                let shape = batch.scalar(template)?;
                let values = self.render(attempt, batch, scope).await?;
                Ok(values.fill(shape))
            }
        }
    }

    pub(super) fn compiled<T>(
        &self,
        expression: &Cel,
        evaluate: impl FnOnce(&cel::Compiled) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        let compiled = self.expressions.get(expression.source.as_str(), || cel::Compiled::new(&expression.source));
        compiled
            .as_ref()
            .as_ref()
            .map_err(StepError::clone)
            .and_then(evaluate)
            .map_err(|error| placed(error, expression))
    }

    fn cel_context(&self, attempt: &Attempt<'_>, expression: &Cel, scope: Scope<'_>) -> Result<Value, StepError> {
        let layers = attempt.env_layers();
        let env = EnvLayers(&layers).values(expression.references.iter(), &self.environment)?;
        let text = {
            let state = attempt.state.read();
            let none = BTreeMap::new();
            let site = context::Site { env: &env, ..attempt.site(&state, &none, scope) };
            context::build(&site, &expression.references)
        };
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }
}

fn placed(error: StepError, expression: &Cel) -> StepError {
    StepError { place: Some(expression.place.to_string()), ..error }
}

/// Truth as templates see it (dialect §6.6), and the words a condition may print.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.trim().to_ascii_lowercase().as_str(), "" | "false" | "no" | "0" | "off"),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}
