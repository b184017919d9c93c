//! Runs this node drives: beginning, taking over, ending.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compozy_engine::command::Command;
use compozy_engine::decide;
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::Event;
use compozy_engine::record::Record;
use compozy_engine::state::RunState;
use compozy_engine::status::Status;
use compozy_lang::plan::Workflow;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};

use super::driver::{Control, Driver, Ended};
use super::held::HANDED_BACK;
use super::lease::Standing;
use super::reach::Line;
use super::slots::Slot;
use super::sub_runs::{Awaiting, Family};
use super::worker::Worker;
use super::{projection, signals};
use crate::id::ExecId;
use crate::storage;
use crate::storage::row::{Changes, Durability, Journal, LoadedRun, Run, RunUpdate, Signal, Step};

/// Claimed runs that are read at a time.
const TOGETHER: usize = 16;

/// How often a run that waits for its concurrency key is looked at, should every wake-up have been missed.
const AGAIN: Duration = Duration::from_millis(250);

/// How long a run that could not be driven rests before it is taken up again.
const REST: Duration = Duration::from_secs(1);

/// How this node holds a run.
pub(crate) struct Owned {
    /// Epoch under which it writes.
    pub(crate) epoch: i64,
    /// Level of the run.
    pub(crate) durability: Durability,
    /// What it hands down to runs it starts.
    pub(crate) family: Family,
    /// Its slot.
    pub(crate) slot: Slot,
}

/// Drives a run in a tokio task of its own.
pub(crate) fn drive(
    worker: &Arc<Worker>,
    plan: Arc<Workflow>,
    state: RunState,
    owned: Owned,
    control: Line,
    (news, commands): (Vec<Event>, Vec<Command>),
) {
    let exec_id = ExecId::from(state.facts.exec_id.as_str());
    let driver = Driver::new(worker.clone(), plan, state, owned, control);
    let worker = worker.clone();
    tokio::spawn(async move {
        // A panic is a defect of ours; it must cost this run a second and not its life.
        let ended = std::panic::AssertUnwindSafe(driver.run(news, commands)).catch_unwind().await;
        worker.wake.notify_one();
        worker.schedules.ended(&exec_id);
        let again = match ended {
            Ok(Ended::Terminal | Ended::Fenced) => None,
            Ok(Ended::HandedBack) => (!worker.stopping.load(Ordering::Relaxed)).then_some(REST),
            Ok(Ended::Dropped) => {
                // Whoever gets the lease back looks for what was dropped. It may have looked already.
                worker.doubts();
                worker.regained.notify_one();
                None
            }
            Err(_) => {
                tracing::error!(run.id = %exec_id, "driver panicked; the run is taken up again");
                Some(REST)
            }
        };
        if let Some(rest) = again {
            worker.clock.sleep(rest).await;
            take_up(&worker, &exec_id).await;
        }
    });
}

/// Goes on with a run that this node owns already, under a new epoch: a write of whoever drove it before may still be
/// under way. Boxed, since a driver that fails ends up here again.
pub(crate) fn take_up<'a>(worker: &'a Arc<Worker>, exec_id: &'a ExecId) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        // Reachable before it is read: what is asked of it is either in what is read, or heard here.
        let control = worker.register(exec_id, worker.standing());
        loop {
            match worker.storage.claim_anew(&worker.id, exec_id, worker.clock.now()).await {
                Ok(Some(run)) => return read_claimed(worker, &run, control).await,
                Ok(None) => return,
                Err(error) => tracing::warn!(run.id = %exec_id, "failed to take up a run: {error}"),
            }
            if worker.stopping.load(Ordering::Relaxed) {
                return;
            }
            worker.clock.sleep(REST).await;
        }
    })
}

/// Takes up what is recorded as this node's and driven by nobody: what was dropped with the lease, and what was written
/// when nobody could be told.
pub(crate) async fn take_up_forgotten(worker: &Arc<Worker>) {
    let owned = match worker.storage.owned(&worker.id).await {
        Ok(owned) => owned,
        Err(error) => {
            tracing::warn!("failed to look for runs of this node: {error}");
            return worker.doubts();
        }
    };
    let forgotten = owned.into_iter().filter(|exec_id| !worker.drives(exec_id));
    let taken = futures_util::stream::iter(forgotten).map(|exec_id| async move { take_up(worker, &exec_id).await });
    taken.buffer_unordered(TOGETHER).for_each(|()| std::future::ready(())).await;
}

/// Goes on with runs that were claimed while the node has held its lease since `standing`.
pub(crate) async fn take_over(worker: &Arc<Worker>, runs: Vec<Run>, standing: Standing) {
    // In their order, several at a time: each waits for what is read of it.
    let taken = futures_util::stream::iter(runs).map(|run| async move { take_claimed(worker, &run, standing).await });
    taken.buffered(TOGETHER).for_each(|()| std::future::ready(())).await;
}

/// Goes on with a claimed run. One that has not begun has neither steps nor timers to be read.
async fn take_claimed(worker: &Arc<Worker>, run: &Run, standing: Standing) {
    // Reachable before it is read, as in `take_up`.
    let control = worker.register(&run.exec_id, standing);
    if run.last_seq > 0 || run.status != Status::Pending.word() {
        return read_claimed(worker, run, control).await;
    }
    let read = async {
        let signals = worker.storage.signals(&run.exec_id, true).await?;
        Ok::<_, storage::Error>((worker.storage.run(&run.exec_id).await?, signals))
    };
    match read.await {
        Ok((Some(found), signals)) if is_ours(worker, &found, run) && found.last_seq == 0 => {
            adopt(worker, LoadedRun { run: found, steps: Vec::new(), timers: Vec::new(), signals }, control).await;
        }
        _ => read_claimed(worker, run, control).await,
    }
}

/// Reads a claimed run and goes on with it, unless it was claimed again since.
async fn read_claimed(worker: &Arc<Worker>, claimed: &Run, control: Line) {
    let exec_id = &claimed.exec_id;
    loop {
        match worker.storage.load(exec_id).await {
            Ok(Some(loaded)) if is_ours(worker, &loaded.run, claimed) => return adopt(worker, loaded, control).await,
            Ok(_) => return,
            Err(error) => tracing::warn!(run.id = %exec_id, "failed to load a run: {error}"),
        }
        if worker.stopping.load(Ordering::Relaxed) {
            return;
        }
        worker.clock.sleep(REST).await;
    }
}

/// Whether `found` is still held as it was claimed: a later claim, also one of this node, is for whoever made it.
fn is_ours(worker: &Worker, found: &Run, claimed: &Run) -> bool {
    found.owner_node.as_ref() == Some(&worker.id) && found.epoch == claimed.epoch
}

/// Takes over a run as soon as it may be, unless it ends before: a node that was killed holds its runs until its lease
/// ends, and a run may have to wait for its concurrency key.
pub(crate) async fn take_when_free(worker: &Arc<Worker>, exec_id: &ExecId) {
    let mut told = false;
    while !worker.stopping.load(Ordering::Relaxed) && !worker.drives(exec_id) {
        let standing = worker.standing();
        if !worker.holds_lease() {
            worker.clock.sleep(AGAIN).await;
            continue;
        }
        match free_or_ended(worker, exec_id).await {
            Ok(Wanted::Ended) => return,
            Ok(Wanted::Free(run)) => return take_over(worker, vec![*run], standing).await,
            Ok(Wanted::Held) if !told => {
                told = true;
                tracing::warn!(run.id = %exec_id, "another process holds the run; it is taken over should that be gone");
            }
            Ok(Wanted::Held | Wanted::Gated) => {}
            Err(error) => tracing::warn!(run.id = %exec_id, "failed to take over a run: {error}"),
        }
        tokio::select! {
            () = worker.wake.notified() => {}
            () = worker.clock.sleep(AGAIN) => {}
        }
    }
}

/// How a run is found that is to be driven here.
enum Wanted {
    /// It is ours now.
    Free(Box<Run>),
    /// It waits for its concurrency key.
    Gated,
    /// Somebody else drives it.
    Held,
    /// Nothing is left to do.
    Ended,
}

async fn free_or_ended(worker: &Worker, exec_id: &ExecId) -> Result<Wanted, storage::Error> {
    if let Some(run) = worker.storage.claim_one(&worker.id, exec_id, worker.clock.now()).await? {
        return Ok(Wanted::Free(Box::new(run)));
    }
    Ok(match worker.storage.run(exec_id).await? {
        Some(run) if run.finished_at.is_some() => Wanted::Ended,
        Some(run) if run.gated => Wanted::Gated,
        Some(_) => Wanted::Held,
        None => Wanted::Ended,
    })
}

async fn adopt(worker: &Arc<Worker>, loaded: LoadedRun, control: Line) {
    let run = &loaded.run;
    // Not being able to read is no reason to fail a run.
    let plan = loop {
        match definition(worker, run).await {
            Ok(plan) => break plan,
            Err(error) => tracing::warn!(run.id = %run.exec_id, "failed to read the definition of a run: {error}"),
        }
        if worker.stopping.load(Ordering::Relaxed) {
            return;
        }
        worker.clock.sleep(REST).await;
    };
    let restored = match plan {
        Some(plan) => projection::restore(&plan, &loaded).map(|state| (plan, state)).map_err(|error| error.to_string()),
        None => {
            Err(format!("definition {} of workflow '{}' is gone or unreadable", run.definition_digest, run.workflow_id))
        }
    };
    let (plan, state) = match restored {
        Ok(restored) => restored,
        Err(reason) => {
            return fail_unreadable(worker, &loaded, &reason).await;
        }
    };
    let todo = (news(&state, run, &loaded.signals), decide::resume(&state));
    // Those that ended while nobody drove this run tell nobody any more.
    if !Awaiting::of(&state).is_empty() {
        let _just_registered = worker.tell(&run.exec_id, Control::Look);
    }
    let mut slot = worker.slots.take();
    slot.set(state.status != Status::Waiting);
    let owned = Owned { epoch: run.epoch, durability: run.durability, family: Family::of(run), slot };
    if run.durability == Durability::Memory && state.status != Status::Pending {
        return adopt_from_memory(worker, run, plan, state, owned, control, todo).await;
    }
    drive(worker, plan, state, owned, control, todo);
}

/// A run of level `memory` goes on only if its last owner wrote what it held; otherwise nobody knows what it did, so it
/// fails and is never executed again.
async fn adopt_from_memory(
    worker: &Arc<Worker>,
    run: &Run,
    plan: Arc<Workflow>,
    state: RunState,
    owned: Owned,
    control: Line,
    todo: (Vec<Event>, Vec<Command>),
) {
    if run.reason.as_deref() == Some(HANDED_BACK) && claim_again(worker, run, &state).await {
        return drive(worker, plan, state, owned, control, todo);
    }
    let owned = Owned { durability: Durability::Full, ..owned };
    let driver = Driver::new(worker.clone(), plan, state, owned, control);
    let mut error = StepError::new("run_lost", ErrorKind::Internal, "the process that held this run in memory is gone");
    error.help = Some("use durability normal or full for runs that must survive".to_owned());
    driver.fail(error).await;
}

/// Takes the mark of an orderly hand-over off again: from here on a kill loses the run.
async fn claim_again(worker: &Worker, run: &Run, state: &RunState) -> bool {
    let update = RunUpdate {
        status: run.status.clone(),
        reason: None,
        output: None,
        error: None,
        state: serde_json::to_string(&state.stored()).unwrap_or_else(|_| run.state.clone()),
        started_at: None,
        finished_at: None,
    };
    let changes = Changes { run: Some(update), at: worker.clock.now(), ..Changes::default() };
    commit_patiently(worker, run, &changes).await.is_ok()
}

/// Commits, waiting out a database that takes nothing for a while.
async fn commit_patiently(worker: &Worker, run: &Run, changes: &Changes) -> Result<(), storage::Error> {
    loop {
        let error = match worker.storage.commit(&run.exec_id, &worker.id, run.epoch, changes).await {
            Ok(woken) => {
                worker.wake_up(&woken);
                return Ok(());
            }
            Err(error) => error,
        };
        let passes =
            matches!(error, storage::Error::DiskFull | storage::Error::Busy(_) | storage::Error::Unavailable(_));
        if !passes || worker.stopping.load(Ordering::Relaxed) {
            return Err(error);
        }
        tracing::warn!(run.id = %run.exec_id, "commit waits: {error}");
        worker.clock.sleep(REST).await;
    }
}

/// The definition a run began with; `None`: it is gone, or not readable by this version.
pub(super) async fn definition(worker: &Worker, run: &Run) -> Result<Option<Arc<Workflow>>, storage::Error> {
    if let Some(plan) = worker.definitions.known(&run.workflow_id, &run.definition_digest) {
        return Ok(Some(plan));
    }
    let text = worker.storage.definition(&run.definition_digest).await?;
    let plan = text.and_then(|text| projection::plan(&text).ok());
    plan.iter().for_each(|plan| worker.definitions.remember(plan));
    Ok(plan)
}

/// A run whose definition cannot be read any more fails in the open; it never silently changes.
async fn fail_unreadable(worker: &Worker, loaded: &LoadedRun, reason: &str) {
    let (run, now) = (&loaded.run, worker.clock.now());
    let error = StepError::new("definition_unavailable", ErrorKind::Internal, reason);
    let open = loaded.steps.iter().filter(|step| step.finished_at.is_none());
    let steps: Vec<Step> = open
        .zip(run.last_seq + 1..)
        .map(|(step, seq)| Step {
            status: Status::Canceled.word().to_owned(),
            waiting_for: None,
            result_seq: Some(seq),
            finished_at: Some(now),
            ..step.clone()
        })
        .collect();
    let ended = steps.iter().map(|step| {
        let data = serde_json::json!({"step_key": step.step_key, "attempt": step.attempt, "status": step.status});
        ("task_status", Some(step.task_id.clone()), data.to_string())
    });
    let record = Record::Error { status: Status::Failed, error: error.clone() };
    let last = (record.event(), None, record.data());
    let journal = ended.chain([last]).zip(run.last_seq + 1..).map(|((event, task_id, data), seq)| Journal {
        seq,
        at: now,
        event: event.to_owned(),
        task_id,
        data,
    });
    let changes = Changes {
        run: Some(RunUpdate {
            status: Status::Failed.word().to_owned(),
            reason: Some(reason.to_owned()),
            output: None,
            error: serde_json::to_string(&error).ok(),
            state: run.state.clone(),
            started_at: None,
            finished_at: Some(now),
        }),
        journal: journal.collect(),
        steps,
        at: now,
        ..Changes::default()
    };
    if let Err(error) = commit_patiently(worker, run, &changes).await {
        tracing::error!(run.id = %run.exec_id, "failed to end a run that cannot be read: {error}");
    }
}

/// What was recorded for a run and has not reached it: it is to be canceled, paused or resumed, and has signals.
pub(crate) fn news(state: &RunState, run: &Run, signals: &[Signal]) -> Vec<Event> {
    if let Some(request) = &run.cancel_request {
        let (by, reason) = request_of(request);
        return vec![Event::Cancel { by, reason }];
    }
    let pause = match &run.pause_request {
        Some(request) if !state.paused => Some(Event::Pause { by: request_of(request).0 }),
        None if state.paused => Some(Event::Resume),
        _ => None,
    };
    // The engine knows those that are noted, and any other only once.
    let signals = signals.iter().filter(|signal| !signal.noted).map(|signal| Event::Signal(signals::received(signal)));
    pause.into_iter().chain(signals).collect()
}

/// What a run hears first, each in a commit of its own: `news`, and if it has not begun, that it begins.
pub(super) fn first(state: &RunState, news: Vec<Event>) -> Vec<Vec<Event>> {
    let begins = (state.status == Status::Pending).then_some(Event::Start);
    // One of which events tell already may have been imported and held: its row has left PENDING behind, so it begins
    // with what it hears.
    let together = begins.is_some() && state.last_seq > 0;
    let events = news.into_iter().chain(begins);
    if together { vec![events.collect()] } else { events.map(|event| vec![event]).collect() }
}

/// Reads `{"by", "reason"?}`.
fn request_of(text: &str) -> (String, Option<String>) {
    let request: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| request.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    (field("by").unwrap_or_else(|| "user".to_owned()), field("reason"))
}
