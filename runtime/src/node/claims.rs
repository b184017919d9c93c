//! The loops of a node: claiming runs, renewing the lease, hearing of changes by other processes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::driver::Control;
use super::worker::Worker;
use super::{Kind, runs};
use crate::storage;
use crate::storage::row::Node;

/// Runs claimed in one transaction.
const BATCH: usize = 64;

/// The claim loop looks at the queue at least this often, should every wake-up have been missed.
const POLL: Duration = Duration::from_secs(5);

/// How often the queue is counted before a count beside a claim is taken as well: it is wrong by what that claim took.
const COUNTS: u32 = 4;

/// Claims queued runs whenever there are slots, until the node stops.
pub(crate) async fn claim_loop(worker: Arc<Worker>) {
    while !worker.stopping.load(Ordering::Relaxed) {
        if let Err(error) = claim_all(&worker).await {
            tracing::warn!("failed to claim runs: {error}");
        }
        tokio::select! {
            () = worker.wake.notified() => {}
            () = worker.slots.freed() => {}
            () = worker.clock.sleep(POLL) => {}
        }
    }
}

async fn claim_all(worker: &Arc<Worker>) -> Result<(), storage::Error> {
    // Where runs start runs the queue is never empty: a node that stops must not wait for that.
    while !worker.stopping.load(Ordering::Relaxed) {
        let free = worker.slots.free().min(BATCH);
        if free == 0 {
            return Ok(());
        }
        let limit = u32::try_from(free).unwrap_or(u32::MAX);
        let claiming = worker.pending.claiming();
        let claimed = worker.storage.claim(&worker.id, limit, worker.clock.now()).await?;
        let count = claimed.len();
        worker.pending.claimed(count as u64, count < free);
        drop(claiming);
        if count == 0 {
            return Ok(());
        }
        runs::take_over(worker, claimed).await;
    }
    Ok(())
}

/// Renews the node's lease at each third, and looks for nodes whose lease has ended, until the node stops.
pub(crate) async fn lease_loop(worker: Arc<Worker>) {
    while !worker.stopping.load(Ordering::Relaxed) {
        worker.clock.sleep(worker.lease / 3).await;
        if worker.stopping.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = renew(&worker).await {
            tracing::warn!("failed to renew the lease: {error}");
        }
        if worker.kind == Kind::Server {
            free_abandoned(&worker).await;
        }
        count(&worker).await;
    }
}

/// Makes claimable what nodes whose lease has ended left behind: commands that were killed.
async fn free_abandoned(worker: &Worker) {
    match worker.storage.recover(&worker.id, false, worker.clock.now()).await {
        Ok(0) => {}
        Ok(freed) => {
            tracing::info!(runs = freed, "going on with runs of a node that is gone");
            worker.wake.notify_one();
        }
        Err(error) => tracing::warn!("failed to free the runs of nodes that are gone: {error}"),
    }
}

/// Counts the queue, between two claims and starts if there is a moment between them.
pub(crate) async fn count(worker: &Worker) {
    for attempt in 1..=COUNTS {
        let before = worker.pending.quiet();
        match worker.storage.queue_length().await {
            Ok(_) if attempt < COUNTS && (before.is_none() || worker.pending.quiet() != before) => {}
            Ok(length) => return worker.pending.counted(length),
            Err(error) => return tracing::warn!("failed to count the queue: {error}"),
        }
    }
}

/// Writes the node's row with a fresh lease.
pub(crate) async fn renew(worker: &Worker) -> Result<(), storage::Error> {
    let now = worker.clock.now();
    let node = Node {
        node_id: worker.id.clone(),
        kind: match worker.kind {
            Kind::Server => "server".to_owned(),
            Kind::Embedded => "embedded".to_owned(),
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        renewed_at: now,
        lease_until: now.after(worker.lease),
    };
    let written = worker.storage.put_node(node).await;
    worker.note_trouble(written.as_ref().err().map(storage::Error::in_short));
    written?;
    worker.renewed_at.store(now.0, Ordering::Relaxed);
    Ok(())
}

/// Hears of what other processes wrote: queued runs, and signals and requests for runs driven here.
pub(crate) async fn change_loop(worker: Arc<Worker>) {
    while !worker.stopping.load(Ordering::Relaxed) {
        worker.storage.changed_elsewhere().await;
        count(&worker).await;
        worker.wake.notify_one();
        worker.schedules.look();
        match worker.storage.news(&worker.id).await {
            Ok(runs) => runs.iter().for_each(|exec_id| {
                let _ended_meanwhile = worker.tell(exec_id, Control::Look);
            }),
            Err(error) => tracing::warn!("failed to look for what was asked of runs: {error}"),
        }
    }
}
