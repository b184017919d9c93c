//! `cargo verify`: every check and every test, cheapest first; stops at the first that fails.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{languages, plugins, postgres, process};

/// A step's name and what it does.
type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("fmt", fmt),
    ("plugins", || plugins::build(plugins::Guests::Included)),
    ("clippy", clippy),
    ("plugin-tests", || {
        process::run(&mut process::cargo("plugins", ["test", "--workspace", "--target-dir", "target"]))
    }),
    ("postgres", postgres::get),
    ("tests", || {
        // The languages are a step of their own, which knows what there is.
        process::run(process::cargo(".", ["test", "--workspace"]).env("COMPOZY_TEST_LANGUAGES", "none"))
    }),
    ("languages", languages::verify),
];

/// Runs all steps, or the one named.
///
/// # Errors
/// The first step that fails, or a step that does not exist.
pub(crate) fn run(only: Option<&str>) -> Result<()> {
    let steps: Vec<&Step> = STEPS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).collect();
    if steps.is_empty() {
        let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
        bail!("find the step '{}'; steps are {}", only.unwrap_or_default(), names.join(", "));
    }
    let began = Instant::now();
    for (number, (name, step)) in steps.iter().enumerate() {
        eprintln!("=== {}/{} {name}", number + 1, steps.len());
        let step_began = Instant::now();
        step().with_context(|| format!("verify: step '{name}' after {:.1} s", step_began.elapsed().as_secs_f64()))?;
        eprintln!("=== {name} passed in {:.1} s", step_began.elapsed().as_secs_f64());
    }
    eprintln!("verified: {} step(s) passed in {:.1} s", steps.len(), began.elapsed().as_secs_f64());
    Ok(())
}

fn fmt() -> Result<()> {
    process::run(&mut process::cargo(".", ["fmt", "--all", "--check"]))?;
    process::run(&mut process::cargo("plugins", ["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    process::run(&mut process::cargo(".", ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    process::run(&mut process::cargo(
        "plugins",
        ["clippy", "--workspace", "--target-dir", "target", "--", "-D", "warnings"],
    ))
}
