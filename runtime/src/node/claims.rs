//! The loops of a node: claiming runs, renewing the lease, hearing of changes by other processes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::driver::Control;
use super::worker::Worker;
use super::{Kind, runs};
use crate::storage;
use crate::storage::row::Node;

/// The claim loop looks at the queue at least this often, should every wake-up have been missed.
const POLL: Duration = Duration::from_secs(5);

/// Every so many rounds the queue is counted though nothing is known to be in it.
const SELDOM: u32 = 16;

/// How often the queue is counted before a count beside starts is taken as well: it is wrong by those, until the next.
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
        let free = worker.slots.free().min(worker.claim_batch);
        let standing = worker.standing();
        if free == 0 || !worker.holds_lease() {
            return Ok(());
        }
        let limit = u32::try_from(free).unwrap_or(u32::MAX);
        let turn = worker.pending.turn().await;
        let claimed = worker.storage.claim(&worker.id, limit, worker.clock.now()).await;
        // What was claimed without an answer is looked for.
        let claimed = claimed.inspect_err(|_| worker.doubts())?;
        let count = claimed.len();
        worker.pending.claimed(count as u64, count < free);
        drop(turn);
        if count == 0 {
            return Ok(());
        }
        runs::take_over(worker, claimed, standing).await;
    }
    Ok(())
}

/// Renews the node's lease at each third, and sooner after a renewal that failed, until the node stops.
pub(crate) async fn lease_loop(worker: Arc<Worker>) {
    let length = worker.lease.length();
    let mut rest = length / 3;
    while !worker.stopping.load(Ordering::Relaxed) {
        worker.clock.sleep(rest).await;
        if worker.stopping.load(Ordering::Relaxed) {
            return;
        }
        let was_well = worker.trouble().is_none();
        rest = match renew(&worker).await {
            Ok(()) => length / 3,
            Err(error) => {
                // Once: `/health` says it as long as it lasts.
                if was_well {
                    tracing::warn!("failed to renew the lease: {error}");
                }
                length / 12
            }
        };
    }
}

/// Drops the runs of a node that has lost its lease, until the node stops.
pub(crate) async fn watch_loop(worker: Arc<Worker>) {
    if !worker.lease.is_bound() {
        return;
    }
    let mut standing = worker.standing();
    while !worker.stopping.load(Ordering::Relaxed) {
        worker.clock.sleep(worker.lease.length() / 24).await;
        let now = worker.standing();
        if now != standing {
            standing = now;
            // Those that wait for nothing but time would not find out by themselves.
            worker.tell_all(|| Control::Drop);
        }
    }
}

/// Looks at each third of a lease for nodes whose lease has ended, for runs that nobody drives, and at the length of the
/// queue, until the node stops.
pub(crate) async fn care_loop(worker: Arc<Worker>) {
    for round in 1_u32.. {
        tokio::select! {
            () = worker.clock.sleep(worker.lease.length() / 3) => {}
            () = worker.regained.notified() => {}
        }
        if worker.stopping.load(Ordering::Relaxed) {
            return;
        }
        if !worker.holds_lease() {
            continue;
        }
        if worker.was_in_doubt() {
            runs::take_up_forgotten(&worker).await;
        }
        if worker.kind == Kind::Server {
            free_abandoned(&worker).await;
        }
        // A queue that was empty and in which nobody has put anything need not be counted each time.
        if worker.pending.is_any() || round.is_multiple_of(SELDOM) {
            count(&worker).await;
        }
    }
}

/// Makes claimable what nodes whose lease has ended left behind: commands that were killed.
async fn free_abandoned(worker: &Worker) {
    match worker.storage.recover(&worker.id, false, worker.clock.now()).await {
        Ok(0) => {}
        Ok(freed) => {
            tracing::info!(runs = freed, "going on with runs of a node that is gone");
            worker.pending.queued(usize::try_from(freed).unwrap_or(usize::MAX));
            worker.wake.notify_one();
        }
        Err(error) => tracing::warn!("failed to free the runs of nodes that are gone: {error}"),
    }
}

/// Counts the queue between two claims, and between two starts if there is a moment between them.
pub(crate) async fn count(worker: &Worker) {
    let _turn = worker.pending.turn().await;
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
    // Before it is asked for: the lease begins somewhere between here and the answer.
    let (since_boot, now) = (worker.clock.since_boot(), worker.clock.now());
    let node = Node {
        node_id: worker.id.clone(),
        kind: match worker.kind {
            Kind::Server => "server".to_owned(),
            Kind::Embedded => "embedded".to_owned(),
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        renewed_at: now,
        lease_until: now.after(worker.lease.length()),
    };
    let written = tokio::select! {
        written = worker.storage.put_node(node) => written,
        // A connection that leads nowhere any more says nothing for a long time.
        () = worker.clock.sleep(worker.lease.length() / 3), if worker.lease.is_bound() => {
            Err(storage::Error::Unavailable("the database does not answer".to_owned()))
        }
    };
    worker.note_trouble(written.as_ref().err().map(storage::Error::in_short));
    written?;
    if worker.lease.renewed(since_boot, &worker.clock) {
        tracing::info!("the lease is held again; this node takes part again");
        worker.doubts();
        worker.regained.notify_one();
        worker.wake.notify_one();
    }
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
