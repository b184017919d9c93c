//! Runs this node drives: beginning, taking over, ending.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compozy_engine::command::Command;
use compozy_engine::decide;
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::record::Record;
use compozy_engine::state::RunState;
use compozy_engine::status::Status;
use compozy_lang::plan::Workflow;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::driver::{Control, Driver, Ended};
use super::projection;
use super::slots::Slot;
use super::worker::Worker;
use crate::id::ExecId;
use crate::storage::row::{Changes, Journal, LoadedRun, Run, RunUpdate};

/// How long a run that could not be driven rests before it is taken up again.
const REST: Duration = Duration::from_secs(1);

/// Drives a run in a tokio task of its own.
pub(crate) fn drive(
    worker: &Arc<Worker>,
    plan: Arc<Workflow>,
    state: RunState,
    epoch: i64,
    slot: Slot,
    control: mpsc::UnboundedReceiver<Control>,
    commands: Vec<Command>,
) {
    let exec_id = ExecId::from(state.facts.exec_id.as_str());
    let driver = Driver::new(worker.clone(), plan, state, epoch, slot, control);
    let worker = worker.clone();
    tokio::spawn(async move {
        // A panic is a defect of ours; it must cost this run a second and not its life.
        let ended = std::panic::AssertUnwindSafe(driver.run(commands)).catch_unwind().await;
        worker.forget(&exec_id);
        worker.wake.notify_one();
        let again = match ended {
            Ok(Ended::Terminal | Ended::Fenced) => false,
            Ok(Ended::HandedBack) => !worker.stopping.load(Ordering::Relaxed),
            Err(_) => {
                tracing::error!(run.id = %exec_id, "driver panicked; the run is taken up again");
                true
            }
        };
        if again {
            worker.clock.sleep(REST).await;
            take_up(&worker, &exec_id).await;
        }
    });
}

/// Goes on with a run that this node owns already. Boxed, since a driver that fails ends up here again.
pub(crate) fn take_up<'a>(worker: &'a Arc<Worker>, exec_id: &'a ExecId) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        loop {
            match worker.storage.load(exec_id).await {
                Ok(Some(loaded)) if loaded.run.owner_node.as_ref() == Some(&worker.id) => {
                    return adopt(worker, loaded).await;
                }
                Ok(_) => return,
                Err(error) => tracing::warn!(run.id = %exec_id, "failed to load a run: {error}"),
            }
            if worker.stopping.load(Ordering::Relaxed) {
                return;
            }
            worker.clock.sleep(REST).await;
        }
    })
}

/// Goes on with claimed runs.
pub(crate) async fn take_over(worker: &Arc<Worker>, runs: Vec<Run>) {
    for run in runs {
        take_up(worker, &run.exec_id).await;
    }
}

async fn adopt(worker: &Arc<Worker>, loaded: LoadedRun) {
    let run = &loaded.run;
    let restored = match definition(worker, run).await {
        Some(plan) => projection::restore(&plan, &loaded).map(|state| (plan, state)).map_err(|error| error.to_string()),
        None => {
            Err(format!("definition {} of workflow '{}' is gone or unreadable", run.definition_digest, run.workflow_id))
        }
    };
    let (plan, state) = match restored {
        Ok(restored) => restored,
        Err(reason) => return fail_unreadable(worker, run, &reason).await,
    };
    let commands = decide::resume(&state);
    let control = worker.register(&run.exec_id);
    if let Some(request) = &run.cancel_request {
        let (by, reason) = cancel_request(request);
        worker.tell(&run.exec_id, Control::Cancel { by, reason });
    }
    let mut slot = worker.slots.take();
    slot.set(state.status != Status::Waiting);
    drive(worker, plan, state, run.epoch, slot, control, commands);
}

async fn definition(worker: &Worker, run: &Run) -> Option<Arc<Workflow>> {
    if let Some(plan) = worker.known_plan(&run.workflow_id, &run.definition_digest) {
        return Some(plan);
    }
    let text = worker.storage.definition(&run.definition_digest).await.ok()??;
    let plan = projection::plan(&text).ok()?;
    worker.remember_plan(&plan);
    Some(plan)
}

/// A run whose definition cannot be read any more fails in the open; it never silently changes.
async fn fail_unreadable(worker: &Worker, run: &Run, reason: &str) {
    let now = worker.clock.now();
    let error = StepError::new("definition_unavailable", ErrorKind::Internal, reason);
    let record = Record::Error { status: Status::Failed, error: error.clone() };
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
        journal: vec![Journal {
            seq: run.last_seq + 1,
            at: now,
            event: record.event().to_owned(),
            task_id: None,
            data: record.data(),
        }],
        at: now,
        ..Changes::default()
    };
    if let Err(error) = worker.storage.commit(&run.exec_id, &worker.id, run.epoch, changes).await {
        tracing::error!(run.id = %run.exec_id, "failed to end a run that cannot be read: {error}");
    }
}

/// Reads `{"by", "reason"?}`.
pub(crate) fn cancel_request(text: &str) -> (String, Option<String>) {
    let request: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let field = |name: &str| request.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    (field("by").unwrap_or_else(|| "user".to_owned()), field("reason"))
}
