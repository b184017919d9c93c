//! How long does a workflow of 40 light tool steps take from request to answer, over HTTP?

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::http::Connection;
use crate::process::Server;
use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, node, runtime};

const STEPS: usize = 40;
const WARM: usize = 50;
const SPAN: Duration = Duration::from_secs(5);

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    let scratch = machine::scratch()?;
    node::project(scratch.path(), &[("chain", &node::chain(STEPS))])?;
    let server = Server::start(&binary, scratch.path())?;
    let sample = runtime()?.block_on(runs(&server.address))?;
    server.stop()?;
    let what = format!("{STEPS} sequential tool steps, over HTTP to the answer");
    report.duration("chain_p50", &format!("{what}, p50"), sample.p50(), "≤ 15 ms");
    report.duration("chain_p99", &format!("{what}, p99"), sample.p99(), "");
    Ok(())
}

async fn runs(address: &str) -> Result<Sample> {
    let mut connection = Connection::open(address).await?;
    let mut sample = Sample::default();
    let mut turns = 0;
    let begun = Instant::now();
    while begun.elapsed() < SPAN {
        let sent = Instant::now();
        let body = r#"{"input": {"n": 2}}"#;
        let answer = connection.send("POST", "/api/v0/workflows/chain/executions/sync", body).await?.expect(200)?;
        let took = sent.elapsed();
        let output = answer.json()?["data"]["output"]["n"].as_i64();
        ensure!(output == Some(2 + STEPS as i64), "a run gave {output:?}");
        turns += 1;
        if turns > WARM {
            sample.push(took);
        }
    }
    Ok(sample)
}
