//! A node in this process, on a SQLite file, with the zoo's `add` as its only tool.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use compozy::cli::args::GlobalArgs;
use compozy::cli::compose;
use compozy::cli::failure::Failure;
use compozy::cli::session::Session;
use compozy::cli::usable::Plugins;
use compozy::node::{Kind, Node, StartRequest};
use compozy::storage::Storage;
use compozy::storage::sqlite::Role;
use serde_json::{Map, Value, json};

use crate::machine;

/// The database of most projects measured here.
const FILE: &str = "driver: sqlite, path: ./data/compozy.db";

/// Limits, plugins and tools of the projects measured here.
pub(crate) const TOOLS: &str = "limits: {max_task_executions: 1000000, max_collection_items: 100000}
plugins: [{id: zoo, source: ./plugins/zoo.wasm}]
tools: [{id: add, plugin: zoo, function: add}, {id: count_down, plugin: zoo, function: count_down}]
";

/// The project file of a project on a SQLite file.
pub(crate) fn file_project() -> String {
    format!("database: {{{FILE}}}\n{TOOLS}")
}

/// A chain of `length` steps, each adding one to what the last gave.
pub(crate) fn chain(length: usize) -> String {
    let mut text = String::from("id: chain\ntasks:\n");
    let mut before = ".input.n".to_owned();
    for step in 0..length {
        text.push_str(&format!("  - {{id: s{step}, tool: add, with: {{a: \"{{{{ {before} }}}}\", b: 1}}}}\n"));
        before = format!(".tasks.s{step}.output.sum");
    }
    text.push_str(&format!("output: {{n: \"{{{{ {before} }}}}\"}}\n"));
    text
}

/// One task that calls itself until it has counted to the input's `n`.
pub(crate) const COUNT: &str = "id: count
flow: explicit
tasks:
  - id: count
    tool: add
    with: {a: 0, b: 1}
    on_success:
      next: \"{{ if lt .output.sum .input.n }}count{{ end }}\"
      with: {a: \"{{ .output.sum }}\"}
output: {n: \"{{ .tasks.count.output.sum }}\"}
";

/// Writes a project with these workflows.
pub(crate) fn project(folder: &Path, workflows: &[(&str, &str)]) -> Result<()> {
    project_with(folder, &file_project(), workflows)
}

/// The same with another project file; the zoo lies at `plugins/zoo.wasm`.
pub(crate) fn project_with(folder: &Path, config: &str, workflows: &[(&str, &str)]) -> Result<()> {
    let write = |path: &str, bytes: &[u8]| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::write(path, bytes)
    };
    let zoo = std::fs::read(machine::component("guests/zoo")?).context("read the zoo")?;
    write("compozy.yaml", config.as_bytes()).context("write the project")?;
    write("plugins/zoo.wasm", &zoo).context("write the plugin")?;
    workflows
        .iter()
        .try_for_each(|(name, text)| write(&format!("workflows/{name}.yaml"), text.as_bytes()))
        .context("write the workflows")
}

/// Launches a node on the project in `folder`.
pub(crate) async fn launch(folder: &Path) -> Result<(Arc<Node>, Arc<dyn Storage>)> {
    let session = Session::new(GlobalArgs::default(), &|_| None).map_err(said)?;
    let loaded = compose::load(&session, &folder.join("compozy.yaml"), Plugins::Called).await.map_err(said)?;
    let storage = compozy::cli::open::storage(&session, &loaded.project, Role::Server).await.map_err(said)?;
    let launched = compose::launch(&session, &loaded, &storage, Kind::Server, Some(1024)).await.map_err(said)?;
    Ok((launched.node, storage))
}

fn said(failure: Failure) -> anyhow::Error {
    anyhow!("{}", failure.document())
}

/// A start of `workflow`.
pub(crate) fn start(workflow: &str, input: Value) -> StartRequest {
    StartRequest {
        workflow_id: workflow.to_owned(),
        input,
        task: None,
        tags: Map::new(),
        durability: None,
        priority: 0,
        trigger: json!({"type": "manual"}),
        idempotency: None,
    }
}

/// Runs `workflow` to its end and fails unless it gives `n`.
pub(crate) async fn run(node: &Arc<Node>, workflow: &str, input: Value, n: i64) -> Result<()> {
    let accepted = node.submit(start(workflow, input)).await.context("start a run")?;
    let run = node.wait(&accepted.exec_id, None).await.context("wait for a run")?;
    let output = run.and_then(|run| run.output).unwrap_or_default();
    anyhow::ensure!(output == format!("{{\"n\":{n}}}"), "a run gave {output}, not {n}");
    Ok(())
}
