//! Numbered schema changes, each applied once in a transaction of its own, by whichever node comes first.

use compozy_engine::time::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Row};

use super::super::Error;
use super::super::work::encode::hex;
use super::error::from_sqlx;
use super::sql;

/// Every schema change in order: number, name, SQL. What has shipped is never edited.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "all", include_str!("migrations/0001_all.sql")),
    (2, "transfer", include_str!("migrations/0002_transfer.sql")),
];

/// Held while the schema is looked at and changed: `CMPZ` as a number. Nothing but this program takes it.
const LOCK: i64 = 0x434d_505a;

/// The version this program writes.
pub(super) fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |(version, ..)| *version)
}

/// The schema's version; `None` when there is nothing yet.
///
/// # Errors
/// [`Error::TooNew`] for one of a newer release; [`Error::Unusable`] for a database of another program, or one changed by
/// hand.
pub(super) async fn version(connection: &mut PgConnection, name: &str) -> Result<Option<i64>, Error> {
    let sql = "SELECT count(*) FILTER (WHERE c.relname = 'migrations'), \
               count(*) FILTER (WHERE c.relname IN ('meta', 'executions', 'journal')) FROM pg_catalog.pg_class AS c \
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')";
    let row = sql::query(sql).fetch_one(&mut *connection).await.map_err(from_sqlx)?;
    let (migrations, ours): (i64, i64) = (row.try_get(0).map_err(from_sqlx)?, row.try_get(1).map_err(from_sqlx)?);
    let foreign = || Error::Unusable(format!("{name} holds tables of another program; they were left alone"));
    if migrations == 0 {
        return if ours == 0 { Ok(None) } else { Err(foreign()) };
    }
    let query = sql::query("SELECT version, checksum FROM migrations ORDER BY version");
    let rows = query.fetch_all(connection).await.map_err(|_| foreign())?;
    let mut version = None;
    for row in rows {
        let (number, stored): (i64, String) =
            (row.try_get(0).map_err(|_| foreign())?, row.try_get(1).map_err(|_| foreign())?);
        match MIGRATIONS.iter().find(|(known, ..)| *known == number) {
            Some((_, _, sql)) if checksum(sql) == stored => version = Some(number),
            Some(_) => {
                return Err(Error::Unusable(format!("{name}: migration {number} is not the one this program knows")));
            }
            None => {
                return Err(Error::TooNew(format!(
                    "{name} has schema version {number}, newer than this program, which knows {}; nothing was written",
                    newest()
                )));
            }
        }
    }
    Ok(version)
}

/// Applies what is missing. Many may do so at once: each waits for the one before it, and finds its work done.
///
/// # Errors
/// See [`version`].
pub(super) async fn apply(connection: &mut PgConnection, name: &str, now: Timestamp) -> Result<(), Error> {
    loop {
        let mut transaction = sql::begin(connection).await.map_err(from_sqlx)?;
        // Others may take as long as their migrations do.
        let wait = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";
        sqlx::raw_sql(wait).execute(&mut *transaction).await.map_err(from_sqlx)?;
        let lock = sql::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
        lock.execute(&mut *transaction).await.map_err(from_sqlx)?;
        let from = version(&mut transaction, name).await?.unwrap_or(0);
        let Some((version, title, sql)) = MIGRATIONS.iter().find(|(version, ..)| *version > from) else {
            return transaction.commit().await.map_err(from_sqlx);
        };
        let table = "CREATE TABLE IF NOT EXISTS migrations (version bigint NOT NULL PRIMARY KEY, \
                     name text COLLATE \"C\" NOT NULL, checksum text COLLATE \"C\" NOT NULL, applied_at bigint NOT NULL)";
        sqlx::raw_sql(table).execute(&mut *transaction).await.map_err(from_sqlx)?;
        sqlx::raw_sql(*sql).execute(&mut *transaction).await.map_err(from_sqlx)?;
        let note = "INSERT INTO migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)";
        let note = sql::query(note).bind(version).bind(title).bind(checksum(sql)).bind(now.0);
        note.execute(&mut *transaction).await.map_err(from_sqlx)?;
        transaction.commit().await.map_err(from_sqlx)?;
    }
}

fn checksum(sql: &str) -> String {
    hex(&Sha256::digest(sql.as_bytes()))
}
