//! Calls in tokio tasks of their own, so that steps side by side use all cores.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

/// A call in a tokio task of its own, which ends with it.
pub(crate) struct Spawned<T>(JoinHandle<T>);

impl<T: Send + 'static> Spawned<T> {
    pub(crate) fn new(call: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(call))
    }
}

impl<T> Future for Spawned<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(context).map(|ended| match ended {
            Ok(outcome) => outcome,
            // A panic is the driver's to handle, wherever the call ran; nobody else aborts it.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => std::panic::resume_unwind(Box::new(error.to_string())),
            },
        })
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
