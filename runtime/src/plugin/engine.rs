//! The one constructor of `wasmtime::Engine`.
//!
//! Every component of the process is compiled and run by the engine made here: a second, slightly different
//! `wasmtime::Config` would silently invalidate the code cache.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::error::Error;

/// Length of an epoch: a busy guest gives way to other work and is checked for deadline and cancel this often.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// Ticks without a call after which the ticker sleeps until the next call.
const IDLE_TICKS: u32 = 250;

/// Linear memory that a slot of the pool keeps between uses, in bytes: the usual size of a small guest, so that it is
/// wiped by writing zeros instead of by returning pages to the kernel and faulting them in again.
const KEEP_RESIDENT: usize = 512 << 10;

/// The engine with the thread that advances its epoch.
#[derive(Clone)]
pub(crate) struct Engine {
    wasmtime: wasmtime::Engine,
    ticker: Arc<Ticker>,
    pooling: bool,
    fingerprint: Arc<str>,
}

impl Engine {
    /// Sets up the engine for at most `slots` live linear memories; `slots` 0 asks for the on-demand allocator.
    pub(crate) fn new(slots: u32) -> Result<Self, Error> {
        let pooled = if slots == 0 { None } else { wasmtime::Engine::new(&config(Some(slots))).ok() };
        let pooling = pooled.is_some();
        let wasmtime = match pooled {
            Some(engine) => engine,
            None => wasmtime::Engine::new(&config(None)).map_err(|error| Error::Engine(format!("{error:#}")))?,
        };
        let fingerprint = fingerprint(&wasmtime).into();
        let ticker = Ticker::start(&wasmtime).map_err(|error| Error::Engine(error.to_string()))?;
        Ok(Self { wasmtime, ticker, pooling, fingerprint })
    }

    /// Wasmtime's own handle.
    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    /// Whether instances come from the pool; otherwise each is allocated on demand.
    pub(crate) fn is_pooling(&self) -> bool {
        self.pooling
    }

    /// SHA-256 (hex) over everything compiled code depends on: version, flags, target.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Keeps the epoch advancing while the guard lives.
    pub(crate) fn activity(&self) -> Activity {
        self.ticker.active.fetch_add(1, Ordering::SeqCst);
        if self.ticker.parked.load(Ordering::SeqCst)
            && let Some(thread) = self.ticker.thread.get()
        {
            thread.unpark();
        }
        Activity(Arc::clone(&self.ticker))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Engine").field("pooling", &self.pooling).finish_non_exhaustive()
    }
}

/// An engine that only compiles, for `target` or this machine; its settings are those of [`Engine`].
pub(crate) fn compiler(target: Option<&str>) -> Result<wasmtime::Engine, Error> {
    let make = |slots| {
        let mut config = config(slots);
        if let Some(target) = target {
            config.target(target)?;
        }
        wasmtime::Engine::new(&config)
    };
    // What is compiled for a pool is loaded by an engine with one, where there is room for it.
    make(Some(1)).or_else(|_| make(None)).map_err(|error| Error::Engine(format!("{error:#}")))
}

fn config(slots: Option<u32>) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .concurrency_support(true)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        // Template components promise equal results for equal arguments, on every machine.
        .relaxed_simd_deterministic(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(super::error::TrapDetail::FRAMES));
    if let Some(slots) = slots {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)));
    }
    config
}

/// A pool whose only scarce thing is linear memories: admission counts them and nothing else. Counts of instances and
/// tables are generous since they cost address space only.
fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(slots)
        .total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(32))
        .total_tables(slots.saturating_mul(8))
        .total_stacks(slots.saturating_mul(2))
        .max_core_instances_per_component(64)
        .max_memories_per_component(slots.min(4))
        .max_tables_per_component(16)
        .max_component_instance_size(2 << 20)
        .max_core_instance_size(2 << 20)
        .table_elements(super::limits::TABLE_ELEMENTS)
        .max_memory_size(1 << 32)
        .max_unused_warm_slots(slots.min(64))
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(16 << 10)
        // Wipe only what a call has touched, where the kernel can tell (Linux 6.7).
        .pagemap_scan(wasmtime::Enabled::Auto);
    pool
}

fn fingerprint(engine: &wasmtime::Engine) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    super::cache::hex(&hasher.0.finalize())
}

/// Advances the epoch of one engine, sleeping while no call runs, so that an idle server wakes nobody.
struct Ticker {
    /// Calls that run now.
    active: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
    thread: std::sync::OnceLock<Thread>,
}

impl Ticker {
    fn start(engine: &wasmtime::Engine) -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self {
            active: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: std::sync::OnceLock::new(),
        });
        let weak_ticker = Arc::downgrade(&ticker);
        let engine = engine.weak();
        let handle = std::thread::Builder::new().name("compozy-epoch".into()).spawn(move || {
            let mut idle = 0;
            loop {
                std::thread::sleep(TICK);
                let (Some(engine), Some(ticker)) = (engine.upgrade(), weak_ticker.upgrade()) else { return };
                engine.increment_epoch();
                idle = if ticker.active.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
                // Neither engine nor ticker is held while parked, so that dropping the host ends this thread.
                drop(engine);
                if idle >= IDLE_TICKS {
                    ticker.parked.store(true, Ordering::SeqCst);
                    let idle_still = ticker.active.load(Ordering::SeqCst) == 0;
                    let flags = Arc::downgrade(&ticker);
                    drop(ticker);
                    if idle_still {
                        std::thread::park();
                    }
                    match flags.upgrade() {
                        Some(ticker) if !ticker.stop.load(Ordering::SeqCst) => {
                            ticker.parked.store(false, Ordering::SeqCst);
                        }
                        _ => return,
                    }
                    idle = 0;
                }
            }
        })?;
        ticker.thread.get_or_init(|| handle.thread().clone());
        Ok(ticker)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// One running call, for the ticker.
pub(crate) struct Activity(Arc<Ticker>);

impl Drop for Activity {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Activity")
    }
}

#[cfg(test)]
mod tests {
    use super::Engine;

    #[test]
    fn fingerprint_is_that_of_the_configuration() {
        let (one, two) = (Engine::new(2).unwrap(), Engine::new(2).unwrap());
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert_eq!(one.fingerprint().len(), 64);
    }
}
