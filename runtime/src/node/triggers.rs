//! What starts workflows by itself: who listens to a signal, which webhook has a slug, and the runs that a signal starts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use compozy_engine::event::Sent;
use compozy_lang::plan::{Project, Trigger, Webhook, Workflow};
use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use super::start::{self, check_input};
use super::worker::Worker;
use super::{Error, Kind, StartRequest, Violation};
use crate::storage::row::NewRun;

/// Who listens to what.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The definitions it was made of.
    project: Arc<Project>,
    /// Signal triggers by name.
    signals: BTreeMap<String, Vec<Listener>>,
    /// Webhooks by slug.
    webhooks: BTreeMap<String, Arc<Hook>>,
}

/// A workflow with a signal trigger.
#[derive(Debug)]
struct Listener {
    plan: Arc<Workflow>,
    schema: Option<Value>,
}

/// A webhook with its workflow.
#[derive(Debug)]
pub struct Hook {
    pub(crate) plan: Arc<Workflow>,
    pub(crate) webhook: Webhook,
}

impl Listening {
    fn new(project: Arc<Project>) -> Self {
        let (mut signals, mut webhooks) = (BTreeMap::<String, Vec<Listener>>::new(), BTreeMap::new());
        for plan in project.workflows.values() {
            for trigger in &plan.triggers {
                match trigger {
                    Trigger::Signal { name, schema } => {
                        let listener = Listener { plan: plan.clone(), schema: schema.clone() };
                        signals.entry(name.clone()).or_default().push(listener);
                    }
                    Trigger::Webhook(webhook) => {
                        let hook = Hook { plan: plan.clone(), webhook: webhook.clone() };
                        webhooks.insert(webhook.slug.clone(), Arc::new(hook));
                    }
                }
            }
        }
        Self { project, signals, webhooks }
    }

    fn listeners(&self, name: &str) -> &[Listener] {
        self.signals.get(name).map_or(&[], Vec::as_slice)
    }

    /// The webhook with this slug.
    pub(crate) fn webhook(&self, slug: &str) -> Option<&Arc<Hook>> {
        self.webhooks.get(slug)
    }

    /// Whether a signal of this name starts a run.
    pub(crate) fn starts_runs(&self, name: &str) -> bool {
        !self.listeners(name).is_empty()
    }

    /// Checks a payload against what triggers of this name declare.
    ///
    /// # Errors
    /// [`Error::PayloadInvalid`].
    pub(crate) fn check_payload(&self, schemas: &Schemas, name: &str, payload: &Value) -> Result<(), Error> {
        for Listener { plan, schema } in self.listeners(name) {
            let Some(schema) = schema else { continue };
            let checked = schemas.check(&plan.digest, &format!("signal '{name}'"), schema, payload);
            checked.map_err(|violations| invalid(name, violations))?;
        }
        Ok(())
    }

    /// Checks a payload that is to start runs: against the triggers, and as the input of their workflows.
    ///
    /// # Errors
    /// [`Error::PayloadInvalid`], [`Error::InputTooLarge`].
    pub(crate) fn check_broadcast(&self, schemas: &Schemas, name: &str, payload: &Value) -> Result<(), Error> {
        self.check_payload(schemas, name, payload)?;
        for Listener { plan, .. } in self.listeners(name) {
            check_input(schemas, plan, &as_input(payload)).map_err(|error| match error {
                Error::InputInvalid { violations, .. } => invalid(name, violations),
                other => other,
            })?;
        }
        Ok(())
    }
}

/// Who listens by the latest definitions, made when somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Triggers(Mutex<Option<Arc<Listening>>>);

impl Triggers {
    /// Who listens by the definitions of `project`.
    pub(crate) fn of(&self, project: &Arc<Project>) -> Arc<Listening> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some(listening) if Arc::ptr_eq(&listening.project, project) => listening.clone(),
            _ => made.insert(Arc::new(Listening::new(project.clone()))).clone(),
        }
    }
}

/// Checks the payload of a signal for one run, where no node is.
///
/// # Errors
/// [`Error::PayloadInvalid`].
pub fn check_signal(project: &Arc<Project>, name: &str, payload: &Value) -> Result<(), Error> {
    Listening::new(project.clone()).check_payload(&Schemas::default(), name, payload)
}

fn invalid(name: &str, violations: Vec<Violation>) -> Error {
    Error::PayloadInvalid { name: name.to_owned(), violations }
}

/// The payload as an input: a signal that carries nothing gives an empty one.
fn as_input(payload: &Value) -> Value {
    if payload.is_null() { Value::Object(Map::new()) } else { payload.clone() }
}

/// The runs that a signal starts, one of every workflow that listens to its name.
///
/// # Errors
/// As [`Listening::check_broadcast`]; a definition that cannot be stored.
pub(crate) fn runs_of(
    worker: &Worker,
    listening: &Listening,
    name: &str,
    signal_id: &str,
    payload: &Value,
) -> Result<Vec<NewRun>, Error> {
    listening.check_broadcast(&worker.schemas, name, payload)?;
    let runs = listening.listeners(name).iter().map(|Listener { plan, .. }| {
        let request = StartRequest {
            workflow_id: plan.id.clone(),
            input: as_input(payload),
            task: None,
            tags: Map::new(),
            durability: None,
            priority: 0,
            trigger: json!({"type": "signal", "name": name, "signal_id": signal_id}),
            idempotency: None,
        };
        start::check(worker, request)?.queued(worker)
    });
    runs.collect()
}

/// The runs that the signals of a decision start. Their payloads were checked when the step rendered them.
pub(crate) fn runs_of_sent(worker: &Worker, sent: &[Sent]) -> Vec<NewRun> {
    let broadcasts = sent.iter().filter(|sent| sent.target.is_none());
    let mut starts = Vec::new();
    for Sent { signal_id, name, payload, .. } in broadcasts {
        match runs_of(worker, &worker.steps.listening(), name, signal_id, &payload.to_value()) {
            Ok(runs) => starts.extend(runs),
            // Possible only where definitions were replaced in between.
            Err(error) => tracing::error!(signal = name, "failed to start what a signal starts: {error}"),
        }
    }
    starts
}

/// Runs that were recorded with somebody else's write: those in the queue are claimable now.
pub(crate) fn recorded(worker: &Worker, starts: &[NewRun]) {
    if starts.is_empty() {
        return;
    }
    starts.iter().for_each(|start| worker.definitions.has_stored(&start.run.definition_digest));
    let queued = starts.iter().filter(|start| start.queue);
    worker.pending.queued(queued.clone().count());
    worker.wake.notify_one();
    if worker.kind == Kind::Embedded {
        let what = if worker.storage.info().ephemeral { "ends with this process" } else { "waits for a server" };
        // Runs inside another one are driven with it.
        for start in queued.filter(|start| start.run.parent_exec_id.is_none()) {
            let (exec_id, workflow) = (&start.run.exec_id, &start.run.workflow_id);
            tracing::warn!(run.id = %exec_id, "a run of '{workflow}' was started by a signal and {what}");
        }
    }
}
