//! Runs that go on from another one: retry and fork. The new run is recorded with the steps it keeps in one transaction
//! and then waits in the queue like any other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use compozy_engine::error::StepError;
use compozy_engine::fork::{self, Place, Refused, Source};
use compozy_engine::json::Json;
use compozy_engine::state::{Facts, StoredState};
use compozy_lang::plan::Workflow;
use serde_json::Value;

use super::worker::Worker;
use super::{Accepted, Error, Node, projection, runs, start};
use crate::id::ExecId;
use crate::storage::row::{Idempotency, LoadedRun, NewRun};

/// A request for a run that goes on from another one.
#[derive(Debug, Clone)]
pub struct ForkRequest {
    /// The other run.
    pub exec_id: ExecId,
    /// Where the new one begins.
    pub place: Place,
    /// Another input; `None`: that of the other run.
    pub input: Option<Value>,
    /// Use the present definition, not the one the other run began with.
    pub latest: bool,
    /// Idempotency key of the request.
    pub idempotency: Option<Idempotency>,
}

impl Node {
    /// Starts a run that goes on from another one. It is durable when this returns.
    ///
    /// # Errors
    /// Those of [`Node::submit`]; [`Error::ExecutionNotFound`], [`Error::NotFailed`], [`Error::TaskNotReached`],
    /// [`Error::TaskInside`], [`Error::DefinitionUnavailable`]. Nothing was stored then.
    pub async fn fork(&self, request: ForkRequest) -> Result<Accepted, Error> {
        let worker = &self.worker;
        if worker.stopping.load(Ordering::Relaxed) {
            return Err(Error::ShuttingDown);
        }
        let new = prepare(worker, request).await?;
        start::queue(worker, new).await
    }
}

async fn prepare(worker: &Arc<Worker>, request: ForkRequest) -> Result<NewRun, Error> {
    let ForkRequest { exec_id, place, input, latest, idempotency } = request;
    let loaded = worker.storage.load(&exec_id).await?.ok_or_else(|| Error::ExecutionNotFound(exec_id.clone()))?;
    let old = runs::definition(worker, &loaded.run).await?.ok_or_else(|| {
        let LoadedRun { run, .. } = &loaded;
        Error::DefinitionUnavailable(format!("definition {} of workflow '{}'", run.definition_digest, run.workflow_id))
    })?;
    let plan = if latest { start::find_workflow(worker, &loaded.run.workflow_id)? } else { old.clone() };
    let checked = match input {
        Some(input) => start::check_input(&worker.schemas, &plan, &input)?,
        // A newer definition may ask for more than the old one did.
        None if latest => {
            start::check_input(&worker.schemas, &plan, &Json::from_valid(loaded.run.input.as_str()).to_value())?
        }
        None => Json::from_valid(loaded.run.input.as_str()),
    };
    let at = worker.clock.now();
    let facts = Facts {
        exec_id: worker.clock.exec_id().as_str().to_owned(),
        input: checked,
        trigger: Json::from_valid(loaded.run.trigger.as_str()),
        deadline: plan.timeout.map(|timeout| at.after(timeout)),
        depth: 0,
    };
    let concurrency = start::concurrency(&plan, &facts.input)?;
    let fork = decide(&old, &loaded, &place, &plan, facts)?;
    let definition = if latest { start::definition_to_store(worker, &plan)? } else { None };
    let mut new = projection::forked(&plan, &loaded.run, &fork, at);
    new.run.concurrency = concurrency;
    Ok(NewRun { definition, idempotency, ..new })
}

/// What the new run keeps and where it begins.
fn decide(
    old: &Workflow,
    loaded: &LoadedRun,
    place: &Place,
    plan: &Workflow,
    facts: Facts,
) -> Result<fork::Fork, Error> {
    let run = &loaded.run;
    let unreadable = |error: &dyn std::fmt::Display| Error::DefinitionUnavailable(format!("its record ({error})"));
    let steps: Result<_, _> = loaded.steps.iter().map(projection::restore_step).collect();
    let stored: StoredState = serde_json::from_str(&run.state).unwrap_or_default();
    let error: Option<StepError> = run.error.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let source = Source {
        plan: old,
        exec_id: run.exec_id.as_str(),
        status: run.status.parse().map_err(|_| unreadable(&run.status))?,
        entry: stored.entry,
        error: error.as_ref(),
        steps: steps.map_err(|error| unreadable(&error))?,
    };
    fork::fork(source, place, plan, facts).map_err(|refused| match refused {
        Refused::NotFailed(status) => Error::NotFailed(status.word().to_owned()),
        Refused::Unknown(task) => Error::TaskNotFound { workflow: plan.id.clone(), task },
        Refused::Inside { task, container } => Error::TaskInside { task, container },
        Refused::NotReached(task) => Error::TaskNotReached(task),
    })
}
