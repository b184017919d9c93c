//! One call of a component: admission, a fresh instance, the two brakes, and what became of it.
//!
//! The brakes: the epoch makes a busy guest give way every tick, and ends it when its deadline has passed or the call
//! was canceled; a timer around the call ends a guest that waits inside the host. The clock of a call starts only once
//! it has its slot.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use compozy_lang::plan::PluginLimits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::ResourceTableError;
use wasmtime::{Store, Trap, UpdateDeadline, WasmBacktrace};

use super::background;
use super::cancel::CancelToken;
use super::component::Component;
use super::engine::{Activity, Engine};
use super::error::{CallError, Error, Kind, TrapDetail, printable, shortened};
use super::grants::Grants;
use super::host::Services;
use super::host::llm::{self, ModelCalls};
use super::host::log::LogBudget;
use super::state::{Call, Refused, State};

/// A component as one entry of the project uses it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Id of the entry: names the plugin in logs and errors, and its key-value space.
    pub plugin_id: Arc<str>,
    /// What is called.
    pub component: Arc<Component>,
    /// What it may do.
    pub grants: Arc<Grants>,
    /// Caps on one call.
    pub limits: PluginLimits,
    /// Its `config:`, a JSON object as text.
    pub config: Arc<str>,
    /// What the host interfaces are built on.
    pub services: Arc<Services>,
}

impl Binding {
    /// What the plugin sees instead of the secret `name` within `run`.
    #[must_use]
    pub fn placeholder(&self, run: Option<&RunContext>, name: &str) -> String {
        super::host::secrets::placeholder_of(self, run, name)
    }
}

/// The run and step on whose behalf a plugin is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunContext {
    /// Id of the run.
    pub exec_id: String,
    /// Id of the workflow.
    pub workflow_id: String,
    /// Ids of the task and the containers around it, joined by `/`.
    pub step_path: String,
    /// From 1.
    pub attempt: u32,
    /// `<exec_id>:<step path>:<execution>`; for a call that a model asks for, `:tool:<n>:<digest>` behind it.
    pub idempotency_key: String,
}

/// Circumstances of one call.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// `None` outside a run (`describe`, checks at load).
    pub run: Option<Arc<RunContext>>,
    /// Longest time from the moment the call has its slot; `limits.timeout` may be shorter.
    pub timeout: Duration,
    /// Ends the call early.
    pub cancel: CancelToken,
    /// Models that wait for this call, and what was asked of models below it.
    pub models: ModelCalls,
}

impl CallContext {
    /// A call outside any run.
    #[must_use]
    pub fn outside_runs(timeout: Duration) -> Self {
        Self { run: None, timeout, cancel: CancelToken::new(), models: ModelCalls::default() }
    }
}

/// What the host ended a call for. Travels through wasmtime as the source of its error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("deadline passed")]
    Deadline,
    #[error("canceled")]
    Canceled,
    #[error("too many calls to the host")]
    HostCalls,
}

/// The engine and its slots: one permit per linear memory that may live at once.
#[derive(Clone)]
pub(crate) struct Admission {
    pub(crate) engine: Engine,
    /// By how many models wait for the call: those below have slots of their own, or the calls that wait for them could
    /// hold every slot there is.
    slots: Arc<[Arc<Semaphore>]>,
}

impl Admission {
    /// An engine with `slots` for calls that steps make, and some more for those below them.
    pub(crate) fn new(slots: u32, pooling: bool) -> Result<Self, Error> {
        let nested = (slots / 8).clamp(4, 32);
        let levels: Vec<u32> = std::iter::once(slots).chain(std::iter::repeat_n(nested, llm::DEPTH)).collect();
        let engine = Engine::new(if pooling { levels.iter().sum() } else { 0 })?;
        let slots = levels.into_iter().map(|slots| Arc::new(Semaphore::new(slots as usize))).collect();
        Ok(Self { engine, slots })
    }

    /// Waits for `count` slots for a call that `depth` models wait for; first come, first served.
    pub(crate) async fn admit(
        &self,
        count: u32,
        depth: usize,
        cancel: &CancelToken,
    ) -> Result<OwnedSemaphorePermit, Stop> {
        let slots = self.slots.get(depth).or(self.slots.last()).ok_or(Stop::Canceled)?;
        if let Ok(permit) = Arc::clone(slots).try_acquire_many_owned(count) {
            return Ok(permit);
        }
        tokio::select! {
            permit = Arc::clone(slots).acquire_many_owned(count) => permit.map_err(|_| Stop::Canceled),
            () = cancel.canceled() => Err(Stop::Canceled),
        }
    }

    /// Slots that are free, at all depths together.
    pub(crate) fn free(&self) -> usize {
        self.slots.iter().map(|slots| slots.available_permits()).sum()
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Admission({} slots free)", self.free())
    }
}

/// A store that has its slot, with the brakes on.
pub(crate) struct Live {
    // Fields drop in this order: the slot is given back only when the store's memory is.
    pub(crate) store: Store<State>,
    started: Instant,
    _activity: Activity,
    _slot: OwnedSemaphorePermit,
}

/// Waits for a slot and makes a fresh store for one call of `binding`.
pub(crate) async fn begin(binding: &Binding, ctx: &CallContext) -> Result<Live, CallError> {
    let admission = binding.component.admission();
    let slot = admission
        .admit(binding.component.slots(), ctx.models.depth(), &ctx.cancel)
        .await
        .map_err(|stop| stopped(&binding.plugin_id, stop, Duration::ZERO))?;
    if binding.grants.habit().is_long() {
        background::give_way().await;
    }
    let activity = admission.engine.activity();
    let started = Instant::now();
    let call = Call {
        binding: binding.clone(),
        run: ctx.run.clone(),
        log: LogBudget::default(),
        sql_handles: 0,
        models: ctx.models.clone(),
        spent: llm::Spent::default(),
        refused: Refused::default(),
    };
    let deadline = started + ctx.timeout.min(binding.limits.timeout);
    let state = State::new(binding.limits.memory_bytes, deadline, ctx.cancel.clone(), Some(Box::new(call)));
    let store = new_store(&admission.engine, state, binding.limits.output_bytes);
    Ok(Live { store, started, _activity: activity, _slot: slot })
}

/// Room in one host call beside the answer itself, in bytes: values, statements and pieces of bodies.
const HOST_CALL_BYTES: u64 = 4 << 20;

/// A store with limiter and epoch brake.
pub(crate) fn new_store(engine: &Engine, state: State, output_bytes: u64) -> Store<State> {
    let mut store = Store::new(engine.wasmtime(), state);
    store.limiter(|state| &mut state.meter);
    store.set_hostcall_fuel(usize::try_from(output_bytes.saturating_add(HOST_CALL_BYTES)).unwrap_or(usize::MAX));
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut ctx| {
        let state = ctx.data_mut();
        if state.cancel.is_canceled() {
            Err(wasmtime::Error::new(Stop::Canceled))
        } else if state.deadline <= Instant::now() {
            Err(wasmtime::Error::new(Stop::Deadline))
        } else {
            state.long = true;
            background::gave_way();
            Ok(UpdateDeadline::Yield(1))
        }
    });
    store
}

/// Drives `work` until it ends, its deadline passes or it is canceled. The timer is set only if the work waits at all.
pub(crate) async fn supervise<T>(
    deadline: Instant,
    cancel: &CancelToken,
    work: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut work = pin!(work);
    let at_once = std::future::poll_fn(|context| {
        Poll::Ready(match work.as_mut().poll(context) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    });
    if let Some(done) = at_once.await {
        return done;
    }
    tokio::select! {
        biased;
        done = &mut work => done,
        () = cancel.canceled() => Err(wasmtime::Error::new(Stop::Canceled)),
        () = tokio::time::sleep_until(deadline.into()) => Err(wasmtime::Error::new(Stop::Deadline)),
    }
}

impl Live {
    pub(crate) fn deadline(&self) -> Instant {
        self.store.data().deadline
    }

    /// Ends the call: types what went wrong, and records what it took.
    pub(crate) fn finish<T>(
        mut self,
        binding: &Binding,
        export: &str,
        outcome: wasmtime::Result<Result<T, super::bindings::tool::compozy::plugin::types::Error>>,
    ) -> Result<T, CallError> {
        let state = self.store.data_mut();
        let refused = state.call.as_ref().and_then(|call| call.refused.take());
        if let Some(call) = state.call.as_mut() {
            call.log.close(&call.binding.plugin_id);
        }
        binding.grants.habit().note(state.long);
        let result = match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(CallError::reported(error)),
            Err(error) => Err(trapped(&binding.plugin_id, &error, state, self.started.elapsed())),
        };
        let result = result.map_err(|error| CallError {
            help: error.help.or_else(|| refused.map(|line| format!("allow it with {line}"))),
            ..error
        });
        tracing::debug!(
            plugin.id = &*binding.plugin_id,
            export,
            duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            peak_memory_bytes = state.meter.peak(),
            outcome = result.as_ref().map_or_else(|error| error.kind.as_str(), |_| "ok"),
            "plugin call ended"
        );
        result
    }
}

/// Refuses an answer longer than `limits.output`.
pub(crate) fn check_output(binding: &Binding, bytes: usize) -> Result<(), CallError> {
    if bytes as u64 <= binding.limits.output_bytes {
        return Ok(());
    }
    Err(limit(&binding.plugin_id, Kind::Output, &format!("output limit of {} bytes", binding.limits.output_bytes)))
}

fn limit(plugin_id: &str, kind: Kind, which: &str) -> CallError {
    CallError::new(kind, "CZ0704", format!("'{plugin_id}' exceeded its {which}"))
}

pub(crate) fn stopped(plugin_id: &str, stop: Stop, after: Duration) -> CallError {
    match stop {
        Stop::Deadline => CallError {
            retryable: true,
            ..limit(plugin_id, Kind::Deadline, &format!("time limit after {} ms", after.as_millis()))
        },
        Stop::Canceled => CallError::new(Kind::Canceled, "CZ0321", format!("call of '{plugin_id}' was canceled")),
        Stop::HostCalls => {
            limit(plugin_id, Kind::HostCalls, &format!("limit of {} calls to the host", super::limits::HOST_CALLS))
        }
    }
}

/// The typed error of an instance that did not answer.
pub(crate) fn trapped(plugin_id: &str, error: &wasmtime::Error, state: &State, after: Duration) -> CallError {
    let trap = error.downcast_ref::<Trap>().copied();
    let typed = if let Some(stop) = error.downcast_ref::<Stop>() {
        stopped(plugin_id, *stop, after)
    } else if trap == Some(Trap::StackOverflow) || is_end_of_shadow_stack(error, trap) {
        limit(plugin_id, Kind::Stack, "stack limit")
    } else if state.meter.memory_refused() {
        limit(plugin_id, Kind::Memory, "memory limit")
    } else if state.meter.table_refused() {
        limit(plugin_id, Kind::Table, "table limit")
    } else if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        limit(plugin_id, Kind::Handles, &format!("limit of {} handles", super::limits::RESOURCES))
    } else if is_fuel_of_host_calls(error) {
        limit(plugin_id, Kind::Output, "output limit")
    } else if let Some(full) = error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>() {
        CallError { retryable: true, ..CallError::new(Kind::Host, "CZ0705", format!("'{plugin_id}': {full}")) }
    } else {
        let reason = reason(error, trap);
        CallError {
            retryable: true,
            ..CallError::new(Kind::Trap, "CZ0705", format!("'{plugin_id}' trapped: {reason}"))
        }
    };
    CallError { trap: Some(Box::new(detail(error, state))), ..typed }
}

/// A compiled guest keeps a stack of its own in linear memory, which ends at address 0: recursion without end then
/// shows as an access outside of memory, made by the same few functions over and over.
fn is_end_of_shadow_stack(error: &wasmtime::Error, trap: Option<Trap>) -> bool {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return false };
    let functions: BTreeSet<u32> = backtrace.frames().iter().map(wasmtime::FrameInfo::func_index).collect();
    trap == Some(Trap::MemoryOutOfBounds) && backtrace.frames().len() >= TrapDetail::FRAMES && functions.len() <= 4
}

/// Wasmtime caps what a guest hands over in one call by an error whose type it keeps to itself.
fn is_fuel_of_host_calls(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls")
}

fn reason(error: &wasmtime::Error, trap: Option<Trap>) -> String {
    if let Some(trap) = trap {
        return trap.to_string();
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return format!("it exited with status {}", exit.0);
    }
    printable(shortened(&error.root_cause().to_string(), 512))
}

fn detail(error: &wasmtime::Error, state: &State) -> TrapDetail {
    // Its text has the names demangled: `  0:   0x1a2b - module!name`.
    let trace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string).unwrap_or_default();
    let frames = trace.lines().filter_map(|line| line.split_once(" - ")).map(|(_, name)| name.trim());
    let backtrace = frames.take(TrapDetail::FRAMES).map(|name| printable(shortened(name, 200)));
    let mut stderr = state.wasi.as_ref().map(|wasi| wasi.stderr_tail()).unwrap_or_default();
    if let Some(call) = &state.call {
        stderr = call.binding.grants.mask().apply(&stderr).into_owned();
    }
    TrapDetail { backtrace: backtrace.collect(), stderr, peak_memory_bytes: state.meter.peak() }
}
