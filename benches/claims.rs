//! How soon does another node take a run that one node has recorded and cannot begin, on PostgreSQL?
//!
//! One server may run one run, and does; what is started there waits in the queue. A second server takes it. The time is
//! from `created_at` to `started_at`, which two processes of one machine wrote by the same clock.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::database::{self, Postgres};
use crate::http::Connection;
use crate::process::Server;
use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, node, runtime};

/// Holds the only place of the first server.
const BUSY: &str = "id: busy\ntasks:\n  - {id: nap, tool: nap, timeout: 1h, with: {milliseconds: 3000000}}\n";
const ONE: &str = "id: one\ntasks:\n  - {id: add, tool: add, with: {a: 1, b: 1}}\n";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    let postgres = Postgres::start()?;
    // Nothing else happens meanwhile, so that whoever looks at the queue does so seldom; and a burst.
    let seldom = (machine::amount(40, 3), Duration::from_secs(2));
    let burst = (machine::amount(200, 20), Duration::ZERO);
    for (key, pace, (starts, pause)) in
        [("idle", "one start every 2 s or so", seldom), ("burst", "starts one after the other", burst)]
    {
        let sample = claims(&binary, &postgres.database(), starts, pause)?;
        let what = format!("from a recorded start to the claim by another node, {pace}");
        report.duration(&format!("claim_{key}_p50"), &format!("{what}, p50"), sample.p50(), "");
        report.duration(&format!("claim_{key}_p99"), &format!("{what}, p99"), sample.p99(), "");
    }
    Ok(())
}

fn claims(binary: &Path, url: &str, starts: u32, pause: Duration) -> Result<Sample> {
    let scratch = machine::scratch()?;
    let server = |name: &str, most: u32| {
        let folder = scratch.path().join(name);
        let tools = node::TOOLS.replace("tools: [", "tools: [{id: nap, plugin: zoo, function: sleep}, ");
        let config = format!(
            "name: bench\ndatabase: {{conn_string: \"{url}\"}}\nengine: {{max_concurrent_runs: {most}}}\n{tools}"
        );
        node::project_with(&folder, &config, &[("busy", BUSY), ("one", ONE)])?;
        Server::start(binary, &folder)
    };
    let full = server("full", 1)?;
    let held = full.request("POST", "/api/v0/workflows/busy/executions", "{}")?;
    let held = held["data"]["exec_id"].as_str().context("read exec_id")?.to_owned();
    let free = server("free", 256)?;
    let sample = runtime()?.block_on(starts_of(&full.address, url, starts, pause))?;
    full.request("POST", &format!("/api/v0/executions/workflows/{held}/cancel"), "{}")?;
    full.stop()?;
    free.stop()?;
    Ok(sample)
}

async fn starts_of(address: &str, url: &str, starts: u32, pause: Duration) -> Result<Sample> {
    let mut connection = Connection::open(address).await?;
    for number in 0..starts {
        connection.send("POST", "/api/v0/workflows/one/executions", "{}").await?.expect(202)?;
        // Never in step with whoever looks at fixed times.
        crate::pause(pause.mul_f64(0.5 + f64::from(number * 37 % 100) / 100.0)).await;
    }
    let mut database = database::connect(url).await?;
    let ended = "SELECT count(*) FROM executions WHERE workflow_id = 'one' AND status = 'SUCCESS'";
    let mut patience = 1_000;
    while database::numbers(&mut database, ended).await?.first() != Some(&i64::from(starts)) {
        patience -= 1;
        ensure!(patience > 0, "see the end of {starts} runs");
        crate::pause(Duration::from_millis(20)).await;
    }
    let waited = "SELECT started_at - created_at FROM executions WHERE workflow_id = 'one'";
    let mut sample = Sample::default();
    for microseconds in database::numbers(&mut database, waited).await? {
        sample.push(Duration::from_micros(u64::try_from(microseconds).unwrap_or(0)));
    }
    Ok(sample)
}
