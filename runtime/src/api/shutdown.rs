//! The two steps of a graceful shutdown that concern the server (cli-and-api §6.3).

use std::sync::Arc;

use tokio::sync::watch;

/// How far the shutdown is. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Shutdown(Arc<watch::Sender<Phase>>);

/// Phases, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Requests are taken.
    Serving,
    /// `/readyz` says 503, no connection is accepted, running requests go on.
    Draining,
    /// Sync waiters get 503, streams get `server_shutdown`.
    Closing,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Serving)))
    }
}

impl Shutdown {
    /// Begins: steps 1 and 2 of the order. Call before the node drains.
    pub fn drain(&self) {
        self.advance(Phase::Draining);
    }

    /// Step 4: answers everyone who still waits. Call when the node's drain time is over.
    pub fn close(&self) {
        self.advance(Phase::Closing);
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until `phase` is reached.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.0.subscribe().wait_for(|now| *now >= phase).await;
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let moves = *phase < to;
            if moves {
                *phase = to;
            }
            moves
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Shutdown};

    #[tokio::test]
    async fn phases_only_go_forward() {
        let shutdown = Shutdown::default();
        assert_eq!(shutdown.phase(), Phase::Serving);
        shutdown.close();
        shutdown.drain();
        assert_eq!(shutdown.phase(), Phase::Closing);
        shutdown.reached(Phase::Draining).await;
    }
}
