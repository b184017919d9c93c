//! Reading for an export: pages of a snapshot, by key.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row as _, Transaction};

use super::super::Error;
use super::super::table::{Column, Kind, Table};
use super::super::transfer::{Cell, Row, Selection, Snapshot, Source};
use super::super::work::export::{Place, first, is_selected, part, passes, qualified};
use super::error::from_sqlx;
use super::sql;

/// A read transaction with its place in each table.
pub(super) struct PgSnapshot {
    transaction: Transaction<'static, Postgres>,
    source: Source,
    places: HashMap<&'static str, Place>,
}

impl PgSnapshot {
    /// # Errors
    /// [`Error::Unavailable`] and its kin when the database cannot be read.
    pub(super) async fn new(mut transaction: Transaction<'static, Postgres>, source: Source) -> Result<Self, Error> {
        // Whoever reads slowly may do so; the moment of a snapshot is that of its first query.
        let settings = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
                        SELECT count(*) FROM meta";
        sqlx::raw_sql(settings).execute(&mut *transaction).await.map_err(from_sqlx)?;
        Ok(Self { transaction, source, places: HashMap::new() })
    }
}

/// Runs of `executions AS m` that are chosen: `$1` workflow, `$2` run, `$3` status words, `$4` since.
const CHOSEN: &str = "($1::text IS NULL OR m.workflow_id = $1) AND ($2::text IS NULL OR m.exec_id = $2) \
    AND ($3::text[] IS NULL OR m.status = ANY($3)) AND ($4::bigint IS NULL OR m.created_at >= $4)";
/// Names every parameter, for queries that use none.
const NAMED: &str = " AND ($1::text IS NULL OR TRUE) AND ($2::text IS NULL OR TRUE) \
    AND ($3::text[] IS NULL OR TRUE) AND ($4::bigint IS NULL OR TRUE)";
/// Parameters before those of a place.
const FIXED: usize = 4;

/// The columns of an exported row.
fn columns(table: &Table) -> String {
    let column = |column: &'static Column| {
        let name = qualified(table, column.name);
        if column.kind == Kind::Flag { format!("{name}::bigint") } else { name }
    };
    table.travelling().map(column).collect::<Vec<_>>().join(", ")
}

/// Where the rows of a table come from.
fn tables(table: &Table) -> String {
    if table.joined.is_empty() {
        format!("\"{}\" AS e", table.name)
    } else {
        format!("steps AS s JOIN \"{}\" AS e ON e.task_exec_id = s.task_exec_id", table.name)
    }
}

impl Source {
    /// `FROM` and `WHERE` of the rows of a table in one pass.
    fn pg_rows(&self, table: &Table, pass: usize) -> String {
        match self {
            Self::Selected(selection) => {
                let selected = is_selected(table, selection, CHOSEN);
                format!("FROM {} WHERE {selected}{}{NAMED}", tables(table), part(table, pass))
            }
            Self::Imported(_) => {
                let owner = if table.joined.is_empty() { "e" } else { "s" };
                format!(
                    "FROM import_rows AS i, {} WHERE {owner}.exec_id = i.name AND i.export_id = $1 \
                     AND i.table_name = 'executions' AND i.act = 'insert'{NAMED}",
                    tables(table)
                )
            }
        }
    }
}

/// The parameters of every query.
fn bound<'q>(source: &Source, sql: String) -> sqlx::query::Query<'q, Postgres, PgArguments> {
    let query = sql::query(AssertSqlSafe(sql));
    match source {
        Source::Selected(Selection { runs, .. }) => query
            .bind(runs.workflow_id.clone())
            .bind(runs.exec_id.clone())
            .bind((!runs.statuses.is_empty()).then(|| runs.statuses.clone()))
            .bind(runs.since.map(|time| time.0)),
        Source::Imported(export_id) => {
            query.bind(export_id.clone()).bind(None::<String>).bind(None::<Vec<String>>).bind(None::<i64>)
        }
    }
}

#[async_trait]
impl Snapshot for PgSnapshot {
    async fn count(&mut self, table: &'static Table) -> Result<u64, Error> {
        let mut total = 0;
        for pass in 0..passes(table) {
            let sql = format!("SELECT count(*) {}", self.source.pg_rows(table, pass));
            let row = bound(&self.source, sql).fetch_one(&mut *self.transaction).await.map_err(from_sqlx)?;
            let count: i64 = row.try_get(0).map_err(from_sqlx)?;
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
            let rows = page(&mut self.transaction, &self.source, table, &place, limit).await?;
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
    connection: &mut PgConnection,
    source: &Source,
    table: &'static Table,
    place: &Place,
    limit: u32,
) -> Result<Vec<(Row, Row)>, Error> {
    let order: Vec<String> = table.order.iter().map(|name| qualified(table, name)).collect();
    let order = order.join(", ");
    let mut sql = format!("SELECT {}, {order} {}", columns(table), source.pg_rows(table, place.pass));
    if place.after.is_some() {
        let numbers: Vec<String> = (1..=table.order.len()).map(|number| format!("${}", FIXED + number)).collect();
        let first = first(source, table);
        sql.push_str(&format!(" AND {first} >= ${} AND ({order}) > ({})", FIXED + 1, numbers.join(", ")));
    }
    sql.push_str(&format!(" ORDER BY {order} LIMIT {limit}"));
    let mut query = bound(source, sql);
    for cell in place.after.iter().flatten() {
        query = match cell {
            Cell::Null => query.bind(None::<i64>),
            Cell::Integer(number) => query.bind(*number),
            Cell::Text(text) => query.bind(text.clone()),
        };
    }
    let rows = query.fetch_all(connection).await.map_err(from_sqlx)?;
    let own: Vec<&Column> = table.travelling().collect();
    let by: Vec<&Column> = table.order.iter().filter_map(|name| column(table, name)).collect();
    rows.iter().map(|row| Ok((cells(row, &own, 0)?, cells(row, &by, own.len())?))).collect()
}

fn column(table: &'static Table, name: &str) -> Option<&'static Column> {
    table.joined.iter().chain(table.columns).find(|column| column.name == name)
}

/// The values of `columns`, which stand from `first` on.
fn cells(row: &PgRow, columns: &[&Column], first: usize) -> Result<Row, Error> {
    let cell = |(index, column): (usize, &&Column)| {
        let index = first + index;
        Ok(match column.kind {
            Kind::Integer | Kind::Flag => {
                let number: Option<i64> = row.try_get(index).map_err(from_sqlx)?;
                number.map_or(Cell::Null, Cell::Integer)
            }
            Kind::Blob => {
                let bytes: Option<Vec<u8>> = row.try_get(index).map_err(from_sqlx)?;
                let text = bytes.map(String::from_utf8).transpose();
                text.map_err(|_| Error::Unusable(format!("a {} is not text", column.name)))?
                    .map_or(Cell::Null, Cell::Text)
            }
            Kind::Text | Kind::Json | Kind::Large => {
                let text: Option<String> = row.try_get(index).map_err(from_sqlx)?;
                text.map_or(Cell::Null, Cell::Text)
            }
        })
    };
    columns.iter().enumerate().map(cell).collect()
}

/// The rows of `table` with these identities, one answer for each of `keys`.
pub(super) async fn stored(
    connection: &mut PgConnection,
    table: &'static Table,
    keys: &[Row],
) -> Result<Vec<Option<Row>>, Error> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let identity: Vec<&Column> = table.identity().iter().filter_map(|name| column(table, name)).collect();
    let names: Vec<String> = (1..=identity.len()).map(|number| format!("k{number}")).collect();
    let lists: Vec<String> = identity
        .iter()
        .enumerate()
        .map(|(index, column)| format!("${}::{}[]", index + 1, type_of(column.kind)))
        .collect();
    let same: Vec<String> = identity
        .iter()
        .zip(&names)
        .map(|(column, name)| format!("{} = w.{name}", qualified(table, column.name)))
        .collect();
    let sql = format!(
        "SELECT {}, w.n FROM unnest({}) WITH ORDINALITY AS w({}, n), {} WHERE {}",
        columns(table),
        lists.join(", "),
        names.join(", "),
        tables(table),
        same.join(" AND ")
    );
    let mut query = sql::query(AssertSqlSafe(sql));
    for (index, column) in identity.iter().enumerate() {
        let values = keys.iter().map(|key| key.get(index));
        query = if column.kind == Kind::Integer {
            query.bind(values.map(|cell| cell.and_then(Cell::integer)).collect::<Vec<_>>())
        } else {
            query.bind(values.map(|cell| cell.and_then(Cell::text).map(str::to_owned)).collect::<Vec<_>>())
        };
    }
    let rows = query.fetch_all(connection).await.map_err(from_sqlx)?;
    let own: Vec<&Column> = table.travelling().collect();
    let mut found = vec![None; keys.len()];
    for row in &rows {
        let number: i64 = row.try_get(own.len()).map_err(from_sqlx)?;
        let place = usize::try_from(number - 1).ok().and_then(|index| found.get_mut(index));
        if let Some(place) = place {
            *place = Some(cells(row, &own, 0)?);
        }
    }
    Ok(found)
}

/// PostgreSQL's type of a column.
pub(super) fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Json | Kind::Large => "text",
        Kind::Integer => "bigint",
        Kind::Flag => "smallint",
        Kind::Blob => "bytea",
    }
}
