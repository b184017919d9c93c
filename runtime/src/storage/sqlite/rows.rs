//! Writing the rows of a start or a commit, inside the writer's transaction.

use std::sync::Arc;

use rusqlite::Connection;

use super::super::row::Woken;
use super::super::work::encode::Encoded;
use super::super::work::slot::{Slot, Value};
use super::gate;
use super::known::Known;
use super::outward;
use super::statement::Refused;

/// Writes the rows of a member. What is remembered of its run is believed only if `trusting`. Returns the runs that
/// have something new to look at.
///
/// # Errors
/// [`Refused`] when a row does not fit.
pub(super) fn write(
    connection: &Connection,
    known: &Known,
    member: &Encoded,
    trusting: bool,
) -> Result<Vec<Woken>, Refused> {
    if let Some(update) = &member.update {
        let same = match &update.status {
            None => true,
            Some(status) => trusting && known.is_at(&member.exec_id, status),
        };
        let slot = if same { Slot::Advance } else { Slot::Move };
        slot.write(connection, update.row(slot))?;
    }
    if let Some(start) = &member.started {
        if let Some(definition) = start.definition.as_ref().filter(|definition| !known.has_head(definition)) {
            Slot::Definition.write(connection, &definition.row(start.at))?;
            Slot::Head.write(connection, &definition.head(start.at))?;
        }
        let run = [Value::Text(Arc::clone(&start.workflow_id)), Value::Integer(1)];
        Slot::WorkflowRuns.write(connection, &run)?;
    }
    member.rows.iter().try_for_each(|(slot, values)| slot.write(connection, values))?;
    let mut woken = Vec::new();
    if let Some(key) = member.started.as_ref().and_then(|start| start.concurrency_key.as_ref()) {
        woken.extend(gate::admit(connection, known.turns(), key)?);
    }
    if let Some(outward) = &member.outward {
        outward.write(connection, known, &mut woken)?;
    }
    if let Some(update) = member.update.as_ref().filter(|update| update.ends) {
        woken.extend(outward::tell_parent(connection, &member.exec_id, update.at)?);
        woken.extend(gate::release(connection, known.turns(), &member.exec_id)?);
    }
    Ok(woken)
}
