//! Sub-workflows: which run is to be started, with what input.

use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Opened, Opens, Outcome, SubRun};
use compozy_engine::json::Json;
use compozy_lang::plan::SubWorkflow;
use compozy_lang::{schema_check, suggest};
use serde_json::{Value, json};

use super::super::{Error, start};
use super::{Attempt, Executor, Raw};

impl Executor {
    /// The run that the task starts; it is recorded with what this gives.
    pub(super) async fn sub_workflow(
        &self,
        attempt: &Attempt<'_>,
        task: &SubWorkflow,
        with: &Value,
    ) -> Result<Outcome, StepError> {
        let input = self.sub_input(attempt, task, with)?;
        let exec_id = self.clock.exec_id().as_str().to_owned();
        let run = SubRun { exec_id: exec_id.clone(), workflow_id: task.workflow.clone(), input };
        if task.wait {
            let timeout = self.timeout(attempt, with).await?;
            let input = Some(Json::from(with));
            return Ok(Outcome::Opened(Opened { input, timeout, body: Opens::Run(run) }));
        }
        let output = Json::from(&json!({"exec_id": exec_id, "workflow_id": task.workflow}));
        let done = self.follow_up(attempt, with, Raw::new(output)).await?;
        Ok(Outcome::Done(Done { children: vec![run], ..done }))
    }

    /// The input, checked by the workflow's schema with its defaults filled in.
    fn sub_input(&self, attempt: &Attempt<'_>, task: &SubWorkflow, with: &Value) -> Result<Json, StepError> {
        let project = self.definitions.project();
        let id = &task.workflow;
        let Some(plan) = project.workflows.get(id) else {
            let mut error = StepError::new("CZ0202", ErrorKind::Internal, format!("workflow '{id}' not found"));
            error.help = suggest::nearest(id, project.workflows.keys().map(String::as_str))
                .map(|near| format!("did you mean '{near}'?"));
            return Err(error);
        };
        let (depth, limit) = (attempt.state.read().facts.depth, project.settings.limits.max_sub_workflow_depth);
        if depth >= limit {
            let message = format!("task '{}' calls '{id}' in the {depth}. workflow inside another", attempt.task.id);
            let mut error = StepError::new("CZ0313", ErrorKind::Internal, message);
            error.help = Some("make the chain shorter, or raise limits.max_sub_workflow_depth".to_owned());
            return Err(error);
        }
        start::check_input(&self.schemas, plan, with).map_err(|error| {
            let message = match &error {
                Error::InputInvalid { violations, .. } => format!("{error}: {}", schema_check::describe(violations)),
                _ => error.to_string(),
            };
            let mut error = StepError::new("CZ0208", ErrorKind::Schema, message);
            error.help = Some(format!("fix 'with' of task '{}', or the schema", attempt.task.id));
            error
        })
    }
}
