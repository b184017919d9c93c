//! Schedules without a server: the same documents, and rows that the next server finds.

use serde_json::{Value, json};

use super::{Embedded, document, limit};
use crate::api::document::schedule::{self, ScheduleFilter};
use crate::api::query;
use crate::cli::failure::Failure;
use crate::node::schedules::{self, Change};

impl Embedded {
    /// As `GET /schedules`.
    ///
    /// # Errors
    /// A bad parameter; the database fails.
    pub async fn schedules(&self, query: &[(&str, String)]) -> Result<Value, Failure> {
        let mut filter = ScheduleFilter { limit: query::DEFAULT_LIMIT, ..ScheduleFilter::default() };
        for (name, value) in query {
            match *name {
                "workflow_id" => filter.workflow_id = Some(value.clone()),
                "limit" => filter.limit = limit(value)?,
                "cursor" => filter.cursor = Some(value.clone()),
                _ => return Err(Failure::internal(&format!("unknown parameter {name}"))),
            }
        }
        document(&schedule::list(&*self.storage, &self.loaded.project, &filter, self.clock.now()).await?)
    }

    /// As `GET /schedules/{workflow}`.
    ///
    /// # Errors
    /// `schedule_not_found`; the database fails.
    pub async fn schedule(&self, id: &str, times: Option<u32>) -> Result<Value, Failure> {
        document(&schedule::load(&*self.storage, &self.loaded.project, id, times, self.clock.now()).await?)
    }

    /// As `PATCH /schedules/{workflow}`.
    ///
    /// # Errors
    /// `schedule_not_found`, `definition_invalid`; the database fails.
    pub async fn change_schedule(&self, id: &str, change: &Change) -> Result<Value, Failure> {
        schedules::change(&*self.storage, &self.loaded.project, id, change, self.clock.now()).await?;
        self.schedule(id, None).await
    }

    /// As `POST /schedules/{workflow}/trigger`; the run waits for a server.
    ///
    /// # Errors
    /// `schedule_not_found`, `input_invalid`; the database fails.
    pub async fn trigger_schedule(&self, id: &str) -> Result<Value, Failure> {
        let node = self.node.as_ref().ok_or_else(|| Failure::internal("this command cannot start runs"))?;
        let accepted = node.trigger_schedule(id, None).await?;
        let exec_url = format!("/api/v0/executions/workflows/{}", accepted.exec_id);
        Ok(json!({
            "exec_id": accepted.exec_id, "exec_url": exec_url, "workflow_id": accepted.workflow_id, "schedule_id": id,
        }))
    }
}
