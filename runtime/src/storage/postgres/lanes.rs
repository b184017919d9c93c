//! Lanes: connections that take what waits and commit it together, one statement and one flush for all of it.
//!
//! When something in a batch fails, nothing of it was written: it is tried again in halves, and what is left alone gets a
//! transaction of its own, so that what fails fails alone. A batch whose connection is lost may or may not be written; it
//! is tried again, and what is refused then is looked for in the database before anybody is told (cli-and-api §9.3).

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, Transaction};
use tokio::task::JoinSet;

use super::super::row::{Durability, Started};
use super::super::work::encode::Encoded;
use super::super::work::operation::{Outcome, replay};
use super::super::{Error, crash};
use super::batch::{self, Flush, Guard};
use super::error::{Refused, is_general};
use super::known::Known;
use super::queue::{Queue, Request};
use super::rows::{self, Boxed};
use super::sql;
use super::{repeat, tries};
use crate::clock::Clock;

/// What lanes work with.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) queue: Queue,
    pub(super) known: Known,
    pub(super) pool: PgPool,
    pub(super) clock: Clock,
    /// Level of what belongs to no run.
    pub(super) durability: Durability,
    /// A lane keeps its connection; not where there are too few.
    pub(super) keeps: bool,
    /// Sessions are not ours: each statement is in a transaction.
    pub(super) pooled: bool,
}

/// How long a lane without anything to do keeps its connection.
const REST: Duration = Duration::from_secs(5);

/// One lane, until the queue is closed and empty.
pub(super) async fn serve(desk: Arc<Desk>) {
    let mut kept = None;
    let mut alone = JoinSet::new();
    loop {
        let taken = tokio::select! {
            taken = desk.queue.take(&desk.known) => taken,
            () = desk.clock.sleep(REST), if kept.is_some() => {
                kept = None;
                continue;
            }
        };
        let Some(taken) = taken else { break };
        for request in taken.alone {
            let desk = Arc::clone(&desk);
            alone.spawn(async move {
                let Request { member, reply } = request;
                let outcome = desk.alone(&member).await;
                desk.queue.done(std::iter::once(&*member), true);
                let _caller_gone = reply.send(outcome);
            });
        }
        if !taken.together.is_empty() {
            desk.together(&mut kept, taken.together).await;
        }
        if !desk.keeps {
            kept = None;
        }
        while alone.try_join_next().is_some() {}
    }
    while alone.join_next().await.is_some() {}
}

type Kept = Option<PoolConnection<Postgres>>;

impl Desk {
    /// Commits a batch, or its halves, and answers everybody in it.
    fn together<'a>(&'a self, kept: &'a mut Kept, mut requests: Vec<Request>) -> Boxed<'a, ()> {
        Box::pin(async move {
            let members: Vec<&Encoded> = requests.iter().map(|request| &*request.member).collect();
            let error = match self.write(kept, &members).await {
                Ok(()) => None,
                Err(Refused::Storage(error)) if is_general(&error) => Some(error),
                Err(refused) => match Error::from(refused) {
                    error if is_general(&error) => Some(error),
                    // Something in it fails: find out what.
                    _ if requests.len() > 1 => {
                        let half = requests.split_off(requests.len() / 2);
                        self.together(kept, requests).await;
                        return self.together(kept, half).await;
                    }
                    _ => {
                        let Some(Request { member, reply }) = requests.pop() else { return };
                        let outcome = self.alone(&member).await;
                        self.queue.done(std::iter::once(&*member), false);
                        let _caller_gone = reply.send(outcome);
                        return;
                    }
                },
            };
            members.iter().filter(|_| error.is_none()).for_each(|member| self.known.wrote(member));
            self.queue.done(members.into_iter(), false);
            for Request { member, reply } in requests {
                let outcome = error.clone().map_or_else(|| Ok(member.outcome(Vec::new())), Err);
                let _caller_gone = reply.send(outcome);
            }
        })
    }

    /// Writes members in one statement. A lost connection and whoever was in the way do not count.
    async fn write(&self, kept: &mut Kept, members: &[&Encoded]) -> Result<(), Refused> {
        let mut tries = tries::Tries::new(&self.clock);
        loop {
            let refused = match self.try_write(kept, members).await {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            if refused.is_lost() {
                *kept = None;
            }
            if !tries.again(&refused).await {
                return Err(refused);
            }
        }
    }

    async fn try_write(&self, kept: &mut Kept, members: &[&Encoded]) -> Result<(), Refused> {
        let connection = match kept {
            Some(connection) => connection,
            None => kept.insert(self.pool.acquire().await?),
        };
        let definitions = self.known.new_definitions(members);
        let flush = self.flush(members);
        crash::begin(members.iter().filter(|member| member.started.is_some()).map(|member| &member.exec_id));
        crash::point(crash::Side::Before)?;
        if self.pooled {
            let mut transaction = sql::begin(connection).await?;
            let written = batch::write(&mut transaction, members, &definitions, Guard::Plain, flush).await;
            match written {
                Ok(()) => transaction.commit().await?,
                Err(refused) => {
                    // At once: dropped, it would hold its session until the lane has something else to do.
                    let _connection_gone = transaction.rollback().await;
                    return Err(refused);
                }
            }
        } else {
            batch::write(connection, members, &definitions, Guard::Plain, flush).await?;
        }
        crash::point(crash::Side::After)?;
        Ok(())
    }

    /// A transaction.
    pub(super) async fn begin<'c>(
        &self,
        connection: &'c mut PgConnection,
    ) -> Result<Transaction<'c, Postgres>, sqlx::Error> {
        if self.pooled { sql::begin(connection).await } else { connection.begin().await }
    }

    /// Commits one member in a transaction of its own.
    async fn alone(&self, member: &Encoded) -> Result<Outcome, Error> {
        let mut tries = tries::Tries::new(&self.clock);
        loop {
            let refused = match self.try_alone(member).await {
                Ok(outcome) => {
                    if !matches!(outcome, Outcome::Started(Started::Replayed(_))) {
                        self.known.wrote(member);
                    }
                    return Ok(outcome);
                }
                Err(refused) => refused,
            };
            if !tries.again(&refused).await {
                return Err(refused.into());
            }
        }
    }

    async fn try_alone(&self, member: &Encoded) -> Result<Outcome, Refused> {
        let mut connection = self.pool.acquire().await?;
        let flush = self.flush(&[member]);
        crash::begin(member.started.iter().map(|_| &member.exec_id));
        crash::point(crash::Side::Before)?;
        let mut transaction = self.begin(&mut connection).await?;
        if let Some(replayed) = replayed(&mut transaction, member).await? {
            transaction.commit().await?;
            return Ok(Outcome::Started(replayed));
        }
        let refused = match rows::write(&mut transaction, &self.known, member, flush).await {
            Ok(woken) => {
                transaction.commit().await?;
                crash::point(crash::Side::After)?;
                return Ok(member.outcome(woken));
            }
            Err(refused) => refused,
        };
        transaction.rollback().await?;
        if refused.is_transient() || refused.is_lost() {
            return Err(refused);
        }
        let mut reading = self.begin(&mut connection).await?;
        let error = rows::diagnose(&mut reading, member, refused).await;
        // A repeat after a commit of which nobody knew whether it happened.
        if !is_general(&error) && repeat::is_recorded(&mut reading, member).await? {
            let woken = repeat::woken(&mut reading, member).await?;
            reading.commit().await?;
            return Ok(member.outcome(woken));
        }
        Err(error.into())
    }

    /// Whether a commit of these waits for the disk: it does if one of them must.
    fn flush(&self, members: &[&Encoded]) -> Flush {
        let level = |member: &&Encoded| {
            let own = match &member.started {
                Some(start) => start.durability,
                None => self.known.durability(&member.exec_id).unwrap_or(Durability::Full),
            };
            // What reaches other runs is none the weaker for being sent by a run of a low level.
            match &member.outward {
                Some(outward) => outward.level(own.max(self.durability)),
                None => own,
            }
        };
        let waits = members.iter().map(level).any(|level| level == Durability::Full);
        if waits { Flush::Wait } else { Flush::Later }
    }
}

/// Which run an idempotency key (`$1` scope, `$2` key) stands for at `$3`. Keys of deliveries
/// ([`DELIVERY`](super::super::row::DELIVERY)) are forgotten in time, though their run goes on.
pub(super) const KNOWN_KEY: &str = "SELECT request_hash, exec_id FROM idempotency_keys AS k WHERE scope = $1 AND key = $2 AND (expires_at > $3 \
     OR scope NOT LIKE 'delivery|%' AND EXISTS (SELECT 1 FROM executions AS e WHERE e.exec_id = k.exec_id \
     AND e.finished_at IS NULL))";

/// The run that an idempotency key of `member` stands for; a key that is past its time and whose run has ended is
/// removed instead.
///
/// # Errors
/// [`Error::Conflict`] when the key was used with another request.
async fn replayed(connection: &mut PgConnection, member: &Encoded) -> Result<Option<Started>, Refused> {
    let Some((start, key)) = member.key() else { return Ok(None) };
    let query = sql::query_as(KNOWN_KEY).bind(&*key.scope).bind(&*key.key).bind(start.at.0);
    let found = query.fetch_optional(&mut *connection).await?;
    let known = replay(found, &key.request_hash, &member.exec_id)?;
    if known.is_none() {
        let forget = sql::query("DELETE FROM idempotency_keys WHERE scope = $1 AND key = $2");
        forget.bind(&*key.scope).bind(&*key.key).execute(connection).await?;
    }
    Ok(known)
}
