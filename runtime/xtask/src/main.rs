//! compozy's own build steps, run through the aliases of `.cargo/config.toml`: `cargo plugins`, `cargo quickstart`,
//! `cargo simulate`, `cargo verify`.
//!
//! Plain process calls: what a step runs is printed before it runs, so that each can be repeated by hand.

mod component;
mod interfaces;
mod languages;
mod plugins;
mod postgres;
mod process;
mod quickstart;
mod released;
mod simulate;
mod targets;
mod verify;

use std::process::ExitCode;

const USAGE: &str = "\
compozy's build steps

  cargo plugins [--no-guests]   compile the plugins to wasm components in plugins/target/components
  cargo xtask interfaces        write docs/plugins/interfaces.md from wit/
  cargo xtask release-interfaces
                                keep the interfaces of this version for ever, tests/interfaces/VERSION.wasm
  cargo xtask postgres          get a PostgreSQL for the tests, unless one is installed
  cargo quickstart              build everything and run the quickstart's workflow, offline unless a key is set
  cargo simulate [SEEDS [FIRST]]
                                run the engine's simulation over so many seeds, 100000 unless told
  cargo verify [--only STEP]    run every check and test; steps: fmt, plugins, clippy, plugin-tests, postgres,
                                tests, languages
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["plugins"] => plugins::build(plugins::Guests::Included),
        ["plugins", "--no-guests"] => plugins::build(plugins::Guests::Left),
        ["interfaces"] => interfaces::write(),
        ["release-interfaces"] => released::write(),
        ["postgres"] => postgres::get(),
        ["quickstart"] => quickstart::run(),
        ["simulate"] => simulate::run(None, None),
        ["simulate", seeds] => simulate::run(Some(seeds), None),
        ["simulate", seeds, first] => simulate::run(Some(seeds), Some(first)),
        ["verify"] => verify::run(None),
        ["verify", "--only", step] => verify::run(Some(step)),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("error: unknown arguments: {}\n\n{USAGE}", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}
