//! The one writer of a process: takes logical transactions from a queue and commits many of them at once.
//!
//! What waits in the queue when a commit ends becomes the next batch, so a transaction alone never waits for company.
//! A batch is first tried as a whole; if anything in it fails it is rolled back and run again one by one under
//! savepoints, so that what fails fails alone. Nobody is answered before the commit has returned.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use compozy_engine::time::Timestamp;
use sqlx::{Row, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::super::row::{Durability, Run, Started};
use super::super::{CancelOutcome, sqlite::operation};
use super::super::{Error, crash};
use super::checkpoint::Progress;
use super::encode::{Encoded, TERMINAL, integer};
use super::error::{from_sqlx, is_busy, is_general};
use super::operation::Operation;
use super::statement::{Calls, Slot, Value};
use crate::clock::Clock;
use crate::id::ExecId;

/// Most logical transactions of one commit (cli-and-api §9.3).
const BATCH: usize = 256;
/// How often a held lock is tried again.
const BUSY_STEP: Duration = Duration::from_micros(500);
/// How long the lock is left alone after a batch while another process works on the file.
const FAIR_PAUSE: Duration = Duration::from_millis(1);
/// How often the writer looks for other live processes.
const LOOK_AROUND: Duration = Duration::from_millis(250);
/// Runs whose status is remembered; more are forgotten at once and looked at again by the statements.
const REMEMBERED: usize = 100_000;

/// The connection that writes. `None` once closed.
pub(super) type Connection = Arc<Mutex<Option<SqliteConnection>>>;

/// What a logical transaction gave.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    Started(Started),
    Runs(Vec<Run>),
    Cancel(CancelOutcome),
    Count(u64),
    Flag(bool),
}

/// A logical transaction in the queue.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Outcome, Error>>,
}

/// Kinds of logical transactions.
#[derive(Debug)]
pub(super) enum Work {
    /// A start or a commit: rows only, written together with those of others.
    Rows(Box<Encoded>),
    /// Anything that reads before it writes.
    Operation(Operation),
}

/// Settings of the writer.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) clock: Clock,
    /// Level of what belongs to no run.
    pub(super) durability: Durability,
    /// How long a held lock is waited for in all.
    pub(super) busy_limit: Duration,
    /// Nobody else can have the database.
    pub(super) alone: bool,
}

/// The state of the writer's task.
pub(super) struct Writer {
    connection: Connection,
    settings: Settings,
    /// Told after every commit, for the checkpoint.
    progress: Arc<Progress>,
    /// Status and durability of runs this process writes.
    runs: HashMap<ExecId, (Arc<str>, Durability)>,
    /// Definitions stored as heads by this process: kind and id to digest.
    heads: HashMap<(Arc<str>, Arc<str>), Arc<str>>,
    /// Present `synchronous` of the connection.
    level: Durability,
    /// Node ids registered through this writer.
    own_nodes: HashSet<String>,
    others: bool,
    looked: Option<Instant>,
}

/// Starts the writer; it ends when the queue is closed and empty.
pub(super) fn spawn(
    connection: Connection,
    settings: Settings,
    progress: Arc<Progress>,
) -> (mpsc::Sender<Request>, tokio::task::JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(4 * BATCH);
    let writer = Writer {
        connection,
        level: settings.durability,
        settings,
        progress,
        runs: HashMap::new(),
        heads: HashMap::new(),
        own_nodes: HashSet::new(),
        others: false,
        looked: None,
    };
    (sender, tokio::spawn(writer.work(receiver)))
}

impl Writer {
    async fn work(mut self, mut receiver: mpsc::Receiver<Request>) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match receiver.recv().await {
                    Some(request) => waiting.push_back(request),
                    None => return,
                }
            }
            while waiting.len() < BATCH {
                let Ok(request) = receiver.try_recv() else { break };
                waiting.push_back(request);
            }
            let batch = take_batch(&mut waiting);
            let members = batch.len();
            self.commit(batch).await;
            self.progress.committed(members);
            self.look_around().await;
            if self.others {
                self.settings.clock.sleep(FAIR_PAUSE).await;
            } else if members > 1 {
                // Those just answered are about to ask again: let them come first.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Runs a batch and answers everybody in it.
    async fn commit(&mut self, batch: Vec<Request>) {
        let connection = Arc::clone(&self.connection);
        let mut connection = connection.lock().await;
        crash::point(crash::Side::Before);
        let result = match connection.as_mut() {
            Some(connection) => self.transact(connection, &batch).await,
            None => Err(Error::Unavailable("the database is closed".into())),
        };
        crash::point(crash::Side::After);
        match result {
            Ok(outcomes) => {
                for (request, outcome) in batch.into_iter().zip(outcomes) {
                    self.remember(&request.work, &outcome);
                    let _caller_gone = request.reply.send(outcome);
                }
            }
            Err(error) => {
                for request in batch {
                    self.forget(&request.work);
                    let _caller_gone = request.reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// One outcome per request, or the error of them all.
    async fn transact(
        &mut self,
        connection: &mut SqliteConnection,
        batch: &[Request],
    ) -> Result<Vec<Result<Outcome, Error>>, Error> {
        self.set_level(connection, batch).await?;
        let rows: Option<Vec<&Encoded>> = batch.iter().map(|request| request.work.rows()).collect();
        if let Some(members) = rows {
            match self.together(connection, &members).await {
                Ok(()) => return Ok(members.iter().map(|member| Ok(member.outcome())).collect()),
                Err(error) if is_general(&error) => return Err(error),
                // Something in it fails: find out what.
                Err(_) => {}
            }
        }
        self.one_by_one(connection, batch).await
    }

    /// All rows of a batch in as few calls as possible.
    async fn together(&self, connection: &mut SqliteConnection, members: &[&Encoded]) -> Result<(), Error> {
        let since = Instant::now();
        loop {
            let calls = self.calls(members, true)?;
            let Err(error) = calls.run(connection).await else { return Ok(()) };
            let _not_begun = sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await;
            if !is_busy(&error) || since.elapsed() >= self.settings.busy_limit {
                return Err(from_sqlx(error));
            }
            self.settings.clock.sleep(BUSY_STEP).await;
        }
    }

    /// Every member under its own savepoint.
    async fn one_by_one(
        &self,
        connection: &mut SqliteConnection,
        batch: &[Request],
    ) -> Result<Vec<Result<Outcome, Error>>, Error> {
        self.begin(connection).await?;
        let result = self.inside(connection, batch).await;
        let ended = match result {
            Ok(outcomes) => execute(connection, "COMMIT").await.map(|()| outcomes),
            Err(error) => Err(error),
        };
        if ended.is_err() {
            let _rolled_back_already = execute(connection, "ROLLBACK").await;
        }
        ended
    }

    async fn inside(
        &self,
        connection: &mut SqliteConnection,
        batch: &[Request],
    ) -> Result<Vec<Result<Outcome, Error>>, Error> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for request in batch {
            execute(connection, "SAVEPOINT member").await?;
            let outcome = match &request.work {
                Work::Rows(encoded) => self.alone(connection, encoded).await,
                Work::Operation(operation) => operation::run(operation, connection).await,
            };
            match outcome {
                Err(error) if is_general(&error) => return Err(error),
                Err(error) => {
                    execute(connection, "ROLLBACK TO member; RELEASE member").await?;
                    outcomes.push(Err(error));
                }
                Ok(outcome) => {
                    execute(connection, "RELEASE member").await?;
                    outcomes.push(Ok(outcome));
                }
            }
        }
        Ok(outcomes)
    }

    /// The rows of one member, with the reason if they do not fit.
    async fn alone(&self, connection: &mut SqliteConnection, member: &Encoded) -> Result<Outcome, Error> {
        if let Some(replayed) = operation::replayed(connection, member).await? {
            return Ok(Outcome::Started(replayed));
        }
        match self.calls(&[member], false)?.run(connection).await {
            Ok(()) => Ok(member.outcome()),
            Err(error) => Err(operation::diagnose(connection, member, error).await),
        }
    }

    async fn begin(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        let since = Instant::now();
        while let Err(error) = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await {
            if !is_busy(&error) || since.elapsed() >= self.settings.busy_limit {
                return Err(from_sqlx(error));
            }
            self.settings.clock.sleep(BUSY_STEP).await;
        }
        Ok(())
    }

    /// The calls that write `members`; a whole transaction, or its inside.
    fn calls(&self, members: &[&Encoded], whole: bool) -> Result<Calls, Error> {
        let gathered: Vec<(Slot, Vec<Value>)> = Slot::ALL
            .into_iter()
            .map(|slot| (slot, self.gather(slot, members, whole)))
            .filter(|(_, values)| !values.is_empty())
            .collect();
        let mut calls = Calls::new(gathered.iter().map(|(_, values)| values.len()).sum());
        if whole {
            calls.push("BEGIN IMMEDIATE");
        }
        for (slot, values) in &gathered {
            calls.rows(*slot, values).map_err(|error| Error::Driver(error.to_string()))?;
        }
        if whole {
            calls.push("COMMIT");
        }
        Ok(calls)
    }

    /// The rows of all members for one slot.
    fn gather(&self, slot: Slot, members: &[&Encoded], whole: bool) -> Vec<Value> {
        let mut values = Vec::new();
        match slot {
            Slot::Advance | Slot::Move => {
                for member in members {
                    let Some(update) = &member.update else { continue };
                    let same = match &update.status {
                        None => true,
                        Some(status) => {
                            whole && self.runs.get(&member.exec_id).is_some_and(|(known, _)| known == status)
                        }
                    };
                    if same == (slot == Slot::Advance) {
                        update.append(slot, &mut values);
                    }
                }
            }
            Slot::Definition | Slot::Head => {
                let mut seen = HashSet::new();
                let starts = members.iter().filter_map(|member| member.started.as_ref());
                for (definition, at) in starts.filter_map(|start| Some((start.definition.as_ref()?, start.at))) {
                    let head = self.heads.get(&(Arc::clone(&definition.kind), Arc::clone(&definition.id)));
                    if head == Some(&definition.digest) || !seen.insert(&definition.digest) {
                        continue;
                    }
                    let [kind, id, digest] = [&definition.kind, &definition.id, &definition.digest]
                        .map(|text| Value::Text(Arc::clone(text)));
                    if slot == Slot::Head {
                        values.extend([kind, id, digest, integer(at.0)]);
                    } else {
                        let content = Value::Text(Arc::clone(&definition.content));
                        values.extend([digest, kind, id, content, integer(at.0)]);
                    }
                }
            }
            Slot::WorkflowRuns => {
                let mut runs: HashMap<&Arc<str>, i64> = HashMap::new();
                for start in members.iter().filter_map(|member| member.started.as_ref()) {
                    *runs.entry(&start.workflow_id).or_default() += 1;
                }
                for (workflow_id, count) in runs {
                    values.extend([Value::Text(Arc::clone(workflow_id)), integer(count)]);
                }
            }
            _ => {
                for (_, rows) in members.iter().flat_map(|member| &member.rows).filter(|(present, _)| *present == slot)
                {
                    values.extend_from_slice(rows);
                }
            }
        }
        values
    }

    /// Sets `synchronous` to the highest level of the batch's members.
    async fn set_level(&mut self, connection: &mut SqliteConnection, batch: &[Request]) -> Result<(), Error> {
        if self.settings.durability == Durability::Memory {
            return Ok(());
        }
        let level = batch.iter().map(|request| match &request.work {
            Work::Operation(_) => self.settings.durability,
            Work::Rows(encoded) => match &encoded.started {
                Some(start) => start.durability,
                None => self.runs.get(&encoded.exec_id).map_or(Durability::Full, |(_, durability)| *durability),
            },
        });
        let level = level.max().unwrap_or(Durability::Full).max(Durability::Normal);
        if level != self.level {
            let full = level == Durability::Full;
            execute(connection, if full { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" }).await?;
            self.level = level;
        }
        Ok(())
    }

    /// Keeps what the next batch is decided by.
    fn remember(&mut self, work: &Work, outcome: &Result<Outcome, Error>) {
        if self.runs.len() > REMEMBERED {
            self.runs.clear();
        }
        match (work, outcome) {
            (Work::Rows(encoded), Ok(outcome)) => self.remember_rows(encoded, outcome),
            (Work::Operation(Operation::PutNode(node)), Ok(_)) => {
                self.own_nodes.insert(node.node_id.as_str().to_owned());
            }
            (Work::Operation(_), Ok(Outcome::Runs(runs))) => {
                for run in runs {
                    self.runs.insert(run.exec_id.clone(), (run.status.as_str().into(), run.durability));
                }
            }
            (Work::Operation(Operation::HandBack { .. } | Operation::Recover { .. }), Ok(_)) => self.runs.clear(),
            (work, Err(_)) => self.forget(work),
            (Work::Operation(_), Ok(_)) => {}
        }
    }

    fn remember_rows(&mut self, encoded: &Encoded, outcome: &Outcome) {
        if let (Some(start), Outcome::Started(Started::New)) = (&encoded.started, outcome) {
            if !TERMINAL.contains(&&*start.status) {
                self.runs.insert(encoded.exec_id.clone(), (Arc::clone(&start.status), start.durability));
            }
            if let Some(definition) = &start.definition {
                let key = (Arc::clone(&definition.kind), Arc::clone(&definition.id));
                self.heads.insert(key, Arc::clone(&definition.digest));
            }
        }
        match encoded.update.as_ref().and_then(|update| Some((update, update.status.as_ref()?))) {
            Some((update, _)) if update.ends => {
                self.runs.remove(&encoded.exec_id);
            }
            Some((_, status)) => {
                if let Some((known, _)) = self.runs.get_mut(&encoded.exec_id) {
                    *known = Arc::clone(status);
                }
            }
            None => {}
        }
    }

    fn forget(&mut self, work: &Work) {
        if let Work::Rows(encoded) = work {
            // Its durability stays known if it is; only its status is in doubt.
            if let Some((status, _)) = self.runs.get_mut(&encoded.exec_id) {
                *status = "".into();
            }
        }
    }

    /// Now and then: is another process alive that may want the lock?
    async fn look_around(&mut self) {
        if self.settings.alone || self.looked.is_some_and(|last| last.elapsed() < LOOK_AROUND) {
            return;
        }
        self.looked = Some(Instant::now());
        let connection = Arc::clone(&self.connection);
        let mut connection = connection.lock().await;
        let Some(connection) = connection.as_mut() else { return };
        if let Ok(nodes) = live_nodes(connection, self.settings.clock.now()).await {
            self.others = nodes.iter().any(|node| !self.own_nodes.contains(node));
        }
    }
}

async fn live_nodes(connection: &mut SqliteConnection, now: Timestamp) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query("SELECT node_id FROM nodes WHERE lease_until > ?").bind(now.0).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get_unchecked(0)).collect()
}

/// Runs SQL without values.
pub(super) async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(sql).execute(connection).await.map(|_| ()).map_err(from_sqlx)
}

/// At most [`BATCH`] requests from the front, no two of one run or one idempotency key: their order must be kept.
fn take_batch(waiting: &mut VecDeque<Request>) -> Vec<Request> {
    let mut runs = HashSet::new();
    let mut keys = HashSet::new();
    let fits = waiting.iter().take(BATCH).take_while(|request| match &request.work {
        Work::Operation(_) => true,
        Work::Rows(encoded) => {
            let key = encoded.started.as_ref().and_then(|start| start.idempotency.as_ref());
            runs.insert(&encoded.exec_id) && key.is_none_or(|key| keys.insert((&key.scope, &key.key)))
        }
    });
    let count = fits.count();
    waiting.drain(..count).collect()
}

impl Work {
    fn rows(&self) -> Option<&Encoded> {
        match self {
            Self::Rows(encoded) => Some(encoded),
            Self::Operation(_) => None,
        }
    }
}

impl Encoded {
    fn outcome(&self) -> Outcome {
        if self.started.is_some() { Outcome::Started(Started::New) } else { Outcome::Done }
    }
}
