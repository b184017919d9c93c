//! How many durable steps a second does one PostgreSQL take, from one node and from three, beside the transactions of one
//! inserted row that `pgbench` gets from it with as many clients?
//!
//! Nodes are processes of the built binary. Each lane starts a run of 50 steps over HTTP and waits for its end; what is
//! counted are the rows of ended steps in the database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::database::{self, Postgres};
use crate::http::Connection;
use crate::process::{self, Server};
use crate::report::Report;
use crate::{machine, node, runtime};

const STEPS: usize = 50;
/// What the pipelines fill in.
const WARM: Duration = Duration::from_secs(1);

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    let postgres = Postgres::start()?;
    let span = machine::amount(Duration::from_secs(5), Duration::from_secs(1));
    for flight in machine::amount(&[1, 8, 64, 256][..], &[1, 8]) {
        let inserts = postgres.inserts_per_second(*flight, span)?;
        let what = format!("single-row inserts per second by pgbench, {flight} clients");
        report.number(&format!("pgbench_{flight}"), &what, inserts, "transactions/s", "");
        for nodes in [1, 3] {
            let rate = rate(&binary, &postgres.database(), nodes, *flight, span)?;
            let key = format!("postgres_{nodes}_{flight}");
            let nodes = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
            let what = format!("durable steps per second on PostgreSQL, {nodes}, {flight} in flight");
            report.number(&key, &what, rate, "steps/s", "");
            let share = rate / inserts;
            report.number(&format!("{key}_ratio"), &format!("{what}, against pgbench"), share, "×", "≥ 0.5 ×");
        }
    }
    Ok(())
}

/// Steps per second with `flight` runs under way, spread over so many nodes.
fn rate(binary: &Path, url: &str, nodes: usize, flight: usize, span: Duration) -> Result<f64> {
    let scratch = machine::scratch()?;
    let servers = nodes_on(binary, scratch.path(), url, nodes, &[("chain", &node::chain(STEPS))])?;
    let addresses: Vec<String> = servers.iter().map(|server| server.address.clone()).collect();
    let counted = runtime()?.block_on(count(&addresses, url, flight, span))?;
    servers.into_iter().try_for_each(Server::stop)?;
    Ok(counted as f64 / span.as_secs_f64())
}

/// Starts nodes with a project each on one database.
pub(crate) fn nodes_on(
    binary: &Path,
    scratch: &Path,
    url: &str,
    nodes: usize,
    workflows: &[(&str, &str)],
) -> Result<Vec<Server>> {
    let start = |number: usize| {
        let folder = scratch.join(format!("node-{number}"));
        let config = format!("name: bench\ndatabase: {{conn_string: \"{url}\"}}\n{}", node::TOOLS);
        node::project_with(&folder, &config, workflows)?;
        Server::start(binary, &folder)
    };
    (0..nodes).map(start).collect()
}

/// Steps that ended within the span.
async fn count(addresses: &[String], url: &str, flight: usize, span: Duration) -> Result<i64> {
    let enough = Arc::new(AtomicBool::new(false));
    let lanes: Vec<_> = (0..flight)
        .zip(addresses.iter().cycle())
        .map(|(_, address)| tokio::spawn(lane(address.clone(), Arc::clone(&enough))))
        .collect();
    crate::pause(WARM).await;
    let begun = process::unix_microseconds()?;
    crate::pause(span).await;
    let ended = process::unix_microseconds()?;
    enough.store(true, Ordering::Relaxed);
    for lane in lanes {
        lane.await.context("join a lane")??;
    }
    let mut connection = database::connect(url).await?;
    let sql = format!("SELECT count(*) FROM steps WHERE finished_at >= {begun} AND finished_at < {ended}");
    let counted = database::numbers(&mut connection, &sql).await?;
    counted.first().copied().context("count the steps")
}

async fn lane(address: String, enough: Arc<AtomicBool>) -> Result<()> {
    let mut connection = Connection::open(&address).await?;
    while !enough.load(Ordering::Relaxed) {
        let path = "/api/v0/workflows/chain/executions/sync";
        let answer = connection.send("POST", path, r#"{"input": {"n": 0}}"#).await?.expect(200)?;
        let output = answer.json()?["data"]["output"]["n"].as_i64();
        ensure!(output == Some(STEPS as i64), "a run gave {output:?}");
    }
    Ok(())
}
