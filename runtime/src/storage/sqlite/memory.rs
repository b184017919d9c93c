//! Memories: rows of messages, changed by whoever saw them last.
//!
//! A change names the version it was decided on. If another one was written meanwhile it is refused, and whoever decided
//! it looks again; so what goes and what comes always fit together. The order of messages is given here.

use compozy_engine::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sqlx::SqliteConnection;

use super::super::Error;
use super::super::row::{MemoryAct, MemoryChange, MemoryState, MemoryTotals, NewMessage};
use super::super::work::columns;
use super::error::{from_sqlite, from_sqlx};
use super::statement::Refused;

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

/// Writes `changes` inside the writer's transaction.
///
/// # Errors
/// [`Refused::Stale`] when one was decided on another state than the present one.
pub(super) fn write(connection: &Connection, changes: &[MemoryChange], now: Timestamp) -> Result<(), Refused> {
    changes.iter().try_for_each(|change| write_one(connection, change, now))
}

/// [`write`] for a transaction of its own.
///
/// # Errors
/// [`Error::Conflict`] when a change was decided on another state than the present one.
pub(super) fn change(connection: &Connection, changes: &[MemoryChange], now: Timestamp) -> Result<(), Error> {
    write(connection, changes, now).map_err(|refused| match refused {
        Refused::Sqlite(error) => from_sqlite(error),
        Refused::Stale | Refused::Guard => stale(),
    })
}

/// A change that was decided on another state than the present one.
pub(super) fn stale() -> Error {
    Error::Conflict("the memory was changed meanwhile".into())
}

fn write_one(connection: &Connection, change: &MemoryChange, now: Timestamp) -> Result<(), Refused> {
    let MemoryChange { memory, key, writer, expires_at, act } = change;
    let expires_at = expires_at.map(|time| time.0);
    let present = instance(connection, memory, key)?;
    let is_repeat = present.as_ref().is_some_and(|present| present.writer == *writer);
    let version = present.as_ref().map_or(0, |present| present.version);
    match act {
        MemoryAct::Used => {
            let sql = "UPDATE memory_instances SET used_at = ?3, expires_at = ?4 WHERE ref = ?1 AND key = ?2";
            connection.prepare_cached(sql)?.execute(params![memory, key, now.0, expires_at])?;
            let sql = "UPDATE memory_messages SET used_at = ?3 WHERE ref = ?1 AND key = ?2";
            connection.prepare_cached(sql)?.execute(params![memory, key, now.0])?;
            Ok(())
        }
        MemoryAct::Delete { .. } if present.is_none() => Ok(()),
        MemoryAct::Delete { version: seen } if *seen == version => {
            for sql in [
                "DELETE FROM memory_messages WHERE ref = ? AND key = ?",
                "DELETE FROM memory_instances WHERE ref = ? AND key = ?",
            ] {
                connection.prepare_cached(sql)?.execute([memory, key])?;
            }
            Ok(())
        }
        MemoryAct::Write { .. } if is_repeat => Ok(()),
        MemoryAct::Write { version: seen, cleared, dropped, added, backup } if *seen == version => {
            let mut counts = present.as_ref().map(|present| present.counts).unwrap_or_default();
            if *cleared {
                let sql = "DELETE FROM memory_messages WHERE ref = ? AND key = ?";
                connection.prepare_cached(sql)?.execute([memory, key])?;
                counts = Counts::default();
            } else {
                drop_messages(connection, [memory, key], dropped, &mut counts)?;
            }
            let mut next_seq = present.as_ref().map_or(1, |present| present.next_seq);
            for message in added {
                add(connection, [memory, key], message, &mut next_seq, &mut counts, now)?;
            }
            // A key that comes back later must not be taken for what it was: its versions go on from the time.
            let version = if version == 0 { now.0.max(1) } else { version + 1 };
            let sql = "INSERT INTO memory_instances (ref, key, version, writer, next_seq, message_count, token_count, \
                       byte_count, backup, created_at, used_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                       ON CONFLICT (ref, key) DO UPDATE SET version = excluded.version, writer = excluded.writer, \
                       next_seq = excluded.next_seq, message_count = excluded.message_count, \
                       token_count = excluded.token_count, byte_count = excluded.byte_count, backup = excluded.backup, \
                       used_at = excluded.used_at, expires_at = excluded.expires_at";
            connection.prepare_cached(sql)?.execute(params![
                memory,
                key,
                version,
                writer,
                next_seq,
                counts.messages,
                counts.tokens,
                counts.bytes,
                backup,
                now.0,
                now.0,
                expires_at
            ])?;
            Ok(())
        }
        MemoryAct::Delete { .. } | MemoryAct::Write { .. } => Err(Refused::Stale),
    }
}

fn instance(connection: &Connection, memory: &str, key: &str) -> rusqlite::Result<Option<Instance>> {
    let sql = "SELECT version, writer, next_seq, message_count, token_count, byte_count FROM memory_instances \
               WHERE ref = ? AND key = ?";
    let read = |row: &Row<'_>| {
        let counts = Counts { messages: row.get(3)?, tokens: row.get(4)?, bytes: row.get(5)? };
        Ok(Instance { version: row.get(0)?, writer: row.get(1)?, next_seq: row.get(2)?, counts })
    };
    connection.prepare_cached(sql)?.query_row([memory, key], read).optional()
}

fn drop_messages(
    connection: &Connection,
    [memory, key]: [&str; 2],
    seqs: &[i64],
    counts: &mut Counts,
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM memory_messages WHERE ref = ? AND key = ? AND seq = ? \
               RETURNING tokens, octet_length(content)";
    let mut statement = connection.prepare_cached(sql)?;
    for seq in seqs {
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        if let Some((tokens, bytes)) = statement.query_row(params![memory, key, seq], read).optional()? {
            counts.messages -= 1;
            counts.tokens -= tokens;
            counts.bytes -= bytes;
        }
    }
    Ok(())
}

fn add(
    connection: &Connection,
    [memory, key]: [&str; 2],
    message: &NewMessage,
    next_seq: &mut i64,
    counts: &mut Counts,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let seq = message.seq.unwrap_or_else(|| {
        *next_seq += 1;
        *next_seq - 1
    });
    let sql = "INSERT INTO memory_messages (ref, key, seq, role, content, tokens, summary, created_at, used_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)";
    let tokens = i64::try_from(message.tokens).unwrap_or(i64::MAX);
    let row = params![memory, key, seq, message.role, message.content, tokens, message.summary, now.0];
    connection.prepare_cached(sql)?.execute(row)?;
    counts.messages += 1;
    counts.tokens = counts.tokens.saturating_add(tokens);
    counts.bytes += i64::try_from(message.content.len()).unwrap_or(i64::MAX);
    Ok(())
}

/// What a memory holds under a key, as one look at it; with or without what was said.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    memory: &str,
    key: &str,
    contents: bool,
) -> Result<Option<MemoryState>, Error> {
    let sql = "SELECT i.version, i.expires_at, i.backup, m.seq, m.role, iif(?3, m.content, ''), \
               octet_length(m.content), m.tokens, m.summary, m.used_at \
               FROM memory_instances AS i LEFT JOIN memory_messages AS m ON m.ref = i.ref AND m.key = i.key \
               WHERE i.ref = ?1 AND i.key = ?2 ORDER BY m.seq";
    let rows = sqlx::query(sql).bind(memory).bind(key).bind(contents).fetch_all(connection).await;
    columns::memory(&rows.map_err(from_sqlx)?)
}

/// What the keys of each memory that has any hold together, by its id.
pub(super) async fn totals(connection: &mut SqliteConnection, now: Timestamp) -> Result<Vec<MemoryTotals>, Error> {
    let sql = "SELECT ref, count(*), sum(message_count), sum(token_count) FROM memory_instances \
               WHERE coalesce(expires_at > ?, TRUE) GROUP BY ref ORDER BY ref";
    let rows = sqlx::query(sql).bind(now.0).fetch_all(connection).await.map_err(from_sqlx)?;
    rows.iter().map(columns::memory_totals).collect()
}

/// Rows of keys that have expired: what the sweep removes, messages first.
pub(super) const EXPIRED: [&str; 2] = [
    "DELETE FROM memory_messages WHERE (ref, key, seq) IN (SELECT m.ref, m.key, m.seq FROM memory_instances AS i \
     CROSS JOIN memory_messages AS m ON m.ref = i.ref AND m.key = i.key WHERE i.expires_at <= ?1 LIMIT ?2)",
    "DELETE FROM memory_instances WHERE (ref, key) IN (SELECT i.ref, i.key FROM memory_instances AS i \
     WHERE i.expires_at <= ?1 AND NOT EXISTS (SELECT 1 FROM memory_messages AS m WHERE m.ref = i.ref AND m.key = i.key) \
     LIMIT ?2)",
];

/// What is wrong with memories, one sentence each. A key that has expired may be half removed.
pub(super) const CHECKS: [&str; 2] = [
    "SELECT 'memory ' || i.ref || ' counts ' || i.message_count || ' messages and ' || i.token_count || ' tokens under ' \
     || i.key || ' and has ' || count(m.seq) || ' and ' || coalesce(sum(m.tokens), 0) FROM memory_instances AS i \
     LEFT JOIN memory_messages AS m ON m.ref = i.ref AND m.key = i.key \
     WHERE coalesce(i.expires_at > unixepoch('subsec') * 1000000, TRUE) GROUP BY i.ref, i.key \
     HAVING i.message_count <> count(m.seq) OR i.token_count <> coalesce(sum(m.tokens), 0) \
     OR i.byte_count <> coalesce(sum(octet_length(m.content)), 0) \
     OR i.next_seq <= coalesce(max(m.seq), 0)",
    "SELECT DISTINCT 'memory ' || ref || ' has messages under ' || key || ', which does not exist' \
     FROM memory_messages AS m \
     WHERE NOT EXISTS (SELECT 1 FROM memory_instances AS i WHERE i.ref = m.ref AND i.key = m.key)",
];
