//! Starting the run of a schedule now, whatever its times and its overlap policy say.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{declarations, find, request, workflow_of};
use crate::id::ExecId;
use crate::node::worker::Worker;
use crate::node::{Accepted, Error, Node, StartRequest, start};
use crate::storage;
use crate::storage::row::{Fire, Idempotency, Started};

impl Node {
    /// Starts the run of a schedule now. It is durable when this returns, and counts as the schedule's last run.
    ///
    /// # Errors
    /// [`Error::ScheduleNotFound`], and whatever a start may meet.
    pub async fn trigger_schedule(&self, id: &str, idempotency: Option<Idempotency>) -> Result<Accepted, Error> {
        let worker = &self.worker;
        if worker.stopping.load(Ordering::Relaxed) {
            return Err(Error::ShuttingDown);
        }
        let schedule = find(&worker.project(), id)?.clone();
        if worker.is_overloaded() {
            return Err(Error::Overloaded);
        }
        let _turn = worker.schedules.turn.lock().await;
        let request = StartRequest { idempotency, ..request(&schedule) };
        let (exec_id, replayed) = start_now(worker, id, request).await?;
        // Its end may be waited for, and its times may be due meanwhile.
        worker.schedules.look();
        Ok(Accepted { exec_id, workflow_id: workflow_of(id).to_owned(), replayed })
    }
}

/// Records a fire of this very moment.
async fn start_now(worker: &Arc<Worker>, id: &str, request: StartRequest) -> Result<(ExecId, bool), Error> {
    let rows = worker.storage.schedules().await?;
    let next_fire_at = rows.iter().find(|row| row.schedule_id == id).and_then(|row| row.next_fire_at);
    let new = start::check(worker, request)?.queued(worker)?;
    let (exec_id, digest) = (new.run.exec_id.clone(), new.run.definition_digest.clone());
    let mut fire_at = worker.clock.now();
    loop {
        let fire = Fire {
            schedule_id: id.to_owned(),
            fire_at,
            state: "started".to_owned(),
            start: Some(new.clone()),
            cancel: None,
            next_fire_at,
            at: worker.clock.now(),
        };
        match worker.storage.fire(fire).await {
            Ok(Some(_)) => break,
            // Of this microsecond there is one already.
            Ok(None) => fire_at = fire_at.after(Duration::from_micros(1)),
            // No server has written this project's schedules down yet.
            Err(storage::Error::NotFound(_)) => {
                let declared = declarations(&worker.project());
                worker.storage.declare_schedules(declared, worker.clock.now()).await?;
            }
            // The key was used before, and by which run is what a start is told.
            Err(storage::Error::Conflict(_)) => match worker.storage.start(new).await {
                Ok(Started::New) => break,
                Ok(Started::Replayed(exec_id)) => return Ok((exec_id, true)),
                Err(storage::Error::Conflict(_)) => return Err(Error::IdempotencyMismatch),
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
    worker.definitions.has_stored(&digest);
    worker.pending.queued(1);
    worker.wake.notify_one();
    Ok((exec_id, false))
}
