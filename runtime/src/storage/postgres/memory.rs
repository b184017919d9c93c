//! Memories: rows of messages, changed by whoever saw them last.
//!
//! A change names the version it was decided on. If another one was written meanwhile it is refused, and whoever decided
//! it looks again. Changes of one key wait for each other, on all nodes. PostgreSQL stores no U+0000: what was said keeps
//! U+FFFD in its place.

use std::borrow::Cow;

use compozy_engine::time::Timestamp;
use sqlx::PgConnection;

use super::super::Error;
use super::super::row::{MemoryAct, MemoryChange, MemoryState, MemoryTotals, NewMessage};
use super::super::work::columns;
use super::error::{Refused, from_sqlx};
use super::gate;
use super::sql;

/// What is counted of the messages under a key.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    messages: i64,
    tokens: i64,
    bytes: i64,
}

/// The row of a key.
#[derive(Debug)]
struct Instance {
    version: i64,
    writer: String,
    next_seq: i64,
    counts: Counts,
}

/// Writes `changes`.
///
/// # Errors
/// [`Refused::Stale`] when one was decided on another state than the present one.
pub(super) async fn write(
    connection: &mut PgConnection,
    changes: &[MemoryChange],
    now: Timestamp,
) -> Result<(), Refused> {
    let mut keys: Vec<String> = changes.iter().map(|change| format!("{}|{}", change.memory, change.key)).collect();
    keys.sort();
    keys.dedup();
    for key in &keys {
        gate::lock(connection, "memory", key).await?;
    }
    for change in changes {
        write_one(connection, change, now).await?;
    }
    Ok(())
}

async fn write_one(connection: &mut PgConnection, change: &MemoryChange, now: Timestamp) -> Result<(), Refused> {
    let MemoryChange { memory, key, writer, expires_at, act } = change;
    let expires_at = expires_at.map(|time| time.0);
    let present = instance(connection, memory, key).await?;
    let is_repeat = present.as_ref().is_some_and(|present| present.writer == *writer);
    let version = present.as_ref().map_or(0, |present| present.version);
    match act {
        MemoryAct::Used => {
            let sql = "UPDATE memory_instances SET used_at = $3, expires_at = $4 WHERE ref = $1 AND key = $2";
            sql::query(sql).bind(memory).bind(key).bind(now.0).bind(expires_at).execute(&mut *connection).await?;
            let sql = "UPDATE memory_messages SET used_at = $3 WHERE ref = $1 AND key = $2";
            sql::query(sql).bind(memory).bind(key).bind(now.0).execute(connection).await?;
            Ok(())
        }
        MemoryAct::Delete { .. } if present.is_none() => Ok(()),
        MemoryAct::Delete { version: seen } if *seen == version => {
            clear(connection, memory, key).await?;
            let sql = "DELETE FROM memory_instances WHERE ref = $1 AND key = $2";
            sql::query(sql).bind(memory).bind(key).execute(connection).await?;
            Ok(())
        }
        MemoryAct::Write { .. } if is_repeat => Ok(()),
        MemoryAct::Write { version: seen, cleared, dropped, added, backup } if *seen == version => {
            let mut counts = present.as_ref().map(|present| present.counts).unwrap_or_default();
            if *cleared {
                clear(connection, memory, key).await?;
                counts = Counts::default();
            } else {
                drop_messages(connection, memory, key, dropped, &mut counts).await?;
            }
            let mut next_seq = present.as_ref().map_or(1, |present| present.next_seq);
            for message in added {
                add(connection, [memory, key], message, &mut next_seq, &mut counts, now).await?;
            }
            // A key that comes back later must not be taken for what it was: its versions go on from the time.
            let version = if version == 0 { now.0.max(1) } else { version + 1 };
            let row = Instance { version, writer: writer.clone(), next_seq, counts };
            put(connection, [memory, key], &row, *backup, expires_at, now).await?;
            Ok(())
        }
        MemoryAct::Delete { .. } | MemoryAct::Write { .. } => Err(Refused::Stale),
    }
}

async fn instance(connection: &mut PgConnection, memory: &str, key: &str) -> Result<Option<Instance>, sqlx::Error> {
    let sql = "SELECT version, writer, next_seq, message_count, token_count, byte_count FROM memory_instances \
               WHERE ref = $1 AND key = $2 FOR NO KEY UPDATE";
    let query = sql::query_as::<_, (i64, String, i64, i64, i64, i64)>(sql).bind(memory).bind(key);
    let found = query.fetch_optional(connection).await?;
    Ok(found.map(|(version, writer, next_seq, messages, tokens, bytes)| Instance {
        version,
        writer,
        next_seq,
        counts: Counts { messages, tokens, bytes },
    }))
}

async fn put(
    connection: &mut PgConnection,
    [memory, key]: [&str; 2],
    row: &Instance,
    backup: bool,
    expires_at: Option<i64>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO memory_instances (ref, key, version, writer, next_seq, message_count, token_count, \
               byte_count, backup, created_at, used_at, expires_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11) \
               ON CONFLICT (ref, key) DO UPDATE SET version = excluded.version, writer = excluded.writer, \
               next_seq = excluded.next_seq, message_count = excluded.message_count, \
               token_count = excluded.token_count, byte_count = excluded.byte_count, backup = excluded.backup, \
               used_at = excluded.used_at, expires_at = excluded.expires_at";
    let query = sql::query(sql).bind(memory).bind(key).bind(row.version).bind(&row.writer).bind(row.next_seq);
    let query = query.bind(row.counts.messages).bind(row.counts.tokens).bind(row.counts.bytes);
    query.bind(i16::from(backup)).bind(now.0).bind(expires_at).execute(connection).await.map(|_| ())
}

async fn clear(connection: &mut PgConnection, memory: &str, key: &str) -> Result<(), sqlx::Error> {
    let sql = "DELETE FROM memory_messages WHERE ref = $1 AND key = $2";
    sql::query(sql).bind(memory).bind(key).execute(connection).await.map(|_| ())
}

async fn drop_messages(
    connection: &mut PgConnection,
    memory: &str,
    key: &str,
    seqs: &[i64],
    counts: &mut Counts,
) -> Result<(), sqlx::Error> {
    if seqs.is_empty() {
        return Ok(());
    }
    let sql = "DELETE FROM memory_messages WHERE ref = $1 AND key = $2 AND seq = ANY($3) \
               RETURNING tokens, octet_length(content)::bigint";
    let query = sql::query_as::<_, (i64, i64)>(sql).bind(memory).bind(key).bind(seqs);
    for (tokens, bytes) in query.fetch_all(connection).await? {
        counts.messages -= 1;
        counts.tokens -= tokens;
        counts.bytes -= bytes;
    }
    Ok(())
}

async fn add(
    connection: &mut PgConnection,
    [memory, key]: [&str; 2],
    message: &NewMessage,
    next_seq: &mut i64,
    counts: &mut Counts,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let seq = message.seq.unwrap_or_else(|| {
        *next_seq += 1;
        *next_seq - 1
    });
    let content: Cow<'_, str> = match message.content.contains('\0') {
        true => message.content.replace('\0', "\u{fffd}").into(),
        false => message.content.as_str().into(),
    };
    let sql = "INSERT INTO memory_messages (ref, key, seq, role, content, tokens, summary, created_at, used_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)";
    let tokens = i64::try_from(message.tokens).unwrap_or(i64::MAX);
    let query = sql::query(sql).bind(memory).bind(key).bind(seq).bind(&message.role).bind(&*content).bind(tokens);
    query.bind(i16::from(message.summary)).bind(now.0).execute(connection).await?;
    counts.messages += 1;
    counts.tokens = counts.tokens.saturating_add(tokens);
    counts.bytes += i64::try_from(content.len()).unwrap_or(i64::MAX);
    Ok(())
}

/// What a memory holds under a key, as one look at it; with or without what was said.
pub(super) async fn read(
    connection: &mut PgConnection,
    memory: &str,
    key: &str,
    contents: bool,
) -> Result<Option<MemoryState>, Error> {
    let sql = "SELECT i.version, i.expires_at, i.backup <> 0, m.seq, m.role, CASE WHEN $3 THEN m.content ELSE '' END, \
               octet_length(m.content)::bigint, m.tokens, m.summary <> 0, m.used_at \
               FROM memory_instances AS i LEFT JOIN memory_messages AS m ON m.ref = i.ref AND m.key = i.key \
               WHERE i.ref = $1 AND i.key = $2 ORDER BY m.seq";
    let query = sql::query(sql).bind(memory).bind(key).bind(contents);
    columns::memory(&query.fetch_all(connection).await.map_err(from_sqlx)?)
}

/// What the keys of each memory that has any hold together, by its id.
pub(super) async fn totals(connection: &mut PgConnection, now: Timestamp) -> Result<Vec<MemoryTotals>, Error> {
    let sql = "SELECT ref, count(*), sum(message_count)::bigint, sum(token_count)::bigint FROM memory_instances \
               WHERE coalesce(expires_at > $1, TRUE) GROUP BY ref ORDER BY ref";
    let rows = sql::query(sql).bind(now.0).fetch_all(connection).await.map_err(from_sqlx)?;
    rows.iter().map(columns::memory_totals).collect()
}

/// Rows of keys that have expired: what the sweep removes, messages first.
pub(super) const EXPIRED: [&str; 2] = [
    "DELETE FROM memory_messages WHERE (ref, key, seq) IN (SELECT m.ref, m.key, m.seq FROM memory_instances AS i \
     JOIN memory_messages AS m ON m.ref = i.ref AND m.key = i.key WHERE i.expires_at <= $1 LIMIT $2)",
    "DELETE FROM memory_instances WHERE (ref, key) IN (SELECT i.ref, i.key FROM memory_instances AS i \
     WHERE i.expires_at <= $1 AND NOT EXISTS (SELECT 1 FROM memory_messages AS m WHERE m.ref = i.ref AND m.key = i.key) \
     LIMIT $2)",
];
