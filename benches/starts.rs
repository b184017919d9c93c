//! How fast is a start over HTTP acknowledged, durable, at a given rate?
//!
//! Open loop: requests are due at fixed times whether or not earlier ones were answered, and a latency counts from when
//! its request was due, so that a stall is not hidden by the requests it held up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::http::Connection;
use crate::process::Server;
use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, node, runtime};

const CONNECTIONS: u32 = 64;
const SPAN: Duration = Duration::from_secs(5);

/// Starts and ends at once: the start is the question, not what follows.
const ONE: &str = "id: one\ntasks:\n  - {id: add, tool: add, with: {a: 1, b: 1}}\n";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    for (rate, goal) in [(500, ""), (1000, ""), (2000, ""), (5000, "p99 ≤ 5 ms")] {
        let scratch = machine::scratch()?;
        node::project(scratch.path(), &[("one", ONE)])?;
        let server = Server::start(&binary, scratch.path())?;
        let (sample, achieved) = runtime()?.block_on(load(&server.address, rate))?;
        server.stop()?;
        let what = format!("start over HTTP at {rate}/s (achieved {achieved:.0}/s)");
        report.duration(&format!("start_{rate}_p50"), &format!("{what}, p50"), sample.p50(), "");
        report.duration(&format!("start_{rate}_p99"), &format!("{what}, p99"), sample.p99(), goal);
    }
    Ok(())
}

/// Latencies, and starts acknowledged per second.
async fn load(address: &str, rate: u32) -> Result<(Sample, f64)> {
    let next = Arc::new(AtomicU32::new(0));
    let total = rate * u32::try_from(SPAN.as_secs()).unwrap_or(1);
    let begun = Instant::now();
    let lanes: Vec<_> = (0..CONNECTIONS)
        .map(|_| tokio::spawn(lane(address.to_owned(), Arc::clone(&next), total, rate, begun)))
        .collect();
    let mut sample = Sample::default();
    for lane in lanes {
        sample.extend(lane.await.context("join a lane")??);
    }
    let achieved = sample.len() as f64 / begun.elapsed().as_secs_f64();
    Ok((sample, achieved))
}

async fn lane(address: String, next: Arc<AtomicU32>, total: u32, rate: u32, begun: Instant) -> Result<Sample> {
    let mut connection = Connection::open(&address).await?;
    let mut sample = Sample::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= total {
            return Ok(sample);
        }
        let due = begun + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
        tokio::time::sleep_until(due.into()).await;
        connection.send("POST", "/api/v0/workflows/one/executions", "{}").await?.expect(202)?;
        sample.push(due.elapsed());
    }
}
