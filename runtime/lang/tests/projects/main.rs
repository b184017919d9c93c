//! Tests of whole projects: one binary, a module per question.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod agents;
mod diagnostics;
mod environment;
mod hostile;
mod memories;
mod project;
mod reference;
mod settings;
mod starts;
mod support;
mod tasks;
