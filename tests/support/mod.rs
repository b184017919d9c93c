//! What the tests stand on: a project in its own folder, the built binary, servers on free ports, and what watches them
//! from outside.
//!
//! Everything here is blocking: a test reads as the list of what a person would do.

pub(crate) mod command;
pub(crate) mod database;
pub(crate) mod effects;
pub(crate) mod http;
pub(crate) mod listener;
pub(crate) mod model_server;
pub(crate) mod oracle;
pub(crate) mod pooler;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod project;
pub(crate) mod random;
pub(crate) mod raw;
pub(crate) mod readme;
pub(crate) mod redact;
pub(crate) mod registry;
pub(crate) mod server;
pub(crate) mod sse;
pub(crate) mod wait;

pub(crate) use project::Project;
pub(crate) use server::Server;

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A component that `cargo plugins` has built: `text-stats`, `guests/zoo`.
pub(crate) fn component(name: &str) -> PathBuf {
    let path = root().join("plugins/target/components").join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run `cargo plugins`", path.display());
    path
}

/// A number that a variable of the environment may change.
pub(crate) fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}
