//! What does a wide run cost: a fan-out of 10,000 tool calls, a collection of 100,000 items?

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::Server;
use crate::report::Report;
use crate::{machine, node};

/// Asked of the server this often.
const LOOK: Duration = Duration::from_millis(50);

const CALLS: &str = "id: calls
tasks:
  - {id: each, type: collection, items: \"1..10000\", task: {tool: add, with: {a: \"{{ .item }}\", b: 1}}}
outputs: {n: \"{{ len .tasks.each.output }}\"}
";

const ITEMS: &str = "id: items
tasks:
  - {id: each, type: collection, items: \"1..100000\", task: {type: aggregate, outputs: {n: \"{{ .item }}\"}}}
outputs: {n: \"{{ len .tasks.each.output }}\"}
";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    for (name, text, count, what) in [
        ("calls", CALLS, 10_000, "fan-out of 10,000 tool calls"),
        ("items", ITEMS, 100_000, "collection of 100,000 items"),
    ] {
        let scratch = machine::scratch()?;
        node::project(scratch.path(), &[(name, text)])?;
        let (took, peak) = run(&binary, scratch.path(), name, count)?;
        report.number(&format!("wide_{name}_s"), what, took.as_secs_f64(), "s", "");
        let rate = f64::from(count) / took.as_secs_f64();
        report.number(&format!("wide_{name}_rate"), &format!("{what}, children per second"), rate, "steps/s", "");
        report.number(&format!("wide_{name}_mib"), &format!("{what}, peak memory"), peak, "MiB", "≤ 1024 MiB");
    }
    Ok(())
}

fn run(binary: &Path, folder: &Path, workflow: &str, count: u32) -> Result<(Duration, f64)> {
    let server = Server::start(binary, folder)?;
    let begun = Instant::now();
    let started = server.request("POST", &format!("/api/v0/workflows/{workflow}/executions"), "{}")?;
    let exec_id = started["data"]["exec_id"].as_str().context("read exec_id")?.to_owned();
    let list = format!("/api/v0/executions/workflows?status=active&workflow_id={workflow}");
    while server.request("GET", &list, "")?["data"]["executions"].as_array().is_some_and(|runs| !runs.is_empty()) {
        std::thread::sleep(LOOK);
    }
    let took = begun.elapsed();
    let peak = server.peak_mebibytes()?;
    let list = "/api/v0/executions/workflows?expand=output";
    let runs = server.request("GET", list, "")?;
    let run = runs["data"]["executions"]
        .as_array()
        .and_then(|runs| runs.iter().find(|run| run["exec_id"] == exec_id.as_str()));
    let output = run.and_then(|run| run["output"]["n"].as_u64());
    ensure!(output == Some(u64::from(count)), "the run gave {output:?}: {run:?}");
    server.stop()?;
    Ok((took, peak))
}
