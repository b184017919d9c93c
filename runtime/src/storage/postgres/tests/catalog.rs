//! What PostgreSQL says it stores, compared with the list of logical tables.

use std::collections::BTreeMap;

use sqlx::{Connection as _, PgConnection};

use super::*;
use crate::storage::table::{self, Kind, Table};

/// Type, may be null, place in the primary key from 1, compared by bytes (keys only); then the words of CHECK lists.
type Described = (BTreeMap<String, (String, bool, i64, bool)>, BTreeMap<String, Vec<String>>);

fn wanted(table: &Table) -> Described {
    let column = |column: &table::Column| {
        let kind = match column.kind {
            Kind::Text | Kind::Json | Kind::Large => "text",
            Kind::Integer => "bigint",
            Kind::Flag => "smallint",
            Kind::Blob => "bytea",
        };
        let place = table.key.iter().position(|key| *key == column.name).map_or(0, |place| place as i64 + 1);
        (column.name.to_owned(), (kind.to_owned(), column.nullable, place, place > 0 && kind == "text"))
    };
    let words = table.columns.iter().filter_map(|column| {
        let words = match column.kind {
            Kind::Flag => &["0", "1"],
            _ => column.words,
        };
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        words.sort();
        (!words.is_empty()).then(|| (column.name.to_owned(), words))
    });
    (table.columns.iter().map(column).collect(), words.collect())
}

/// The column and words of `CHECK ((column = ANY (ARRAY['a'::text, …])))`, as PostgreSQL prints a list.
fn listed(check: &str) -> Option<(String, Vec<String>)> {
    let (column, list) = check.strip_prefix("CHECK ((")?.split_once(" = ANY (ARRAY[")?;
    let (list, _) = list.split_once(']')?;
    let mut words: Vec<String> = list
        .split(", ")
        .map(|word| word.split("::").next().unwrap_or_default().trim_matches('\'').to_owned())
        .collect();
    words.sort();
    Some((column.trim_matches('"').to_owned(), words))
}

async fn described(connection: &mut PgConnection, name: &str) -> Described {
    let sql = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, \
               coalesce(array_position(i.indkey::smallint[], a.attnum), -1)::bigint + 1, \
               coalesce(i.indisprimary, FALSE) AND a.attnum = ANY (i.indkey) AND co.collname = 'C' \
               FROM pg_attribute AS a LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary \
               LEFT JOIN pg_collation AS co ON co.oid = a.attcollation \
               WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped";
    let rows: Vec<(String, String, bool, i64, Option<bool>)> =
        sqlx::query_as(sql).bind(name).fetch_all(&mut *connection).await.unwrap();
    let columns = rows
        .into_iter()
        .map(|(name, kind, nullable, place, bytes)| (name, (kind, nullable, place, bytes.unwrap_or(false))));
    let sql = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'c'";
    let checks: Vec<(String,)> = sqlx::query_as(sql).bind(name).fetch_all(connection).await.unwrap();
    (columns.collect(), checks.iter().filter_map(|(check,)| listed(check)).collect())
}

#[tokio::test]
async fn the_catalog_is_the_list_of_tables() {
    let url = server::database();
    let storage = opened(&url).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' \
               ORDER BY relname COLLATE \"C\"";
    let names: Vec<(String,)> = sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap();
    let mut tables: Vec<_> = table::TABLES.iter().map(|table| (table.name.to_owned(),)).collect();
    tables.sort();
    assert_eq!(names, tables);
    for table in table::TABLES {
        assert_eq!(described(&mut connection, table.name).await, wanted(table), "{}", table.name);
    }
    connection.close().await.unwrap();
    storage.close().await;
    server::drop_database(&url);
}
