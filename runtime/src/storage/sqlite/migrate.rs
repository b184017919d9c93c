//! Numbered schema changes, each applied once in a transaction of its own.

use compozy_engine::time::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::super::Error;
use super::super::work::encode::hex;
use super::error::from_sqlx;

/// `CMPZ`, in the header of every database of ours (<https://www.sqlite.org/fileformat.html#application_id>).
const APPLICATION_ID: i64 = 0x434d_505a;

/// Every schema change in order: number, name, SQL. What has shipped is never edited.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "runs", include_str!("migrations/0001_runs.sql")),
    (2, "control", include_str!("migrations/0002_control.sql")),
    (3, "memory", include_str!("migrations/0003_memory.sql")),
    (4, "fair", include_str!("migrations/0004_fair.sql")),
    (5, "transfer", include_str!("migrations/0005_transfer.sql")),
];

/// What a file is before anything is written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing in it yet.
    Empty,
    /// Ours, at this version.
    Version(i64),
}

/// The version this program writes.
pub(super) fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |(version, ..)| *version)
}

/// Looks at the schema without writing.
///
/// # Errors
/// [`Error::TooNew`] for one of a newer release; [`Error::Unusable`] for a damaged file, a database of another program,
/// or one changed by hand.
pub(super) async fn inspect(connection: &mut SqliteConnection, name: &str) -> Result<Found, Error> {
    let tables: i64 = number(connection, "SELECT count(*) FROM sqlite_schema").await?;
    let application: i64 = number(connection, "PRAGMA application_id").await?;
    if tables == 0 && application == 0 {
        return Ok(Found::Empty);
    }
    if application != APPLICATION_ID {
        return Err(Error::Unusable(format!("{name} is a SQLite database of another program; it was left alone")));
    }
    let rows = sqlx::query("SELECT version, checksum FROM migrations ORDER BY version")
        .fetch_all(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    let mut version = 0;
    for row in rows {
        version = row.try_get_unchecked(0).map_err(from_sqlx)?;
        let stored: String = row.try_get_unchecked(1).map_err(from_sqlx)?;
        match MIGRATIONS.iter().find(|(known, ..)| *known == version) {
            Some((_, _, sql)) if checksum(sql) == stored => {}
            Some(_) => {
                return Err(Error::Unusable(format!("{name}: migration {version} is not the one this program knows")));
            }
            None => {
                return Err(Error::TooNew(format!(
                    "{name} has schema version {version}, newer than this program, which knows {}; nothing was written",
                    newest()
                )));
            }
        }
    }
    Ok(Found::Version(version))
}

/// Applies what is missing after `found`.
pub(super) async fn apply(connection: &mut SqliteConnection, found: Found, now: Timestamp) -> Result<(), Error> {
    let from = match found {
        Found::Empty => 0,
        Found::Version(version) => version,
    };
    for (version, name, sql) in MIGRATIONS.iter().filter(|(version, ..)| *version > from) {
        let result = apply_one(connection, *version, name, sql, now).await;
        if let Err(error) = result {
            let _already_rolled_back = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
            return Err(error);
        }
    }
    Ok(())
}

async fn apply_one(
    connection: &mut SqliteConnection,
    version: i64,
    name: &str,
    sql: &'static str,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(from_sqlx)?;
    let prepare = format!(
        "PRAGMA application_id = {APPLICATION_ID};
         CREATE TABLE IF NOT EXISTS migrations (
             version INTEGER NOT NULL PRIMARY KEY,
             name TEXT NOT NULL,
             checksum TEXT NOT NULL,
             applied_at INTEGER NOT NULL
         ) STRICT;"
    );
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await.map_err(from_sqlx)?;
    sqlx::raw_sql(sql).execute(&mut *connection).await.map_err(from_sqlx)?;
    sqlx::query("INSERT INTO migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)")
        .bind(version)
        .bind(name)
        .bind(checksum(sql))
        .bind(now.0)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map_err(from_sqlx)?;
    Ok(())
}

/// One number.
pub(super) async fn number(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64, Error> {
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(from_sqlx)?;
    row.try_get_unchecked(0).map_err(from_sqlx)
}

fn checksum(sql: &str) -> String {
    hex(&Sha256::digest(sql.as_bytes()))
}
