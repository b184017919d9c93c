//! What do 10,000 runs cost that are under way at once, each with a timer and then a wait for a signal?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::http::Connection;
use crate::process::Server;
use crate::report::Report;
use crate::{machine, node, runtime};

const RUNS: usize = 10_000;
const CONNECTIONS: usize = 32;
const LOOK: Duration = Duration::from_millis(50);

const HOLD: &str = "id: hold
tasks:
  - {id: first, tool: add, with: {a: 1, b: 1}, sleep: 2s}
  - {id: wait, type: wait, wait_for: go, timeout: 1h, condition: signal.payload.n == 1}
  - {id: last, tool: add, with: {a: \"{{ .tasks.wait.output.signal.payload.n }}\", b: 1}}
outputs: {n: \"{{ .tasks.last.output.sum }}\"}
";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    let scratch = machine::scratch()?;
    node::project(scratch.path(), &[("hold", HOLD)])?;
    let server = Server::start(&binary, scratch.path())?;
    let times = runtime()?.block_on(live(&server.address))?;
    let peak = server.peak_mebibytes()?;
    server.stop()?;
    let [started, waiting, signaled, ended] = times;
    let rate = |span: Duration| RUNS as f64 / span.as_secs_f64();
    report.number("waiting_starts", "10,000 runs started over HTTP", rate(started), "starts/s", "");
    report.number("waiting_all_s", "… until all have slept 2 s and wait for a signal", waiting.as_secs_f64(), "s", "");
    report.number("waiting_signals", "10,000 signals sent, one for each", rate(signaled), "signals/s", "");
    report.number("waiting_ended_s", "… from the first signal to the end of all runs", ended.as_secs_f64(), "s", "");
    report.number("waiting_mib", "10,000 concurrent runs, peak memory", peak, "MiB", "≤ 1024 MiB");
    Ok(())
}

/// How long it took to start all, until all waited, to signal all, until all had ended.
async fn live(address: &str) -> Result<[Duration; 4]> {
    let begun = Instant::now();
    let ids = each(address, vec![String::new(); RUNS], |_| {
        ("/api/v0/workflows/hold/executions".to_owned(), "{}".to_owned(), 202)
    })
    .await?;
    let started = begun.elapsed();
    let ids: Vec<String> =
        ids.iter().filter_map(|answer| Some(answer["data"]["exec_id"].as_str()?.to_owned())).collect();
    ensure!(ids.len() == RUNS, "{} runs were started", ids.len());
    let mut connection = Connection::open(address).await?;
    // A run that sleeps is WAITING too: only the signal's time tells them apart.
    until(&mut connection, "WAITING", RUNS).await?;
    tokio::time::sleep_until((begun + started + Duration::from_secs(2)).into()).await;
    until(&mut connection, "WAITING", RUNS).await?;
    let waiting = begun.elapsed();
    let signal = Instant::now();
    each(address, ids, |id| {
        let body = r#"{"signal_name": "go", "payload": {"n": 1}}"#;
        (format!("/api/v0/executions/workflows/{id}/signals"), body.to_owned(), 200)
    })
    .await?;
    let signaled = signal.elapsed();
    until(&mut connection, "SUCCESS", RUNS).await?;
    Ok([started, waiting, signaled, signal.elapsed()])
}

/// Posts once for each of `items`, over some connections at once.
async fn each(address: &str, items: Vec<String>, request: fn(&str) -> (String, String, u16)) -> Result<Vec<Value>> {
    let (items, next) = (Arc::new(items), Arc::new(AtomicUsize::new(0)));
    let lanes: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (items, next, address) = (Arc::clone(&items), Arc::clone(&next), address.to_owned());
            tokio::spawn(async move {
                let mut connection = Connection::open(&address).await?;
                let mut answers = Vec::new();
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (path, body, status) = request(item);
                    answers.push(connection.send("POST", &path, &body).await?.expect(status)?.json()?);
                }
                anyhow::Ok(answers)
            })
        })
        .collect();
    let mut answers = Vec::new();
    for lane in lanes {
        answers.extend(lane.await.context("join a lane")??);
    }
    Ok(answers)
}

/// Waits until `count` runs have this status.
async fn until(connection: &mut Connection, status: &str, count: usize) -> Result<()> {
    let path = format!("/api/v0/executions/workflows?limit=1&status={status}&count=true");
    loop {
        let page = connection.send("GET", &path, "").await?.expect(200)?.json()?;
        if page["data"]["page"]["total"].as_u64() == Some(count as u64) {
            return Ok(());
        }
        tokio::time::sleep_until((Instant::now() + LOOK).into()).await;
    }
}
