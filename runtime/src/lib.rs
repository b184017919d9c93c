//! compozy: runs YAML workflows durably, with every tool, model and template engine a sandboxed wasm component.

pub mod agent;
pub mod api;
pub mod authoring;
pub mod cli;
pub mod clock;
pub mod id;
pub mod memory;
pub mod node;
pub mod plugin;
pub mod provider;
pub mod storage;
pub mod transfer;
