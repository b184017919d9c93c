//! One of two nodes on one PostgreSQL is killed: how soon does each of its runs go on, in leases?

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::database::{self, Postgres};
use crate::process::{self, Server};
use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, node, runtime};

/// So that five kills take a minute; what counts is in multiples of it.
const LEASE: Duration = Duration::from_secs(2);
const RUNS: usize = 20;

/// Goes on for ever, in steps that do not keep the machine busy.
const PACED: &str = "id: paced
flow: explicit
tasks:
  - id: count
    tool: add
    sleep: 20ms
    with: {a: 0, b: 1}
    on_success:
      next: \"{{ if lt .output.sum 1000000 }}count{{ end }}\"
      with: {a: \"{{ .output.sum }}\"}
";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    let postgres = Postgres::start()?;
    let url = postgres.database();
    let scratch = machine::scratch()?;
    let server = |name: &str| {
        let folder = scratch.path().join(name);
        let lease = format!("cluster: {{lease: {}s}}", LEASE.as_secs());
        let config = format!("name: bench\ndatabase: {{conn_string: \"{url}\"}}\n{lease}\n{}", node::TOOLS);
        node::project_with(&folder, &config, &[("paced", PACED)])?;
        Server::start(&binary, &folder)
    };
    let mut sample = Sample::default();
    let stays = server("stays")?;
    for _ in 0..machine::amount(5, 2) {
        sample.extend(one_kill(server("dies")?, &stays, &url)?);
    }
    stays.stop()?;
    let leases = |duration: Duration| duration.as_secs_f64() / LEASE.as_secs_f64();
    let what = format!("a node with {RUNS} runs is killed: until a run goes on elsewhere");
    report.number("failover_p50", &format!("{what}, p50"), leases(sample.p50()), "leases", "");
    report.number("failover_max", &format!("{what}, slowest"), leases(sample.quantile(1.0)), "leases", "≤ 2 leases");
    Ok(())
}

/// How long each of the runs of `dies` stood still.
fn one_kill(dies: Server, stays: &Server, url: &str) -> Result<Sample> {
    let start = |_| {
        let started = dies.request("POST", "/api/v0/workflows/paced/executions", "{}")?;
        started["data"]["exec_id"].as_str().map(str::to_owned).context("read exec_id")
    };
    let runs: Vec<String> = (0..RUNS).map(start).collect::<Result<_>>()?;
    // Its lease is as old as it happens to be.
    std::thread::sleep(Duration::from_millis(700));
    dies.kill();
    let killed = process::unix_microseconds()?;
    let sample = runtime()?.block_on(go_on(url, &runs, killed))?;
    for exec_id in runs {
        stays.request("POST", &format!("/api/v0/executions/workflows/{exec_id}/cancel"), "{}")?;
    }
    Ok(sample)
}

/// From the kill to the first event of each run after it.
async fn go_on(url: &str, runs: &[String], killed: u64) -> Result<Sample> {
    let mut database = database::connect(url).await?;
    let quoted: Vec<String> = runs.iter().map(|run| format!("'{run}'")).collect();
    let sql = format!(
        "SELECT min(at) - {killed} FROM journal WHERE exec_id IN ({}) AND at > {killed} GROUP BY exec_id",
        quoted.join(", ")
    );
    let begun = Instant::now();
    loop {
        let waited = database::numbers(&mut database, &sql).await?;
        if waited.len() == runs.len() {
            let mut sample = Sample::default();
            waited.iter().for_each(|micros| sample.push(Duration::from_micros(u64::try_from(*micros).unwrap_or(0))));
            return Ok(sample);
        }
        ensure!(begun.elapsed() < LEASE * 10, "see {} of {} runs go on", runs.len() - waited.len(), runs.len());
        crate::pause(Duration::from_millis(50)).await;
    }
}
