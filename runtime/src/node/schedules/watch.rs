//! The loop of a server's node: what [`super::plan`] decides is written down, in order, and looked at again.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;
use compozy_lang::plan;
use futures_util::FutureExt as _;

use super::effective::{Effective, Override};
use super::plan::{Decision, Outcome, Seen, asks_for_the_run, decide};
use super::{declarations, of, request};
use crate::id::ExecId;
use crate::node::start;
use crate::node::worker::Worker;
use crate::storage;
use crate::storage::row::{Fire, NewRun, Schedule};

/// Longest pause while something is planned, so that a clock that was set is noticed.
const LOOK: Duration = Duration::from_secs(30);

/// Time by which a clock may gain on the machine's own count before it was set, or the machine has slept.
const JUMP: Duration = Duration::from_secs(30);

/// Pause after the database has failed.
const AGAIN: Duration = Duration::from_secs(1);

/// Times of one schedule that are dealt with before the next has its turn.
const MOST: usize = 64;

/// Writes down what the project says, and begins to watch.
pub(super) async fn begin(worker: &Arc<Worker>, fire: bool) {
    // Only one process serves a database: nobody has watched before this one.
    let (watched_since, mark) = (worker.clock.now(), worker.clock.reading());
    worker.schedules.declare_again.store(true, Ordering::Relaxed);
    let watch = Watch { worker: worker.clone(), fire, watched_since, mark };
    let until = watch.look().await;
    tokio::spawn(watch.run(until));
}

struct Watch {
    worker: Arc<Worker>,
    fire: bool,
    watched_since: Timestamp,
    /// What the clock showed after the last rest, and the machine's own count.
    mark: (Timestamp, Duration),
}

impl Watch {
    async fn run(mut self, mut until: Option<Timestamp>) {
        while !self.worker.stopping.load(Ordering::Relaxed) {
            self.rest(until).await;
            if self.worker.stopping.load(Ordering::Relaxed) {
                return;
            }
            // A panic is a defect of ours; it must not cost every schedule its times.
            let looked = AssertUnwindSafe(self.look()).catch_unwind().await;
            until = looked.unwrap_or_else(|_| {
                tracing::error!("looking after schedules panicked; it is tried again");
                Some(self.worker.clock.now().after(LOOK))
            });
        }
    }

    /// Until something is due, or has changed.
    async fn rest(&mut self, until: Option<Timestamp>) {
        let clock = &self.worker.clock;
        let woken = self.worker.schedules.wake.notified();
        match until {
            Some(until) => tokio::select! {
                () = woken => {}
                () = clock.sleep(until.since(clock.now()).min(LOOK)) => {}
            },
            None => woken.await,
        }
        let mark = clock.reading();
        let (passed, awake) = (mark.0.since(self.mark.0), mark.1.saturating_sub(self.mark.1));
        self.mark = mark;
        if passed > awake.saturating_add(JUMP) {
            tracing::warn!(
                seconds = passed.saturating_sub(awake).as_secs(),
                "the clock was set forward or the machine slept; times of schedules meanwhile count as missed"
            );
            self.watched_since = clock.now();
        }
    }

    /// Deals with whatever is due; when to look again.
    async fn look(&self) -> Option<Timestamp> {
        match self.look_at_all().await {
            Ok(until) => until,
            Err(error) => {
                tracing::warn!("failed to look after schedules: {error}");
                Some(self.worker.clock.now().after(AGAIN))
            }
        }
    }

    async fn look_at_all(&self) -> Result<Option<Timestamp>, storage::Error> {
        let (worker, schedules) = (&self.worker, &self.worker.schedules);
        let _turn = schedules.turn.lock().await;
        let project = worker.project();
        if schedules.declare_again.swap(false, Ordering::Relaxed) {
            let declared = worker.storage.declare_schedules(declarations(&project), worker.clock.now()).await;
            declared.inspect_err(|_| schedules.declare_again.store(true, Ordering::Relaxed))?;
        }
        let mut until = None;
        if self.fire && of(&project).next().is_some() {
            let rows = worker.storage.schedules().await?;
            let mut rows: HashMap<_, _> = rows.into_iter().map(|row| (row.schedule_id.clone(), row)).collect();
            self.awaited().clear();
            for declared in of(&project) {
                let Some(mut row) = rows.remove(&declared.id) else { continue };
                let again = self.settle(declared, &mut row).await.unwrap_or_else(|error| {
                    tracing::warn!(schedule.id = declared.id, "failed to look after a schedule: {error}");
                    Some(worker.clock.now().after(AGAIN))
                });
                until = [until, again].into_iter().flatten().min();
            }
        }
        if !schedules.declare_again.load(Ordering::Relaxed) {
            schedules.reconciled.store(true, Ordering::Relaxed);
        }
        Ok(until)
    }

    /// Does what one schedule calls for, until it calls for nothing more; `row` is kept as it is stored.
    async fn settle(&self, declared: &plan::Schedule, row: &mut Schedule) -> Result<Option<Timestamp>, storage::Error> {
        let effective = match Effective::new(declared, &Override::read(row.overriding.as_deref())) {
            Ok(effective) => effective,
            Err(invalid) => {
                let reasons: Vec<String> = invalid.into_iter().map(|invalid| invalid.message).collect();
                tracing::error!(schedule.id = declared.id, "a schedule cannot fire: {}", reasons.join("; "));
                return Ok(None);
            }
        };
        for _ in 0..MOST {
            if self.worker.stopping.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let seen = self.seen(row).await?;
            match decide(&effective, &seen) {
                // The end of the run that a kept time waits for may go unheard.
                Decision::Rest(until) if row.buffered_at.is_some() => {
                    let look = seen.now.after(LOOK);
                    return Ok(Some(until.map_or(look, |until| until.min(look))));
                }
                Decision::Rest(until) => return Ok(until),
                Decision::Plan(next) => {
                    self.worker.storage.plan_schedule(&row.schedule_id, next).await?;
                    row.next_fire_at = next;
                }
                Decision::Record { time, outcome, next } => self.record(declared, row, time, outcome, next).await?,
            }
        }
        Ok(Some(self.worker.clock.now()))
    }

    fn awaited(&self) -> MutexGuard<'_, HashSet<ExecId>> {
        self.worker.schedules.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn seen(&self, row: &Schedule) -> Result<Seen, storage::Error> {
        let now = self.worker.clock.now();
        // Before the run is looked at, so that its end is either seen or heard.
        self.awaited().extend(row.buffered_at.and(row.last_exec_id.clone()));
        let busy = match &row.last_exec_id {
            Some(exec_id) if asks_for_the_run(row.next_fire_at, row.buffered_at, now) => {
                let run = self.worker.storage.run(exec_id).await?;
                run.is_some_and(|run| !run.status.parse().is_ok_and(Status::is_terminal))
            }
            _ => false,
        };
        let (planned, kept) = (row.next_fire_at, row.buffered_at);
        Ok(Seen { planned, kept, busy, watched_since: self.watched_since, now })
    }

    /// Writes down what becomes of `time`.
    async fn record(
        &self,
        declared: &plan::Schedule,
        row: &mut Schedule,
        time: Timestamp,
        outcome: Outcome,
        next: Option<Timestamp>,
    ) -> Result<(), storage::Error> {
        let worker = &self.worker;
        let (state, start) = match outcome {
            Outcome::Start | Outcome::Replace => match self.new_run(declared) {
                Ok(new) => ("started", Some(new)),
                Err(reason) => {
                    tracing::error!(
                        schedule.id = declared.id,
                        at = time.to_rfc3339(),
                        "a schedule started nothing: {reason}"
                    );
                    ("failed", None)
                }
            },
            Outcome::Keep => ("buffered", None),
            Outcome::Skip(_) => ("skipped", None),
        };
        let started = start.as_ref().map(|new| (new.run.exec_id.clone(), new.run.definition_digest.clone()));
        let cancel = row.last_exec_id.clone().filter(|_| outcome == Outcome::Replace && started.is_some());
        let fire = Fire {
            schedule_id: declared.id.clone(),
            fire_at: time,
            state: state.to_owned(),
            start,
            cancel,
            next_fire_at: next,
            at: worker.clock.now(),
        };
        let recorded = worker.storage.fire(fire).await?;
        row.next_fire_at = next;
        row.buffered_at = if state == "buffered" { Some(time) } else { row.buffered_at.filter(|kept| *kept != time) };
        let Some(woken) = recorded else {
            // Another life of this node, or another node, was quicker, and only the plan is left to be made.
            worker.storage.plan_schedule(&declared.id, next).await?;
            return Ok(());
        };
        match started {
            Some((exec_id, digest)) => {
                tracing::info!(schedule.id = declared.id, run.id = %exec_id, at = time.to_rfc3339(), "a schedule started a run");
                row.last_exec_id = Some(exec_id);
                worker.definitions.has_stored(&digest);
                worker.pending.queued(1);
                worker.wake_up(&woken);
                worker.wake.notify_one();
            }
            None => tracing::info!(
                schedule.id = declared.id,
                at = time.to_rfc3339(),
                ?outcome,
                "a schedule started nothing"
            ),
        }
        Ok(())
    }

    fn new_run(&self, declared: &plan::Schedule) -> Result<NewRun, crate::node::Error> {
        if self.worker.is_overloaded() {
            return Err(crate::node::Error::Overloaded);
        }
        start::check(&self.worker, request(declared))?.queued(&self.worker)
    }
}
