//! Removes what is past its age, in small steps while there is little else to write (cli-and-api §9.5).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::worker::Worker;
use crate::storage::row::Retention;

/// From the start of the node to its first sweep, so that a start is not slowed down.
const FIRST: Duration = Duration::from_secs(60);
/// Between two sweeps.
const BETWEEN: Duration = Duration::from_secs(60 * 60);
/// Between two steps of one: with steps of at most 20 ms the writer is free most of the time.
const STEP: Duration = Duration::from_millis(50);
/// After a step that found too much else to write, or failed.
const LATER: Duration = Duration::from_millis(500);

/// Sweeps until the node stops.
pub(crate) async fn sweep_loop(worker: Arc<Worker>, retention: Retention) {
    worker.clock.sleep(FIRST).await;
    while !worker.stopping.load(Ordering::Relaxed) {
        sweep(&worker, &retention).await;
        worker.clock.sleep(BETWEEN).await;
    }
}

async fn sweep(worker: &Worker, retention: &Retention) {
    let (mut cursor, mut runs, mut pages) = (None::<String>, 0, 0);
    loop {
        let pause = match worker.storage.sweep(retention, cursor.as_deref(), worker.clock.now()).await {
            Ok(swept) => {
                runs += swept.runs;
                pages += swept.pages;
                let Some(next) = swept.next else { break };
                cursor = Some(next);
                if swept.postponed { LATER } else { STEP }
            }
            Err(error) => {
                // Nothing of the step was removed; it is tried again.
                tracing::warn!("failed to remove old executions: {error}");
                LATER
            }
        };
        worker.clock.sleep(pause).await;
        if worker.stopping.load(Ordering::Relaxed) {
            return;
        }
    }
    if runs > 0 {
        tracing::info!(runs, pages, "removed executions that are past their age");
    }
}
