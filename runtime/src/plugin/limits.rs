//! Caps on what one instance may hold, and how often it may call the host.

use wasmtime::ResourceLimiter;

/// Elements of one table; a large interpreter (Python, with all its extension modules) has about ten thousand.
pub(crate) const TABLE_ELEMENTS: usize = 50_000;

/// Instances, tables and memories of one store. Adapted and interpreted guests are made of a handful of core modules.
const INSTANCES: usize = 64;
const TABLES: usize = 64;
const MEMORIES: usize = 16;

/// Calls to `compozy:host` within one call of the plugin.
pub(crate) const HOST_CALLS: u64 = 1_000_000;

/// Entries of the resource table: handles on streams, requests, connections.
pub(crate) const RESOURCES: usize = 1_024;

/// Counts what a store holds and refuses what goes over.
///
/// It is the synchronous limiter, since no answer of ours needs waiting: the asynchronous one would allocate a future
/// per instantiation.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    memory_limit: usize,
    memory: usize,
    peak: usize,
    memory_refused: bool,
    table_refused: bool,
    host_calls: u64,
}

impl Meter {
    /// A meter for at most `memory_limit` bytes of linear memory, all memories of the store together.
    pub(crate) fn new(memory_limit: u64) -> Self {
        Self { memory_limit: usize::try_from(memory_limit).unwrap_or(usize::MAX), ..Self::default() }
    }

    /// Linear memory held now, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// The most linear memory held so far, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.peak as u64
    }

    /// Whether growth was refused for [`Self::new`]'s limit.
    pub(crate) fn memory_refused(&self) -> bool {
        self.memory_refused
    }

    /// Whether growth of a table was refused.
    pub(crate) fn table_refused(&self) -> bool {
        self.table_refused
    }

    /// Counts a call to the host; false when there were too many.
    pub(crate) fn count_host_call(&mut self) -> bool {
        self.host_calls += 1;
        self.host_calls <= HOST_CALLS
    }

    /// Begins a further call on a kept instance.
    pub(crate) fn renew(&mut self) {
        self.host_calls = 0;
        self.memory_refused = false;
        self.table_refused = false;
    }
}

impl ResourceLimiter for Meter {
    /// Refuses rather than traps: an interpreter may collect garbage and go on.
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let held = self.memory.saturating_add(desired.saturating_sub(current));
        if held > self.memory_limit {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory = held;
        self.peak = self.peak.max(held);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= TABLE_ELEMENTS;
        self.table_refused |= !fits;
        Ok(fits)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter;

    use super::{HOST_CALLS, Meter, TABLE_ELEMENTS};

    #[test]
    fn host_calls_are_counted_per_call() {
        let mut meter = Meter::new(0);
        assert!((0..HOST_CALLS).all(|_| meter.count_host_call()));
        assert!(!meter.count_host_call());
        meter.renew();
        assert!(meter.count_host_call());
    }

    #[test]
    fn memories_count_together_and_the_peak_is_kept() {
        let mut meter = Meter::new(3 << 16);
        assert!(meter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(meter.memory_growing(0, 2 << 16, None).unwrap());
        assert!(!meter.memory_growing(1 << 16, 2 << 16, None).unwrap());
        assert!(meter.memory_refused());
        assert_eq!((meter.memory(), meter.peak()), (3 << 16, 3 << 16));
    }

    #[test]
    fn tables_are_capped() {
        let mut meter = Meter::new(0);
        assert!(meter.table_growing(0, TABLE_ELEMENTS, None).unwrap());
        assert!(!meter.table_growing(TABLE_ELEMENTS, TABLE_ELEMENTS + 1, None).unwrap());
        assert!(meter.table_refused());
    }
}
