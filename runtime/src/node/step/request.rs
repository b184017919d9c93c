//! Conditions and templates over a request to a webhook: `.payload`, `.headers`, `.query` and what surrounds every run.

use compozy_engine::error::StepError;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::{Cel, Reference, Template, ValueTemplate, Workflow};
use serde_json::{Map, Value, json};

use super::Executor;
use super::render::{self, Batch, EnvLayers, Shape, Values};

/// A request to a webhook, as conditions and templates see it.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) plan: &'a Workflow,
    /// `{payload, headers, query}`; empty before the request was verified.
    pub(crate) request: &'a Map<String, Value>,
    /// Time of the templates.
    pub(crate) at: Timestamp,
    /// Seed of the templates.
    pub(crate) id: &'a str,
}

impl Executor {
    /// A request that has come now.
    pub(crate) fn seen<'a>(&self, plan: &'a Workflow, request: &'a Map<String, Value>, id: &'a str) -> Seen<'a> {
        Seen { plan, request, at: self.clock.now(), id }
    }

    /// Whether a filter is true.
    pub(crate) fn passes(&self, seen: &Seen<'_>, filter: &Cel) -> Result<bool, StepError> {
        let context = self.request_context(seen, filter.references.iter())?;
        let limit = seen.plan.limits.max_cel_cost;
        self.compiled(filter, |compiled| compiled.truth(&Value::Object(context), limit))
    }

    /// A value of templates.
    pub(crate) async fn value_of_request(&self, seen: &Seen<'_>, value: &ValueTemplate) -> Result<Value, StepError> {
        let (shape, values) = self.of_request(seen, |batch| batch.value(value)).await?;
        Ok(values.fill(shape))
    }

    /// The text of a template.
    pub(crate) async fn text_of_request(&self, seen: &Seen<'_>, template: &Template) -> Result<String, StepError> {
        if !template.is_template {
            let resolved = template.resolve(&self.environment);
            return resolved.map(|resolved| resolved.text).map_err(|missing| render::missing_variable(&missing));
        }
        let (shape, values) = self.of_request(seen, |batch| batch.scalar(template)).await?;
        Ok(values.text(shape))
    }

    async fn of_request<'a>(
        &'a self,
        seen: &Seen<'_>,
        add: impl FnOnce(&mut Batch<'a>) -> Result<Shape, StepError>,
    ) -> Result<(Shape, Values), StepError> {
        let mut batch = Batch::of_request(&self.environment);
        let shape = add(&mut batch)?;
        let context = self.request_context(seen, batch.references())?;
        let prepared = batch.against(Value::Object(context).to_string(), render::ambient(seen.at, seen.id));
        Ok((shape, prepared.render(&self.renderer, &seen.plan.limits.template).await?))
    }

    fn request_context<'r>(
        &self,
        seen: &Seen<'_>,
        references: impl Iterator<Item = &'r Reference>,
    ) -> Result<Map<String, Value>, StepError> {
        let (plan, project) = (seen.plan, &seen.plan.project);
        let env = EnvLayers(&[&plan.env]).values(references, &self.environment)?;
        let mut context = seen.request.clone();
        context.insert("env".to_owned(), json!(env));
        context.insert("workflow".to_owned(), json!({"id": plan.id, "name": plan.name, "version": plan.version}));
        let project = json!({
            "id": project.name, "name": project.name, "version": project.version, "description": project.description,
        });
        context.insert("project".to_owned(), project);
        Ok(context)
    }
}
