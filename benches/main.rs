//! `cargo measure`: what compozy promises, measured beside what this machine's disk can do, as a table and as JSON.
//!
//! One question per file. Without arguments all of them; names of questions choose. What a question needs of the built
//! binary is measured on `target/release/compozy`, which is built first; the rest calls the library in this process.

mod busy;
mod calls;
mod chain;
mod claims;
mod database;
mod disk;
mod failover;
mod flight;
mod growth;
mod history;
mod hostile;
mod http;
mod languages;
mod latency;
mod loaded;
mod machine;
mod moving;
mod node;
mod overload;
mod postgres;
mod process;
mod report;
mod sample;
mod starts;
mod waiting;
mod wide;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use report::Report;

/// A question's name and how it is answered.
type Question = (&'static str, fn(&mut Report) -> Result<()>);

const QUESTIONS: &[Question] = &[
    ("latency", latency::measure),
    ("flight", flight::measure),
    ("growth", growth::measure),
    ("calls", calls::measure),
    ("loaded", loaded::measure),
    ("languages", languages::measure),
    ("process", process::measure),
    ("starts", starts::measure),
    ("overload", overload::measure),
    ("chain", chain::measure),
    ("busy", busy::measure),
    ("wide", wide::measure),
    ("waiting", waiting::measure),
    ("hostile", hostile::measure),
    ("history", history::measure),
    ("postgres", postgres::measure),
    ("claims", claims::measure),
    ("failover", failover::measure),
    ("moving", moving::measure),
];

/// The allocator of the program that is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [child, folder] if child == loaded::CHILD => loaded::run_child(folder.as_ref()),
        names => run(names),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(names: &[String]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| QUESTIONS.iter().all(|(known, _)| known != name)) {
        let known: Vec<&str> = QUESTIONS.iter().map(|(name, _)| *name).collect();
        bail!("find the question '{unknown}'; there are {}", known.join(", "));
    }
    let mut report = Report::new(machine::describe()?);
    for (name, measure) in QUESTIONS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            eprintln!("measuring {name} …");
            measure(&mut report).with_context(|| format!("measure {name}"))?;
        }
    }
    print!("{}", report.table());
    let path = machine::root().join("benches/results.json");
    std::fs::write(&path, report.json()).with_context(|| format!("write {}", path.display()))
}

/// A runtime as the server has it.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("make a runtime")
}

/// Lets so much time pass.
async fn pause(span: std::time::Duration) {
    tokio::time::sleep_until(tokio::time::Instant::now() + span).await;
}
