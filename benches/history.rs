//! Does anything get slower with 1,000,000 finished runs in the file?
//!
//! One run is run; its rows are then copied under other ids, which takes a minute instead of the many that as many runs
//! would take.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::Connection as Database;
use serde_json::Value;

use crate::http::Connection;
use crate::process::Server;
use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, node, runtime};

const RUNS: u32 = 1_000_000;
const STEPS: usize = 20;
const TURNS: usize = 200;
/// Requests whose first few answers fill caches.
const WARM: usize = 20;

/// What is asked of a server, and how it is called in the table.
const ASKED: &[(&str, &str, &str)] = &[
    ("run", "run of 20 steps over HTTP", ""),
    ("page", "first page of runs", "/api/v0/executions/workflows?limit=50"),
    ("page_status", "first page of one status", "/api/v0/executions/workflows?limit=50&status=SUCCESS"),
    ("page_workflow", "first page of one workflow", "/api/v0/executions/workflows?limit=50&workflow_id=chain"),
    ("workflows", "list of workflows with their latest runs", "/api/v0/workflows"),
];

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let binary = machine::binary()?;
    let scratch = machine::scratch()?;
    node::project(scratch.path(), &[("chain", &node::chain(STEPS))])?;
    let before = ask(&binary, scratch.path())?;
    let file = scratch.path().join("data/compozy.db");
    let begun = Instant::now();
    multiply(&file)?;
    eprintln!("  made {RUNS} runs in {:.0?}", begun.elapsed());
    let size = std::fs::metadata(&file).context("find the database")?.len() as f64 / 1e6;
    let after = ask(&binary, scratch.path())?;
    report.number("history_mb", "1,000,000 finished runs of one step each, database", size, "MB", "");
    for (((key, what, _), before), after) in ASKED.iter().zip(before).zip(after) {
        report.duration(&format!("history_{key}"), &format!("{what}, 1,000,000 runs in the file, p50"), after, "");
        let ratio = after.as_secs_f64() / before.as_secs_f64();
        report.number(&format!("history_{key}_ratio"), &format!("{what}, against a new file"), ratio, "×", "≤ 1.2 ×");
    }
    Ok(())
}

/// Medians of everything in [`ASKED`].
fn ask(binary: &Path, folder: &Path) -> Result<Vec<Duration>> {
    let server = Server::start(binary, folder)?;
    let times = runtime()?.block_on(async {
        let mut connection = Connection::open(&server.address).await?;
        let mut times = Vec::new();
        for (_, _, path) in ASKED {
            let mut sample = Sample::default();
            for turn in 0..TURNS + WARM {
                let begun = Instant::now();
                if path.is_empty() {
                    let path = "/api/v0/workflows/chain/executions/sync";
                    connection.send("POST", path, r#"{"input": {"n": 1}}"#).await?.expect(200)?;
                } else {
                    connection.send("GET", path, "").await?.expect(200)?;
                }
                if turn >= WARM {
                    sample.push(begun.elapsed());
                }
            }
            times.push(sample.p50());
        }
        anyhow::Ok(times)
    })?;
    server.stop()?;
    Ok(times)
}

/// Copies the rows of one run under 1,000,000 other ids, a millisecond apart, in the order of their ids.
fn multiply(file: &Path) -> Result<()> {
    let database = Database::open(file).context("open the database")?;
    database.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; BEGIN").context("begin")?;
    let one = "SELECT exec_id FROM executions ORDER BY created_at LIMIT 1";
    let id: String = database.query_row(one, [], |row| row.get(0)).context("find a run")?;
    ensure!(id.len() == 26, "the id {id} has another form");
    let trimmed = "DELETE FROM steps WHERE exec_id = ?1 AND position > 1";
    database.execute(trimmed, [&id]).context("keep one step")?;
    let trimmed = "DELETE FROM journal WHERE exec_id = ?1 AND seq > 3";
    database.execute(trimmed, [&id]).context("keep its events")?;
    for table in ["executions", "steps", "journal"] {
        copy(&database, table, &id).with_context(|| format!("copy {table}"))?;
    }
    database.execute("UPDATE workflow_runs SET runs = runs + ?1", [RUNS]).context("count the runs")?;
    database.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").context("commit")?;
    let counted: Value = database.query_row("SELECT count(*) FROM executions", [], |row| row.get::<_, i64>(0))?.into();
    ensure!(counted.as_i64() > Some(i64::from(RUNS)), "{counted} runs are there");
    Ok(())
}

fn copy(database: &Database, table: &str, id: &str) -> Result<()> {
    let mut statement = database.prepare("SELECT name, type FROM pragma_table_info(?1) ORDER BY cid")?;
    let columns = statement.query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let columns: Vec<(String, String)> = columns.collect::<Result<_, _>>()?;
    let names: Vec<String> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let values = columns.iter().map(|(name, kind)| match (kind.as_str(), name.as_str()) {
        ("TEXT", _) => format!("replace(t.\"{name}\", ?1, n.id)"),
        (_, "created_at" | "started_at" | "updated_at" | "finished_at" | "at") => format!("t.\"{name}\" + n.n * 1000"),
        _ => format!("t.\"{name}\""),
    });
    let sql = format!(
        "WITH RECURSIVE n(n, id) AS (SELECT 1, printf('%s%09d', substr(?1, 1, 17), 1) UNION ALL \
         SELECT n + 1, printf('%s%09d', substr(?1, 1, 17), n + 1) FROM n WHERE n < ?2) \
         INSERT INTO {table} ({}) SELECT {} FROM n CROSS JOIN {table} AS t WHERE t.exec_id = ?1",
        names.join(", "),
        values.collect::<Vec<_>>().join(", "),
    );
    database.execute(&sql, rusqlite::params![id, RUNS])?;
    Ok(())
}
