//! Numbered schema changes, each applied or taken back in a transaction of its own, by whichever node comes first.

use compozy_engine::time::Timestamp;
use sqlx::{Connection as _, PgConnection, Row};

use super::super::Error;
use super::super::migrate::{self, Applied, Change, Down, Migration, State, Way};
use super::error::from_sqlx;
use super::open;
use super::settings::Options;

/// Every schema change in order.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "all", up: include_str!("migrations/0001_all.sql"), down: None },
    Migration {
        version: 2,
        name: "transfer",
        up: include_str!("migrations/0002_transfer.sql"),
        down: Some(Down {
            sql: include_str!("migrations/0002_transfer.down.sql"),
            loses: &[
                ("rows of an unfinished import", "SELECT count(*) FROM import_rows"),
                ("runs that know their export", "SELECT count(*) FROM executions WHERE import_hash IS NOT NULL"),
            ],
        }),
    },
];

/// Held while the schema is looked at and changed: `CMPZ` as a number. Nothing but this program takes it.
const LOCK: i64 = 0x434d_505a;

/// The version this program writes.
pub(super) fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |last| last.version)
}

/// The schema's version; `None` when there is nothing yet.
///
/// # Errors
/// [`Error::TooNew`] for one of a newer release; [`Error::Unusable`] for a database of another program, or one changed by
/// hand.
pub(super) async fn version(connection: &mut PgConnection, name: &str) -> Result<Option<i64>, Error> {
    let Some(applied) = applied(connection, name).await? else { return Ok(None) };
    let version = migrate::version(name, MIGRATIONS, &applied)?;
    Ok((version > 0).then_some(version))
}

/// What the database says was applied; `None`: there is nothing in it.
async fn applied(connection: &mut PgConnection, name: &str) -> Result<Option<Vec<Applied>>, Error> {
    let sql = "SELECT count(*) FILTER (WHERE c.relname = 'migrations'), \
               count(*) FILTER (WHERE c.relname IN ('meta', 'executions', 'journal')) FROM pg_catalog.pg_class AS c \
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')";
    let row = sqlx::query(sql).fetch_one(&mut *connection).await.map_err(from_sqlx)?;
    let (migrations, ours): (i64, i64) = (row.try_get(0).map_err(from_sqlx)?, row.try_get(1).map_err(from_sqlx)?);
    let foreign = || Error::Unusable(format!("{name} holds tables of another program; they were left alone"));
    if migrations == 0 {
        return if ours == 0 { Ok(None) } else { Err(foreign()) };
    }
    let query = sqlx::query("SELECT version, name, checksum, applied_at FROM migrations ORDER BY version");
    let rows = query.fetch_all(connection).await.map_err(|_| foreign())?;
    let read = |row: sqlx::postgres::PgRow| {
        Ok(Applied {
            version: row.try_get(0)?,
            name: row.try_get(1)?,
            checksum: row.try_get(2)?,
            at: Timestamp(row.try_get(3)?),
        })
    };
    rows.into_iter().map(read).collect::<Result<_, sqlx::Error>>().map(Some).map_err(|_| foreign())
}

/// Applies what is missing. Many may do so at once: each waits for the one before it, and finds its work done.
///
/// # Errors
/// See [`version`].
pub(super) async fn apply(connection: &mut PgConnection, name: &str, now: Timestamp) -> Result<(), Error> {
    while step(connection, name, Change::Up(None), now).await? {}
    Ok(())
}

/// Does the next step of `change`, if one is left.
async fn step(connection: &mut PgConnection, name: &str, change: Change, now: Timestamp) -> Result<bool, Error> {
    let mut transaction = connection.begin().await.map_err(from_sqlx)?;
    // Others may take as long as their migrations do.
    let wait = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";
    sqlx::raw_sql(wait).execute(&mut *transaction).await.map_err(from_sqlx)?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
    lock.execute(&mut *transaction).await.map_err(from_sqlx)?;
    let from = version(&mut transaction, name).await?.unwrap_or(0);
    let next = match change.way(from, MIGRATIONS)? {
        Way::Up { to } => MIGRATIONS.iter().find(|one| one.version > from && one.version <= to).map(|one| (one, None)),
        Way::Down { to, force } => {
            MIGRATIONS.iter().find(|one| one.version == from && from > to).map(|one| (one, Some(force)))
        }
    };
    match next {
        Some((migration, None)) => apply_one(&mut transaction, migration, now).await?,
        Some((migration, Some(force))) => take_back(&mut transaction, migration, force).await?,
        None => {}
    }
    transaction.commit().await.map_err(from_sqlx)?;
    Ok(next.is_some())
}

async fn apply_one(transaction: &mut PgConnection, migration: &Migration, now: Timestamp) -> Result<(), Error> {
    let table = "CREATE TABLE IF NOT EXISTS migrations (version bigint NOT NULL PRIMARY KEY, \
                 name text COLLATE \"C\" NOT NULL, checksum text COLLATE \"C\" NOT NULL, applied_at bigint NOT NULL)";
    sqlx::raw_sql(table).execute(&mut *transaction).await.map_err(from_sqlx)?;
    sqlx::raw_sql(migration.up).execute(&mut *transaction).await.map_err(from_sqlx)?;
    let note = "INSERT INTO migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)";
    let note = sqlx::query(note).bind(migration.version).bind(migration.name).bind(migration.checksum()).bind(now.0);
    note.execute(transaction).await.map_err(from_sqlx)?;
    Ok(())
}

async fn take_back(transaction: &mut PgConnection, migration: &Migration, force: bool) -> Result<(), Error> {
    let version = migration.version;
    let no_way = || Error::Conflict(format!("migration {version} cannot be taken back"));
    let Down { sql, loses } = migration.down.as_ref().ok_or_else(no_way)?;
    let alive = concat!("SELECT count(*) FROM nodes WHERE lease_until > ", now!());
    let alive = number(transaction, alive).await?;
    if alive > 0 {
        return Err(Error::Conflict(format!(
            "{alive} nodes work on the database; stop them before its schema is taken back"
        )));
    }
    let mut losses = Vec::new();
    for (what, count) in *loses {
        losses.push((*what, number(transaction, count).await?));
    }
    losses.retain(|(_, count)| *count > 0);
    if !losses.is_empty() && !force {
        return Err(migrate::lost(version, &losses));
    }
    sqlx::raw_sql(*sql).execute(&mut *transaction).await.map_err(from_sqlx)?;
    let forget = sqlx::query("DELETE FROM migrations WHERE version = $1").bind(version);
    forget.execute(transaction).await.map_err(from_sqlx)?;
    Ok(())
}

async fn number(connection: &mut PgConnection, sql: &'static str) -> Result<i64, Error> {
    sqlx::query(sql).fetch_one(connection).await.and_then(|row| row.try_get(0)).map_err(from_sqlx)
}

/// How the schema of a database stands.
///
/// # Errors
/// See [`migrate::status`].
pub(in crate::storage) async fn schema_status(options: &Options) -> Result<State, Error> {
    let (mut connection, options) = open::reach(options.clone()).await?;
    let state = state(&mut connection, &options).await;
    let _closed_by_the_server_else = connection.close().await;
    state
}

async fn state(connection: &mut PgConnection, options: &Options) -> Result<State, Error> {
    let name = open::name(options);
    let applied = applied(connection, &name).await?.unwrap_or_default();
    migrate::check(&name, MIGRATIONS, &applied)?;
    Ok(State::new("postgres", &options.location, MIGRATIONS, &applied))
}

/// Migrates a database, a step in each transaction.
///
/// # Errors
/// See [`migrate::change`].
pub(in crate::storage) async fn change_schema(options: &Options, change: Change) -> Result<State, Error> {
    let (mut connection, options) = open::reach(options.clone()).await?;
    let name = open::name(&options);
    let (limit, now) = (options.migration_timeout, options.clock.now());
    let work = async {
        // So many steps back are counted from where it stands now.
        let from = version(&mut connection, &name).await?.unwrap_or(0);
        let change = match change.way(from, MIGRATIONS)? {
            Way::Up { to } => Change::Up(Some(to)),
            Way::Down { to, force } => Change::DownTo { version: to, force },
        };
        while step(&mut connection, &name, change, now).await? {}
        state(&mut connection, &options).await
    };
    let late = || Error::Unavailable(format!("{name}: its migrations take longer than database.migration_timeout"));
    let state = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()));
    let _closed_by_the_server_else = connection.close().await;
    state
}
