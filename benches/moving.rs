//! How many rows a second does an export write and an import read, between SQLite and PostgreSQL, beside `COPY` of the
//! same tables?
//!
//! The commands are those of the built binary. `COPY` moves the rows of the tables that an export holds to a file, and
//! from it into tables with the same columns and indexes.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tokio::io::AsyncWriteExt as _;

use crate::database::{self, Postgres};
use crate::report::Report;
use crate::{machine, node, runtime};

const STEPS: usize = 50;
/// Runs started at once while the source is filled.
const LANES: usize = 64;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    let postgres = Postgres::start()?;
    let scratch = machine::scratch()?;
    let folder = scratch.path();
    node::project(folder, &[("chain", &node::chain(STEPS))])?;
    let server = format!("name: bench\ndatabase: {{conn_string: \"{}\"}}\n{}", postgres.database(), node::TOOLS);
    let back = node::file_project().replace("./data/compozy.db", "./data/back.db");
    for (name, config) in [("server.yaml", &server), ("back.yaml", &back)] {
        std::fs::write(folder.join(name), config).context("write a project")?;
    }
    runtime()?.block_on(fill(folder, machine::amount(1_000, 20)))?;
    let mut rates = Vec::new();
    for (key, what, arguments) in [
        ("sqlite_export", "export from SQLite", ["compozy.yaml", "export", "there.ndjson"]),
        ("postgres_import", "import into PostgreSQL", ["server.yaml", "import", "there.ndjson"]),
        ("postgres_export", "export from PostgreSQL", ["server.yaml", "export", "back.ndjson"]),
        ("sqlite_import", "import into SQLite", ["back.yaml", "import", "back.ndjson"]),
    ] {
        let begun = Instant::now();
        compozy(&binary, folder, &arguments)?;
        let took = begun.elapsed();
        let [_, _, file] = arguments;
        let (rows, _) = counts(&folder.join(file))?;
        let rate = rows as f64 / took.as_secs_f64();
        report.number(key, &format!("{what}, {rows} rows"), rate, "rows/s", "");
        rates.push((key, what, rate));
    }
    let (rows, tables) = counts(&folder.join("back.ndjson"))?;
    let url = server.split('"').nth(1).unwrap_or_default();
    let (out, into) = runtime()?.block_on(copies(url, folder, &tables))?;
    let rate = |took: Duration| rows as f64 / took.as_secs_f64();
    report.number("copy_to", &format!("COPY TO of the same tables, {rows} rows"), rate(out), "rows/s", "");
    report.number("copy_from", &format!("COPY FROM of the same tables, {rows} rows"), rate(into), "rows/s", "");
    for (key, what, ours) in rates {
        let (name, theirs) = if key.ends_with("export") { ("COPY TO", rate(out)) } else { ("COPY FROM", rate(into)) };
        report.number(&format!("{key}_ratio"), &format!("{what}, against {name}"), ours / theirs, "×", "");
    }
    Ok(())
}

/// Ended runs in the file.
async fn fill(folder: &Path, runs: usize) -> Result<()> {
    let (node, storage) = node::launch(folder).await?;
    let lanes: Vec<_> = (0..LANES.min(runs))
        .map(|_| {
            let node = std::sync::Arc::clone(&node);
            tokio::spawn(async move {
                for _ in 0..runs.div_ceil(LANES) {
                    node::run(&node, "chain", serde_json::json!({"n": 0}), STEPS as i64).await?;
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
    Ok(())
}

fn compozy(binary: &Path, folder: &Path, [config, command, file]: &[&str; 3]) -> Result<()> {
    let output = Command::new(binary)
        .current_dir(folder)
        .args(["--config", config, command, file])
        .output()
        .with_context(|| format!("start {command}"))?;
    ensure!(output.status.success(), "{command} with {config}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Rows of an export, and its tables that have any.
fn counts(file: &Path) -> Result<(u64, Vec<String>)> {
    use std::io::BufRead as _;
    let mut header = String::new();
    let file = std::fs::File::open(file).context("open the export")?;
    std::io::BufReader::new(file).read_line(&mut header).context("read the export")?;
    let header: Value = serde_json::from_str(&header).context("read its header")?;
    let counts = header["counts"].as_object().context("read its counts")?;
    let number = |count: &Value| count.as_u64().unwrap_or(0);
    let tables = counts.iter().filter(|(_, count)| number(count) > 0).map(|(table, _)| table.clone()).collect();
    Ok((counts.values().map(number).sum(), tables))
}

/// How long it takes to copy these tables to files, and from them into others of the same make.
async fn copies(url: &str, folder: &Path, tables: &[String]) -> Result<(Duration, Duration)> {
    let mut connection = database::connect(url).await?;
    connection.execute("CREATE SCHEMA copied").await.context("make a schema")?;
    let (mut out, mut into) = (Duration::ZERO, Duration::ZERO);
    for table in tables {
        let like = format!("CREATE TABLE copied.{table} (LIKE public.{table} INCLUDING ALL)");
        connection.execute(AssertSqlSafe(like)).await.with_context(|| format!("make {table}"))?;
        let file = folder.join(format!("{table}.copy"));
        let begun = Instant::now();
        copy_out(&mut connection, table, &file).await.with_context(|| format!("copy {table} out"))?;
        out += begun.elapsed();
        let begun = Instant::now();
        copy_in(&mut connection, table, &file).await.with_context(|| format!("copy {table} in"))?;
        into += begun.elapsed();
    }
    Ok((out, into))
}

async fn copy_out(connection: &mut PgConnection, table: &str, path: &Path) -> Result<()> {
    use futures_util::StreamExt as _;
    let mut file = tokio::io::BufWriter::new(tokio::fs::File::create(path).await?);
    let mut rows = connection.copy_out_raw(&format!("COPY public.{table} TO STDOUT")).await?;
    while let Some(bytes) = rows.next().await {
        file.write_all(&bytes?).await?;
    }
    file.flush().await?;
    file.get_ref().sync_all().await?;
    Ok(())
}

async fn copy_in(connection: &mut PgConnection, table: &str, path: &Path) -> Result<()> {
    let mut copy = connection.copy_in_raw(&format!("COPY copied.{table} FROM STDIN")).await?;
    copy.read_from(tokio::fs::File::open(path).await?).await?;
    copy.finish().await?;
    Ok(())
}
