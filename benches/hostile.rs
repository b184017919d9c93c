//! What do other runs notice of plugins that loop, storm, flood and take memory until they are stopped?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compozy::node::Node;
use serde_json::json;

use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, node, runtime};

/// What each lane of misbehaviour calls, over and over; every call is ended by its limits.
const MISDEEDS: [(&str, &str); 6] = [
    ("endless_loop", "{}"),
    ("call_storm", "{}"),
    ("log_flood", "{records: 0, bytes: 1000}"),
    ("memory_bomb", "{}"),
    ("deep_recursion", "{}"),
    ("giant_output", "{}"),
];

/// Time of one misdeed, after which the next begins.
const LIMIT: &str = "200ms";

/// Runs of each half of a round, after those that warm up.
const RUNS: usize = 1_000;
const ROUNDS: usize = 5;
const WARM: usize = 100;

const ADD: &str = "id: add
tasks:
  - {id: add, tool: add, with: {a: \"{{ .input.n }}\", b: 1}}
output: {n: \"{{ .tasks.add.output.sum }}\"}
";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let scratch = machine::scratch()?;
    project(scratch.path())?;
    let (alone, beside, stopped) = runtime()?.block_on(halves(scratch.path()))?;
    report.duration("hostile_alone_p50", "a run of one step, alone, p50", alone.p50(), "");
    report.duration("hostile_alone_p99", "a run of one step, alone, p99", alone.p99(), "");
    report.duration("hostile_beside_p50", "a run of one step beside six misbehaving plugins, p50", beside.p50(), "");
    report.duration("hostile_beside_p99", "the same, p99", beside.p99(), "");
    let ratio = beside.p99().as_secs_f64() / alone.p99().as_secs_f64();
    report.number("hostile_ratio", "p99 beside them over p99 alone", ratio, "×", "≤ 1.2 ×");
    report.number("hostile_stopped", "misdeeds that were stopped meanwhile", stopped as f64, "calls", "");
    Ok(())
}

/// One workflow for each misdeed, by a plugin of its own with tight limits.
fn project(folder: &std::path::Path) -> Result<()> {
    let mut text = node::file_project()
        .replace("plugins: [{", "plugins: [{id: wild, source: ./plugins/zoo.wasm, limits: {memory: 32MiB}}, {");
    let tools: String = MISDEEDS
        .iter()
        .map(|(function, _)| format!("{{id: {function}, plugin: wild, function: {function}}}, "))
        .collect();
    text = text.replace("tools: [", &format!("tools: [{tools}"));
    let misdeed = |(function, with): &(&str, &str)| {
        let task = format!("{{id: deed, tool: {function}, with: {with}, timeout: {LIMIT}, retries: 0}}");
        ((*function).to_owned(), format!("id: {function}\ntasks:\n  - {task}\n"))
    };
    let mut workflows: Vec<(String, String)> = MISDEEDS.iter().map(misdeed).collect();
    workflows.push(("add".to_owned(), ADD.to_owned()));
    let workflows: Vec<(&str, &str)> = workflows.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    node::project(folder, &workflows)?;
    std::fs::write(folder.join("compozy.yaml"), text).context("write the project")
}

async fn halves(folder: &std::path::Path) -> Result<(Sample, Sample, u64)> {
    let (node, storage) = node::launch(folder).await?;
    let (mut alone, mut beside) = (Sample::default(), Sample::default());
    let stopped = Arc::new(AtomicU64::new(0));
    // In turns, so that what else the machine does is felt by both.
    for _ in 0..ROUNDS {
        runs(&node, &mut alone).await?;
        let going_on = Arc::new(AtomicBool::new(true));
        let lanes = MISDEEDS.map(|(function, _)| {
            let (node, going_on, stopped) = (Arc::clone(&node), Arc::clone(&going_on), Arc::clone(&stopped));
            tokio::spawn(async move {
                while going_on.load(Ordering::Relaxed) {
                    let accepted = node.submit(node::start(function, json!({}))).await.context("start a misdeed")?;
                    node.wait(&accepted.exec_id, None).await.context("wait for a misdeed")?;
                    stopped.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        });
        let done = runs(&node, &mut beside).await;
        going_on.store(false, Ordering::Relaxed);
        for lane in lanes {
            lane.await.context("join a lane")??;
        }
        done?;
    }
    node.shutdown(Duration::from_secs(1)).await;
    storage.close().await;
    let stopped = stopped.load(Ordering::Relaxed);
    ensure!(stopped >= MISDEEDS.len() as u64, "only {stopped} misdeeds came to their end");
    Ok((alone, beside, stopped))
}

/// One run after the other.
async fn runs(node: &Arc<Node>, sample: &mut Sample) -> Result<()> {
    for number in 0..WARM + RUNS {
        let begun = Instant::now();
        let n = number as i64;
        node::run(node, "add", json!({"n": n}), n + 1).await?;
        if number >= WARM {
            sample.push(begun.elapsed());
        }
    }
    Ok(())
}
