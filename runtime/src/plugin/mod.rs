//! The WebAssembly host: the only user of wasmtime.
//!
//! A component is loaded once ([`Host::load`]: digest, code cache, linking, check of its kind), bound per entry of the
//! project ([`Binding`]: grants, limits, config) and then called ([`tool`], [`llm_provider`], [`embedder`], [`template`]).
//! Whatever a component does, a call of it ends with an answer or a typed [`CallError`]; nothing it does reaches another
//! call, and nothing it was not granted has an effect.

pub(crate) mod background;
mod bindings;
pub mod bundled;
mod cache;
pub mod call;
pub mod cancel;
pub mod component;
pub mod egress;
pub mod embedder;
mod engine;
pub mod entry;
pub mod environment;
pub mod error;
pub mod grants;
pub mod host;
mod limits;
pub mod llm_provider;
pub mod precompiled;
pub mod registry;
pub mod script;
pub mod secret;
pub(crate) mod shape;
mod state;
pub mod template;
pub mod tool;

pub(crate) use cache::hex;
pub use call::{Binding, CallContext, RunContext};
pub use cancel::CancelToken;
pub use component::{Component, Source};
pub use environment::Environment;
pub use error::{CallError, Error, Kind, TrapDetail};
pub use grants::Grants;
pub use host::llm::{ModelCalls, Models};
pub use host::{Host, HostOptions, Services};

/// Largest component that is read, in bytes.
pub(crate) const MAX_COMPONENT_BYTES: u64 = 256 << 20;

#[cfg(test)]
pub(crate) mod tests;
