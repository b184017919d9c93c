//! What SQLite says it stores, compared with the list of logical tables.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};

use super::super::table::{self, Kind, Table};
use super::open;
use super::{Options, Role};
use crate::clock::Clock;

#[derive(Debug, Default, PartialEq, Eq)]
struct Described {
    /// Name, type, may be null, place in the primary key from 1.
    columns: Vec<(String, String, bool, i64)>,
    words: BTreeMap<String, Vec<String>>,
}

fn wanted(table: &Table) -> Described {
    let column = |column: &table::Column| {
        let kind = match column.kind {
            Kind::Text | Kind::Json | Kind::Large => "TEXT",
            Kind::Integer | Kind::Flag => "INTEGER",
            Kind::Blob => "BLOB",
        };
        let place = table.key.iter().position(|key| *key == column.name).map_or(0, |place| place as i64 + 1);
        (column.name.to_owned(), kind.to_owned(), column.nullable, place)
    };
    let words = table.columns.iter().filter_map(|column| {
        let words = match column.kind {
            Kind::Flag => &["0", "1"],
            _ => column.words,
        };
        (!words.is_empty()).then(|| (column.name.to_owned(), words.iter().map(|word| (*word).to_owned()).collect()))
    });
    let mut columns: Vec<_> = table.columns.iter().map(column).collect();
    columns.sort();
    Described { columns, words: words.collect() }
}

/// The word lists of `CHECK (column IN (…))`.
fn checks(sql: &str) -> BTreeMap<String, Vec<String>> {
    let lists = sql.split("CHECK (").skip(1).filter_map(|rest| {
        let (column, rest) = rest.split_once(" IN")?;
        let (list, _) = rest.trim_start().strip_prefix('(')?.split_once(')')?;
        let words = list.split(',').map(|word| word.trim().trim_matches('\'').to_owned());
        column
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '_')
            .then(|| (column.to_owned(), words.collect()))
    });
    lists.collect()
}

async fn described(connection: &mut SqliteConnection, name: &str) -> Described {
    let sql = format!("SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo('{name}')");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *connection).await.unwrap();
    let mut columns: Vec<_> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get::<i64, _>(2) == 0, row.get(3))).collect();
    columns.sort();
    let query = sqlx::query("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?").bind(name);
    let sql: String = query.fetch_one(connection).await.unwrap().get(0);
    Described { columns, words: checks(&sql) }
}

#[tokio::test]
async fn the_catalog_is_the_list_of_tables() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("catalog.db");
    let path = path.to_str().unwrap();
    let storage = open(Options::new(path, Role::Embedded, Clock::system())).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let names = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    let mut names: Vec<String> = names.fetch_all(&mut connection).await.unwrap().iter().map(|row| row.get(0)).collect();
    names.sort();
    let mut listed: Vec<_> = table::TABLES.iter().map(|table| table.name.to_owned()).collect();
    listed.sort();
    assert_eq!(names, listed);
    for table in table::TABLES {
        assert_eq!(described(&mut connection, table.name).await, wanted(table), "{}", table.name);
    }
    connection.close().await.unwrap();
    super::super::Storage::close(&storage).await;
}
