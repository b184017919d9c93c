//! compozy's YAML, from text to a checked, immutable plan. Pure: no clock, no network, no database, no wasm.
//!
//! The way of a project through this crate:
//!
//! 1. [`load::read`] reads every file into a tree that knows its places ([`yaml`]), lays environment and flags over it,
//!    and reads the trees into typed documents by the key tables of [`schema`].
//! 2. The caller lets the template plugin check [`load::Draft::template_sources`].
//! 3. [`load::Draft::link`] resolves references and gives the [`plan::Project`], or says everything that is wrong with
//!    it ([`diagnostic`]).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod load;

pub mod cel;

mod files;
pub mod source;
pub mod yaml;

pub mod dotenv;
pub mod environment;
pub mod interpolate;
mod origins;
mod overlay;

pub mod cases;
mod document;
pub mod schema;
pub mod schema_check;

pub mod digest;
mod link;
pub mod oci;
pub mod plan;
mod script;
pub mod settings;

pub mod codes;
pub mod diagnostic;

pub mod cron;
pub mod duration;
pub mod size;
pub mod suggest;
