//! Write compozy plugins in Rust.
//!
//! A tool is a typed function and one [`export_tool!`]:
//!
//! ```
//! use compozy_plugin::{Result, export_tool};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Input {
//!     name: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Output {
//!     greeting: String,
//! }
//!
//! fn greet(input: Input) -> Result<Output> {
//!     Ok(Output { greeting: format!("Hello, {}!", input.name) })
//! }
//!
//! export_tool! {
//!     summary: "Greets people";
//!     greet {
//!         description: "Greets someone by name",
//!         input: r#"{"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}"#,
//!         read_only: true,
//!     }
//! }
//! ```
//!
//! What the host lends is in [`log`], [`config`], [`secrets`], [`kv`], [`sql`], [`models`], [`run`], [`http`] and [`clock`]; each use
//! is granted by name in the project's YAML and refused with an [`Error`] of code `CZ0703` otherwise.
//! An interface that is not used is not imported by the component.

mod bindings;
pub mod clock;
pub mod config;
pub mod embedder;
mod error;
#[cfg(all(target_arch = "wasm32", target_os = "unknown", feature = "heap"))]
mod heap;
pub mod http;
pub mod kv;
pub mod llm;
pub mod log;
pub mod models;
pub mod run;
pub mod secrets;
pub mod sql;
mod tool;

pub use bindings::{embedder as embedder_world, llm_provider as llm_provider_world, tool as tool_world};
pub use error::{Error, Result};
#[doc(hidden)]
pub use tool::__private;
