//! Tests of whole projects: one binary, a module per question.

mod diagnostics;
mod environment;
mod hostile;
mod project;
mod settings;
mod support;
