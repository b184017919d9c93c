//! Opening: a first connection, the schema, the database's identity, and the pool.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, Row};

use super::super::work::encode::hex;
use super::super::{Error, Info};
use super::PgStorage;
use super::error::from_sqlx;
use super::migrate;
use super::settings::{Options, Role};
use crate::clock::random_bytes;

/// Between two tries to reach the server.
const RETRY: Duration = Duration::from_millis(500);

/// Opens a database, making its tables if there are none.
///
/// # Errors
/// [`Error::NotFound`] when there is nothing to read yet, [`Error::TooNew`] when it is newer, [`Error::Unusable`] when it is
/// another program's (nothing is written then), [`Error::Unavailable`] when it cannot be reached.
pub async fn open(options: Options) -> Result<PgStorage, Error> {
    let (mut connection, options) = reach(options).await?;
    let name = name(&options);
    let prepared = tokio::time::timeout(options.migration_timeout, prepare(&mut connection, &options, &name)).await;
    let late = || Error::Unavailable(format!("{name}: its migrations take longer than database.migration_timeout"));
    prepared.map_err(|_| late())??;
    let info = identify(&mut connection, &options, &name).await?;
    let _closed_by_the_server_else = connection.close().await;
    Ok(PgStorage::new(info, &options))
}

/// What a database is called in messages.
pub(super) fn name(options: &Options) -> String {
    format!("PostgreSQL database {}", options.location)
}

/// A first connection. A server that is not there is tried again for a while.
pub(super) async fn reach(mut options: Options) -> Result<(PgConnection, Options), Error> {
    let began = options.clock.reading().1;
    let mut told = false;
    loop {
        let error = match options.connect().await {
            Ok(connection) => return Ok((connection, options)),
            Err(error) => error,
        };
        // PgBouncer's words: the settings are made after connecting instead.
        let text = error.to_string();
        if text.contains("unsupported startup parameter") {
            options = options.through_a_pooler();
            continue;
        }
        let waited = options.clock.reading().1.saturating_sub(began);
        if !is_worth_waiting(&error) || waited >= options.patience {
            return Err(unreachable(error, &options));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("waiting for PostgreSQL at {}: {}", options.location, unreachable(error, &options));
        }
        options.clock.sleep(RETRY).await;
    }
}

/// Starting up, full, or not there at all; a wrong password stays wrong.
fn is_worth_waiting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(database) => {
            database.code().is_some_and(|code| code == "53300" || code.starts_with("57P"))
        }
        _ => false,
    }
}

fn unreachable(error: sqlx::Error, options: &Options) -> Error {
    let why = match &error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(error) => format!("TLS: {error}"),
        _ => from_sqlx(error).to_string(),
    };
    Error::Unavailable(format!("PostgreSQL at {} cannot be reached: {why}", options.location))
}

async fn prepare(connection: &mut PgConnection, options: &Options, name: &str) -> Result<(), Error> {
    let version = migrate::version(connection, name).await?;
    if version == Some(migrate::newest()) {
        return Ok(());
    }
    match (version, options.role) {
        (None, Role::ReadOnly) => Err(Error::NotFound(name.to_owned())),
        (Some(version), _) if !options.auto_migrate => Err(Error::Unusable(format!(
            "{name} has schema version {version} and this program needs {}; database.auto_migrate is false",
            migrate::newest()
        ))),
        (Some(version), Role::ReadOnly) => Err(Error::Unusable(format!(
            "{name} has schema version {version} and this program needs {}; start the server once",
            migrate::newest()
        ))),
        _ => migrate::apply(connection, name, options.clock.now()).await,
    }
}

async fn identify(connection: &mut PgConnection, options: &Options, name: &str) -> Result<Info, Error> {
    let sql = "INSERT INTO meta (key, value) VALUES ('database_id', $1), ('identity_key', $2) ON CONFLICT DO NOTHING";
    if options.role != Role::ReadOnly {
        let make = sqlx::query(sql).bind(options.clock.ulid()).bind(hex(&random_bytes::<32>()));
        make.execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    let sql = "SELECT (SELECT value FROM meta WHERE key = 'database_id'), \
               (SELECT value FROM meta WHERE key = 'identity_key')";
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(from_sqlx)?;
    let (id, key): (Option<String>, Option<String>) =
        (row.try_get(0).map_err(from_sqlx)?, row.try_get(1).map_err(from_sqlx)?);
    let (Some(database_id), Some(key)) = (id, key) else {
        return Err(Error::Unusable(format!("{name} has lost its identity")));
    };
    let identity_key = unhex(&key).ok_or_else(|| Error::Unusable(format!("{name} has a damaged identity key")))?;
    Ok(Info {
        driver: "postgres",
        location: options.location.clone(),
        durability: options.durability,
        database_id,
        identity_key,
        schema_version: migrate::newest(),
        ephemeral: false,
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
