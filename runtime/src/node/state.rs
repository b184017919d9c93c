//! A run's state, shared between its driver and the calls under way.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use compozy_engine::state::RunState;

/// The state of a run. The driver moves it on; calls look at it while they build what their templates see. A call may
/// see what is decided and not yet committed: whatever it makes of that is committed later, or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<RwLock<RunState>>);

impl Shared {
    pub(crate) fn new(state: RunState) -> Self {
        Self(Arc::new(RwLock::new(state)))
    }

    /// A look at it. Must not be held over an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, RunState> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves it on.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut RunState) -> R) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}
