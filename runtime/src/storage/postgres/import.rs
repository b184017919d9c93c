//! Writing an import: steps of it, its end, and its undoing, each in a transaction.

use compozy_engine::time::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection};

use super::super::Error;
use super::super::table::{self, Column, Kind, Table, Travels};
use super::super::transfer::{Act, Cell, ImportBatch, Progress, Row};
use super::super::work::encode::REFERENCE;
use super::super::work::import::{Import, from_content, to_content};
use super::super::work::operation::Outcome;
use super::error::Refused;
use super::export::type_of;
use super::gate;
use super::known::Known;
use super::sql;

/// Waiting rows that are moved at a time.
const PAGE: i64 = 500;

/// Carries it out inside a transaction.
///
/// # Errors
/// [`Refused`]; the transaction must be rolled back.
pub(super) async fn run(connection: &mut PgConnection, known: &Known, import: &Import) -> Result<Outcome, Refused> {
    match import {
        Import::Write { batch, now } => write(connection, batch, *now).await.map(|()| Outcome::Done),
        Import::Finish { export_id, now } => finish(connection, known, export_id, *now).await.map(|()| Outcome::Done),
        Import::Abort { export_id } => abort(connection, export_id).await.map(Outcome::Count),
    }
}

async fn write(connection: &mut PgConnection, batch: &ImportBatch, now: Timestamp) -> Result<(), Refused> {
    note(connection, batch, now).await?;
    let export_id = &batch.progress.export_id;
    if let Some(table) = batch.table {
        let rows: Vec<Row> = batch.rows.iter().map(|row| whole(table, row, now, None)).collect();
        insert(connection, table, rows).await?;
        refer(connection, table, &batch.rows).await?;
    }
    for staged in &batch.staged {
        if let Some(row) = &staged.row {
            refer(connection, staged.table, std::slice::from_ref(row)).await?;
        }
    }
    let sql = "INSERT INTO import_rows (export_id, table_name, name, position, act, content) \
               SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])";
    let staged = &batch.staged;
    let query = sql::query(sql)
        .bind(export_id)
        .bind(staged.iter().map(|one| one.table.name.to_owned()).collect::<Vec<_>>())
        .bind(staged.iter().map(|one| one.name.clone()).collect::<Vec<_>>())
        .bind(staged.iter().map(|one| one.position).collect::<Vec<_>>())
        .bind(staged.iter().map(|one| one.act.word().to_owned()).collect::<Vec<_>>())
        .bind(staged.iter().map(|one| one.row.as_ref().map(to_content)).collect::<Vec<_>>());
    query.execute(connection).await?;
    Ok(())
}

/// Writes down how far the import has come, if nobody else has moved it.
async fn note(connection: &mut PgConnection, batch: &ImportBatch, now: Timestamp) -> Result<(), Refused> {
    let Progress { export_id, table, taken, skipped, sha256, written, options, closed, .. } = &batch.progress;
    let state = if *closed { "closed" } else { "open" };
    let noted = match batch.before {
        None => {
            let sql = "INSERT INTO import_progress (export_id, table_name, taken, skipped, sha256, written, state, \
                       updated_at, options) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
            sql::query(sql)
                .bind(export_id)
                .bind(table)
                .bind(taken)
                .bind(skipped)
                .bind(sha256)
                .bind(written)
                .bind(state)
                .bind(now.0)
                .bind(options)
                .execute(&mut *connection)
                .await?
        }
        Some(before) => {
            let sql = "UPDATE import_progress SET taken = $3, skipped = $4, sha256 = $5, written = $6, state = $7, \
                       updated_at = $8 WHERE export_id = $1 AND table_name = $2 AND taken = $9 AND state = 'open'";
            sql::query(sql)
                .bind(export_id)
                .bind(table)
                .bind(taken)
                .bind(skipped)
                .bind(sha256)
                .bind(written)
                .bind(state)
                .bind(now.0)
                .bind(before)
                .execute(&mut *connection)
                .await?
        }
    };
    let fenced = || Refused::Storage(Error::Fenced);
    if noted.rows_affected() == 0 {
        return Err(fenced());
    }
    if table.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE import_progress SET updated_at = $2 WHERE export_id = $1 AND table_name = '' AND state = 'open'";
    let alive = sql::query(sql).bind(export_id).bind(now.0).execute(connection).await?;
    if alive.rows_affected() == 0 { Err(fenced()) } else { Ok(()) }
}

/// The columns that are written, in order: those that travel, then those that are made anew.
fn written(table: &'static Table) -> Vec<&'static Column> {
    let own = table.columns.iter().filter(|column| column.travels != Travels::No);
    let locals: &[&str] = match table.name {
        "definitions" | "payloads" => &["created_at"],
        "definition_heads" => &["updated_at"],
        "attempts" => &["node", "epoch"],
        "executions" => &["epoch", "import_id", "import_hash"],
        _ => &[],
    };
    own.chain(locals.iter().filter_map(|name| table.column(name))).collect()
}

/// What a run has beside its row.
struct Run<'r> {
    export_id: &'r str,
    hash: Cell,
    epoch: i64,
}

/// A row with what is made anew.
fn whole(table: &'static Table, row: &Row, now: Timestamp, run: Option<Run<'_>>) -> Row {
    let width = table.travelling().count();
    let mut cells: Row = row.iter().take(width).skip(table.joined.len()).cloned().collect();
    match table.name {
        "definitions" | "definition_heads" | "payloads" => cells.push(Cell::Integer(now.0)),
        "attempts" => cells.extend([Cell::Text("import".to_owned()), Cell::Integer(0)]),
        "executions" => {
            let Run { export_id, hash, epoch } = run.unwrap_or(Run { export_id: "", hash: Cell::Null, epoch: 1 });
            cells.extend([Cell::Integer(epoch), Cell::Text(export_id.to_owned()), hash]);
        }
        _ => {}
    }
    cells
}

/// Writes rows of a table with one statement, in their order.
async fn insert(connection: &mut PgConnection, table: &'static Table, rows: Vec<Row>) -> Result<(), Refused> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = written(table);
    let names: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let lists: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| format!("${}::{}[]", index + 1, type_of(column.kind)))
        .collect();
    let again = if table.name == "payloads" { " ON CONFLICT DO NOTHING" } else { "" };
    let names = names.join(", ");
    let sql = format!(
        "INSERT INTO \"{}\" ({names}) SELECT {names} FROM unnest({}) WITH ORDINALITY AS w({names}, row_number) \
         ORDER BY row_number{again}",
        table.name,
        lists.join(", ")
    );
    let mut query = sql::query(AssertSqlSafe(sql));
    for (index, column) in columns.iter().enumerate() {
        let cells = rows.iter().map(|row| row.get(index));
        let text = |cell: Option<&Cell>| cell.and_then(Cell::text).map(str::to_owned);
        query = match column.kind {
            Kind::Integer => query.bind(cells.map(|cell| cell.and_then(Cell::integer)).collect::<Vec<_>>()),
            Kind::Flag => query.bind(
                cells
                    .map(|cell| cell.and_then(Cell::integer).and_then(|flag| i16::try_from(flag).ok()))
                    .collect::<Vec<_>>(),
            ),
            Kind::Blob => query.bind(cells.map(|cell| text(cell).map(String::into_bytes)).collect::<Vec<_>>()),
            Kind::Text | Kind::Json | Kind::Large => query.bind(cells.map(text).collect::<Vec<_>>()),
        };
    }
    match query.execute(connection).await.map_err(Refused::from) {
        Ok(_) => Ok(()),
        Err(refused) if refused.is_unique() => {
            let text = format!("a row of {} with this key exists already", table.name);
            Err(Refused::Storage(Error::Conflict(text)))
        }
        Err(refused) => Err(refused),
    }
}

/// The payloads that rows of runs refer to are needed by them.
async fn refer(connection: &mut PgConnection, table: &'static Table, rows: &[Row]) -> Result<(), Refused> {
    let Some(place) = table.place("exec_id") else { return Ok(()) };
    let (mut hashes, mut runs) = (Vec::new(), Vec::new());
    for row in rows {
        let Some(exec_id) = row.get(place).and_then(Cell::text) else { continue };
        let large = table.travelling().zip(row).filter(|(column, _)| column.kind == Kind::Large);
        for hash in large.filter_map(|(_, cell)| cell.text()?.strip_prefix(REFERENCE)) {
            hashes.push(hash.to_owned());
            runs.push(exec_id.to_owned());
        }
    }
    if hashes.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO payload_refs (hash, exec_id) SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) \
               ON CONFLICT DO NOTHING";
    sql::query(sql).bind(hashes).bind(runs).execute(connection).await?;
    Ok(())
}

/// Makes everything visible.
async fn finish(connection: &mut PgConnection, known: &Known, export_id: &str, now: Timestamp) -> Result<(), Refused> {
    // However much it is: this is one transaction.
    sqlx::raw_sql("SET LOCAL statement_timeout = 0").execute(&mut *connection).await?;
    let sql = "SELECT state FROM import_progress WHERE export_id = $1 AND table_name = '' FOR UPDATE";
    let state: Option<(String,)> = sql::query_as(sql).bind(export_id).fetch_optional(&mut *connection).await?;
    match state.as_ref().map(|(state,)| state.as_str()) {
        None => return Err(Refused::Storage(Error::NotFound(format!("import {export_id}")))),
        Some("open") => {}
        Some(_) => return Ok(()),
    }
    let mut keys = Vec::new();
    for table in table::travelling() {
        let mut after = (String::new(), -1);
        loop {
            let sql = "SELECT name, position, act, content FROM import_rows WHERE export_id = $1 AND table_name = $2 \
                       AND content IS NOT NULL AND act IN ('insert', 'replace') AND (name, position) > ($3, $4) \
                       ORDER BY name, position LIMIT $5";
            let query = sql::query_as::<_, (String, i64, String, String)>(sql);
            let query = query.bind(export_id).bind(table.name).bind(&after.0).bind(after.1).bind(PAGE);
            let page = query.fetch_all(&mut *connection).await?;
            let Some((name, position, ..)) = page.last() else { break };
            after = (name.clone(), *position);
            let rows = page.iter().map(|(.., content)| from_content(content)).collect::<Result<Vec<_>, _>>()?;
            if table.name == "executions" {
                let acts = page.iter().map(|(_, _, act, _)| act == Act::Replace.word());
                keys.extend(runs(connection, table, export_id, rows.into_iter().zip(acts), now).await?);
            } else {
                insert(connection, table, rows.iter().map(|row| whole(table, row, now, None)).collect()).await?;
                refer(connection, table, &rows).await?;
            }
        }
    }
    // Now all who hold their key are known. In their order, as everybody takes them.
    keys.sort();
    keys.dedup();
    for key in &keys {
        gate::admit(connection, known, key).await?;
    }
    let sql = "DELETE FROM import_rows WHERE export_id = $1";
    sql::query(sql).bind(export_id).execute(&mut *connection).await?;
    let sql = "UPDATE import_progress SET state = 'closed', updated_at = $2 WHERE export_id = $1";
    sql::query(sql).bind(export_id).bind(now.0).execute(connection).await?;
    Ok(())
}

/// Writes runs, counts them, and puts those under way where somebody goes on with them. Returns the concurrency keys
/// that some of them wait for.
async fn runs(
    connection: &mut PgConnection,
    table: &'static Table,
    export_id: &str,
    rows: impl Iterator<Item = (Row, bool)>,
    now: Timestamp,
) -> Result<Vec<String>, Refused> {
    let (mut whole_rows, mut plain, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for (mut row, replaces) in rows {
        let hash = row.pop().unwrap_or(Cell::Null);
        let cell = |name: &str| table.place(name).and_then(|place| row.get(place));
        let exec_id = cell("exec_id").and_then(Cell::text).unwrap_or_default().to_owned();
        let last_seq = cell("last_seq").and_then(Cell::integer).unwrap_or(0);
        let epoch = if replaces { replaced(connection, &exec_id, last_seq).await? + 1 } else { 1 };
        whole_rows.push(whole(table, &row, now, Some(Run { export_id, hash, epoch })));
        plain.push(row);
        ids.push(exec_id);
    }
    insert(connection, table, whole_rows).await?;
    refer(connection, table, &plain).await?;
    for sql in [
        "INSERT INTO workflow_runs AS w (workflow_id, runs) SELECT workflow_id, count(*) FROM executions \
         WHERE exec_id = ANY($1) GROUP BY workflow_id ORDER BY workflow_id \
         ON CONFLICT (workflow_id) DO UPDATE SET runs = w.runs + excluded.runs",
        "INSERT INTO concurrency_holders (exec_id, concurrency_key) SELECT exec_id, concurrency_key FROM executions \
         WHERE exec_id = ANY($1) AND finished_at IS NULL AND concurrency_key IS NOT NULL AND status <> 'PENDING' \
         ON CONFLICT DO NOTHING",
    ] {
        sql::query(sql).bind(&ids).execute(&mut *connection).await?;
    }
    // One that is to stay paused waits for `resume`, whatever else is wanted of it.
    let sql = "INSERT INTO ready (exec_id, not_before, priority, concurrency_key, workflow_id, concurrency_limit, gated) \
               SELECT exec_id, least($2, created_at), priority, concurrency_key, workflow_id, concurrency_limit, \
               CASE WHEN concurrency_key IS NOT NULL AND status = 'PENDING' THEN 1 ELSE 0 END FROM executions \
               WHERE exec_id = ANY($1) AND finished_at IS NULL AND NOT (status = 'PAUSED' AND pause_request IS NOT NULL) \
               ON CONFLICT DO NOTHING";
    sql::query(sql).bind(&ids).bind(now.0).execute(&mut *connection).await?;
    let sql = "SELECT DISTINCT concurrency_key FROM ready WHERE exec_id = ANY($1) AND gated = 1";
    let keys: Vec<(String,)> = sql::query_as(sql).bind(&ids).fetch_all(connection).await?;
    Ok(keys.into_iter().map(|(key,)| key).collect())
}

/// Removes the run that is to be replaced and gives its epoch, under which nobody can write any more.
///
/// # Errors
/// [`Error::Conflict`] when it has gone as far as the new one, or is gone.
async fn replaced(connection: &mut PgConnection, exec_id: &str, last_seq: i64) -> Result<i64, Refused> {
    let sql = "SELECT last_seq, epoch FROM executions WHERE exec_id = $1 FOR UPDATE";
    let found: Option<(i64, i64)> = sql::query_as(sql).bind(exec_id).fetch_optional(&mut *connection).await?;
    let Some((_, epoch)) = found.filter(|(own, _)| *own < last_seq) else {
        return Err(Refused::Storage(Error::Conflict(format!("run {exec_id} has gone on meanwhile"))));
    };
    let count = "UPDATE workflow_runs SET runs = runs - 1 \
                 WHERE workflow_id = (SELECT workflow_id FROM executions WHERE exec_id = $1)";
    sql::query(count).bind(exec_id).execute(&mut *connection).await?;
    let attempts = "DELETE FROM attempts WHERE task_exec_id IN (SELECT task_exec_id FROM steps WHERE exec_id = $1)";
    sql::query(attempts).bind(exec_id).execute(&mut *connection).await?;
    for table in
        ["steps", "journal", "timers", "signals", "usage", "payload_refs", "ready", "concurrency_holders", "executions"]
    {
        let sql = format!("DELETE FROM {table} WHERE exec_id = $1");
        sql::query(AssertSqlSafe(sql)).bind(exec_id).execute(&mut *connection).await?;
    }
    Ok(epoch)
}

/// Removes a run that an unfinished import has written, or at last the notes of it. Attempts that it did not write stay,
/// whatever a file says of whose they are.
async fn abort(connection: &mut PgConnection, export_id: &str) -> Result<u64, Refused> {
    let sql = "SELECT name FROM import_rows WHERE export_id = $1 AND table_name = 'executions' AND act = 'insert' \
               ORDER BY name LIMIT 1";
    let found: Option<(String,)> = sql::query_as(sql).bind(export_id).fetch_optional(&mut *connection).await?;
    if let Some((exec_id,)) = found {
        let attempts = "DELETE FROM attempts WHERE node = 'import' AND epoch = 0 \
                        AND task_exec_id IN (SELECT task_exec_id FROM steps WHERE exec_id = $1)";
        sql::query(attempts).bind(&exec_id).execute(&mut *connection).await?;
        for table in ["steps", "journal", "timers", "signals", "usage", "payload_refs"] {
            let sql = format!("DELETE FROM {table} WHERE exec_id = $1");
            sql::query(AssertSqlSafe(sql)).bind(&exec_id).execute(&mut *connection).await?;
        }
        let sql = "DELETE FROM import_rows WHERE export_id = $1 AND name = $2";
        let removed = sql::query(sql).bind(export_id).bind(&exec_id).execute(connection).await?;
        return Ok(removed.rows_affected().max(1));
    }
    let sql = "DELETE FROM import_rows WHERE export_id = $1";
    sql::query(sql).bind(export_id).execute(&mut *connection).await?;
    let sql = "DELETE FROM import_progress WHERE export_id = $1";
    Ok(sql::query(sql).bind(export_id).execute(connection).await?.rows_affected())
}
