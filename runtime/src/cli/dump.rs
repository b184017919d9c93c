//! SIGUSR1: the engine's state into the log.

use std::sync::Arc;

use crate::node::Node;

/// Listens for SIGUSR1 as long as the process lives. Elsewhere than on Unix there is no such signal.
pub(super) fn listen(node: &Arc<Node>) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        let Ok(mut asked) = signal(SignalKind::user_defined1()) else { return };
        let node = Arc::clone(node);
        tokio::spawn(async move {
            while asked.recv().await.is_some() {
                let status = node.status();
                let stored = node.storage().active_counts().await.unwrap_or_default();
                tracing::info!(
                    node.id = %node.id(),
                    runs_here = status.running,
                    lease_ok = status.lease_ok,
                    runs_stored = ?stored,
                    "state of the engine"
                );
            }
        });
    }
    #[cfg(not(unix))]
    let _ = node;
}
