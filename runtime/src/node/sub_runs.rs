//! Runs that a run starts: recorded in the transaction of the step that starts them, driven by the same node where it can.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use compozy_engine::error::StepError;
use compozy_engine::event::{Event, SubRun};
use compozy_engine::json::Json;
use compozy_engine::state::{RunState, StepKey};
use compozy_lang::plan::Workflow;
use serde_json::{Map, json};

use super::reach::Line;
use super::slots::Slot;
use super::start::{self, Begun, Kin};
use super::worker::Worker;
use super::{Error, Kind, StartRequest, runs};
use crate::id::ExecId;
use crate::storage::row::{Durability, EndedRun, NewRun, Run};
use crate::storage::{self, Storage};

/// What a run hands down to those it starts.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    /// The outermost run.
    pub(crate) root: ExecId,
    /// Level, unless the definition of the sub-run names one.
    pub(crate) durability: Durability,
    /// Priority.
    pub(crate) priority: i64,
}

impl Family {
    /// Of a run as it is recorded.
    pub(crate) fn of(run: &Run) -> Self {
        Self { root: run.root_exec_id.clone(), durability: run.durability, priority: run.priority }
    }
}

/// Sub-runs of one commit, reachable already; dropped, they are forgotten again.
pub(crate) struct SubRuns {
    worker: Arc<Worker>,
    begun: Vec<(Begun, Slot, Line)>,
}

impl SubRuns {
    /// Rows of the runs that `children` stand for, and what drives them once they are recorded.
    ///
    /// # Errors
    /// [`Error`] when the definition was replaced since the step looked at it: the step has to look again.
    pub(crate) fn begin(
        worker: &Arc<Worker>,
        plan: &Workflow,
        parent: &RunState,
        family: &Family,
        children: &[(StepKey, SubRun)],
    ) -> Result<(Vec<NewRun>, Self), Error> {
        let mut rows = Vec::with_capacity(children.len());
        let mut all = Self { worker: worker.clone(), begun: Vec::new() };
        for (_, child) in children {
            let request = StartRequest {
                workflow_id: child.workflow_id.clone(),
                input: child.input.to_value(),
                task: None,
                tags: Map::new(),
                durability: None,
                priority: family.priority,
                trigger: json!({"type": "workflow", "name": plan.id}),
                idempotency: None,
            };
            let kin = Kin {
                exec_id: child.exec_id.as_str().into(),
                parent: Some((parent.facts.exec_id.as_str().into(), family)),
                depth: parent.facts.depth + 1,
            };
            let start = start::check_as(worker, request, kin)?;
            // One that finds no slot waits for its turn like any other; so does one of a node that goes down.
            let slot = match worker.kind {
                _ if worker.stopping.load(Ordering::Relaxed) || !worker.holds_lease() => None,
                Kind::Server => worker.slots.try_take(),
                Kind::Embedded => Some(worker.slots.take()),
            };
            let row = match slot {
                Some(slot) => {
                    let (row, begun) = start.owned(worker)?;
                    let control = worker.register(&row.run.exec_id, worker.standing());
                    all.begun.push((begun, slot, control));
                    row
                }
                None => start.queued(worker)?,
            };
            rows.push(row);
        }
        Ok((rows, all))
    }

    /// Drives them: they are recorded. Without this they are not, and nobody hears for them any more.
    pub(crate) fn drive(self) {
        for (begun, slot, control) in self.begun {
            begun.drive(&self.worker, slot, control);
        }
    }
}

/// The steps of a run that wait for sub-runs, in the order they started.
pub(crate) struct Awaiting(Vec<(StepKey, ExecId)>);

impl Awaiting {
    /// Those of `state`.
    pub(crate) fn of(state: &RunState) -> Self {
        let waiting = state.steps.open().filter_map(|step| {
            let opening = step.opening.as_ref().filter(|opening| opening.closing.is_none())?;
            Some((step.position, step.key.clone(), ExecId::from(opening.awaited()?.exec_id.as_str())))
        });
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|(position, ..)| *position);
        Self(waiting.into_iter().map(|(_, key, exec_id)| (key, exec_id)).collect())
    }

    /// Nothing is waited for.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ends of those that have ended.
    pub(crate) async fn ended(self, storage: &dyn Storage) -> Result<Vec<Event>, storage::Error> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<ExecId> = self.0.iter().map(|(_, exec_id)| exec_id.clone()).collect();
        let mut ended: HashMap<ExecId, EndedRun> =
            storage.ended(&ids).await?.into_iter().map(|run| (run.exec_id.clone(), run)).collect();
        let events = self.0.into_iter().filter_map(|(key, exec_id)| event(key, ended.remove(&exec_id)?));
        Ok(events.collect())
    }
}

fn event(key: StepKey, run: EndedRun) -> Option<Event> {
    let error = run.error.as_deref().and_then(|text| serde_json::from_str::<StepError>(text).ok());
    Some(Event::ChildEnded {
        key,
        exec_id: run.exec_id.as_str().to_owned(),
        status: run.status.parse().ok()?,
        output: run.output.as_deref().map(Json::from_valid),
        error: error.map(|error| Box::new(StepError { retryable: run.retryable, ..error })),
    })
}

/// Sees to it that an embedded node also drives the sub-run of a run it took over; a server finds it in the queue.
pub(crate) fn adopt(worker: &Arc<Worker>, exec_id: &str) {
    if worker.kind != Kind::Embedded || worker.slots.limit() == 0 {
        return;
    }
    let (worker, exec_id) = (worker.clone(), ExecId::from(exec_id));
    tokio::spawn(async move { runs::take_when_free(&worker, &exec_id).await });
}
