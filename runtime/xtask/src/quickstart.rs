//! `cargo quickstart`: from a fresh clone to a finished workflow.

use std::process::Command;

use anyhow::Result;

use crate::{plugins, process};

const PROJECT: &str = "examples/database/sqlite-quickstart";

/// Builds plugins and binary, then runs the quickstart's workflow.
///
/// # Errors
/// A build or the run fails.
pub(crate) fn run() -> Result<()> {
    eprintln!("1/3 compile the plugins to wasm");
    plugins::build(plugins::Guests::Left)?;
    eprintln!("2/3 build the compozy binary (the first time takes minutes)");
    process::run(&mut process::cargo(".", ["build", "--release", "--bin", "compozy"]))?;
    let mut compozy = Command::new(process::target_dir().join("release/compozy"));
    compozy.current_dir(process::project_root()).args(["--cwd", PROJECT, "workflow", "run", "hello-world"]);
    if is_set("OPENAI_API_KEY") {
        eprintln!("3/3 run hello-world, asking the model behind OPENAI_API_KEY");
    } else if is_set("OPENAI_BASE_URL") {
        eprintln!("3/3 run hello-world, asking the model at OPENAI_BASE_URL without a key");
        compozy.env("OPENAI_API_KEY", "none");
    } else {
        eprintln!("3/3 run hello-world with the built-in mock model (set OPENAI_API_KEY for a real one)");
        compozy.env("COMPOZY_MOCK_LLM", "1");
    }
    process::run(&mut compozy)
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}
