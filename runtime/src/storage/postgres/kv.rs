//! Values that plugins keep.

use compozy_engine::time::Timestamp;
use sqlx::PgConnection;

use super::super::row::KvEntry;
use super::gate;
use super::sql;

/// The present value; expired entries are absent.
pub(super) async fn get(
    connection: &mut PgConnection,
    space: &str,
    key: &str,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let sql = "SELECT value FROM kv WHERE space = $1 AND key = $2 AND coalesce(expires_at > $3, TRUE)";
    let query = sql::query_as(sql).bind(space).bind(key).bind(now.0);
    let found: Option<(Vec<u8>,)> = query.fetch_optional(connection).await?;
    Ok(found.map(|(value,)| value))
}

/// Stores a value. With `expected`, only if the present one equals it; false when it does not.
pub(super) async fn set(
    connection: &mut PgConnection,
    entry: &KvEntry,
    expected: Option<&Option<Vec<u8>>>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    // An absent row has no lock of its own.
    gate::lock(connection, "kv", &format!("{}|{}", entry.space, entry.key)).await?;
    if let Some(expected) = expected
        && get(connection, &entry.space, &entry.key, now).await? != *expected
    {
        return Ok(false);
    }
    let sql = "INSERT INTO kv (space, key, value, expires_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
    let query = sql::query(sql).bind(&entry.space).bind(&entry.key).bind(&entry.value);
    query.bind(entry.expires_at.map(|time| time.0)).execute(connection).await?;
    Ok(true)
}

/// Bytes of all keys and values of a space.
pub(super) async fn bytes(connection: &mut PgConnection, space: &str) -> Result<u64, sqlx::Error> {
    let sql = "SELECT coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint FROM kv WHERE space = $1";
    let (bytes,): (i64,) = sql::query_as(sql).bind(space).fetch_one(connection).await?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Removes a value; true when it was there.
pub(super) async fn delete(connection: &mut PgConnection, space: &str, key: &str) -> Result<bool, sqlx::Error> {
    let query = sql::query("DELETE FROM kv WHERE space = $1 AND key = $2").bind(space).bind(key);
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

/// Keys of a space in byte order.
pub(super) async fn keys(
    connection: &mut PgConnection,
    space: &str,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<String>, sqlx::Error> {
    let sql = "SELECT key FROM kv WHERE space = $1 AND key >= $2 AND key > $3 AND starts_with(key, $2) \
               AND coalesce(expires_at > $4, TRUE) ORDER BY key LIMIT $5";
    let query = sql::query_as(sql).bind(space).bind(prefix).bind(after.unwrap_or("")).bind(now.0);
    let found: Vec<(String,)> = query.bind(i64::from(limit)).fetch_all(connection).await?;
    Ok(found.into_iter().map(|(key,)| key).collect())
}
