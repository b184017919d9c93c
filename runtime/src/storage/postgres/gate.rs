//! Concurrency keys: how many runs of one key may be under way at once, on all nodes together.
//!
//! A run with a key enters the queue gated. It is let through, and holds its key from then on, when fewer runs than its
//! limit hold the key; it gives the key back with the transaction that ends it, which lets the next one through. Whoever
//! counts holders does so under a lock of the key that lasts as long as its transaction.

use sqlx::PgConnection;

use super::super::row::Woken;
use super::known::Known;
use super::sql;
use crate::id::ExecId;

/// Takes the lock of a name until the transaction ends. `space` keeps names of different kinds apart.
pub(super) async fn lock(connection: &mut PgConnection, space: &str, name: &str) -> Result<(), sqlx::Error> {
    let query = sql::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))").bind(format!("{space}|{name}"));
    query.execute(connection).await.map(|_| ())
}

/// Lets through as many runs of `key` as may go, in order. Returns them.
pub(super) async fn admit(connection: &mut PgConnection, known: &Known, key: &str) -> Result<Vec<Woken>, sqlx::Error> {
    lock(connection, "gate", key).await?;
    let mut admitted = Vec::new();
    loop {
        // As in the queue itself: by priority, and now and then by age alone.
        let oldest = known.turns().admits_the_oldest();
        let query = sql::query_as::<_, (String, i64)>(if oldest { BY_AGE } else { BY_PRIORITY });
        let next = query.bind(key).fetch_optional(&mut *connection).await?;
        let Some((exec_id, limit)) = next else { return Ok(admitted) };
        let holders = "SELECT count(*) FROM concurrency_holders WHERE concurrency_key = $1";
        let (held,): (i64,) = sql::query_as(holders).bind(key).fetch_one(&mut *connection).await?;
        if held >= limit {
            return Ok(admitted);
        }
        let open = "UPDATE ready SET gated = 0 WHERE exec_id = $1 AND gated = 1";
        let opened = sql::query(open).bind(&exec_id).execute(&mut *connection).await?.rows_affected();
        if opened == 0 {
            // It was canceled meanwhile.
            continue;
        }
        let hold = "INSERT INTO concurrency_holders (exec_id, concurrency_key) VALUES ($1, $2)";
        sql::query(hold).bind(&exec_id).bind(key).execute(&mut *connection).await?;
        known.turns().admitted();
        admitted.push(Woken { exec_id: exec_id.into(), owner: None });
    }
}

const BY_PRIORITY: &str = "SELECT exec_id, coalesce(concurrency_limit, 1) FROM ready \
    WHERE concurrency_key = $1 AND gated = 1 ORDER BY priority DESC, not_before, exec_id LIMIT 1";
const BY_AGE: &str = "SELECT exec_id, coalesce(concurrency_limit, 1) FROM ready \
    WHERE concurrency_key = $1 AND gated = 1 ORDER BY not_before, exec_id LIMIT 1";

/// A run has ended: the next one of its key may go.
pub(super) async fn release(
    connection: &mut PgConnection,
    known: &Known,
    exec_id: &ExecId,
) -> Result<Vec<Woken>, sqlx::Error> {
    let sql = "SELECT concurrency_key FROM executions WHERE exec_id = $1 AND concurrency_key IS NOT NULL";
    let key: Option<(String,)> = sql::query_as(sql).bind(exec_id.as_str()).fetch_optional(&mut *connection).await?;
    let Some((key,)) = key else { return Ok(Vec::new()) };
    lock(connection, "gate", &key).await?;
    let give_back = "DELETE FROM concurrency_holders WHERE exec_id = $1";
    sql::query(give_back).bind(exec_id.as_str()).execute(&mut *connection).await?;
    admit(connection, known, &key).await
}

/// Lets a run through that is to be canceled: it waits for nothing, and holds nothing.
pub(super) async fn pass(
    connection: &mut PgConnection,
    known: &Known,
    exec_id: &ExecId,
) -> Result<Vec<Woken>, sqlx::Error> {
    let sql = "SELECT concurrency_key FROM ready WHERE exec_id = $1 AND gated = 1 AND concurrency_key IS NOT NULL";
    let key: Option<(String,)> = sql::query_as(sql).bind(exec_id.as_str()).fetch_optional(&mut *connection).await?;
    let Some((key,)) = key else { return Ok(Vec::new()) };
    // The key before the row: whoever admits runs takes them in this order too.
    lock(connection, "gate", &key).await?;
    let open = "UPDATE ready SET gated = 0 WHERE exec_id = $1 AND gated = 1";
    sql::query(open).bind(exec_id.as_str()).execute(&mut *connection).await?;
    admit(connection, known, &key).await
}
