//! Noticing what other nodes write, by looking: a short query that tells whether anything is new for this one.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sqlx::{PgConnection, Row as _};

use super::PgStorage;
use super::sql;

/// Between two looks while things happen, and while nothing does (cli-and-api §10).
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);
/// Between two looks while the queue holds something that this node has not taken.
const QUEUED: Duration = Duration::from_millis(250);

/// What the last look saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    last: Option<Look>,
    rest: Duration,
    /// When it was.
    at: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    /// Something in the queue may be claimed.
    queued: bool,
    newest: Option<i64>,
    /// What is asked of runs of this process, in short.
    asked: Option<String>,
    /// The latest change of a schedule.
    schedules: Option<i64>,
    /// A node's lease has ended.
    dead: bool,
}

/// What is asked of the runs of nodes `$1`: everything that makes a difference to whoever drives them is in it.
const LOOK: &str = concat!(
    "SELECT EXISTS (SELECT 1 FROM ready WHERE gated = 0), \
    (SELECT max(not_before) FROM ready WHERE gated = 0), \
    (SELECT md5(string_agg(concat_ws('|', e.exec_id, e.cancel_request IS NOT NULL, e.pause_request, q.position, c.ended), \
        ',' ORDER BY e.exec_id)) FROM executions AS e \
     LEFT JOIN LATERAL (SELECT max(s.position) AS position FROM signals AS s \
        WHERE s.exec_id = e.exec_id AND s.state = 'queued') AS q ON TRUE \
     LEFT JOIN LATERAL (SELECT count(*) AS ended FROM executions AS s \
        WHERE s.parent_exec_id = e.exec_id AND s.finished_at IS NOT NULL) AS c ON TRUE \
     WHERE e.owner_node = ANY($1) AND (e.cancel_request IS NOT NULL OR e.pause_request IS NOT NULL \
        OR q.position IS NOT NULL OR c.ended > 0)), \
    (SELECT max(updated_at) FROM schedules), EXISTS (SELECT 1 FROM nodes WHERE lease_until <= ",
    now!(),
    ")"
);

async fn look(connection: &mut PgConnection, nodes: &[String]) -> Result<Look, sqlx::Error> {
    let row = sql::query(LOOK).bind(nodes).fetch_one(connection).await?;
    Ok(Look {
        queued: row.try_get(0)?,
        newest: row.try_get(1)?,
        asked: row.try_get(2)?,
        schedules: row.try_get(3)?,
        dead: row.try_get(4)?,
    })
}

impl Seen {
    /// Whether there is anything new, and how long to wait for the next look.
    fn note(&mut self, look: Look) -> bool {
        let queued = look.queued;
        let is_new = self.last.as_ref() != Some(&look);
        (self.last, self.at) = (Some(look), Some(Instant::now()));
        self.rest = match (is_new, queued) {
            (true, _) => SHORTEST,
            (false, true) => (self.rest * 2).clamp(SHORTEST, QUEUED),
            (false, false) => (self.rest * 2).clamp(SHORTEST, LONGEST),
        };
        is_new || (queued && self.rest == QUEUED)
    }
}

/// How long a look tells that nobody has died.
const FRESH: Duration = Duration::from_secs(2);

impl PgStorage {
    /// Whether the last look was just now and saw no node whose lease has ended.
    pub(super) fn saw_all_alive(&self) -> bool {
        let seen = lock(&self.seen);
        let is_fresh = seen.at.is_some_and(|at| at.elapsed() < FRESH);
        is_fresh && seen.last.as_ref().is_some_and(|look| !look.dead)
    }

    /// Waits for the next look, which another node may ask for; never two within the shortest time.
    async fn rest(&self) {
        let rest = lock(&self.seen).rest.max(SHORTEST);
        let Some(bell) = &self.bell else { return self.clock().sleep(rest).await };
        self.clock().sleep(SHORTEST).await;
        tokio::select! {
            () = bell.heard() => {}
            () = self.clock().sleep(rest.saturating_sub(SHORTEST)) => {}
        }
    }

    /// Waits until another node may have written something that concerns this one.
    pub(super) async fn wait_for_others(&self) {
        self.listen();
        loop {
            self.rest().await;
            if self.is_closed() {
                return std::future::pending().await;
            }
            let nodes = lock(&self.nodes).clone();
            let looked = match self.reader_aside().await {
                Ok(mut connection) => look(&mut connection, &nodes).await.ok(),
                Err(_) => None,
            };
            let mut seen = lock(&self.seen);
            match looked {
                Some(looked) => {
                    if seen.note(looked) {
                        return;
                    }
                }
                // It cannot be reached: whoever needs it says so.
                None => seen.rest = LONGEST,
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
