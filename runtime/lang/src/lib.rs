//! compozy's YAML: text to located documents to a checked, immutable plan.
//!
//! Pure: no clock, network, database, async runtime or wasm.

pub mod plan;
pub mod settings;
pub mod source;
