//! The bundled template language: Go's `text/template` with sprig's functions and one exact rule for what is missing.
//!
//! It is pure: equal arguments give equal results, and the component imports nothing. [`check`] parses and says which
//! variables a template refers to; [`render`] gives its value. [`Renderer`] does the same and keeps what it has parsed,
//! which is what a warm instance of the component uses.

#![cfg_attr(not(target_arch = "wasm32"), forbid(unsafe_code))]
#![cfg_attr(target_arch = "wasm32", deny(unsafe_code))]
#![warn(missing_docs, unreachable_pub, missing_debug_implementations)]
#![warn(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::dbg_macro,
    clippy::todo
)]

mod ast;
mod budget;
mod eval;
mod functions;
pub mod json;
mod lexer;
mod parser;
mod print;
mod problem;
mod references;
mod renderer;
mod source;
mod value;

#[cfg(target_arch = "wasm32")]
mod bindings;

pub use crate::{
    functions::names as function_names,
    problem::{Fail, Problem, Span},
    renderer::{Renderer, check, render},
    source::{Ambient, Leniency, Limits, Mode, Reference, Report, Source},
    value::{List, Map, Time, Value},
};
