//! How long does one durable step take when it runs alone?

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::report::Report;
use crate::sample::Sample;
use crate::{disk, machine, node, runtime};

const STEPS: usize = 50;
const RUNS: usize = 40;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let scratch = machine::scratch()?;
    node::project(scratch.path(), &[("chain", &node::chain(STEPS))])?;
    let mut flushes = disk::flushes(scratch.path(), 500)?;
    let steps = runtime()?.block_on(steps(scratch.path()))?;
    flushes.extend(disk::flushes(scratch.path(), 500)?);
    let ratio = steps.p50().as_secs_f64() / flushes.p50().as_secs_f64();
    report.duration("fdatasync_p50", "one `fdatasync` of 4 KiB, p50", flushes.p50(), "");
    report.duration("step_p50", "sequential durable step, p50", steps.p50(), "");
    report.duration("step_p99", "sequential durable step, p99", steps.p99(), "");
    report.number("step_per_fdatasync", "step p50 against `fdatasync` p50", ratio, "×", "≤ 2 ×");
    Ok(())
}

/// Times between the results of consecutive steps, as the journal has them. Nobody watches the runs: telling a watcher
/// wakes another thread at every step.
async fn steps(folder: &std::path::Path) -> Result<Sample> {
    let (node, storage) = node::launch(folder).await?;
    let mut sample = Sample::default();
    for number in 0..=RUNS {
        let accepted = node.submit(node::start("chain", json!({"n": 0}))).await.context("start a run")?;
        node.wait(&accepted.exec_id, None).await.context("wait for a run")?;
        let events = storage.journal(&accepted.exec_id, 0, 4 * STEPS as u32).await.context("read the journal")?;
        let results: Vec<i64> =
            events.iter().filter(|event| event.event == "task_status").map(|event| event.at.0).collect();
        // The first run warms caches and is not counted.
        for pair in results.windows(2).filter(|_| number > 0) {
            if let [before, after] = pair {
                sample.push(Duration::from_micros(u64::try_from(after - before).unwrap_or(0)));
            }
        }
    }
    anyhow::ensure!(sample.len() > STEPS * RUNS / 2, "only {} steps were seen", sample.len());
    node.shutdown(Duration::from_secs(1)).await;
    storage.close().await;
    Ok(sample)
}
