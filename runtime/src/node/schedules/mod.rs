//! Schedules: runs that begin by themselves (dialect §13.2).
//!
//! [`plan`] decides, [`watch`] carries out on a server's node: it sleeps until the next time, writes down what becomes
//! of it together with the run it starts, and looks again. [`change`] is what people do to a schedule; it also works
//! where no node runs.

pub(crate) mod change;
pub(crate) mod effective;
mod plan;
mod trigger;
mod watch;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use compozy_lang::plan::{Project, Schedule};
use tokio::sync::Notify;

pub use self::change::{Change, change, remove};
pub use self::effective::{Effective, Invalid, Override};
use super::{Error, Node};
use crate::id::ExecId;
use crate::storage::row::Declared;

/// What a node knows of the schedules it watches.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    /// Something about schedules has changed.
    wake: Notify,
    /// The project's schedules were written down, and each has been looked at.
    reconciled: AtomicBool,
    /// The project was read again since they were written down.
    declare_again: AtomicBool,
    /// Held from reading a schedule to writing it: a change that was acknowledged is what fires next.
    turn: tokio::sync::Mutex<()>,
    /// Runs whose end a kept time waits for.
    awaited: Mutex<HashSet<ExecId>>,
}

impl Schedules {
    pub(crate) fn reconciled(&self) -> bool {
        self.reconciled.load(Ordering::Relaxed)
    }

    /// The project was read again.
    pub(crate) fn project_changed(&self) {
        self.reconciled.store(false, Ordering::Relaxed);
        self.declare_again.store(true, Ordering::Relaxed);
        self.look();
    }

    /// Makes the node look at its schedules now.
    pub(crate) fn look(&self) {
        self.wake.notify_one();
    }

    /// A run has ended here.
    pub(crate) fn ended(&self, exec_id: &ExecId) {
        if self.awaited.lock().unwrap_or_else(PoisonError::into_inner).contains(exec_id) {
            self.look();
        }
    }
}

impl Node {
    /// Writes the project's schedules down and, if they shall `fire`, watches them until the node stops.
    pub async fn watch_schedules(&self, fire: bool) {
        watch::begin(&self.worker, fire).await;
    }
}

/// Every schedule of the project, by id.
pub fn of(project: &Project) -> impl Iterator<Item = &Schedule> {
    project.workflows.values().flat_map(|workflow| &workflow.schedules)
}

/// The workflow that a schedule starts.
#[must_use]
pub fn workflow_of(schedule_id: &str) -> &str {
    schedule_id.split('/').next().unwrap_or(schedule_id)
}

/// The schedule of this id.
///
/// # Errors
/// [`Error::ScheduleNotFound`], with ids that may be meant.
pub fn find<'p>(project: &'p Project, id: &str) -> Result<&'p Schedule, Error> {
    of(project).find(|schedule| schedule.id == id).ok_or_else(|| {
        let numbered = of(project).filter(|schedule| workflow_of(&schedule.id) == id);
        let mut suggestions: Vec<String> = numbered.map(|schedule| schedule.id.clone()).collect();
        if suggestions.is_empty() {
            let names = of(project).map(|schedule| schedule.id.as_str());
            suggestions = compozy_lang::suggest::several(id, names).into_iter().map(str::to_owned).collect();
        }
        Error::ScheduleNotFound { id: id.to_owned(), suggestions }
    })
}

/// What the project says of its schedules, as it is stored.
fn declarations(project: &Project) -> Vec<Declared> {
    let declared = |schedule: &Schedule| Declared {
        schedule_id: schedule.id.clone(),
        workflow_id: workflow_of(&schedule.id).to_owned(),
        declared: effective::declaration(schedule),
    };
    of(project).map(declared).collect()
}

/// An input as runs take it: nothing is an empty object.
fn input_of(schedule: &Schedule) -> serde_json::Value {
    match &schedule.input {
        serde_json::Value::Null => serde_json::json!({}),
        input => input.clone(),
    }
}

/// The run that a schedule asks for.
fn request(schedule: &Schedule) -> super::StartRequest {
    super::StartRequest {
        workflow_id: workflow_of(&schedule.id).to_owned(),
        input: input_of(schedule),
        task: None,
        tags: serde_json::Map::new(),
        durability: None,
        priority: 0,
        trigger: serde_json::json!({"type": "schedule", "name": schedule.id}),
        idempotency: None,
    }
}
