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
    match endpoint() {
        Some(variable) => eprintln!("3/3 run hello-world, asking the model that {variable} names"),
        None => {
            eprintln!(
                "3/3 run hello-world with the built-in mock model (set OPENAI_API_KEY or OPENAI_BASE_URL for a real one)"
            );
            compozy.env("COMPOZY_MOCK_LLM", "1");
        }
    }
    process::run(&mut compozy)
}

fn endpoint() -> Option<&'static str> {
    ["OPENAI_BASE_URL", "OPENAI_API_KEY"]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}
