//! Containers: what is rendered when they open, and when their end is decided.

use std::collections::HashSet;

use compozy_engine::container;
use compozy_engine::context::Item;
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Opened, Opens};
use compozy_engine::json::Json;
use compozy_engine::opening::Items;
use compozy_lang::plan::{Collection, TaskKind, Template, Typed};
use serde_json::{Map, Value};

use super::condition::truth;
use super::items::{self, is_id};
use super::render::Batch;
use super::{Attempt, Executor, Lost, Raw, Scope};

impl Executor {
    /// What a container holds: rendered once, recorded when it opens.
    pub(super) async fn open(&self, attempt: &Attempt<'_>, with: &Value) -> Result<Opened, StepError> {
        let timeout = self.timeout(attempt, with).await?;
        let body = match &attempt.task.kind {
            TaskKind::Parallel(parallel) => {
                let workers = self.workers(attempt, parallel.max_workers.as_ref(), with).await?;
                Opens::Branches { workers, batch: 0, items: None }
            }
            TaskKind::Collection(collection) => {
                let workers = self.workers(attempt, collection.max_workers.as_ref(), with).await?;
                let batch = self.count(attempt, "batch", collection.batch.as_ref(), with).await?;
                let items = self.items(attempt, collection, with).await?;
                Opens::Branches { workers, batch, items: Some(items) }
            }
            _ => Opens::List,
        };
        Ok(Opened { input: Some(Json::from(with)), timeout, body })
    }

    async fn workers(&self, attempt: &Attempt<'_>, field: Option<&Typed<u32>>, with: &Value) -> Result<u32, StepError> {
        let limit = attempt.plan.limits.max_parallel;
        let wanted = self.count(attempt, "max_workers", field, with).await?;
        Ok(if wanted == 0 { limit } else { wanted.min(limit) })
    }

    /// The kept items of a collection with the ids of their children.
    async fn items(&self, attempt: &Attempt<'_>, collection: &Collection, with: &Value) -> Result<Items, StepError> {
        let scope = Scope { with: Some(with), ..Scope::default() };
        let mut batch = Batch::new(&self.environment);
        let shape = batch.value(&collection.items)?;
        let rendered = self.render(attempt, batch, scope).await?.fill(shape);
        let limit = attempt.plan.limits.max_collection_items;
        let all = items::read(rendered, limit).map_err(|reason| {
            let message = format!("items of '{}' cannot be read as a list: {reason}", attempt.task.id);
            let mut error = StepError::new("CZ0314", ErrorKind::Template, message);
            error.help = Some("give a list, a map, a range such as 1..5, or JSON text of a list".to_owned());
            error
        })?;
        let all: Vec<Json> = all.iter().map(Json::from).collect();
        let values: Vec<Json> = match &collection.filter {
            None => all,
            Some(filter) => {
                let mut kept = Vec::new();
                for (index, value) in all.into_iter().enumerate() {
                    let item = Item { value: &value, index };
                    if truth(&self.of_item(attempt, filter, item, scope).await?) {
                        kept.push(value);
                    }
                }
                kept
            }
        };
        let ids = match &collection.child_id {
            None => None,
            Some(template) => Some(self.child_ids(attempt, template, &values, scope).await?.into()),
        };
        Ok(Items { values: values.into(), ids })
    }

    async fn child_ids(
        &self,
        attempt: &Attempt<'_>,
        template: &Template,
        values: &[Json],
        scope: Scope<'_>,
    ) -> Result<Vec<String>, StepError> {
        let mut ids = Vec::with_capacity(values.len());
        let mut known = HashSet::new();
        for (index, value) in values.iter().enumerate() {
            let id = match self.of_item(attempt, template, Item { value, index }, scope).await? {
                Value::String(id) => id,
                other => other.to_string(),
            };
            if !is_id(&id) {
                return Err(StepError::new("CZ0203", ErrorKind::Template, format!("id '{id}' is not valid")));
            }
            if !known.insert(id.clone()) {
                let message = format!("two children of '{}' are named '{id}'", attempt.task.id);
                let mut error = StepError::new("CZ0315", ErrorKind::Template, message);
                error.help = Some("use {{ .index }} in the id".to_owned());
                return Err(error);
            }
            ids.push(id);
        }
        Ok(ids)
    }

    async fn of_item(
        &self,
        attempt: &Attempt<'_>,
        template: &Template,
        item: Item<'_>,
        scope: Scope<'_>,
    ) -> Result<Value, StepError> {
        let mut batch = Batch::new(&self.environment);
        let shape = batch.scalar(template)?;
        let values = self.render(attempt, batch, Scope { item: Some(item), ..scope }).await?;
        Ok(values.fill(shape))
    }

    /// What follows the decided end of an open step.
    pub(super) async fn close(&self, attempt: &Attempt<'_>) -> Result<Done, Lost> {
        let (output, failure) = {
            let state = attempt.state.read();
            let output = container::output(attempt.plan, &state, &attempt.step);
            (output, container::failure(attempt.plan, &state, &attempt.step))
        };
        let input = attempt.step.input.as_ref().map_or_else(|| Value::Object(Map::new()), Json::to_value);
        let keep = |error: StepError, output: Json| Lost {
            error,
            input: Some(input.clone()),
            output: Some(output),
            usage: Vec::new(),
        };
        if let Some(error) = failure {
            return Err(keep(error, output));
        }
        let raw = Raw::new(output.clone());
        self.follow_up(attempt, &input, raw).await.map_err(|error| keep(error, output))
    }
}
