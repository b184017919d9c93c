//! Named databases as a guest meets them.

use std::collections::BTreeMap;
use std::time::Duration;

use tempfile::TempDir;

use super::{NamedConnection, NamedDatabases, Value};

const MIB: usize = 1 << 20;

fn open(folder: &TempDir, write: bool) -> NamedConnection {
    let paths = BTreeMap::from([("shop".to_owned(), folder.path().join("shop.db"))]);
    NamedDatabases::new(paths).open("shop", write).unwrap()
}

async fn filled() -> (TempDir, NamedConnection) {
    let folder = TempDir::new().unwrap();
    let shop = open(&folder, true);
    shop.execute(
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, price REAL, raw BLOB)",
        vec![],
    )
    .await
    .unwrap();
    (folder, shop)
}

fn item(id: i64, name: &str) -> Vec<Value> {
    vec![Value::Integer(id), Value::Text(name.into()), Value::Real(1.5), Value::Blob(vec![0, 255])]
}

const INSERT: &str = "INSERT INTO items VALUES (?, ?, ?, ?)";

#[tokio::test]
async fn values_come_back_as_they_went() {
    let (_folder, shop) = filled().await;
    assert_eq!(shop.execute(INSERT, item(7, "it's")).await.unwrap(), 1);
    let none = vec![Value::Boolean(true), Value::Text("".into()), Value::Null, Value::Null];
    let rows = shop.query("INSERT INTO items VALUES (?, ?, ?, ?) RETURNING id + 1", none, MIB).await.unwrap();
    assert_eq!(rows.rows, [[Value::Integer(2)]]);
}

#[tokio::test]
async fn rows_and_columns_are_typed() {
    let (_folder, shop) = filled().await;
    shop.execute(INSERT, item(7, "tea")).await.unwrap();
    let set = shop.query("SELECT *, NULL AS empty FROM items", vec![], MIB).await.unwrap();
    assert_eq!(set.columns, ["id", "name", "price", "raw", "empty"]);
    let mut expected = item(7, "tea");
    expected.push(Value::Null);
    assert_eq!(set.rows, [expected]);
    let empty = shop.query("SELECT id FROM items WHERE id = ?", vec![Value::Integer(0)], MIB).await.unwrap();
    assert_eq!((empty.columns, empty.rows.len()), (vec!["id".to_owned()], 0));
}

#[tokio::test]
async fn refusals_and_errors_have_codes() {
    let (folder, shop) = filled().await;
    shop.execute(INSERT, item(1, "a")).await.unwrap();
    let reader = open(&folder, false);
    for (result, code, sqlstate) in [
        (shop.execute(INSERT, item(1, "b")).await, "database", "23505"),
        (shop.execute(INSERT, item(2, "a")).await, "database", "23505"),
        (shop.execute(INSERT, vec![]).await, "database", "07001"),
        (shop.execute("INSERT INTO items (id) VALUES (5)", vec![]).await, "database", "23502"),
        (shop.execute("SELEC", vec![]).await, "CZ0703", "42501"),
        (shop.execute("SELECT FROM", vec![]).await, "database", "42601"),
        (shop.execute("SELECT * FROM nowhere", vec![]).await, "database", "42P01"),
        (shop.execute("SELECT load_extension('x')", vec![]).await, "database", "HY000"),
        (shop.execute("ATTACH 'other.db' AS other", vec![]).await, "CZ0703", "42501"),
        (reader.execute("DELETE FROM items", vec![]).await, "database", "25006"),
        (reader.execute("WITH a AS (SELECT 1) DELETE FROM items", vec![]).await, "database", "25006"),
        (reader.execute("DROP TABLE items", vec![]).await, "database", "25006"),
    ] {
        let error = result.unwrap_err();
        assert_eq!((error.code, error.sqlstate), (code, Some(sqlstate)), "{error}");
    }
    assert_eq!(reader.query("SELECT count(*) FROM items", vec![], MIB).await.unwrap().rows, [[Value::Integer(1)]]);
    let missing = open(&TempDir::new().unwrap(), false).query("SELECT 1", vec![], MIB).await.unwrap_err();
    assert_eq!((missing.code, missing.message.as_str()), ("unavailable", "database 'shop' cannot be opened"));
    assert_eq!(NamedDatabases::default().open("shop", false).unwrap_err().code, "unavailable");
}

#[tokio::test]
async fn transactions_end_once_and_undo_when_dropped() {
    let (folder, shop) = filled().await;
    let count = async || shop.query("SELECT count(*) FROM items", vec![], MIB).await.unwrap().rows[0][0].clone();
    let mut kept = shop.begin().await.unwrap();
    kept.execute(INSERT, item(1, "a")).await.unwrap();
    assert_eq!(count().await, Value::Integer(0), "not visible before the commit");
    kept.commit().await.unwrap();
    let mut undone = shop.begin().await.unwrap();
    undone.execute(INSERT, item(2, "b")).await.unwrap();
    undone.rollback().await.unwrap();
    let mut dropped = shop.begin().await.unwrap();
    dropped.execute(INSERT, item(3, "c")).await.unwrap();
    assert!(dropped.execute("COMMIT", vec![]).await.is_err(), "the end belongs to the host");
    drop(dropped);
    // The lock is free again.
    open(&folder, true).execute(INSERT, item(4, "d")).await.unwrap();
    assert_eq!(count().await, Value::Integer(2));
}

#[tokio::test]
async fn rows_are_capped_and_cursors_fetch_in_pieces() {
    let (_folder, shop) = filled().await;
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n";
    let error = shop.query(many, vec![Value::Integer(1_000_000)], 1_000).await.unwrap_err();
    assert_eq!(error.code, "CZ0704");
    let mut cursor = shop.cursor(many, vec![Value::Integer(100)]).await.unwrap();
    assert_eq!(cursor.columns(), ["i"]);
    let mut sizes = Vec::new();
    loop {
        let rows = cursor.next(30, 16 * 40).await.unwrap();
        sizes.push(rows.len());
        if rows.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [30, 30, 30, 10, 0]);
    let mut cursor = shop.cursor("VALUES ('x'), (hex(zeroblob(50))), ('y')", vec![]).await.unwrap();
    assert_eq!(cursor.next(9, 64).await.unwrap().len(), 1);
    assert_eq!(cursor.next(9, 64).await.unwrap_err().code, "CZ0704");
}

#[tokio::test]
async fn an_endless_query_stops_with_its_caller() {
    let (_folder, shop) = filled().await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let call = tokio::time::timeout(Duration::from_millis(50), shop.query(endless, vec![], MIB));
    assert!(call.await.is_err());
    // The handle works on, with a new connection.
    assert_eq!(shop.query("SELECT 1", vec![], MIB).await.unwrap().rows, [[Value::Integer(1)]]);
}

#[tokio::test]
async fn plugins_have_databases_of_their_own() {
    let folder = TempDir::new().unwrap();
    let own = folder.path().join("deep/plugins");
    let databases = NamedDatabases::default().with_own(own.clone());
    assert!(!own.exists(), "nothing is made before it is used");
    let long = "x".repeat(400);
    let ids = ["a", "A", "../a", "a/b", "..", "builtin:x", "%2e", "ä", &long, &format!("{long}y")];
    for (number, id) in ids.iter().enumerate() {
        let database = databases.open_own(id).unwrap();
        database.execute("CREATE TABLE mine (id INTEGER)", vec![]).await.unwrap();
        database.execute("INSERT INTO mine VALUES (?)", vec![Value::Integer(number as i64)]).await.unwrap();
    }
    for (number, id) in ids.iter().enumerate() {
        let rows = databases.open_own(id).unwrap().query("SELECT id FROM mine", vec![], MIB).await.unwrap();
        assert_eq!(rows.rows, [[Value::Integer(number as i64)]], "{id}");
    }
    let files: Vec<_> = std::fs::read_dir(&own).unwrap().flatten().collect();
    assert_eq!(files.len(), ids.len(), "{files:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing lies elsewhere");
    #[cfg(unix)]
    for file in files {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    assert_eq!(NamedDatabases::default().open_own("a").unwrap_err().code, "unavailable");
}

/// What would tell or reach anything but the rows and tables of this one file.
#[tokio::test]
async fn no_statement_leads_out_of_its_database() {
    let (folder, shop) = filled().await;
    let other = folder.path().join("other.db");
    let stolen = other.display();
    for statement in [
        format!("ATTACH '{stolen}' AS other"),
        format!("ATTACH 'file:{stolen}?mode=rwc' AS other"),
        format!("SELECT 1; ATTACH '{stolen}' AS other"),
        format!("EXPLAIN SELECT 1; ATTACH '{stolen}' AS other"),
        format!("VACUUM INTO '{stolen}'"),
        format!("VACUUM main INTO '{stolen}'"),
        format!("WITH a AS (SELECT 1) ATTACH '{stolen}' AS other"),
        "PRAGMA writable_schema = 1".to_owned(),
        "PRAGMA query_only = 0".to_owned(),
        "PRAGMA temp_store_directory = '/'".to_owned(),
        "SELECT * FROM pragma_database_list".to_owned(),
        "SELECT load_extension('/lib/x.so')".to_owned(),
        "SELECT readfile('/etc/passwd')".to_owned(),
        "SELECT writefile('/tmp/x', 'y')".to_owned(),
        "SELECT edit('x')".to_owned(),
        "SELECT fts3_tokenizer('simple', x'0000')".to_owned(),
        "UPDATE sqlite_schema SET sql = 'x'".to_owned(),
        "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 3, 'x')".to_owned(),
        "CREATE VIRTUAL TABLE v USING csv(filename='/etc/passwd')".to_owned(),
        "CREATE VIRTUAL TABLE v USING fsdir('/')".to_owned(),
        "SELECT * FROM '../other'".to_owned(),
        "SELECT * FROM other.items".to_owned(),
        "DETACH main".to_owned(),
        "BEGIN".to_owned(),
        "SAVEPOINT a".to_owned(),
        "ANALYZE".to_owned(),
        "SELECT 'a\u{0}b'".to_owned(),
        String::new(),
        ";".to_owned(),
        "x".repeat(200_000),
        format!("SELECT {}1{}", "abs(".repeat(5_000), ")".repeat(5_000)),
    ] {
        let error = shop.query(&statement, vec![], MIB).await.expect_err(&statement[..statement.len().min(60)]);
        assert!(!error.message.contains(&*folder.path().display().to_string()) || statement.contains("ATTACH"));
        assert!(matches!(error.code, "database" | "CZ0703" | "CZ0704"), "{statement}: {error:?}");
        let error = shop.execute(&statement, vec![]).await.expect_err(&statement);
        assert!(matches!(error.code, "database" | "CZ0703" | "CZ0704"), "{statement}: {error:?}");
        // Some are found out only when they run.
        if let Ok(mut cursor) = shop.cursor(&statement, vec![]).await {
            assert!(cursor.next(1, MIB).await.is_err(), "{statement}");
        }
    }
    assert!(!other.exists());
    // Labels are names, not paths.
    let databases = NamedDatabases::new(BTreeMap::from([("shop".to_owned(), folder.path().join("shop.db"))]));
    for label in ["../shop", "shop.db", "SHOP", "", "file:shop", "/shop", ":memory:", "own", "shop\u{0}"] {
        assert_eq!(databases.open(label, true).unwrap_err().code, "unavailable", "{label}");
    }
}

/// Numbers that are none, and counts that do not fit.
#[tokio::test]
async fn odd_parameters_are_bound_or_refused() {
    let (_folder, shop) = filled().await;
    for (value, back) in [
        (Value::Real(f64::NAN), Value::Null),
        (Value::Real(f64::INFINITY), Value::Real(f64::INFINITY)),
        (Value::Real(-0.0), Value::Real(-0.0)),
        (Value::Integer(i64::MIN), Value::Integer(i64::MIN)),
        (Value::Text("a\u{0}b".into()), Value::Text("a\u{0}b".into())),
        (Value::Text("'; DROP TABLE items; --".into()), Value::Text("'; DROP TABLE items; --".into())),
        (Value::Blob(vec![]), Value::Blob(vec![])),
    ] {
        let rows = shop.query("SELECT ?", vec![value.clone()], MIB).await.unwrap();
        assert_eq!(rows.rows, [[back]], "{value:?}");
    }
    for count in [0, 2, 1_000] {
        assert!(shop.query("SELECT ?", vec![Value::Null; count], MIB).await.is_err(), "{count}");
    }
    let error = shop.query("SELECT ?", vec![Value::Blob(vec![0; 2 * MIB])], MIB).await.unwrap_err();
    assert_eq!(error.code, "CZ0704");
}

#[tokio::test]
async fn a_plugin_fills_neither_disk_nor_memory() {
    let folder = tempfile::tempdir().unwrap();
    let databases = NamedDatabases { own_bytes: 1 << 20, ..NamedDatabases::default().with_own(folder.path().into()) };
    let database = databases.open_own("greedy").unwrap();
    database.execute("CREATE TABLE t (a BLOB)", vec![]).await.unwrap();
    let insert = || database.execute("INSERT INTO t VALUES (zeroblob(100000))", vec![]);
    let mut written = 0;
    let error = loop {
        match insert().await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 11, "more than it may have");
    };
    assert!(written >= 8 && error.message.contains("full"), "{written} {error:?}");
    // It can make room again.
    database.execute("DELETE FROM t", vec![]).await.unwrap();
    insert().await.unwrap();
    for sql in ["SELECT zeroblob(200000000)", "SELECT replace(hex(zeroblob(60000000)), '0', '0123456789')"] {
        let error = database.query(sql, vec![], usize::MAX).await.unwrap_err();
        assert!(error.message.contains("too big"), "{sql}: {error:?}");
    }
}
