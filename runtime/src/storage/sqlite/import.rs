//! Writing an import: steps of it, its end, and its undoing. All inside the writer's transactions.

use compozy_engine::time::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, ToSql, params, params_from_iter};

use super::super::Error;
use super::super::table::{self, Kind, Table, Travels};
use super::super::transfer::{Act, Cell, ImportBatch, Progress, Row, Staged};
use super::super::work::encode::{REFERENCE, TERMINAL};
use super::super::work::import::{Import, from_content, to_content};
use super::super::work::operation::Outcome;
use super::super::work::turns::Turns;
use super::error::{from_sqlite, is_unique};
use super::gate;

/// Rows removed in one transaction of an abort.
const REMOVED: i64 = 1_000;

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Carries it out inside the writer's transaction.
pub(super) fn run(connection: &Connection, turns: &Turns, import: &Import) -> Result<Outcome, Error> {
    match import {
        Import::Write { batch, now } => write(connection, batch, *now).map(|()| Outcome::Done),
        Import::Finish { export_id, now } => finish(connection, turns, export_id, *now).map(|()| Outcome::Done),
        Import::Abort { export_id } => abort(connection, export_id).map(Outcome::Count).map_err(from_sqlite),
    }
}

fn write(connection: &Connection, batch: &ImportBatch, now: Timestamp) -> Result<(), Error> {
    note(connection, batch, now)?;
    if let Some(table) = batch.table {
        let insert = Insert::new(table, &batch.progress.export_id, now);
        for row in &batch.rows {
            insert.row(connection, row, None)?;
        }
    }
    for staged in &batch.staged {
        stage(connection, &batch.progress.export_id, staged, now)?;
    }
    Ok(())
}

/// Writes down how far the import has come, if nobody else has moved it.
fn note(connection: &Connection, batch: &ImportBatch, now: Timestamp) -> Result<(), Error> {
    let Progress { export_id, table, taken, skipped, sha256, written, options, closed, .. } = &batch.progress;
    let state = if *closed { "closed" } else { "open" };
    let noted = match batch.before {
        None => {
            let sql = "INSERT INTO import_progress (export_id, table_name, taken, skipped, sha256, written, options, \
                       state, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
            let row = params![export_id, table, taken, skipped, sha256, written, options, state, now.0];
            connection.prepare_cached(sql).and_then(|mut statement| statement.execute(row))
        }
        Some(before) => {
            let sql = "UPDATE import_progress SET taken = ?3, skipped = ?4, sha256 = ?5, written = ?6, state = ?7, \
                       updated_at = ?8 WHERE export_id = ?1 AND table_name = ?2 AND taken = ?9 AND state = 'open'";
            let row = params![export_id, table, taken, skipped, sha256, written, state, now.0, before];
            connection.prepare_cached(sql).and_then(|mut statement| statement.execute(row))
        }
    };
    if noted.map_err(from_sqlite)? == 0 {
        return Err(Error::Fenced);
    }
    if table.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE import_progress SET updated_at = ?2 WHERE export_id = ?1 AND table_name = '' AND state = 'open'";
    let alive = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params![export_id, now.0]));
    if alive.map_err(from_sqlite)? == 0 { Err(Error::Fenced) } else { Ok(()) }
}

fn stage(connection: &Connection, export_id: &str, staged: &Staged, now: Timestamp) -> Result<(), Error> {
    let sql = "INSERT INTO import_rows (export_id, table_name, name, position, act, content) VALUES (?, ?, ?, ?, ?, ?)";
    let content = staged.row.as_ref().map(to_content);
    let row = params![export_id, staged.table.name, staged.name, staged.position, staged.act.word(), content];
    let inserted = connection.prepare_cached(sql).and_then(|mut statement| statement.execute(row));
    inserted.map_err(from_sqlite)?;
    // What a waiting row refers to must still be there when its time comes.
    if let Some(row) = &staged.row {
        refer(connection, staged.table, row, now)?;
    }
    Ok(())
}

/// The payloads that a row of a run refers to are needed by it.
fn refer(connection: &Connection, table: &'static Table, row: &Row, _now: Timestamp) -> Result<(), Error> {
    let Some(exec_id) = table.place("exec_id").and_then(|place| row.get(place)) else { return Ok(()) };
    let sql = "INSERT INTO payload_refs (hash, exec_id) VALUES (?, ?) ON CONFLICT DO NOTHING";
    for (column, cell) in table.travelling().zip(row) {
        let hash = cell.text().filter(|_| column.kind == Kind::Large).and_then(|text| text.strip_prefix(REFERENCE));
        if let Some(hash) = hash {
            let inserted =
                connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params![hash, exec_id]));
            inserted.map_err(from_sqlite)?;
        }
    }
    Ok(())
}

/// The statement that writes rows of a table.
struct Insert<'a> {
    table: &'static Table,
    sql: String,
    export_id: &'a str,
    now: Timestamp,
}

impl<'a> Insert<'a> {
    fn new(table: &'static Table, export_id: &'a str, now: Timestamp) -> Self {
        let own = table.columns.iter().filter(|column| column.travels != Travels::No).map(|column| column.name);
        let columns: Vec<String> = own.chain(locals(table)).map(|name| format!("\"{name}\"")).collect();
        let is_blob =
            |name: &String| table.column(name.trim_matches('"')).is_some_and(|column| column.kind == Kind::Blob);
        let marks: Vec<&str> = columns.iter().map(|name| if is_blob(name) { "CAST(? AS BLOB)" } else { "?" }).collect();
        // Equal content has an equal hash; a memory that is there already is for others to notice.
        let again = if table.name == "payloads" { " ON CONFLICT DO NOTHING" } else { "" };
        let sql =
            format!("INSERT INTO \"{}\" ({}) VALUES ({}){again}", table.name, columns.join(", "), marks.join(", "));
        Self { table, sql, export_id, now }
    }

    /// Writes one; of a run, its hash and epoch come with it.
    fn row(&self, connection: &Connection, row: &Row, run: Option<(&Cell, i64)>) -> Result<(), Error> {
        let own = row.get(self.table.joined.len()..).unwrap_or_default();
        let width = self.table.travelling().count() - self.table.joined.len();
        let mut cells: Vec<Cell> = own.iter().take(width).cloned().collect();
        let now = Cell::Integer(self.now.0);
        match self.table.name {
            "definitions" | "definition_heads" | "payloads" => cells.push(now),
            "attempts" => cells.extend([Cell::Text("import".to_owned()), Cell::Integer(0)]),
            "executions" => {
                let (hash, epoch) = run.map_or((Cell::Null, 1), |(hash, epoch)| (hash.clone(), epoch));
                cells.extend([Cell::Integer(epoch), Cell::Text(self.export_id.to_owned()), hash]);
            }
            _ => {}
        }
        let inserted =
            connection.prepare_cached(&self.sql).and_then(|mut statement| statement.execute(params_from_iter(&cells)));
        match inserted {
            Ok(_) => {}
            Err(error) if is_unique(&error) => {
                return Err(Error::Conflict(format!("a row of {} with this key exists already", self.table.name)));
            }
            Err(error) => return Err(from_sqlite(error)),
        }
        refer(connection, self.table, row, self.now)
    }
}

/// Columns that do not travel and have no default.
fn locals(table: &'static Table) -> impl Iterator<Item = &'static str> {
    let names: &[&str] = match table.name {
        "definitions" | "payloads" => &["created_at"],
        "definition_heads" => &["updated_at"],
        "attempts" => &["node", "epoch"],
        "executions" => &["epoch", "import_id", "import_hash"],
        _ => &[],
    };
    names.iter().copied()
}

/// Makes everything visible.
fn finish(connection: &Connection, turns: &Turns, export_id: &str, now: Timestamp) -> Result<(), Error> {
    let sql = "SELECT state FROM import_progress WHERE export_id = ? AND table_name = ''";
    let state: Option<String> =
        connection.query_row(sql, [export_id], |row| row.get(0)).optional().map_err(from_sqlite)?;
    match state.as_deref() {
        None => return Err(Error::NotFound(format!("import {export_id}"))),
        Some("open") => {}
        Some(_) => return Ok(()),
    }
    let mut waiting = Vec::new();
    for table in table::travelling() {
        let insert = Insert::new(table, export_id, now);
        let sql = "SELECT act, content FROM import_rows WHERE export_id = ? AND table_name = ? AND content IS NOT NULL \
                   AND act IN ('insert', 'replace') ORDER BY name, position";
        let mut statement = connection.prepare(sql).map_err(from_sqlite)?;
        let mut rows = statement.query([export_id, table.name]).map_err(from_sqlite)?;
        while let Some(row) = rows.next().map_err(from_sqlite)? {
            let (act, content): (String, String) =
                row.get(0).and_then(|act| Ok((act, row.get(1)?))).map_err(from_sqlite)?;
            let mut content = from_content(&content)?;
            if table.name != "executions" {
                insert.row(connection, &content, None)?;
                continue;
            }
            let hash = content.pop().unwrap_or(Cell::Null);
            let run = Moved::new(table, &content);
            let epoch = if act == Act::Replace.word() { replaced(connection, &run)? + 1 } else { 1 };
            insert.row(connection, &content, Some((&hash, epoch)))?;
            run.take_up(connection, now).map_err(from_sqlite)?;
            waiting.extend(run.waits().map(str::to_owned));
        }
    }
    // Now all who hold their key are known.
    for key in &waiting {
        gate::admit(connection, turns, key).map_err(from_sqlite)?;
    }
    for sql in [
        "DELETE FROM import_rows WHERE export_id = ?1",
        "UPDATE import_progress SET state = 'closed', updated_at = ?2 WHERE export_id = ?1",
    ] {
        let mut statement = connection.prepare(sql).map_err(from_sqlite)?;
        let done = if statement.parameter_count() == 1 {
            statement.execute([export_id])
        } else {
            statement.execute(params![export_id, now.0])
        };
        done.map_err(from_sqlite)?;
    }
    Ok(())
}

/// What must be known of a run that has become visible.
#[derive(Debug)]
struct Moved {
    exec_id: String,
    workflow_id: String,
    last_seq: i64,
    /// It has not ended.
    active: bool,
    pending: bool,
    concurrency_key: Option<String>,
}

impl Moved {
    fn new(table: &'static Table, row: &Row) -> Self {
        let cell = |name: &str| table.place(name).and_then(|place| row.get(place));
        let text = |name: &str| cell(name).and_then(Cell::text).unwrap_or_default().to_owned();
        let status = text("status");
        Self {
            exec_id: text("exec_id"),
            workflow_id: text("workflow_id"),
            last_seq: cell("last_seq").and_then(Cell::integer).unwrap_or(0),
            active: !TERMINAL.contains(&status.as_str()),
            pending: status == "PENDING",
            concurrency_key: cell("concurrency_key").and_then(Cell::text).map(str::to_owned),
        }
    }

    /// The concurrency key that it waits for.
    fn waits(&self) -> Option<&str> {
        self.concurrency_key.as_deref().filter(|_| self.active && self.pending)
    }

    /// Counts it and, if it is under way, puts it where somebody will go on with it.
    fn take_up(&self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let count = "INSERT INTO workflow_runs (workflow_id, runs) VALUES (?, 1) \
                     ON CONFLICT (workflow_id) DO UPDATE SET runs = runs + 1";
        connection.prepare_cached(count)?.execute([&self.workflow_id])?;
        if !self.active {
            return Ok(());
        }
        let waits = self.waits().is_some();
        // One that is to stay paused waits for `resume`, whatever else is wanted of it.
        let ready = "INSERT INTO ready (exec_id, not_before, priority, concurrency_key, workflow_id, concurrency_limit, gated) \
                     SELECT exec_id, min(?2, created_at), priority, concurrency_key, workflow_id, concurrency_limit, ?3 \
                     FROM executions WHERE exec_id = ?1 AND NOT (status = 'PAUSED' AND pause_request IS NOT NULL) \
                     ON CONFLICT DO NOTHING";
        connection.prepare_cached(ready)?.execute(params![self.exec_id, now.0, waits])?;
        if let Some(key) = self.concurrency_key.as_ref().filter(|_| !waits) {
            let hold =
                "INSERT INTO concurrency_holders (exec_id, concurrency_key) VALUES (?, ?) ON CONFLICT DO NOTHING";
            connection.prepare_cached(hold)?.execute([&self.exec_id, key])?;
        }
        Ok(())
    }
}

/// Removes the run that is to be replaced and gives its epoch, under which nobody can write any more.
///
/// # Errors
/// [`Error::Conflict`] when it has gone as far as the new one, or is gone.
fn replaced(connection: &Connection, run: &Moved) -> Result<i64, Error> {
    let sql = "SELECT last_seq, epoch FROM executions WHERE exec_id = ?";
    let found: Option<(i64, i64)> = connection
        .query_row(sql, [&run.exec_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(from_sqlite)?;
    let Some((_, epoch)) = found.filter(|(last_seq, _)| *last_seq < run.last_seq) else {
        return Err(Error::Conflict(format!("run {} has gone on meanwhile", run.exec_id)));
    };
    remove_run(connection, &run.exec_id).map_err(from_sqlite)?;
    Ok(epoch)
}

/// What belongs to a run, its own row last.
fn remove_run(connection: &Connection, exec_id: &str) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM attempts WHERE task_exec_id IN (SELECT task_exec_id FROM steps WHERE exec_id = ?1)",
        "DELETE FROM steps WHERE exec_id = ?1",
        "DELETE FROM journal WHERE exec_id = ?1",
        "DELETE FROM timers WHERE exec_id = ?1",
        "DELETE FROM signals WHERE exec_id = ?1",
        "DELETE FROM usage WHERE exec_id = ?1",
        "DELETE FROM payload_refs WHERE exec_id = ?1",
        "DELETE FROM ready WHERE exec_id = ?1",
        "DELETE FROM concurrency_holders WHERE exec_id = ?1",
        "UPDATE workflow_runs SET runs = runs - 1 \
         WHERE workflow_id = (SELECT workflow_id FROM executions WHERE exec_id = ?1)",
        "DELETE FROM executions WHERE exec_id = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([exec_id])?;
    }
    Ok(())
}

/// Removes some of what an unfinished import has written. Attempts that it did not write stay, whatever a file says
/// of whose they are.
fn abort(connection: &Connection, export_id: &str) -> rusqlite::Result<u64> {
    let run = "SELECT name FROM import_rows WHERE export_id = ? AND table_name = 'executions' AND act = 'insert' \
               ORDER BY name LIMIT 1";
    let found: Option<String> = connection.prepare_cached(run)?.query_row([export_id], |row| row.get(0)).optional()?;
    if let Some(exec_id) = found {
        let pieces = [
            "DELETE FROM attempts WHERE (task_exec_id, attempt) IN (SELECT a.task_exec_id, a.attempt FROM steps AS s \
             JOIN attempts AS a ON a.task_exec_id = s.task_exec_id WHERE s.exec_id = ?1 AND a.node = 'import' \
             AND a.epoch = 0 LIMIT ?2)",
            "DELETE FROM steps WHERE rowid IN (SELECT rowid FROM steps WHERE exec_id = ?1 LIMIT ?2)",
            "DELETE FROM journal WHERE rowid IN (SELECT rowid FROM journal WHERE exec_id = ?1 LIMIT ?2)",
            "DELETE FROM timers WHERE (exec_id, timer_id) IN (SELECT exec_id, timer_id FROM timers WHERE exec_id = ?1 LIMIT ?2)",
            "DELETE FROM signals WHERE position IN (SELECT position FROM signals WHERE exec_id = ?1 LIMIT ?2)",
            "DELETE FROM usage WHERE (exec_id, step_key, provider, model) IN \
             (SELECT exec_id, step_key, provider, model FROM usage WHERE exec_id = ?1 LIMIT ?2)",
            "DELETE FROM payload_refs WHERE (hash, exec_id) IN \
             (SELECT hash, exec_id FROM payload_refs WHERE exec_id = ?1 LIMIT ?2)",
        ];
        for sql in pieces {
            let removed = connection.prepare_cached(sql)?.execute(params![exec_id, REMOVED])?;
            if removed > 0 {
                return Ok(removed as u64);
            }
        }
        let sql = "DELETE FROM import_rows WHERE export_id = ? AND name = ?";
        return Ok(connection.prepare_cached(sql)?.execute([export_id, &exec_id])?.max(1) as u64);
    }
    let sql = "DELETE FROM import_rows WHERE (table_name, name, position) IN (SELECT table_name, name, position \
               FROM import_rows WHERE export_id = ?1 LIMIT ?2) AND export_id = ?1";
    let removed = connection.prepare_cached(sql)?.execute(params![export_id, REMOVED])?;
    if removed > 0 {
        return Ok(removed as u64);
    }
    Ok(connection.prepare_cached("DELETE FROM import_progress WHERE export_id = ?")?.execute([export_id])? as u64)
}
