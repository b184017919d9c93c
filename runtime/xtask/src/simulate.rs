//! `cargo simulate`: the engine's simulation over many seeds, optimised, on all cores.

use anyhow::{Context, Result};

use crate::process;

/// Seeds when none are asked for.
const SEEDS: &str = "100000";

/// Tries `seeds` seeds from `first` on; the simulation itself tells how far it is and shows a seed that fails.
///
/// # Errors
/// A seed fails, the engine does not build, or an argument is no number.
pub(crate) fn run(seeds: Option<&str>, first: Option<&str>) -> Result<()> {
    let number =
        |text: &str| text.replace('_', "").parse::<u64>().with_context(|| format!("read '{text}' as a number"));
    let (seeds, first) = (number(seeds.unwrap_or(SEEDS))?, number(first.unwrap_or("1"))?);
    eprintln!("with COMPOZY_SIM_SEEDS={seeds} COMPOZY_SIM_FROM={first}");
    let arguments = ["test", "--release", "--package", "compozy-engine", "--test", "simulation"];
    let mut command = process::cargo(".", arguments);
    command.args(["seeds_hold_every_invariant", "--", "--nocapture"]);
    command.env("COMPOZY_SIM_SEEDS", seeds.to_string()).env("COMPOZY_SIM_FROM", first.to_string());
    process::run(&mut command)
}
