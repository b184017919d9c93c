//! Numbered schema changes, each applied or taken back in a transaction of its own.

use compozy_engine::time::Timestamp;
use sqlx::{AssertSqlSafe, Connection as _, Row, SqliteConnection};

use super::super::Error;
use super::super::migrate::{self, Applied, Change, Down, Migration, State, Way};
use super::error::from_sqlx;
use super::locks::Locks;
use super::{Options, open};

/// `CMPZ`, in the header of every database of ours (<https://www.sqlite.org/fileformat.html#application_id>).
const APPLICATION_ID: i64 = 0x434d_505a;

/// Every schema change in order.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "runs", up: include_str!("migrations/0001_runs.sql"), down: None },
    Migration {
        version: 2,
        name: "control",
        up: include_str!("migrations/0002_control.sql"),
        down: Some(Down {
            sql: include_str!("migrations/0002_control.down.sql"),
            loses: &[
                ("signals", "SELECT count(*) FROM signals"),
                ("published events", "SELECT count(*) FROM events"),
                ("schedules", "SELECT count(*) FROM schedules"),
                ("recorded answers", "SELECT count(*) FROM idempotency_keys WHERE answer IS NOT NULL"),
                ("runs whose first events were removed", "SELECT count(*) FROM executions WHERE journal_from > 1"),
            ],
        }),
    },
    Migration {
        version: 3,
        name: "memory",
        up: include_str!("migrations/0003_memory.sql"),
        down: Some(Down {
            sql: include_str!("migrations/0003_memory.down.sql"),
            loses: &[("memories", "SELECT count(*) FROM memory_instances")],
        }),
    },
    Migration {
        version: 4,
        name: "fair",
        up: include_str!("migrations/0004_fair.sql"),
        down: Some(Down {
            sql: include_str!("migrations/0004_fair.down.sql"),
            loses: &[(
                "runs with a limit of their concurrency key",
                "SELECT count(*) FROM executions WHERE concurrency_limit IS NOT NULL",
            )],
        }),
    },
    Migration {
        version: 5,
        name: "transfer",
        up: include_str!("migrations/0005_transfer.sql"),
        down: Some(Down {
            sql: include_str!("migrations/0005_transfer.down.sql"),
            loses: &[
                ("rows of an unfinished import", "SELECT count(*) FROM import_rows"),
                ("runs that know their export", "SELECT count(*) FROM executions WHERE import_hash IS NOT NULL"),
            ],
        }),
    },
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
    MIGRATIONS.last().map_or(0, |last| last.version)
}

/// Looks at the schema without writing.
///
/// # Errors
/// [`Error::TooNew`] for one of a newer release; [`Error::Unusable`] for a damaged file, a database of another program,
/// or one changed by hand.
pub(super) async fn inspect(connection: &mut SqliteConnection, name: &str) -> Result<Found, Error> {
    match applied(connection, name).await? {
        None => Ok(Found::Empty),
        Some(applied) => migrate::version(name, MIGRATIONS, &applied).map(Found::Version),
    }
}

/// What the file says was applied; `None`: there is nothing in it.
async fn applied(connection: &mut SqliteConnection, name: &str) -> Result<Option<Vec<Applied>>, Error> {
    let tables: i64 = number(connection, "SELECT count(*) FROM sqlite_schema").await?;
    let application: i64 = number(connection, "PRAGMA application_id").await?;
    if tables == 0 && application == 0 {
        return Ok(None);
    }
    if application != APPLICATION_ID {
        return Err(Error::Unusable(format!("{name} is a SQLite database of another program; it was left alone")));
    }
    let query = sqlx::query("SELECT version, name, checksum, applied_at FROM migrations ORDER BY version");
    let rows = query.fetch_all(connection).await.map_err(from_sqlx)?;
    let read = |row: sqlx::sqlite::SqliteRow| {
        Ok(Applied {
            version: row.try_get_unchecked(0)?,
            name: row.try_get_unchecked(1)?,
            checksum: row.try_get_unchecked(2)?,
            at: Timestamp(row.try_get_unchecked(3)?),
        })
    };
    rows.into_iter().map(read).collect::<Result<_, _>>().map(Some).map_err(from_sqlx)
}

/// Applies what is missing after `found`.
pub(super) async fn apply(connection: &mut SqliteConnection, found: Found, now: Timestamp) -> Result<(), Error> {
    let from = match found {
        Found::Empty => 0,
        Found::Version(version) => version,
    };
    up(connection, from, newest(), now).await
}

async fn up(connection: &mut SqliteConnection, from: i64, to: i64, now: Timestamp) -> Result<(), Error> {
    for migration in MIGRATIONS.iter().filter(|one| one.version > from && one.version <= to) {
        let result = apply_one(connection, migration, now).await;
        rolled_back(connection, result).await?;
    }
    Ok(())
}

/// Takes back what is newer than `to`, the newest first.
async fn down(connection: &mut SqliteConnection, from: i64, to: i64, force: bool) -> Result<(), Error> {
    for migration in MIGRATIONS.iter().rev().filter(|one| one.version <= from && one.version > to) {
        let result = take_back(connection, migration, force).await;
        rolled_back(connection, result).await?;
    }
    Ok(())
}

async fn rolled_back(connection: &mut SqliteConnection, result: Result<(), Error>) -> Result<(), Error> {
    if result.is_err() {
        let _already_rolled_back = sqlx::raw_sql("ROLLBACK").execute(connection).await;
    }
    result
}

async fn apply_one(connection: &mut SqliteConnection, migration: &Migration, now: Timestamp) -> Result<(), Error> {
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
    sqlx::raw_sql(migration.up).execute(&mut *connection).await.map_err(from_sqlx)?;
    sqlx::query("INSERT INTO migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)")
        .bind(migration.version)
        .bind(migration.name)
        .bind(migration.checksum())
        .bind(now.0)
        .execute(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map_err(from_sqlx)?;
    Ok(())
}

async fn take_back(connection: &mut SqliteConnection, migration: &Migration, force: bool) -> Result<(), Error> {
    let version = migration.version;
    let no_way = || Error::Conflict(format!("migration {version} cannot be taken back"));
    let Down { sql, loses } = migration.down.as_ref().ok_or_else(no_way)?;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(from_sqlx)?;
    let mut losses = Vec::new();
    for (what, count) in *loses {
        losses.push((*what, number(connection, count).await?));
    }
    losses.retain(|(_, count)| *count > 0);
    if !losses.is_empty() && !force {
        return Err(migrate::lost(version, &losses));
    }
    sqlx::raw_sql(*sql).execute(&mut *connection).await.map_err(from_sqlx)?;
    let forget = sqlx::query("DELETE FROM migrations WHERE version = ?").bind(version);
    forget.execute(&mut *connection).await.map_err(from_sqlx)?;
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await.map_err(from_sqlx)?;
    Ok(())
}

/// How the schema of a file stands.
///
/// # Errors
/// See [`migrate::status`].
pub(in crate::storage) async fn schema_status(options: &Options) -> Result<State, Error> {
    let path = options.path.as_deref().filter(|path| path.exists());
    let Some(path) = path else { return Ok(State::new("sqlite", &options.location, MIGRATIONS, &[])) };
    let _locks = Locks::take(path, false, &options.clock).await?;
    let mut connection = open::connect(path, true, options).await?;
    let state = state(&mut connection, options).await;
    drop(connection.close().await);
    state
}

async fn state(connection: &mut SqliteConnection, options: &Options) -> Result<State, Error> {
    let name = format!("database {}", options.location);
    let applied = applied(connection, &name).await.map_err(|error| open::named(error, &name))?.unwrap_or_default();
    migrate::check(&name, MIGRATIONS, &applied)?;
    Ok(State::new("sqlite", &options.location, MIGRATIONS, &applied))
}

/// Migrates a file that nobody else has open.
///
/// # Errors
/// See [`migrate::change`].
pub(in crate::storage) async fn change_schema(options: &Options, change: Change) -> Result<State, Error> {
    let Some(path) = options.path.as_deref() else {
        return Err(Error::Unusable("a database in memory is made anew at each start".to_owned()));
    };
    if !path.exists() {
        // A way that leads nowhere makes no file.
        change.way(0, MIGRATIONS)?;
    }
    open::make_folder(path)?;
    let _locks = Locks::alone(path)?;
    open::make_file(path)?;
    let mut connection = open::connect(path, false, options).await?;
    let changed = change_open(&mut connection, options, change).await;
    // Closed before the lock is let go.
    drop(connection.close().await);
    changed
}

async fn change_open(connection: &mut SqliteConnection, options: &Options, change: Change) -> Result<State, Error> {
    let name = format!("database {}", options.location);
    let found = inspect(connection, &name).await.map_err(|error| open::named(error, &name))?;
    open::check_small(connection, &name).await?;
    let from = match found {
        Found::Empty => 0,
        Found::Version(version) => version,
    };
    match change.way(from, MIGRATIONS)? {
        Way::Up { to } => {
            if found == Found::Empty {
                open::execute(connection, "PRAGMA auto_vacuum = INCREMENTAL").await?;
            }
            open::write_ahead(connection).await?;
            up(connection, from, to, options.clock.now()).await?;
        }
        Way::Down { to, force } => down(connection, from, to, force).await?,
    }
    state(connection, options).await
}

/// One number.
pub(super) async fn number(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64, Error> {
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(from_sqlx)?;
    row.try_get_unchecked(0).map_err(from_sqlx)
}
