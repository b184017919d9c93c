//! The run and step on whose behalf the plugin is called.

pub use crate::bindings::host::compozy::host::run::Context;

/// Where this call stands; `None` outside a run (`describe`, load checks).
pub fn current() -> Option<Context> {
    crate::bindings::host::compozy::host::run::current()
}

/// The key that is equal on every attempt of this step: hand it to peers so that they recognise a repeated effect.
pub fn idempotency_key() -> Option<String> {
    current().map(|context| context.idempotency_key)
}
