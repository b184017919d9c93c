//! What becomes of 200 tool calls at once that do nothing but compute, on the cores there are?

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compozy::node::Node;
use serde_json::json;

use crate::report::Report;
use crate::{machine, node, runtime};

const CALLS: u32 = 200;
/// Calls of the comparison, one after the other.
const ALONE: u32 = 10;
const TURNS: u64 = 60_000_000;

const BUSY: &str = "id: busy
tasks:
  - {id: count, tool: count_down, with: {turns: \"{{ .input.turns }}\"}, retry_policy: {maximum_attempts: 1}}
";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let scratch = machine::scratch()?;
    node::project(scratch.path(), &[("busy", BUSY)])?;
    let (alone, together) = runtime()?.block_on(costs(scratch.path()))?;
    let cores = std::thread::available_parallelism().context("count the cores")?.get() as f64;
    report.duration("busy_alone", "a tool call that computes, alone", alone, "");
    let rate = f64::from(CALLS) / together.as_secs_f64();
    report.number("busy_rate", &format!("{CALLS} of them at once"), rate, "calls/s", "");
    let share = rate * alone.as_secs_f64() / cores;
    report.number("busy_share", "share of the cores' own rate", share, "×", "≥ 0.9 ×");
    Ok(())
}

/// Of one call alone, and of all at once; fails if any call does.
async fn costs(folder: &std::path::Path) -> Result<(Duration, Duration)> {
    let (node, storage) = node::launch(folder).await?;
    call(&node).await?;
    let begun = Instant::now();
    for _ in 0..ALONE {
        call(&node).await?;
    }
    let alone = begun.elapsed() / ALONE;
    let begun = Instant::now();
    let lanes: Vec<_> = (0..CALLS)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move { call(&node).await })
        })
        .collect();
    for lane in lanes {
        lane.await.context("join a lane")??;
    }
    let together = begun.elapsed();
    node.shutdown(Duration::from_secs(1)).await;
    storage.close().await;
    Ok((alone, together))
}

async fn call(node: &Arc<Node>) -> Result<()> {
    let accepted = node.submit(node::start("busy", json!({"turns": TURNS}))).await.context("start a run")?;
    let run = node.wait(&accepted.exec_id, None).await.context("wait for a run")?.context("find a run")?;
    ensure!(run.status == "SUCCESS", "a call ended {}: {:?}", run.status, run.error);
    Ok(())
}
