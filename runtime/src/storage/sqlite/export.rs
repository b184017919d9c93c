//! Reading for an export: pages of a snapshot, by key.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::OwnedMutexGuard;

use super::super::Error;
use super::super::table::{Column, Kind, Table};
use super::super::transfer::{Cell, Row, Selection, Snapshot, Source};
use super::super::work::export::{Place, first, is_selected, part, passes, qualified};
use super::super::work::operation::list;
use super::error::from_sqlx;
use super::read::Reader;
use super::writer::Gate;

/// What is read from, with its place in each table.
pub(super) struct SqliteSnapshot {
    held: Held,
    source: Source,
    places: HashMap<&'static str, Place>,
}

/// What a snapshot holds between two pages.
enum Held {
    /// A read transaction; before the gate, so that it ends first.
    Moment { transaction: Transaction<'static, Sqlite>, _gate: Option<OwnedMutexGuard<()>> },
    /// Nothing: what an import has written is changed by nobody else. A database in memory cannot be written while it is
    /// read, and the import goes on reading and writing.
    Nothing(SqlitePool, Option<Gate>),
}

impl SqliteSnapshot {
    /// # Errors
    /// [`Error::Unavailable`] and its kin when the database cannot be read.
    pub(super) async fn new(reader: &Reader, source: Source) -> Result<Self, Error> {
        let held = if matches!(source, Source::Imported(_)) {
            Held::Nothing(reader.pool.clone(), reader.gate.clone())
        } else {
            let gate = shut(reader.gate.as_ref()).await;
            let mut transaction = reader.pool.begin().await.map_err(from_sqlx)?;
            // The moment of a snapshot is that of its first read.
            sqlx::query("SELECT count(*) FROM meta").execute(&mut *transaction).await.map_err(from_sqlx)?;
            Held::Moment { transaction, _gate: gate }
        };
        Ok(Self { held, source, places: HashMap::new() })
    }
}

async fn shut(gate: Option<&Gate>) -> Option<OwnedMutexGuard<()>> {
    match gate {
        Some(gate) => Some(Arc::clone(gate).lock_owned().await),
        None => None,
    }
}

/// Runs of `executions AS m` that are chosen: `?1` workflow, `?2` run, `?3` list of status words, `?4` since.
const CHOSEN: &str = "(?1 IS NULL OR m.workflow_id = ?1) AND (?2 IS NULL OR m.exec_id = ?2) \
    AND (?3 IS NULL OR m.status IN (SELECT value FROM json_each(?3))) AND (?4 IS NULL OR m.created_at >= ?4)";
/// Parameters before those of a place.
const FIXED: usize = 4;

/// The columns of an exported row.
pub(super) fn columns(table: &Table) -> String {
    table.travelling().map(|column| qualified(table, column.name)).collect::<Vec<_>>().join(", ")
}

/// Where the rows of a table come from.
pub(super) fn tables(table: &Table) -> String {
    if table.joined.is_empty() {
        format!("\"{}\" AS e", table.name)
    } else {
        format!("steps AS s CROSS JOIN \"{}\" AS e ON e.task_exec_id = s.task_exec_id", table.name)
    }
}

impl Source {
    /// `FROM` and `WHERE` of the rows of a table in one pass.
    fn rows(&self, table: &Table, pass: usize) -> String {
        match self {
            Self::Selected(selection) => {
                format!("FROM {} WHERE {}{}", tables(table), is_selected(table, selection, CHOSEN), part(table, pass))
            }
            Self::Imported(_) => {
                let waits = "import_rows AS i";
                let mine = "i.export_id = ?1 AND i.table_name = 'executions' AND i.act = 'insert'";
                match table.joined.is_empty() {
                    true => {
                        format!("FROM {waits} CROSS JOIN \"{}\" AS e ON e.exec_id = i.name WHERE {mine}", table.name)
                    }
                    false => format!(
                        "FROM {waits} CROSS JOIN steps AS s ON s.exec_id = i.name \
                         CROSS JOIN \"{}\" AS e ON e.task_exec_id = s.task_exec_id WHERE {mine}",
                        table.name
                    ),
                }
            }
        }
    }

    fn bind<'q>(
        &self,
        query: sqlx::query::Query<'q, Sqlite, SqliteArguments>,
    ) -> sqlx::query::Query<'q, Sqlite, SqliteArguments> {
        match self {
            Self::Selected(Selection { runs, .. }) => {
                let statuses = (!runs.statuses.is_empty()).then(|| list(&runs.statuses));
                query
                    .bind(runs.workflow_id.clone())
                    .bind(runs.exec_id.clone())
                    .bind(statuses)
                    .bind(runs.since.map(|time| time.0))
            }
            Self::Imported(export_id) => {
                query.bind(export_id.clone()).bind(None::<i64>).bind(None::<i64>).bind(None::<i64>)
            }
        }
    }
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    async fn count(&mut self, table: &'static Table) -> Result<u64, Error> {
        let mut total = 0;
        for pass in 0..passes(table) {
            let sql = format!("SELECT count(*) {}", self.source.rows(table, pass));
            let query = self.source.bind(sqlx::query(AssertSqlSafe(sql)).persistent(false));
            let row = match &mut self.held {
                Held::Moment { transaction, .. } => query.fetch_one(&mut **transaction).await,
                Held::Nothing(pool, gate) => {
                    let _gate = shut(gate.as_ref()).await;
                    query.fetch_one(&*pool).await
                }
            };
            let row = row.map_err(from_sqlx)?;
            let count: i64 = row.try_get_unchecked(0).map_err(from_sqlx)?;
            total += u64::try_from(count).unwrap_or(0);
        }
        Ok(total)
    }

    async fn next(&mut self, table: &'static Table, limit: u32) -> Result<Vec<Row>, Error> {
        loop {
            let mut place = self.places.get(table.name).cloned().unwrap_or_default();
            if place.done {
                return Ok(Vec::new());
            }
            let rows = match &mut self.held {
                Held::Moment { transaction, .. } => page(transaction, &self.source, table, &place, limit).await?,
                Held::Nothing(pool, gate) => {
                    let _gate = shut(gate.as_ref()).await;
                    let mut connection = pool.acquire().await.map_err(from_sqlx)?;
                    page(&mut connection, &self.source, table, &place, limit).await?
                }
            };
            if let Some((_, order)) = rows.last() {
                place.after = Some(order.clone());
            } else {
                place = Place { pass: place.pass + 1, after: None, done: place.pass + 1 >= passes(table) };
            }
            self.places.insert(table.name, place);
            if !rows.is_empty() {
                return Ok(rows.into_iter().map(|(row, _)| row).collect());
            }
        }
    }
}

/// The rows after a place, each with its order.
async fn page(
    connection: &mut SqliteConnection,
    source: &Source,
    table: &'static Table,
    place: &Place,
    limit: u32,
) -> Result<Vec<(Row, Row)>, Error> {
    let order: Vec<String> = table.order.iter().map(|name| qualified(table, name)).collect();
    let order = order.join(", ");
    let mut sql = format!("SELECT {}, {order} {}", columns(table), source.rows(table, place.pass));
    if place.after.is_some() {
        let numbers: Vec<String> = (1..=table.order.len()).map(|number| format!("?{}", FIXED + number)).collect();
        let first = first(source, table);
        sql.push_str(&format!(" AND {first} >= ?{} AND ({order}) > ({})", FIXED + 1, numbers.join(", ")));
    }
    let by = first(source, table);
    sql.push_str(&format!(" ORDER BY {by}, {order} LIMIT {limit}"));
    let mut query = source.bind(sqlx::query(AssertSqlSafe(sql)));
    for cell in place.after.iter().flatten() {
        query = bind(query, cell);
    }
    let rows = query.fetch_all(connection).await.map_err(from_sqlx)?;
    let own: Vec<&Column> = table.travelling().collect();
    let by: Vec<&Column> = table.order.iter().filter_map(|name| column(table, name)).collect();
    rows.iter().map(|row| Ok((cells(row, &own, 0)?, cells(row, &by, own.len())?))).collect()
}

fn column(table: &'static Table, name: &str) -> Option<&'static Column> {
    table.joined.iter().chain(table.columns).find(|column| column.name == name)
}

pub(super) fn bind<'q>(
    query: sqlx::query::Query<'q, Sqlite, SqliteArguments>,
    cell: &Cell,
) -> sqlx::query::Query<'q, Sqlite, SqliteArguments> {
    match cell {
        Cell::Null => query.bind(None::<i64>),
        Cell::Integer(number) => query.bind(*number),
        Cell::Text(text) => query.bind(text.clone()),
    }
}

/// The values of `columns`, which stand from `first` on.
pub(super) fn cells(row: &SqliteRow, columns: &[&Column], first: usize) -> Result<Row, Error> {
    let cell = |(index, column): (usize, &&Column)| {
        let index = first + index;
        Ok(match column.kind {
            Kind::Integer | Kind::Flag => {
                let number: Option<i64> = row.try_get_unchecked(index).map_err(from_sqlx)?;
                number.map_or(Cell::Null, Cell::Integer)
            }
            Kind::Blob => {
                let bytes: Option<Vec<u8>> = row.try_get_unchecked(index).map_err(from_sqlx)?;
                let text = bytes.map(String::from_utf8).transpose();
                text.map_err(|_| Error::Unusable(format!("a {} is not text", column.name)))?
                    .map_or(Cell::Null, Cell::Text)
            }
            Kind::Text | Kind::Json | Kind::Large => {
                let text: Option<String> = row.try_get_unchecked(index).map_err(from_sqlx)?;
                text.map_or(Cell::Null, Cell::Text)
            }
        })
    };
    columns.iter().enumerate().map(cell).collect()
}

/// The rows of `table` with these identities, one answer for each of `keys`.
pub(super) async fn stored(
    connection: &mut SqliteConnection,
    table: &'static Table,
    keys: &[Row],
) -> Result<Vec<Option<Row>>, Error> {
    let value = |cell: &Cell| match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Integer(number) => (*number).into(),
        Cell::Text(text) => text.as_str().into(),
    };
    let list: Vec<serde_json::Value> =
        keys.iter().map(|key| key.iter().map(value).collect::<Vec<_>>().into()).collect();
    let list = serde_json::Value::from(list).to_string();
    let same: Vec<String> = table
        .identity()
        .iter()
        .enumerate()
        .map(|(index, name)| format!("{} = k.value ->> '$[{index}]'", qualified(table, name)))
        .collect();
    let sql = format!(
        "SELECT k.key, {} FROM json_each(?1) AS k CROSS JOIN {} WHERE {}",
        columns(table),
        tables(table),
        same.join(" AND ")
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(list).fetch_all(connection).await.map_err(from_sqlx)?;
    let own: Vec<&Column> = table.travelling().collect();
    let mut found = vec![None; keys.len()];
    for row in &rows {
        let index: i64 = row.try_get_unchecked(0).map_err(from_sqlx)?;
        let place = usize::try_from(index).ok().and_then(|index| found.get_mut(index));
        if let Some(place) = place {
            *place = Some(cells(row, &own, 1)?);
        }
    }
    Ok(found)
}
