//! Does a step of a long run cost more than one of a short run?

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, node, runtime};

const SHORT: i64 = 100;
const LONG: i64 = 10_000;
/// Short runs beside one long run: as many steps, so both see the same growth of the database.
const TURNS: usize = 3;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let scratch = machine::scratch()?;
    node::project(scratch.path(), &[("count", node::COUNT)])?;
    let (short, long) = runtime()?.block_on(costs(scratch.path()))?;
    report.duration("step_of_100", "cost per step of a run of 100 steps", short, "");
    report.duration("step_of_10000", "cost per step of a run of 10,000 steps", long, "");
    let ratio = long.as_secs_f64() / short.as_secs_f64();
    report.number("growth", "10,000 steps against 100, per step", ratio, "×", "0.8 – 1.2 ×");
    Ok(())
}

/// Medians over turns that alternate, so that a slower minute of the machine meets both.
async fn costs(folder: &std::path::Path) -> Result<(Duration, Duration)> {
    let (node, storage) = node::launch(folder).await?;
    let (mut short, mut long) = (Sample::default(), Sample::default());
    node::run(&node, "count", json!({"n": SHORT}), SHORT).await?;
    for _ in 0..TURNS {
        for _ in 0..LONG / SHORT / 4 {
            let begun = Instant::now();
            node::run(&node, "count", json!({"n": SHORT}), SHORT).await?;
            short.push(begun.elapsed() / SHORT as u32);
        }
        let begun = Instant::now();
        node::run(&node, "count", json!({"n": LONG}), LONG).await?;
        long.push(begun.elapsed() / LONG as u32);
    }
    node.shutdown(Duration::from_secs(1)).await;
    storage.close().await;
    Ok((short.p50(), long.p50()))
}
