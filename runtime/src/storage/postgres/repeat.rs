//! What to do when nobody knows whether a commit happened: read back before any retry (cli-and-api §9.3).

use sqlx::PgConnection;

use super::super::row::Woken;
use super::super::work::encode::Encoded;
use super::super::work::slot::Slot;
use super::outward;
use super::sql;

/// Whether exactly the events of `member` are recorded already, under the epoch it writes with. Its other rows were
/// written with them, and nobody has written to the run since under another epoch.
pub(super) async fn is_recorded(connection: &mut PgConnection, member: &Encoded) -> Result<bool, sqlx::Error> {
    let exec_id = member.exec_id.as_str();
    let found = match (&member.update, &member.started) {
        (Some(update), _) => {
            let query = sql::query("SELECT 1 FROM executions WHERE exec_id = $1 AND epoch = $2");
            query.bind(exec_id).bind(update.epoch).fetch_optional(&mut *connection).await?
        }
        (None, Some(start)) => {
            let sql = "SELECT 1 FROM executions WHERE exec_id = $1 AND workflow_id = $2 AND created_at = $3";
            let query = sql::query(sql).bind(exec_id).bind(&*start.workflow_id).bind(start.at.0);
            query.fetch_optional(&mut *connection).await?
        }
        (None, None) => None,
    };
    let events = member.rows.iter().find(|(slot, _)| *slot == Slot::Journal);
    // A queued start has no event yet; an update without one has nothing to be known by.
    if found.is_none() || (events.is_none() && member.started.is_none()) {
        return Ok(false);
    }
    let sql = "SELECT 1 FROM journal WHERE exec_id = $1 AND seq = $2 AND at = $3 AND event = $4 \
               AND task_id IS NOT DISTINCT FROM $5 AND data = $6";
    for event in events.iter().flat_map(|(slot, values)| values.chunks(slot.columns())) {
        let [exec, seq, at, name, task_id, data] = event else { return Ok(false) };
        let query = sql::query(sql).bind(exec.text()).bind(seq.integer()).bind(at.integer()).bind(name.text());
        let found = query.bind(task_id.text()).bind(data.text()).fetch_optional(&mut *connection).await?;
        if found.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whom a recorded transaction woke: nobody was told. To be told in vain costs a look.
pub(super) async fn woken(connection: &mut PgConnection, member: &Encoded) -> Result<Vec<Woken>, sqlx::Error> {
    let mut woken = Vec::new();
    if let Some(outward) = &member.outward {
        outward::woken(connection, outward, &mut woken).await?;
    }
    if let Some(update) = member.update.as_ref().filter(|update| update.ends) {
        woken.extend(outward::tell_parent(connection, &member.exec_id, update.at).await?);
    }
    Ok(woken)
}
