//! How fast is a start over HTTP acknowledged, durable, at a given rate?
//!
//! Open loop: requests are due at fixed times whether or not earlier ones were answered, and a latency counts from when
//! its request was due, so that a stall is not hidden by the requests it held up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
    let body = "{}";
    let request = format!(
        "POST /api/v0/workflows/one/executions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(&address).await.context("connect")?;
    stream.set_nodelay(true).context("connect")?;
    let mut sample = Sample::default();
    let mut buffer = vec![0; 8192];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= total {
            return Ok(sample);
        }
        let due = begun + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
        tokio::time::sleep_until(due.into()).await;
        stream.write_all(request.as_bytes()).await.context("send")?;
        receive(&mut stream, &mut buffer).await?;
        sample.push(due.elapsed());
    }
}

/// Reads one answer with a length and fails unless it is 202.
async fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    loop {
        let read = stream
            .read(buffer.get_mut(filled..).context("an answer longer than the buffer")?)
            .await
            .context("receive")?;
        ensure!(read > 0, "receive: the connection was closed");
        filled += read;
        let text = String::from_utf8_lossy(buffer.get(..filled).unwrap_or_default()).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if length.is_some_and(|length: usize| body.len() >= length) {
            ensure!(head.starts_with("HTTP/1.1 202"), "start a run: {text}");
            return Ok(());
        }
    }
}
