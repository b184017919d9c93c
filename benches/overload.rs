//! Does a server that is offered ten times what it can take still do what it can?
//!
//! The peak is what comes through while as many clients ask as the server likes best, each waiting for its answer. Then
//! starts are offered at ten times that rate, whether or not earlier ones were answered. What counts is runs that ended,
//! as the database has them; every start that was acknowledged must be among them, and no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::Server;
use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, node, runtime};

const SPAN: Duration = Duration::from_secs(6);
/// Before each count, so that both sides have settled.
const SETTLE: Duration = Duration::from_secs(2);
/// Numbers of clients among which the peak is looked for.
const CLIENTS: [u32; 3] = [16, 64, 200];
/// Many, since a client that is refused is held up for a while; fewer than a process may usually have open.
const CONNECTIONS: u32 = 800;
const TIMES: f64 = 10.0;
const STEPS: usize = 5;
/// Few may wait, so that the queue is full for all of the time.
const SETTINGS: &str = "engine: {max_pending: 1000}\n";

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    accepted: AtomicU64,
    refused: AtomicU64,
    /// The time is over.
    over: AtomicBool,
}

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    let scratch = machine::scratch()?;
    node::project(scratch.path(), &[("chain", &node::chain(STEPS))])?;
    let config = scratch.path().join("compozy.yaml");
    std::fs::write(&config, format!("{}{SETTINGS}", node::file_project())).context("write the project")?;
    let server = Server::start(&binary, scratch.path())?;
    let seen = Arc::new(Seen::default());
    let runtime = runtime()?;
    let mut peak = 0_f64;
    for clients in CLIENTS {
        let rate = runtime.block_on(load(&server, &seen, clients, None))?.1;
        peak = peak.max(rate);
    }
    let accepted_before = seen.accepted.load(Ordering::Relaxed);
    let (sample, rate) = runtime.block_on(load(&server, &seen, CONNECTIONS, Some(peak * TIMES)))?;
    let (accepted, refused) = (seen.accepted.load(Ordering::Relaxed), seen.refused.load(Ordering::Relaxed));
    ensure!(refused > 0, "the server was never overloaded");
    drain(&server, accepted)?;
    server.stop()?;
    let span = (SPAN + SETTLE).as_secs_f64();
    let offered = (accepted - accepted_before + refused) as f64 / span;
    report.number("overload_peak", &format!("runs of {STEPS} steps per second over HTTP, peak"), peak, "runs/s", "");
    report.number("overload_offered", "starts answered, of ten times the peak asked for", offered, "starts/s", "");
    report.number("overload_rate", "runs per second under overload", rate, "runs/s", "");
    report.number("overload_kept", "of the peak under overload", rate / peak * 100.0, "%", "≥ 90 %");
    report.duration("overload_answer_p99", "answer under overload, p99", sample.p99(), "");
    Ok(())
}

/// Answer times, and runs that ended per second. Without a rate each client starts again as soon as it is answered, and
/// waits a little when it is refused.
async fn load(server: &Server, seen: &Arc<Seen>, clients: u32, rate: Option<f64>) -> Result<(Sample, f64)> {
    seen.over.store(false, Ordering::Relaxed);
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let lanes: Vec<_> = (0..clients)
        .map(|_| {
            let (address, seen, next) = (server.address.clone(), Arc::clone(seen), Arc::clone(&next));
            tokio::spawn(async move { lane(&address, &seen, &next, rate, begun).await })
        })
        .collect();
    pause(SETTLE).await;
    let (before, since) = (ended(server)?, Instant::now());
    pause(SPAN).await;
    let achieved = (ended(server)? - before) as f64 / since.elapsed().as_secs_f64();
    seen.over.store(true, Ordering::Relaxed);
    let mut sample = Sample::default();
    for lane in lanes {
        sample.extend(lane.await.context("join a lane")??);
    }
    Ok((sample, achieved))
}

async fn lane(address: &str, seen: &Seen, next: &AtomicU64, rate: Option<f64>, begun: Instant) -> Result<Sample> {
    let body = r#"{"input": {"n": 0}}"#;
    let request = format!(
        "POST /api/v0/workflows/chain/executions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true).context("connect")?;
    let mut sample = Sample::default();
    let mut buffer = vec![0; 8192];
    while !seen.over.load(Ordering::Relaxed) {
        if let Some(rate) = rate {
            let number = next.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep_until((begun + Duration::from_secs_f64(number as f64 / rate)).into()).await;
        }
        let since = Instant::now();
        stream.write_all(request.as_bytes()).await.context("send")?;
        let status = receive(&mut stream, &mut buffer).await?;
        sample.push(since.elapsed());
        match status {
            202 => {
                seen.accepted.fetch_add(1, Ordering::Relaxed);
            }
            429 => {
                seen.refused.fetch_add(1, Ordering::Relaxed);
                if rate.is_none() {
                    pause(Duration::from_millis(20)).await;
                }
            }
            other => bail!("start a run: {other}"),
        }
    }
    Ok(sample)
}

/// Reads one answer with a length and gives its status.
async fn receive(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<u16> {
    let mut filled = 0;
    loop {
        let space = buffer.get_mut(filled..).context("an answer longer than the buffer")?;
        let read = stream.read(space).await.context("receive")?;
        ensure!(read > 0, "receive: the connection was closed");
        filled += read;
        let text = std::str::from_utf8(buffer.get(..filled).unwrap_or_default()).context("read the answer")?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length: Option<usize> = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        if length.is_some_and(|length| body.len() >= length) {
            return head.get(9..12).and_then(|status| status.parse().ok()).context("read the status");
        }
    }
}

async fn pause(span: Duration) {
    tokio::time::sleep_until((Instant::now() + span).into()).await;
}

/// Runs that have ended well so far.
fn ended(server: &Server) -> Result<u64> {
    let list = server.request("GET", "/api/v0/executions/workflows?status=success&count=true&limit=1", "")?;
    list["data"]["page"]["total"].as_u64().context("count the runs")
}

/// Waits until everything that was acknowledged has ended.
fn drain(server: &Server, accepted: u64) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        let done = ended(server)?;
        ensure!(done <= accepted, "{done} runs ended and {accepted} were acknowledged");
        if done == accepted {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("{} of {accepted} acknowledged runs have ended after a minute", ended(server)?)
}
