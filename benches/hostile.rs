//! What do other runs notice of plugins that loop, storm, flood and take memory until they are stopped?
//!
//! Six lanes of misdeeds are also six lanes of runs, each with its commits. So the same runs are measured three times:
//! alone, beside the misdeeds, and beside as many runs a second, lane by lane, of a plugin that behaves; the last also
//! while other processes keep each core busy at the lowest priority, which no sandbox can hide from its neighbours.

use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    let Felt { alone, beside, calm, busy, stopped } = runtime()?.block_on(parts(scratch.path()))?;
    report.duration("hostile_alone_p50", "a run of one step, alone, p50", alone.p50(), "");
    report.duration("hostile_alone_p99", "a run of one step, alone, p99", alone.p99(), "");
    report.duration("hostile_calm_p50", "a run of one step beside six lanes that behave, p50", calm.p50(), "");
    report.duration("hostile_calm_p99", "the same, p99", calm.p99(), "");
    report.duration("hostile_beside_p50", "a run of one step beside six misbehaving plugins, p50", beside.p50(), "");
    report.duration("hostile_beside_p99", "the same, p99", beside.p99(), "");
    report.duration(
        "hostile_busy_p99",
        "beside six lanes that behave, and cores kept busy by others, p99",
        busy.p99(),
        "",
    );
    let ratio = |of: &Sample, to: &Sample| of.p99().as_secs_f64() / to.p99().as_secs_f64();
    let text = "p99 beside them over p99 beside as many runs that behave and busy cores";
    report.number("hostile_ratio", text, ratio(&beside, &busy), "×", "≤ 1.2 ×");
    let text = "p99 beside them over p99 beside as many runs that behave";
    report.number("hostile_ratio_calm", text, ratio(&beside, &calm), "×", "");
    report.number("hostile_ratio_alone", "p99 beside them over p99 alone", ratio(&beside, &alone), "×", "");
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
    workflows.push(("good".to_owned(), ADD.replace("id: add\ntasks", "id: good\ntasks")));
    let workflows: Vec<(&str, &str)> = workflows.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    node::project(folder, &workflows)?;
    std::fs::write(folder.join("compozy.yaml"), text).context("write the project")
}

/// What the measured runs took, and how many misdeeds were stopped.
#[derive(Default)]
struct Felt {
    alone: Sample,
    beside: Sample,
    calm: Sample,
    busy: Sample,
    stopped: usize,
}

async fn parts(folder: &std::path::Path) -> Result<Felt> {
    let (node, storage) = node::launch(folder).await?;
    let mut felt = Felt::default();
    // In turns, so that what else the machine does is felt by all.
    for _ in 0..ROUNDS {
        runs(&node, &mut felt.alone).await?;
        let misdeeds: Vec<Lane> = MISDEEDS.map(|(workflow, _)| Lane { workflow, every: Duration::ZERO }).into();
        let begun = Instant::now();
        let counts = beside(&node, &misdeeds, &mut felt.beside).await?;
        let took = begun.elapsed();
        felt.stopped += counts.iter().sum::<u32>() as usize;
        let as_many = counts.iter().map(|count| Lane { workflow: "good", every: took / (*count).max(1) });
        let as_many: Vec<Lane> = as_many.collect();
        beside(&node, &as_many, &mut felt.calm).await?;
        let busy = Busy::new()?;
        beside(&node, &as_many, &mut felt.busy).await?;
        drop(busy);
    }
    node.shutdown(Duration::from_secs(1)).await;
    storage.close().await;
    ensure!(felt.stopped >= MISDEEDS.len(), "only {} misdeeds came to their end", felt.stopped);
    Ok(felt)
}

/// Processes that keep every core busy at the lowest priority there is, while this lives.
struct Busy(Vec<Child>);

impl Busy {
    fn new() -> Result<Self> {
        let mut busy = Self(Vec::new());
        for _ in 0..std::thread::available_parallelism()?.get() {
            let mut command = Command::new("chrt");
            command.args(["--idle", "0", "sh", "-c", "while :; do :; done"]);
            busy.0.push(command.spawn().context("start `chrt` of util-linux")?);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _gone = child.kill();
            let _ended = child.wait();
        }
    }
}

/// Runs of one workflow, one after the other.
struct Lane {
    workflow: &'static str,
    /// From the start of one to that of the next, unless it takes longer.
    every: Duration,
}

/// Measures runs beside `lanes`; how many runs each of those did.
async fn beside(node: &Arc<Node>, lanes: &[Lane], sample: &mut Sample) -> Result<Vec<u32>> {
    let going_on = Arc::new(AtomicBool::new(true));
    let lane = |lane: &Lane| {
        let (node, going_on, workflow) = (Arc::clone(node), Arc::clone(&going_on), lane.workflow);
        let mut pace = (!lane.every.is_zero()).then(|| tokio::time::interval(lane.every));
        tokio::spawn(async move {
            let mut count = 0;
            while going_on.load(Ordering::Relaxed) {
                if let Some(pace) = &mut pace {
                    pace.tick().await;
                }
                let accepted =
                    node.submit(node::start(workflow, json!({"n": 1}))).await.context("start a lane's run")?;
                node.wait(&accepted.exec_id, None).await.context("wait for a lane's run")?;
                count += 1;
            }
            anyhow::Ok(count)
        })
    };
    let lanes: Vec<_> = lanes.iter().map(lane).collect();
    let done = runs(node, sample).await;
    going_on.store(false, Ordering::Relaxed);
    let mut counts = Vec::new();
    for lane in lanes {
        counts.push(lane.await.context("join a lane")??);
    }
    done?;
    Ok(counts)
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
