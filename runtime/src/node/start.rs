//! Taking a start: check the input, let the engine decide the first step, record both in one transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use compozy_engine::command::Command;
use compozy_engine::decide;
use compozy_engine::event::Event;
use compozy_engine::json::{Json, MAX_DEPTH};
use compozy_engine::state::{Facts, RunState};
use compozy_engine::time::Timestamp;
use compozy_lang::plan::{TaskIndex, Workflow};
use compozy_lang::suggest;
use serde_json::Value;

use super::reach::Line;
use super::schemas::Schemas;
use super::slots::Slot;
use super::sub_runs::Family;
use super::worker::Worker;
use super::{Accepted, Error, Kind, StartRequest, Violation, projection, runs};
use crate::id::ExecId;
use crate::storage;
use crate::storage::row::{Changes, Concurrency, Durability, Idempotency, NewRun, Run, Started};

/// Epoch of a run that its first node owns from the start.
const FIRST_EPOCH: i64 = 1;

/// A start that was found good and that nothing records yet.
#[derive(Debug)]
pub(crate) struct Checked {
    plan: Arc<Workflow>,
    state: RunState,
    run: Run,
    idempotency: Option<Idempotency>,
    at: Timestamp,
}

/// A run of this node that begins as soon as it is recorded.
#[derive(Debug)]
pub(crate) struct Begun {
    plan: Arc<Workflow>,
    state: RunState,
    durability: Durability,
    family: Family,
    commands: Vec<Command>,
}

/// Which run it is to be.
#[derive(Debug)]
pub(crate) struct Kin<'a> {
    /// Its id.
    pub(crate) exec_id: ExecId,
    /// The run that starts it, and what that hands down.
    pub(crate) parent: Option<(ExecId, &'a Family)>,
    /// How many runs it is inside of.
    pub(crate) depth: u32,
}

/// Finds the workflow and checks the input. Nothing is stored.
pub(crate) fn check(worker: &Worker, request: StartRequest) -> Result<Checked, Error> {
    check_as(worker, request, Kin { exec_id: worker.clock.exec_id(), parent: None, depth: 0 })
}

/// As [`check`], for a run of this kin.
pub(crate) fn check_as(worker: &Worker, request: StartRequest, kin: Kin<'_>) -> Result<Checked, Error> {
    let plan = find_workflow(worker, &request.workflow_id)?;
    let entry = find_entry(&plan, request.task.as_deref())?;
    let input = check_input(&worker.schemas, &plan, &request.input)?;
    let at = worker.clock.now();
    let facts = Facts {
        exec_id: kin.exec_id.as_str().to_owned(),
        input,
        trigger: trigger(&request),
        deadline: plan.timeout.map(|timeout| at.after(timeout)),
        depth: kin.depth,
    };
    let state = RunState::new(facts, entry);
    // What the caller asks for, else what the definition says, else what the database gives.
    let durability = request.durability.or_else(|| plan.durability.map(Into::into));
    let inherited = kin.parent.as_ref().map(|(_, family)| family.durability);
    let durability = durability.or(inherited).unwrap_or_else(|| usual_level(worker));
    let mut run = projection::new_run(&plan, &state, &request, durability, at);
    match kin.parent {
        Some((parent, family)) => {
            run.parent_exec_id = Some(parent);
            run.root_exec_id = family.root.clone();
        }
        // A run inside another one holds no key: it could wait for the one it is inside of.
        None => run.concurrency = concurrency(&plan, &state.facts.input)?,
    }
    Ok(Checked { plan, state, run, idempotency: request.idempotency, at })
}

impl Checked {
    /// The run's id.
    pub(crate) fn exec_id(&self) -> &ExecId {
        &self.run.exec_id
    }

    /// As a run that any node may claim once it is recorded.
    pub(crate) fn queued(self, worker: &Worker) -> Result<NewRun, Error> {
        let definition = definition_to_store(worker, &self.plan)?;
        let changes = Changes { at: self.at, ..Changes::default() };
        Ok(NewRun { run: self.run, queue: true, changes, definition, idempotency: self.idempotency })
    }

    /// As a run that this node owns from its first row on, its first task recorded with it. One with a concurrency key
    /// that is not inside another run must be queued instead: storage refuses it.
    pub(crate) fn owned(mut self, worker: &Worker) -> Result<(NewRun, Begun), Error> {
        let definition = definition_to_store(worker, &self.plan)?;
        let decision = decide::decide(&self.plan, &mut self.state, Event::Start, self.at);
        let mut run = projection::begun(self.run, &self.state);
        run.owner_node = Some(worker.id.clone());
        run.affinity_node = (worker.kind == Kind::Embedded).then(|| worker.id.clone());
        run.epoch = FIRST_EPOCH;
        let changes = projection::changes(&self.plan, &self.state, &decision, &worker.id, FIRST_EPOCH, self.at);
        let (durability, family) = (run.durability, Family::of(&run));
        let new = NewRun { run, queue: false, changes, definition, idempotency: self.idempotency };
        Ok((new, Begun { plan: self.plan, state: self.state, durability, family, commands: decision.commands }))
    }
}

impl Begun {
    /// Drives the run, which is recorded by now.
    pub(crate) fn drive(self, worker: &Arc<Worker>, slot: Slot, control: Line) {
        let owned = runs::Owned { epoch: FIRST_EPOCH, durability: self.durability, family: self.family, slot };
        worker.definitions.remember(&self.plan);
        runs::drive(worker, self.plan, self.state, owned, control, (Vec::new(), self.commands));
    }
}

/// Records the run and, if nothing waits before it and a slot is free, begins to drive it. Durable when it returns.
pub(crate) async fn submit(worker: &Arc<Worker>, request: StartRequest) -> Result<Accepted, Error> {
    if worker.stopping.load(Ordering::Relaxed) {
        return Err(Error::ShuttingDown);
    }
    // Most of what comes under overload ends here, before any work is done for it.
    if worker.is_overloaded() {
        return Err(Error::Overloaded);
    }
    let start = check(worker, request)?;
    match slot_for(worker, &start) {
        Some(slot) => begin(worker, start, slot).await,
        None => queue(worker, start.queued(worker)?).await,
    }
}

/// A slot for a run that may begin at once.
fn slot_for(worker: &Worker, start: &Checked) -> Option<Slot> {
    // Whether its key is free is known where it is recorded.
    if start.run.concurrency.is_some() || !worker.holds_lease() {
        return None;
    }
    match worker.kind {
        // Whoever waits comes first.
        Kind::Server if worker.pending.any_claimable() => None,
        Kind::Server => worker.slots.try_take(),
        // One without any slot only stores runs for other nodes.
        Kind::Embedded if worker.slots.limit() == 0 => None,
        // An embedded node drives its own run whatever else goes on.
        Kind::Embedded => Some(worker.slots.take()),
    }
}

/// Records a run together with its first step and drives it.
async fn begin(worker: &Arc<Worker>, start: Checked, slot: Slot) -> Result<Accepted, Error> {
    let (exec_id, workflow_id) = (start.exec_id().clone(), start.plan.id.clone());
    let (new, begun) = start.owned(worker)?;
    // Reachable before it is recorded, so that a cancel right after the answer finds it.
    let control = worker.register(&exec_id, worker.standing());
    let recorded = record(worker, new, workflow_id).await;
    match &recorded {
        Ok(Accepted { replayed: false, .. }) => begun.drive(worker, slot, control),
        Ok(_) => {}
        // It may be recorded all the same.
        Err(_) => worker.doubts(),
    }
    recorded
}

/// Records a run that waits in the queue. One of an embedded node is driven here as soon as it may begin.
pub(crate) async fn queue(worker: &Arc<Worker>, mut new: NewRun) -> Result<Accepted, Error> {
    let (exec_id, workflow_id) = (new.run.exec_id.clone(), new.run.workflow_id.clone());
    let own = worker.kind == Kind::Embedded && worker.slots.limit() > 0;
    new.run.affinity_node = own.then(|| worker.id.clone());
    let place = worker.pending.place();
    if place.is_none() && !own {
        return Err(Error::Overloaded);
    }
    let accepted = record(worker, new, workflow_id).await?;
    if accepted.replayed {
        return Ok(accepted);
    }
    if let Some(place) = place {
        place.stored();
    }
    if own {
        let worker = worker.clone();
        tokio::spawn(async move { runs::take_when_free(&worker, &exec_id).await });
    } else {
        worker.wake.notify_one();
    }
    Ok(accepted)
}

async fn record(worker: &Worker, new: NewRun, workflow_id: String) -> Result<Accepted, Error> {
    let (exec_id, digest) = (new.run.exec_id.clone(), new.run.definition_digest.clone());
    match worker.storage.start(new).await {
        Ok(Started::New) => {
            worker.definitions.has_stored(&digest);
            Ok(Accepted { exec_id, workflow_id, replayed: false })
        }
        Ok(Started::Replayed(exec_id)) => Ok(Accepted { exec_id, workflow_id, replayed: true }),
        Err(storage::Error::Conflict(_)) => Err(Error::IdempotencyMismatch),
        Err(error) => Err(error.into()),
    }
}

/// The database's level. One in memory loses everything with the process anyway; holding steps back would only hide
/// them from those who watch.
fn usual_level(worker: &Worker) -> Durability {
    let info = worker.storage.info();
    if info.ephemeral { Durability::Normal } else { info.durability }
}

pub(super) fn find_workflow(worker: &Worker, id: &str) -> Result<Arc<Workflow>, Error> {
    let project = worker.project();
    project.workflows.get(id).cloned().ok_or_else(|| {
        let near = suggest::several(id, project.workflows.keys().map(String::as_str));
        Error::WorkflowNotFound { id: id.to_owned(), suggestions: near.into_iter().map(str::to_owned).collect() }
    })
}

fn find_entry(plan: &Workflow, task: Option<&str>) -> Result<TaskIndex, Error> {
    let Some(task) = task else { return Ok(0) };
    plan.tasks
        .iter()
        .position(|candidate| candidate.id == task)
        .ok_or_else(|| Error::TaskNotFound { workflow: plan.id.clone(), task: task.to_owned() })
}

/// Fills in the schema's defaults and checks the input against it.
///
/// # Errors
/// [`Error::InputInvalid`], [`Error::InputTooLarge`].
pub(crate) fn check_input(schemas: &Schemas, plan: &Workflow, input: &Value) -> Result<Json, Error> {
    let invalid = |violations| Error::InputInvalid { workflow: plan.id.clone(), violations };
    if !input.is_object() {
        return Err(invalid(vec![Violation { pointer: String::new(), message: "the input must be an object".into() }]));
    }
    let input = match &plan.input_schema {
        None => Json::from(input),
        Some(schema) => {
            let mut filled = input.clone();
            schemas.accept(&plan.digest, "input", schema, &mut filled).map_err(invalid)?;
            Json::from(&filled)
        }
    };
    let depth = input.depth();
    if depth > MAX_DEPTH {
        let message = format!("nested {depth} levels deep; the limit is {MAX_DEPTH}");
        return Err(invalid(vec![Violation { pointer: String::new(), message }]));
    }
    let (size, limit) = (input.as_str().len() as u64, plan.limits.max_input_bytes);
    if size > limit { Err(Error::InputTooLarge { size, limit }) } else { Ok(input) }
}

/// `.trigger` of templates: what the caller said, and the input.
fn trigger(request: &StartRequest) -> Json {
    let mut trigger = match &request.trigger {
        Value::Object(fields) => fields.clone(),
        _ => serde_json::Map::new(),
    };
    trigger.entry("type").or_insert_with(|| "manual".into());
    Json::from(&Value::Object(trigger))
}

/// The concurrency key of a run with this input.
pub(super) fn concurrency(plan: &Workflow, input: &Json) -> Result<Option<Concurrency>, Error> {
    let Some(written) = &plan.concurrency else { return Ok(None) };
    let key = written.key_of(&input.to_value()).map_err(|pointer| {
        let message = "must be text, a number or a truth value: it is part of the concurrency key".to_owned();
        Error::InputInvalid { workflow: plan.id.clone(), violations: vec![Violation { pointer, message }] }
    })?;
    Ok(Some(Concurrency { key, limit: written.limit }))
}

/// The definition, if it still has to be written with a start.
pub(super) fn definition_to_store(worker: &Worker, plan: &Workflow) -> Result<Option<(String, String, String)>, Error> {
    worker.definitions.must_store(&plan.digest).then(|| definition(plan)).transpose()
}

fn definition(plan: &Workflow) -> Result<(String, String, String), Error> {
    let text = serde_json::to_string(plan)
        .map_err(|error| storage::Error::Driver(format!("definition of '{}': {error}", plan.id)))?;
    Ok(("workflow".to_owned(), plan.id.clone(), text))
}
