//! What a store carries: everything the host knows about the call that runs in it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::component::ResourceTable;

use super::bindings::lent::compozy::host::types;
use super::call::{Binding, RunContext, Stop};
use super::cancel::CancelToken;
use super::grants::Refusal;
use super::host::llm::{ModelCalls, Spent};
use super::host::log::LogBudget;
use super::host::wasi::Wasi;
use super::limits::{Meter, RESOURCES};

/// Data of a `wasmtime::Store`. Small, and lazily filled: a call that imports nothing pays for nothing.
pub(crate) struct State {
    pub(crate) meter: Meter,
    /// When the call must have ended.
    pub(crate) deadline: Instant,
    pub(crate) cancel: CancelToken,
    /// It computed for longer than an epoch.
    pub(crate) long: bool,
    /// Who calls, for the host interfaces; absent for components that import nothing.
    pub(crate) call: Option<Box<Call>>,
    pub(crate) table: ResourceTable,
    pub(super) wasi: Option<Box<Wasi>>,
}

/// On whose behalf the component runs.
pub(crate) struct Call {
    pub(crate) binding: Binding,
    pub(crate) run: Option<Arc<RunContext>>,
    pub(crate) log: LogBudget,
    /// Handles on databases that are open.
    pub(crate) sql_handles: u32,
    /// Models that wait for this call.
    pub(crate) models: ModelCalls,
    /// What it has used of its budget of models.
    pub(crate) spent: Spent,
    /// The latest refusal, also by code that runs beside the guest.
    pub(crate) refused: Refused,
}

/// The latest refusal of a call: the YAML that would have allowed it becomes the help of the step's error.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refused(Arc<Mutex<Option<String>>>);

impl Refused {
    pub(crate) fn note(&self, line: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }

    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Call {
    /// Notes a refusal and turns it into the error the guest sees.
    pub(crate) fn refused(&self, refusal: Refusal) -> types::Error {
        self.refused.note(refusal.line.clone());
        refusal.into()
    }
}

impl State {
    pub(crate) fn new(memory_limit: u64, deadline: Instant, cancel: CancelToken, call: Option<Box<Call>>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        Self { meter: Meter::new(memory_limit), deadline, cancel, long: false, call, table, wasi: None }
    }

    /// Begins a host call: who calls, unless it calls too often.
    pub(crate) fn enter(&mut self) -> wasmtime::Result<&mut Call> {
        if !self.meter.count_host_call() {
            return Err(wasmtime::Error::new(Stop::HostCalls));
        }
        self.call.as_deref_mut().ok_or_else(|| wasmtime::Error::msg("this component may not call the host"))
    }

    /// Time left until the deadline.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").field("meter", &self.meter).finish_non_exhaustive()
    }
}
