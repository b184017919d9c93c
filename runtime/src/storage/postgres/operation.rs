//! Carrying out logical transactions that read before they write, each in a transaction of its own.

use sqlx::PgConnection;

use super::super::work::operation::{Operation, Outcome};
use super::error::Refused;
use super::known::Known;
use super::sql;
use super::{control, import, kv, memory, nodes, schedule, sweep};

/// Carries one out inside a transaction.
///
/// # Errors
/// [`Refused`]; the transaction must be rolled back.
pub(super) async fn run(
    connection: &mut PgConnection,
    known: &Known,
    operation: &Operation,
) -> Result<Outcome, Refused> {
    Ok(match operation {
        Operation::Claim { node, limit, now } => nodes::claim(connection, known, node, *limit, *now).await?,
        Operation::ClaimOne { node, exec_id, now } => nodes::claim_one(connection, known, node, exec_id, *now).await?,
        Operation::ClaimAnew { node, exec_id, now } => {
            nodes::claim_anew(connection, known, node, exec_id, *now).await?
        }
        Operation::Claimed { node, now } => nodes::claimed_at(connection, known, node, *now).await?,
        Operation::HandBack { node, now } => nodes::hand_back(connection, node, *now).await?,
        Operation::Request { demand, now } => {
            Outcome::Requested(control::request(connection, known, demand, *now).await?)
        }
        Operation::Signal(sent) => control::put_signal(connection, sent).await?,
        Operation::Publish(publication) => control::publish(connection, known, publication).await?,
        Operation::Fire(fire) => schedule::fire(connection, known, fire).await?,
        Operation::Memory { changes, now } => {
            memory::write(connection, changes, *now).await?;
            Outcome::Done
        }
        Operation::Declare { declared, now } => schedule::declare(connection, declared, *now).await?,
        Operation::SetSchedule { schedule_id, setting, next_fire_at } => {
            schedule::set(connection, schedule_id, setting, *next_fire_at).await?
        }
        Operation::Import(step) => import::run(connection, known, step).await?,
        Operation::Sweep(sweep) => Outcome::Removed(sweep::run(connection, sweep).await?),
        Operation::PutNode(node) => {
            nodes::put(connection, node).await?;
            Outcome::Done
        }
        Operation::RemoveNode(node) => {
            nodes::remove(connection, node).await?;
            Outcome::Done
        }
        // Nobody is alone on this database: whether others live is what their leases say.
        Operation::Recover { me, sole: _, now } => nodes::recover(connection, me, *now).await?,
        Operation::KvSet { entry, expected, now } => {
            Outcome::Flag(kv::set(connection, entry, expected.as_ref(), *now).await?)
        }
        Operation::KvDelete { space, key } => Outcome::Flag(kv::delete(connection, space, key).await?),
        Operation::Ping => {
            sql::query("SELECT 1").execute(connection).await?;
            Outcome::Done
        }
    })
}
