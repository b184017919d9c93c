//! Writing the rows of one start or commit inside a transaction, with what it does to other runs.

use std::pin::Pin;

use sqlx::{AssertSqlSafe, PgConnection};

use super::super::Error;
use super::super::row::Woken;
use super::super::work::encode::Encoded;
use super::super::work::slot::Slot;
use super::batch::{self, Flush, Guard};
use super::error::{Refused, from_sqlx};
use super::known::Known;
use super::sql;
use super::{gate, outward, statement};

/// A future of a function that calls itself: a start may start others.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Writes a member. Returns the runs that have something new to look at.
///
/// # Errors
/// [`Refused`] when a row does not fit; the transaction must be rolled back.
pub(super) fn write<'a>(
    connection: &'a mut PgConnection,
    known: &'a Known,
    member: &'a Encoded,
    flush: Flush,
) -> Boxed<'a, Result<Vec<Woken>, Refused>> {
    Box::pin(async move {
        let ends = member.update.as_ref().filter(|update| update.ends);
        if ends.is_some() || member.outward.is_some() {
            lock(connection, member).await?;
        }
        signals(connection, member).await?;
        let definitions = known.new_definitions(&[member]);
        batch::write(connection, &[member], &definitions, Guard::Own, flush).await?;
        let mut woken = Vec::new();
        if let Some(key) = member.started.as_ref().and_then(|start| start.concurrency_key.as_ref()) {
            woken.extend(gate::admit(connection, known, key).await?);
        }
        if let Some(outward) = &member.outward {
            outward::write(connection, known, outward, flush, &mut woken).await?;
        }
        if let Some(update) = ends {
            woken.extend(outward::tell_parent(connection, &member.exec_id, update.at).await?);
            woken.extend(gate::release(connection, known, &member.exec_id).await?);
        }
        Ok(woken)
    })
}

/// Locks the rows of all runs that this touches, in the order of their ids, so that two such transactions wait for each
/// other in turn and not in a circle. A parent has an older id than its sub-runs.
async fn lock(connection: &mut PgConnection, member: &Encoded) -> Result<(), sqlx::Error> {
    let mut ids = vec![member.exec_id.as_str()];
    if let Some(outward) = &member.outward {
        ids.extend(outward.touched().map(|exec_id| exec_id.as_str()));
    }
    let sql = "SELECT 1 FROM executions WHERE exec_id IN (SELECT * FROM unnest($1::text[]) \
               UNION SELECT parent_exec_id FROM executions WHERE exec_id = ANY($1)) ORDER BY exec_id FOR NO KEY UPDATE";
    sql::query(sql).bind(ids).execute(connection).await.map(|_| ())
}

/// What became of the signals of a run: each is settled once.
async fn signals(connection: &mut PgConnection, member: &Encoded) -> Result<(), Refused> {
    for slot in [Slot::NotedSignal, Slot::SettledSignal] {
        for (_, values) in member.rows.iter().filter(|(present, _)| *present == slot) {
            // One row at a time: a signal that is named twice is settled twice, and refused.
            for row in values.chunks(slot.columns()) {
                let mut query = sql::query(AssertSqlSafe(statement::alone(slot)));
                for (value, kind) in row.iter().zip(statement::types(slot).chars()) {
                    query = match kind {
                        't' => query.bind(vec![value.text()]),
                        _ => query.bind(vec![value.integer()]),
                    };
                }
                let changed = query.execute(&mut *connection).await?.rows_affected();
                if changed == 0 && slot == Slot::SettledSignal {
                    return Err(Refused::Guard);
                }
            }
        }
    }
    Ok(())
}

/// Why the rows of `member` were refused, after its transaction was rolled back.
pub(super) async fn diagnose(connection: &mut PgConnection, member: &Encoded, refused: Refused) -> Error {
    let exec_id = &member.exec_id;
    let unique = refused.is_unique();
    let Some(update) = &member.update else {
        return match refused {
            _ if unique => Error::Conflict(format!("run {exec_id} or one of its rows exists already")),
            Refused::Guard => Error::Conflict(format!("run {exec_id} or one of its rows exists already")),
            refused => refused.into(),
        };
    };
    let refused = match refused {
        Refused::Stale => return Refused::Stale.into(),
        Refused::Storage(error) => return error,
        refused => refused,
    };
    let sql = "SELECT owner_node, epoch, status FROM executions WHERE exec_id = $1";
    let query = sql::query_as::<_, (Option<String>, i64, String)>(sql).bind(exec_id.as_str());
    let found = match query.fetch_optional(connection).await {
        Ok(found) => found,
        Err(error) => return from_sqlx(error),
    };
    let owned =
        found.filter(|(owner, epoch, _)| owner.as_deref() == Some(update.node.as_str()) && *epoch == update.epoch);
    let Some((_, _, status)) = owned else { return Error::Fenced };
    match refused {
        Refused::Guard => {
            let to = update.status.as_deref().unwrap_or(status.as_str());
            Error::Conflict(format!(
                "run {exec_id} cannot go from {status} to {to}, its events do not follow the last one recorded, or it \
                 settles a signal twice"
            ))
        }
        _ if unique => Error::Conflict(format!("run {exec_id}: a row exists already")),
        refused => refused.into(),
    }
}
