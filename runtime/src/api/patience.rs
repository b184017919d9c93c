//! A stream that loses patience with a peer that reads nothing.
//!
//! Answers have no write timeout: sync calls and event streams live as long as they need. What is limited is the time
//! a full buffer stays untouched.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::Clock;

/// Wraps a stream; a write that makes no progress for `limit` fails.
pub(super) struct Patient<S> {
    stream: S,
    clock: Clock,
    limit: Duration,
    /// Runs while a write is blocked.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, clock: Clock, limit: Duration) -> Self {
        Self { stream, clock, limit, timer: None }
    }

    /// Passes progress on; without progress, runs the timer.
    fn watch<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.timer = None;
            return poll;
        }
        let timer = self.timer.get_or_insert_with(|| {
            let (clock, limit) = (self.clock.clone(), self.limit);
            Box::pin(async move { clock.sleep(limit).await })
        });
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_blocked_write_fails_after_the_limit_and_progress_starts_anew() {
        let (mut far, near) = tokio::io::duplex(4);
        let limit = Duration::from_millis(400);
        let mut patient = Patient::new(near, Clock::system(), limit);
        patient.write_all(b"abcd").await.unwrap();
        let begun = std::time::Instant::now();
        let reader = async {
            Clock::system().sleep(limit / 4).await;
            let mut two = [0; 2];
            far.read_exact(&mut two).await.unwrap();
        };
        let (written, ()) = tokio::join!(patient.write_all(b"efgh"), reader);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= limit + limit / 4);
    }
}
