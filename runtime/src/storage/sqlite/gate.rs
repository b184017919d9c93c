//! Concurrency keys: how many runs of one key may be under way at once.
//!
//! A run with a key enters the queue gated. It is let through, and holds its key from then on, when fewer runs than its
//! limit hold the key; it gives the key back with the transaction that ends it, which lets the next one through. So a
//! claim need not look at keys, and whoever dies leaves nothing behind but rows that say how it is.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::row::Woken;
use super::super::work::turns::Turns;
use crate::id::ExecId;

/// Lets through as many runs of `key` as may go, in order. Returns them.
pub(super) fn admit(connection: &Connection, turns: &Turns, key: &str) -> rusqlite::Result<Vec<Woken>> {
    let mut admitted = Vec::new();
    loop {
        // As in the queue itself: by priority, and now and then by age alone.
        let order = if turns.admits_the_oldest() { BY_AGE } else { BY_PRIORITY };
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let next: Option<(String, i64)> = connection.prepare_cached(order)?.query_row([key], row).optional()?;
        let Some((exec_id, limit)) = next else { return Ok(admitted) };
        let holders = "SELECT count(*) FROM concurrency_holders WHERE concurrency_key = ?";
        let held: i64 = connection.prepare_cached(holders)?.query_row([key], |row| row.get(0))?;
        if held >= limit {
            return Ok(admitted);
        }
        connection.prepare_cached("UPDATE ready SET gated = 0 WHERE exec_id = ?")?.execute([&exec_id])?;
        let hold = "INSERT INTO concurrency_holders (exec_id, concurrency_key) VALUES (?, ?)";
        connection.prepare_cached(hold)?.execute(params![exec_id, key])?;
        turns.admitted();
        admitted.push(Woken { exec_id: exec_id.into(), owner: None });
    }
}

const BY_PRIORITY: &str = "SELECT exec_id, coalesce(concurrency_limit, 1) FROM ready INDEXED BY ready_gate \
    WHERE concurrency_key = ? AND gated = 1 ORDER BY priority DESC, not_before, exec_id LIMIT 1";
const BY_AGE: &str = "SELECT exec_id, coalesce(concurrency_limit, 1) FROM ready INDEXED BY ready_gate_age \
    WHERE concurrency_key = ? AND gated = 1 ORDER BY not_before, exec_id LIMIT 1";

/// A run has ended: the next one of its key may go.
pub(super) fn release(connection: &Connection, turns: &Turns, exec_id: &ExecId) -> rusqlite::Result<Vec<Woken>> {
    // Asked at the end of every run, of which few hold a key: `RETURNING` would make a table of its own each time.
    let sql = "SELECT concurrency_key FROM concurrency_holders WHERE exec_id = ?";
    let key: Option<String> =
        connection.prepare_cached(sql)?.query_row([exec_id.as_str()], |row| row.get(0)).optional()?;
    let Some(key) = key else { return Ok(Vec::new()) };
    connection.prepare_cached("DELETE FROM concurrency_holders WHERE exec_id = ?")?.execute([exec_id.as_str()])?;
    admit(connection, turns, &key)
}

/// Lets a run through that is to be canceled: it waits for nothing, and holds nothing.
pub(super) fn pass(connection: &Connection, turns: &Turns, exec_id: &ExecId) -> rusqlite::Result<Vec<Woken>> {
    let sql = "UPDATE ready SET gated = 0 WHERE exec_id = ? AND gated = 1 RETURNING concurrency_key";
    let key: Option<String> =
        connection.prepare_cached(sql)?.query_row([exec_id.as_str()], |row| row.get(0)).optional()?;
    key.map_or_else(|| Ok(Vec::new()), |key| admit(connection, turns, &key))
}
