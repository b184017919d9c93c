//! How many durable steps a second does one SQLite file take, with 1, 16 and 256 runs in flight?

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use compozy::node::Node;
use serde_json::json;

use crate::report::Report;
use crate::{machine, node, runtime};

const STEPS: usize = 50;
const SPAN: Duration = Duration::from_secs(8);

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    for (flight, goal) in [(1, ""), (16, ""), (256, "≥ 30,000 steps/s")] {
        let scratch = machine::scratch()?;
        node::project(scratch.path(), &[("chain", &node::chain(STEPS))])?;
        let rate = runtime()?.block_on(rate(scratch.path(), flight))?;
        report.number(
            &format!("steps_per_second_{flight}"),
            &format!("durable steps per second, {flight} in flight"),
            rate,
            "steps/s",
            goal,
        );
    }
    Ok(())
}

async fn rate(folder: &std::path::Path, flight: usize) -> Result<f64> {
    let (node, storage) = node::launch(folder).await?;
    run_once(&node).await?;
    let done = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let lanes: Vec<_> = (0..flight)
        .map(|_| {
            let (node, done) = (Arc::clone(&node), Arc::clone(&done));
            tokio::spawn(async move {
                while begun.elapsed() < SPAN {
                    run_once(&node).await?;
                    // A run that ends after the span is not counted, so the figure errs on the low side.
                    if begun.elapsed() < SPAN {
                        done.fetch_add(STEPS, Ordering::Relaxed);
                    }
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for lane in lanes {
        lane.await.context("join a lane")??;
    }
    node.shutdown(Duration::from_secs(1)).await;
    storage.close().await;
    Ok(done.load(Ordering::Relaxed) as f64 / SPAN.as_secs_f64())
}

async fn run_once(node: &Arc<Node>) -> Result<()> {
    node::run(node, "chain", json!({"n": 0}), STEPS as i64).await
}
