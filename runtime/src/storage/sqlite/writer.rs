//! The one writer of a process: takes logical transactions from a queue and commits many of them at once.
//!
//! It is a thread with a connection of its own, so that a step alone costs one wake-up there and one back. What waits in
//! the queue when a commit ends becomes the next batch, so a transaction alone never waits for company. A batch is first
//! tried as a whole; if anything in it fails it is rolled back and run again one by one under savepoints, so that what
//! fails fails alone. Nobody is answered before the commit has returned.

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{Mutex, oneshot, watch};

use super::super::row::{Durability, Started};
use super::super::{CancelOutcome, Error, crash};
use super::checkpoint::Progress;
use super::encode::Encoded;
use super::error::{from_sqlite, is_busy, is_general};
use super::known::Known;
use super::operation::{self, Operation};
use super::statement::{Refused, Slot, Value};
use crate::clock::Clock;
use crate::id::ExecId;

/// Most logical transactions of one commit (cli-and-api §9.3).
const BATCH: usize = 256;
/// How often a held lock is tried again.
const BUSY_STEP: Duration = Duration::from_micros(500);
/// How long the lock is left alone after a batch while another process works on the file.
const FAIR_PAUSE: Duration = Duration::from_millis(1);
/// How often the writer looks for other live processes, and for their commits once somebody asks (cli-and-api §4.3).
const LOOK_AROUND: Duration = Duration::from_millis(250);
/// Prepared statements that are kept: each kind of row, each operation.
const STATEMENTS: usize = 64;

/// Held while a batch is written, by whoever must not meet one: the checkpoint, and in memory every reader.
pub(super) type Gate = Arc<Mutex<()>>;

/// What a logical transaction gave.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    Started(Started),
    Claimed(Vec<Claimed>),
    Cancel(CancelOutcome),
    Count(u64),
    Flag(bool),
}

/// A run that has a new owner.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) exec_id: ExecId,
    pub(super) status: Arc<str>,
    /// Its word.
    pub(super) durability: String,
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

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Message {
    Request(Request),
    /// Count the commits of other processes from now on.
    Watch(watch::Sender<u64>),
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

/// The writer from outside.
#[derive(Debug)]
pub(super) struct Handle {
    /// Dropped to end it.
    pub(super) queue: Sender<Message>,
    /// Its connection, once the queue is closed and empty.
    pub(super) ended: oneshot::Receiver<Connection>,
}

/// The state of the writer's thread.
struct Writer {
    connection: Connection,
    settings: Settings,
    gate: Gate,
    /// Told after every commit, for the checkpoint.
    progress: Arc<Progress>,
    known: Known,
    /// Present `synchronous` of the connection.
    level: Durability,
    /// Other processes are alive on this database.
    others: bool,
    looked: Option<Instant>,
    watch: Option<(watch::Sender<u64>, i64)>,
}

/// Starts the writer; it ends when the queue is closed and empty.
///
/// # Errors
/// [`Error::Unavailable`] when there is no thread to be had.
pub(super) fn spawn(
    connection: Connection,
    settings: Settings,
    gate: Gate,
    progress: Arc<Progress>,
) -> Result<Handle, Error> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let (queue, receiver) = mpsc::channel();
    let (give_back, ended) = oneshot::channel();
    let writer = Writer {
        connection,
        level: settings.durability,
        settings,
        gate,
        progress,
        known: Known::default(),
        others: false,
        looked: None,
        watch: None,
    };
    let work = move || {
        let _nobody_waits = give_back.send(writer.work(&receiver));
    };
    let thread = std::thread::Builder::new().name("storage-writer".into()).spawn(work);
    thread.map_err(|error| Error::Unavailable(format!("no thread for the writer: {error}")))?;
    Ok(Handle { queue, ended })
}

impl Writer {
    fn work(mut self, receiver: &Receiver<Message>) -> Connection {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match self.next(receiver) {
                    Ok(message) => self.take(message, &mut waiting),
                    Err(RecvTimeoutError::Timeout) => self.count_changes(),
                    Err(RecvTimeoutError::Disconnected) => return self.connection,
                }
            }
            while waiting.len() < BATCH {
                let Ok(message) = receiver.try_recv() else { break };
                self.take(message, &mut waiting);
            }
            let batch = take_batch(&mut waiting);
            if batch.is_empty() {
                continue;
            }
            let members = batch.len();
            self.commit(batch);
            self.progress.committed(members);
            self.look_around();
            if self.others {
                std::thread::sleep(FAIR_PAUSE);
            }
        }
    }

    fn next(&self, receiver: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        match &self.watch {
            Some(_) => receiver.recv_timeout(LOOK_AROUND),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn take(&mut self, message: Message, waiting: &mut VecDeque<Request>) {
        match message {
            Message::Request(request) => waiting.push_back(request),
            Message::Watch(changes) => {
                self.watch = Some((changes, data_version(&self.connection).unwrap_or_default()));
            }
        }
    }

    /// Runs a batch and answers everybody in it.
    fn commit(&mut self, batch: Vec<Request>) {
        let gate = Arc::clone(&self.gate);
        let closed = gate.blocking_lock();
        crash::point(crash::Side::Before);
        let result = self.transact(&batch);
        crash::point(crash::Side::After);
        drop(closed);
        match result {
            Ok(outcomes) => {
                for (request, outcome) in batch.into_iter().zip(outcomes) {
                    self.known.remember(&request.work, &outcome);
                    let _caller_gone = request.reply.send(outcome);
                }
            }
            Err(error) => {
                for request in batch {
                    self.known.forget(&request.work);
                    let _caller_gone = request.reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// One outcome per request, or the error of them all.
    fn transact(&mut self, batch: &[Request]) -> Result<Vec<Result<Outcome, Error>>, Error> {
        self.set_level(batch)?;
        let rows: Option<Vec<&Encoded>> = batch.iter().map(|request| request.work.rows()).collect();
        if let Some(members) = rows {
            self.begin()?;
            let written = members.iter().try_for_each(|member| self.write(member, true));
            let ended = written.and_then(|()| Ok(execute(&self.connection, "COMMIT")?));
            let Err(refused) = ended else { return Ok(members.iter().map(|member| Ok(member.outcome())).collect()) };
            self.roll_back();
            // Something in it fails: find out what, unless it is the database itself.
            if let Refused::Sqlite(error) = refused {
                let error = from_sqlite(error);
                if is_general(&error) {
                    return Err(error);
                }
            }
        }
        self.one_by_one(batch)
    }

    /// Every member under its own savepoint.
    fn one_by_one(&self, batch: &[Request]) -> Result<Vec<Result<Outcome, Error>>, Error> {
        self.begin()?;
        let ended = batch.iter().map(|request| self.member(&request.work)).collect::<Result<Vec<_>, _>>();
        let ended = ended.and_then(|outcomes| {
            execute(&self.connection, "COMMIT").map(|()| outcomes).map_err(from_sqlite)
        });
        if ended.is_err() {
            self.roll_back();
        }
        ended
    }

    /// What a member gave, or the error of all.
    fn member(&self, work: &Work) -> Result<Result<Outcome, Error>, Error> {
        let connection = &self.connection;
        execute(connection, "SAVEPOINT member").map_err(from_sqlite)?;
        let outcome = match work {
            Work::Rows(encoded) => self.alone(encoded),
            Work::Operation(operation) => operation::run(operation, connection),
        };
        if let Err(error) = &outcome {
            if is_general(error) {
                return outcome.map(Ok);
            }
            execute(connection, "ROLLBACK TO member").map_err(from_sqlite)?;
        }
        execute(connection, "RELEASE member").map_err(from_sqlite)?;
        Ok(outcome)
    }

    /// The rows of one member, with the reason if they do not fit.
    fn alone(&self, member: &Encoded) -> Result<Outcome, Error> {
        if let Some(replayed) = operation::replayed(&self.connection, member)? {
            return Ok(Outcome::Started(replayed));
        }
        match self.write(member, false) {
            Ok(()) => Ok(member.outcome()),
            Err(refused) => Err(operation::diagnose(&self.connection, member, refused)),
        }
    }

    /// Writes the rows of a member. What is remembered of its run is believed only if `trusting`.
    fn write(&self, member: &Encoded, trusting: bool) -> Result<(), Refused> {
        let connection = &self.connection;
        if let Some(update) = &member.update {
            let same = match &update.status {
                None => true,
                Some(status) => trusting && self.known.is_at(&member.exec_id, status),
            };
            let slot = if same { Slot::Advance } else { Slot::Move };
            slot.write(connection, update.row(slot))?;
        }
        if let Some(start) = &member.started {
            if let Some(definition) = start.definition.as_ref().filter(|definition| !self.known.has_head(definition)) {
                Slot::Definition.write(connection, &definition.row(start.at))?;
                Slot::Head.write(connection, &definition.head(start.at))?;
            }
            let run = [Value::Text(Arc::clone(&start.workflow_id)), Value::Integer(1)];
            Slot::WorkflowRuns.write(connection, &run)?;
        }
        member.rows.iter().try_for_each(|(slot, values)| slot.write(connection, values))
    }

    fn begin(&self) -> Result<(), Error> {
        let since = Instant::now();
        while let Err(error) = execute(&self.connection, "BEGIN IMMEDIATE") {
            if !is_busy(&error) || since.elapsed() >= self.settings.busy_limit {
                return Err(from_sqlite(error));
            }
            std::thread::sleep(BUSY_STEP);
        }
        Ok(())
    }

    fn roll_back(&self) {
        // SQLite has done it already for some errors.
        let _rolled_back_already = execute(&self.connection, "ROLLBACK");
    }

    /// Sets `synchronous` to the highest level of the batch's members.
    fn set_level(&mut self, batch: &[Request]) -> Result<(), Error> {
        if self.settings.durability == Durability::Memory {
            return Ok(());
        }
        let level = batch.iter().map(|request| match &request.work {
            Work::Operation(_) => self.settings.durability,
            Work::Rows(encoded) => match &encoded.started {
                Some(start) => start.durability,
                None => self.known.durability(&encoded.exec_id).unwrap_or(Durability::Full),
            },
        });
        let level = level.max().unwrap_or(Durability::Full).max(Durability::Normal);
        if level != self.level {
            let full = level == Durability::Full;
            let sql = if full { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            self.connection.execute_batch(sql).map_err(from_sqlite)?;
            self.level = level;
        }
        Ok(())
    }

    /// Now and then: is another process alive that may want the lock, and has it written?
    fn look_around(&mut self) {
        if self.settings.alone || self.looked.is_some_and(|last| last.elapsed() < LOOK_AROUND) {
            return;
        }
        self.looked = Some(Instant::now());
        if let Ok(nodes) = live_nodes(&self.connection, self.settings.clock.now().0) {
            self.others = nodes.iter().any(|node| !self.known.is_own(node));
        }
        self.count_changes();
    }

    /// `data_version` of a connection changes with the commits of other processes only.
    fn count_changes(&mut self) {
        if let Some((changes, last)) = &mut self.watch
            && let Ok(version) = data_version(&self.connection)
            && std::mem::replace(last, version) != version
        {
            changes.send_modify(|count| *count += 1);
        }
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

fn live_nodes(connection: &Connection, now: i64) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached("SELECT node_id FROM nodes WHERE lease_until > ?")?;
    statement.query_map([now], |row| row.get(0))?.collect()
}

fn execute(connection: &Connection, sql: &'static str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// At most [`BATCH`] requests from the front, no two of one run or one idempotency key: their order must be kept.
fn take_batch(waiting: &mut VecDeque<Request>) -> Vec<Request> {
    let mut runs = HashSet::new();
    let mut keys = HashSet::new();
    let fits = waiting.iter().take(BATCH).take_while(|request| match &request.work {
        Work::Operation(_) => true,
        Work::Rows(encoded) => {
            runs.insert(&encoded.exec_id)
                && encoded.key().is_none_or(|(_, key)| keys.insert((&key.scope, &key.key)))
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
