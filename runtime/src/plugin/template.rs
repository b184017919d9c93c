//! `compozy:plugin/template`: checking and rendering templates in warm instances.
//!
//! A template component is pure, so one instance serves many renders. A bounded number is kept; one that trapped, or
//! whose memory grew past a mark, is given up.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use compozy_lang::plan::PluginKind;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;

pub use super::bindings::template::exports::compozy::plugin::template::{
    Ambient, Failure, Leniency, Limits, Mode, Problem, Reference, Report, Source, Span,
};

use super::bindings::template::Template;
use super::call::{self, new_store, supervise};
use super::cancel::CancelToken;
use super::component::{Component, Export, wrong};
use super::error::{CallError, Error};
use super::state::State;

/// Longest check or render; the language's own limits end it long before.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Linear memory of one instance, in bytes.
const MEMORY_BYTES: u64 = 256 << 20;

/// An instance that holds more than this after a call is not kept, in bytes.
const KEPT_BYTES: usize = 8 << 20;

/// Name in errors and logs.
const NAME: &str = "template";

/// A template language with its warm instances.
pub struct Renderer {
    component: Arc<Component>,
    warm: Mutex<Vec<Warm>>,
    /// Most instances kept.
    kept: usize,
}

/// Why rendering gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The template failed, at a place.
    #[error("{}", .0.problem.message)]
    Template(Failure),
    /// The component itself failed.
    #[error(transparent)]
    Call(CallError),
}

/// An instance between two calls. It holds its slot as long as it lives.
struct Warm {
    store: Store<State>,
    plugin: Template,
    _slot: OwnedSemaphorePermit,
}

impl Renderer {
    /// A renderer for `component`.
    ///
    /// # Errors
    /// It is no template component.
    pub fn new(component: Arc<Component>) -> Result<Self, Error> {
        if component.kind() != PluginKind::Template {
            return Err(wrong(PluginKind::Template, "it was loaded as another kind".into()));
        }
        let kept = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
        Ok(Self { component, warm: Mutex::new(Vec::with_capacity(kept)), kept })
    }

    /// Parses each source and reports problems, unknown names and the variables it refers to.
    ///
    /// # Errors
    /// The component trapped or ran too long.
    pub async fn check(&self, sources: &[Source], limits: Limits) -> Result<Vec<Report>, CallError> {
        let _active = self.component.admission().engine.activity();
        let mut warm = self.take().await?;
        let plugin = &warm.plugin;
        let store = &mut warm.store;
        let work = async { plugin.compozy_plugin_template().call_check(store, sources, limits).await };
        let outcome = supervise(deadline(), &CancelToken::new(), work).await;
        self.settle(warm, outcome)
    }

    /// Renders each source with `context`, a JSON object as text, to one JSON value as text per source.
    ///
    /// # Errors
    /// The first source that failed, or what ended the component.
    pub async fn render(
        &self,
        sources: &[Source],
        context: &str,
        ambient: Ambient,
        limits: Limits,
    ) -> Result<Vec<String>, RenderError> {
        let _active = self.component.admission().engine.activity();
        let mut warm = self.take().await.map_err(RenderError::Call)?;
        let plugin = &warm.plugin;
        let store = &mut warm.store;
        let work =
            async { plugin.compozy_plugin_template().call_render(store, sources, context, ambient, limits).await };
        let outcome = supervise(deadline(), &CancelToken::new(), work).await;
        self.settle(warm, outcome).map_err(RenderError::Call)?.map_err(RenderError::Template)
    }

    /// Instances kept now.
    #[must_use]
    pub fn warm_instances(&self) -> usize {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn take(&self) -> Result<Warm, CallError> {
        let kept = self.warm.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match kept {
            Some(mut warm) => {
                let state = warm.store.data_mut();
                state.meter.renew();
                state.deadline = deadline();
                warm.store.set_epoch_deadline(1);
                Ok(warm)
            }
            None => self.make().await,
        }
    }

    async fn make(&self) -> Result<Warm, CallError> {
        let admission = self.component.admission();
        let cancel = CancelToken::new();
        let slot = admission
            .admit(self.component.slots(), 0, &cancel)
            .await
            .map_err(|stop| call::stopped(NAME, stop, Duration::ZERO))?;
        let state = State::new(MEMORY_BYTES, deadline(), cancel.clone(), None);
        let mut store = new_store(&admission.engine, state, MEMORY_BYTES);
        let Export::Template(pre) = &self.component.export else {
            return Err(CallError::new(super::error::Kind::Host, "CZ0702", "not a template component"));
        };
        let outcome = supervise(deadline(), &cancel, pre.instantiate_async(&mut store)).await;
        match outcome {
            Ok(plugin) => Ok(Warm { store, plugin, _slot: slot }),
            Err(error) => Err(call::trapped(NAME, &error, store.data(), TIMEOUT)),
        }
    }

    /// Keeps the instance for the next call, unless it failed or grew.
    fn settle<T>(&self, warm: Warm, outcome: wasmtime::Result<T>) -> Result<T, CallError> {
        match outcome {
            Ok(value) => {
                if warm.store.data().meter.memory() <= KEPT_BYTES {
                    let mut kept = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() < self.kept {
                        kept.push(warm);
                    }
                }
                Ok(value)
            }
            Err(error) => Err(call::trapped(NAME, &error, warm.store.data(), TIMEOUT)),
        }
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Renderer({} of {} warm)", self.warm_instances(), self.kept)
    }
}

fn deadline() -> Instant {
    Instant::now() + TIMEOUT
}
