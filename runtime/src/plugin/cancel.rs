//! A flag that ends a call early, which can be waited for and read without waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells a call, and everything that shares the token, to stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    canceled: AtomicBool,
    notify: Notify,
}

impl CancelToken {
    /// A token that nobody has canceled yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels; a second time changes nothing.
    pub fn cancel(&self) {
        self.shared.canceled.store(true, Ordering::Release);
        self.shared.notify.notify_waiters();
    }

    /// Whether [`Self::cancel`] was called.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.shared.canceled.load(Ordering::Acquire)
    }

    /// Waits until the token is canceled.
    pub async fn canceled(&self) {
        loop {
            // Registered before the flag is read, so that a cancel in between is not missed.
            let notified = self.shared.notify.notified();
            if self.is_canceled() {
                return;
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CancelToken;

    #[tokio::test]
    async fn wakes_those_who_wait_and_those_who_come_late() {
        let token = CancelToken::new();
        let waiting = tokio::spawn({
            let token = token.clone();
            async move { token.canceled().await }
        });
        tokio::task::yield_now().await;
        assert!(!token.is_canceled());
        token.cancel();
        waiting.await.unwrap();
        token.canceled().await;
        assert!(token.is_canceled());
    }
}
