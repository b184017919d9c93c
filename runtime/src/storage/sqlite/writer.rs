//! The one writer of a process: takes logical transactions from a queue and commits many of them at once.
//!
//! It is a thread with a connection of its own, so that a step alone costs one wake-up there and one back. What waits in
//! the queue when a commit ends becomes the next batch, so a transaction alone never waits for company. A batch is first
//! tried as a whole; if anything in it fails it is rolled back and run again one by one under savepoints, so that what
//! fails fails alone. Nobody is answered before the commit has returned. Where transactions come one at a time and the
//! disk is fast, the caller's thread commits itself: see [`Desk`].

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{Mutex, oneshot, watch};

use super::super::row::Durability;
use super::super::work::encode::Encoded;
use super::super::work::operation::{Outcome, Work};
use super::super::{Error, crash};
use super::checkpoint::Progress;
use super::desk::Desk;
use super::error::{from_sqlite, is_busy, is_general};
use super::known::Known;
use super::operation;
use super::repeat;
use super::rows;
use super::statement::Refused;
use crate::clock::Clock;

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

/// A logical transaction in the queue.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Outcome, Error>>,
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
    /// Where it sits between two batches.
    pub(super) desk: Arc<Desk>,
    /// Its connection, once the queue is closed and empty.
    pub(super) ended: oneshot::Receiver<Connection>,
}

/// The connection that writes, with what is known of the database.
#[derive(Debug)]
pub(super) struct Writer {
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
    let desk = Arc::new(Desk::new(writer));
    let own = Arc::clone(&desk);
    let work = move || {
        serve(&own, &receiver);
        if let Some(writer) = own.take() {
            let _nobody_waits = give_back.send(writer.connection);
        }
    };
    let thread = std::thread::Builder::new().name("storage-writer".into()).spawn(work);
    thread.map_err(|error| Error::Unavailable(format!("no thread for the writer: {error}")))?;
    Ok(Handle { queue, desk, ended })
}

/// The writer's thread, until the queue is closed and empty.
fn serve(desk: &Desk, receiver: &Receiver<Message>) {
    let mut waiting = VecDeque::new();
    let mut watching = false;
    loop {
        if waiting.is_empty() {
            let next = if watching {
                receiver.recv_timeout(LOOK_AROUND)
            } else {
                receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(message) => waiting.push_back(message),
                Err(RecvTimeoutError::Timeout) => {
                    desk.with(Writer::count_changes);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        while waiting.len() < BATCH {
            let Ok(message) = receiver.try_recv() else { break };
            waiting.push_back(message);
        }
        let batch = take_batch(&mut waiting);
        watching |= batch.iter().any(|message| matches!(message, Message::Watch(_)));
        let others = desk.with(|writer| {
            let (members, took) = writer.commit(batch);
            desk.served(members, took);
            writer.others
        });
        if others == Some(true) {
            std::thread::sleep(FAIR_PAUSE);
        }
    }
}

impl Writer {
    /// Runs a batch and answers everybody in it. Returns how many transactions it had and how long the commit took.
    fn commit(&mut self, batch: Vec<Message>) -> (usize, Duration) {
        let mut requests = Vec::with_capacity(batch.len());
        for message in batch {
            match message {
                Message::Request(request) => requests.push(request),
                Message::Watch(changes) => {
                    self.watch = Some((changes, data_version(&self.connection).unwrap_or_default()));
                }
            }
        }
        if requests.is_empty() {
            return (0, Duration::ZERO);
        }
        let members = requests.len();
        let gate = Arc::clone(&self.gate);
        let closed = gate.blocking_lock();
        let since = Instant::now();
        crash::begin(requests.iter().filter_map(|request| request.work.starts()));
        let result = crash::point(crash::Side::Before)
            .and_then(|()| self.transact(&requests))
            .and_then(|outcomes| crash::point(crash::Side::After).map(|()| outcomes));
        let took = since.elapsed();
        drop(closed);
        match result {
            Ok(outcomes) => {
                for (request, outcome) in requests.into_iter().zip(outcomes) {
                    self.known.remember(&request.work, &outcome);
                    let _caller_gone = request.reply.send(outcome);
                }
            }
            Err(error) => {
                for request in requests {
                    self.known.forget(&request.work);
                    let _caller_gone = request.reply.send(Err(error.clone()));
                }
            }
        }
        self.progress.committed(members);
        self.look_around();
        (members, took)
    }

    /// Commits one transaction if that meets no obstacle. `None`: it may have happened only if committing itself failed,
    /// and may be tried again through the queue.
    pub(super) fn commit_alone(&mut self, work: &Work) -> Option<Result<Outcome, Error>> {
        let member = work.rows().filter(|_| !self.others)?;
        let gate = Arc::clone(&self.gate);
        let closed = gate.try_lock().ok()?;
        crash::begin(work.starts().into_iter());
        crash::point(crash::Side::Before).ok()?;
        self.set_level([work].into_iter()).ok()?;
        execute(&self.connection, "BEGIN IMMEDIATE").ok()?;
        let written = rows::write(&self.connection, &self.known, member, true);
        let Ok(woken) = written.and_then(|woken| Ok(execute(&self.connection, "COMMIT").map(|()| woken)?)) else {
            self.roll_back();
            return None;
        };
        let outcome = crash::point(crash::Side::After).map(|()| member.outcome(woken));
        drop(closed);
        self.known.remember(work, &outcome);
        self.progress.committed(1);
        self.look_around();
        Some(outcome)
    }

    /// One outcome per request, or the error of them all.
    fn transact(&mut self, batch: &[Request]) -> Result<Vec<Result<Outcome, Error>>, Error> {
        self.set_level(batch.iter().map(|request| &request.work))?;
        let rows: Option<Vec<&Encoded>> = batch.iter().map(|request| request.work.rows()).collect();
        if let Some(members) = rows {
            self.begin()?;
            let write = |member: &&Encoded| {
                rows::write(&self.connection, &self.known, member, true).map(|woken| Ok(member.outcome(woken)))
            };
            let written = members.iter().map(write).collect::<Result<Vec<_>, Refused>>();
            let ended = written.and_then(|outcomes| Ok(execute(&self.connection, "COMMIT").map(|()| outcomes)?));
            let refused = match ended {
                Ok(outcomes) => return Ok(outcomes),
                Err(refused) => refused,
            };
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
        let ended =
            ended.and_then(|outcomes| execute(&self.connection, "COMMIT").map(|()| outcomes).map_err(from_sqlite));
        if ended.is_err() {
            self.roll_back();
        }
        ended
    }

    /// What a member gave, or the error of all.
    fn member(&self, work: &Work) -> Result<Result<Outcome, Error>, Error> {
        let connection = &self.connection;
        execute(connection, "SAVEPOINT member").map_err(from_sqlite)?;
        let mut outcome = match work {
            Work::Rows(encoded) => self.alone(encoded),
            Work::Operation(operation) => operation::run(operation, connection, &self.known),
        };
        if let Err(error) = &outcome {
            if is_general(error) {
                return outcome.map(Ok);
            }
            execute(connection, "ROLLBACK TO member").map_err(from_sqlite)?;
            // A repeat after a commit of which nobody knew whether it happened.
            if let Some(encoded) = work.rows()
                && repeat::is_recorded(connection, encoded).map_err(from_sqlite)?
            {
                let woken = repeat::woken(connection, encoded).map_err(from_sqlite)?;
                outcome = Ok(encoded.outcome(woken));
            }
        }
        execute(connection, "RELEASE member").map_err(from_sqlite)?;
        Ok(outcome)
    }

    /// The rows of one member, with the reason if they do not fit.
    fn alone(&self, member: &Encoded) -> Result<Outcome, Error> {
        if let Some(replayed) = operation::replayed(&self.connection, member)? {
            return Ok(Outcome::Started(replayed));
        }
        match rows::write(&self.connection, &self.known, member, false) {
            Ok(woken) => Ok(member.outcome(woken)),
            Err(refused) => Err(operation::diagnose(&self.connection, member, refused)),
        }
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
    fn set_level<'w>(&mut self, batch: impl Iterator<Item = &'w Work>) -> Result<(), Error> {
        if self.settings.durability == Durability::Memory {
            return Ok(());
        }
        let level = batch.map(|work| match work {
            Work::Operation(operation) => operation.level(self.settings.durability),
            Work::Rows(encoded) => {
                let own = match &encoded.started {
                    Some(start) => start.durability,
                    None => self.known.durability(&encoded.exec_id).unwrap_or(Durability::Full),
                };
                // What reaches other runs is none the weaker for being sent by a run of a low level.
                match &encoded.outward {
                    Some(outward) => outward.level(own.max(self.settings.durability)),
                    None => own,
                }
            }
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

/// At most [`BATCH`] messages from the front, no two of one run or one idempotency key: their order must be kept.
fn take_batch(waiting: &mut VecDeque<Message>) -> Vec<Message> {
    if waiting.len() == 1 {
        return waiting.pop_front().into_iter().collect();
    }
    let mut runs = HashSet::new();
    let mut keys = HashSet::new();
    let fits = waiting.iter().take(BATCH).take_while(|message| match message {
        Message::Request(Request { work: Work::Rows(encoded), .. }) => {
            runs.insert(&encoded.exec_id) && encoded.key().is_none_or(|(_, key)| keys.insert((&key.scope, &key.key)))
        }
        Message::Request(_) | Message::Watch(_) => true,
    });
    let count = fits.count();
    waiting.drain(..count).collect()
}
