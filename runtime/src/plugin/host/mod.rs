//! What the host lends to components: one file per interface of `compozy:host`, and the whole of wasi:0.2.
//!
//! Everything is linked for everyone and refused unless granted, so an ordinary component of any language loads.

pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod kv;
pub mod llm;
pub(crate) mod log;
pub mod quota;
pub(crate) mod run;
pub(crate) mod secrets;
pub mod sql;
pub(crate) mod vector;
pub(crate) mod wasi;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use compozy_lang::plan::PluginKind;
use quota::Quotas;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use wasmtime::component::{HasSelf, Linker};

use super::MAX_COMPONENT_BYTES;
use super::bindings::lent::compozy::host as lent;
use super::bundled::Bundled;
use super::cache::{Cache, hex};
use super::call::Admission;
use super::component::{Component, Source, word, wrong};
use super::egress::connect::Network;
use super::engine::Engine;
use super::error::Error;
use super::precompiled::{self, Pinned};
use super::shape;
use super::state::State;
use crate::clock::Clock;
use crate::storage::Storage;

/// What the host interfaces are built on. An absent part answers `unavailable`.
#[derive(Debug, Clone, Default)]
pub struct Services {
    /// Where `kv` is kept.
    pub storage: Option<Arc<dyn Storage>>,
    /// The databases that `sql` opens by label.
    pub databases: Option<Arc<dyn sql::Databases>>,
    /// The models that `llm` asks. What asks them is itself built on these services, so it is bound late and weakly.
    pub models: Option<Arc<dyn llm::Models>>,
    /// The way out for `wasi:http`.
    pub network: Arc<Network>,
    /// The time, for `kv` expiry and deadlines told to guests.
    pub clock: Clock,
    /// How much plugins keep in `kv`.
    pub quotas: Arc<Quotas>,
}

/// Settings of the [`Host`].
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Folder of the code cache; `None`: everything is compiled at each start.
    pub cache_dir: Option<PathBuf>,
    /// Linear memories that may live at once: calls beyond wait for a slot.
    pub max_instances: u32,
    /// Whether to take instances from a pool of reserved address space.
    pub pooling: bool,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { cache_dir: None, max_instances: 256, pooling: true }
    }
}

type Slot = Arc<OnceCell<Arc<Component>>>;

/// Loads components and holds what they share. One per process.
pub struct Host {
    admission: Admission,
    linker: Linker<State>,
    cache: Option<Cache>,
    /// Loaded components by digest and kind.
    loaded: Mutex<HashMap<(String, &'static str), Slot>>,
}

impl Host {
    /// Sets up the engine. A cache folder that cannot be used is logged and done without.
    ///
    /// # Errors
    /// The engine does not run on this machine.
    pub fn new(options: HostOptions) -> Result<Arc<Self>, Error> {
        let slots = options.max_instances.max(1);
        let admission = Admission::new(slots, options.pooling)?;
        let engine = &admission.engine;
        if options.pooling && !engine.is_pooling() {
            tracing::info!("not enough address space for an instance pool; instances are allocated on demand");
        }
        let cache = options.cache_dir.and_then(|folder| {
            Cache::open(&folder)
                .inspect_err(|error| tracing::warn!("failed to open the code cache {}: {error}", folder.display()))
                .ok()
        });
        let linker = link(engine).map_err(|error| Error::Engine(format!("{error:#}")))?;
        Ok(Arc::new(Self { admission, linker, cache, loaded: Mutex::default() }))
    }

    /// Whether instances come from the pool.
    #[must_use]
    pub fn is_pooling(&self) -> bool {
        self.admission.engine.is_pooling()
    }

    /// Linear memories that may still be taken, those for calls below models included.
    #[cfg(test)]
    pub(crate) fn free_slots(&self) -> usize {
        self.admission.free()
    }

    /// Loads a component: from memory if it was loaded before, else from the code cache, else by compiling it, which may
    /// take seconds and happens beside the async threads.
    ///
    /// # Errors
    /// It cannot be read, or is no component of this kind.
    pub async fn load(self: &Arc<Self>, source: Source, kind: PluginKind) -> Result<Arc<Component>, Error> {
        let (code, digest) = match source {
            Source::Bundled(bundled) => (Code::Bundled(bundled), bundled.digest.to_owned()),
            Source::Bytes(bytes) => Code::hashed(bytes, kind)?,
            Source::Path(path) => Code::hashed(read(&path).await?, kind)?,
            Source::Precompiled { path, digest } => {
                let pinned = Pinned::new(read(&path).await?, &digest)?;
                let digest = pinned.digest().to_owned();
                (Code::Pinned(pinned), digest)
            }
        };
        let slot = {
            let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(loaded.entry((digest.clone(), word(kind))).or_default())
        };
        let host = Arc::clone(self);
        let component = slot.get_or_try_init(|| async move {
            let building = tokio::task::spawn_blocking(move || host.build(&code, digest, kind));
            building.await.map_err(|error| Error::Engine(error.to_string()))?.map(Arc::new)
        });
        component.await.cloned()
    }

    /// Whether a bundled component can be loaded without compiling it first, which may take seconds.
    pub(crate) fn is_compiled(&self, bundled: &Bundled) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.has(&self.admission.engine, bundled.digest))
    }

    fn build(&self, code: &Code, digest: String, kind: PluginKind) -> Result<Component, Error> {
        let engine = &self.admission.engine;
        let is_pinned = matches!(code, Code::Pinned(_));
        let cache = self.cache.as_ref().filter(|_| !is_pinned);
        let cached = cache.and_then(|cache| cache.load(engine, &digest));
        let compiled = match cached {
            Some(compiled) => compiled,
            None => {
                let compiled = match code {
                    Code::Bytes(bytes) => compile(engine, bytes, &digest, kind)?,
                    Code::Bundled(bundled) => compile(engine, &bundled.unpack()?, &digest, kind)?,
                    Code::Pinned(pinned) => pinned.load(engine)?,
                };
                if let Some(cache) = cache {
                    cache.store(engine, &digest, &compiled);
                }
                compiled
            }
        };
        self.link(&compiled, digest, kind)
    }

    fn link(
        &self,
        compiled: &wasmtime::component::Component,
        digest: String,
        kind: PluginKind,
    ) -> Result<Component, Error> {
        Component::link(compiled, digest, kind, &self.linker, self.admission.clone())
    }
}

async fn read(path: &std::path::Path) -> Result<Arc<[u8]>, Error> {
    let read = tokio::fs::read(path).await;
    read.map(Arc::from).map_err(|source| Error::Read { path: path.display().to_string(), source })
}

/// A component whose digest is known.
enum Code {
    Bytes(Arc<[u8]>),
    Bundled(&'static Bundled),
    /// Compiled ahead of time.
    Pinned(Pinned),
}

impl Code {
    fn hashed(bytes: Arc<[u8]>, kind: PluginKind) -> Result<(Self, String), Error> {
        if bytes.len() as u64 > MAX_COMPONENT_BYTES {
            return Err(wrong(kind, format!("{} bytes; the limit is {MAX_COMPONENT_BYTES}", bytes.len())));
        }
        // Compiled code that nobody vouches for is refused here, whatever was loaded before.
        if precompiled::is_compiled(&bytes) {
            return Err(Error::Precompiled);
        }
        let digest = hex(&Sha256::digest(&bytes));
        Ok((Self::Bytes(bytes), digest))
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Host").field("admission", &self.admission).finish_non_exhaustive()
    }
}

fn compile(
    engine: &Engine,
    bytes: &[u8],
    digest: &str,
    kind: PluginKind,
) -> Result<wasmtime::component::Component, Error> {
    // Bytes 4 to 7 hold version and layer (component-model Binary.md); the layer of a core module is 0.
    match bytes.first_chunk::<8>() {
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => {}
        Some([0, b'a', b's', b'm', ..]) => {
            return Err(wrong(kind, "it is a core module; wrap it with the component encoder".into()));
        }
        _ => return Err(wrong(kind, "it is not WebAssembly".into())),
    }
    shape::check(bytes).map_err(|reason| wrong(kind, reason))?;
    tracing::info!(digest, size_bytes = bytes.len(), "compiling a plugin for this machine");
    let started = std::time::Instant::now();
    let compiled = wasmtime::component::Component::from_binary(engine.wasmtime(), bytes)
        .map_err(|error| wrong(kind, format!("{error:#}")))?;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(digest, duration_ms, "plugin compiled");
    Ok(compiled)
}

/// Links every interface any component may import. Versions of one minor line are compatible, so each stands once.
fn link(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine.wasmtime());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    lent::log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    lent::config::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    lent::secrets::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    lent::kv::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    lent::sql::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    lent::vector::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    lent::llm::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    lent::run::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// A host error that is neither a refusal nor a limit.
pub(crate) fn unavailable(message: impl Into<String>, retryable: bool) -> lent::types::Error {
    lent::types::Error { code: "unavailable".into(), message: message.into(), retryable, retry_after_ms: None }
}

/// A host error for arguments that make no sense.
pub(crate) fn invalid(message: impl Into<String>) -> lent::types::Error {
    lent::types::Error { code: "invalid".into(), message: message.into(), retryable: false, retry_after_ms: None }
}

/// A host error for arguments over a cap.
pub(crate) fn over_limit(message: impl Into<String>) -> lent::types::Error {
    lent::types::Error { code: "CZ0704".into(), message: message.into(), retryable: false, retry_after_ms: None }
}
