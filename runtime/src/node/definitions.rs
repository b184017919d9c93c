//! Definitions in use: the project's present ones, and older revisions for as long as a run needs them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use compozy_lang::plan::{Project, Workflow};

/// Definitions in use.
#[derive(Debug)]
pub(crate) struct Definitions {
    project: Mutex<Arc<Project>>,
    /// Definitions of runs under way, by digest.
    plans: Mutex<HashMap<String, Weak<Workflow>>>,
    /// Digests known to be in the database.
    stored: Mutex<HashSet<String>>,
}

impl Definitions {
    /// Those of `project`.
    pub(crate) fn new(project: Arc<Project>) -> Self {
        Self { project: Mutex::new(project), plans: Mutex::default(), stored: Mutex::default() }
    }

    /// What new runs use.
    pub(crate) fn project(&self) -> Arc<Project> {
        lock(&self.project).clone()
    }

    /// Gives new runs other definitions.
    pub(crate) fn replace(&self, project: Arc<Project>) {
        *lock(&self.project) = project;
    }

    /// The definition of `digest`, if it is the present one or some run uses it.
    pub(crate) fn known(&self, workflow_id: &str, digest: &str) -> Option<Arc<Workflow>> {
        let present = self.project().workflows.get(workflow_id).filter(|plan| plan.digest == digest).cloned();
        present.or_else(|| lock(&self.plans).get(digest)?.upgrade())
    }

    /// Keeps it as long as somebody holds it.
    pub(crate) fn remember(&self, plan: &Arc<Workflow>) {
        let mut plans = lock(&self.plans);
        plans.retain(|_, known| known.strong_count() > 0);
        plans.insert(plan.digest.clone(), Arc::downgrade(plan));
    }

    /// Whether the definition still has to be written with a start.
    pub(crate) fn must_store(&self, digest: &str) -> bool {
        !lock(&self.stored).contains(digest)
    }

    /// It is written.
    pub(crate) fn has_stored(&self, digest: &str) {
        lock(&self.stored).insert(digest.to_owned());
    }
}

/// These sections only insert, remove and look up; a panic in one of them leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
