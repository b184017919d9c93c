//! The `embedder` kind: implement [`Guest`], then [`export_embedder!`](crate::export_embedder). A component may be an LLM
//! provider as well.

pub use crate::bindings::embedder::exports::compozy::plugin::embedder::{Embeddings, Guest};

/// Exports a type that implements [`Guest`](crate::embedder::Guest) as an embedder plugin.
#[macro_export]
macro_rules! export_embedder {
    ($embedder:ident) => {
        $crate::embedder_world::export!($embedder with_types_in $crate::embedder_world);
    };
}
