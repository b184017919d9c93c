//! Requests under way.

use std::time::Duration;

use super::{Body, Error, Response, from_code};
use crate::bindings::host::wasi::clocks::monotonic_clock;
use crate::bindings::host::wasi::http::types::FutureIncomingResponse;
use crate::bindings::host::wasi::io::poll;

/// A request whose answer is still to come; dropped, it is given up.
#[derive(Debug)]
pub struct Pending {
    answer: FutureIncomingResponse,
    authority: String,
}

impl Pending {
    pub(super) fn new(answer: FutureIncomingResponse, authority: String) -> Self {
        Self { answer, authority }
    }

    /// Status and headers of the answer, once they are there; they are given once.
    ///
    /// # Errors
    /// Inside: the request was refused, or its connection failed.
    pub fn take(&self) -> Option<Result<Response, Error>> {
        Some(match self.answer.get()? {
            Ok(Ok(response)) => {
                let headers = response.headers().entries();
                let status = response.status();
                Body::new(response).map(|body| Response { status, headers, body })
            }
            Ok(Err(code)) => Err(from_code(code, &self.authority)),
            Err(()) => Err(Error::Connection("the answer was taken".to_owned())),
        })
    }

    /// Waits for status and headers of the answer.
    ///
    /// # Errors
    /// The request was refused, or its connection failed.
    pub fn wait(self) -> Result<Response, Error> {
        loop {
            match self.take() {
                Some(answer) => return answer,
                None => self.answer.subscribe().block(),
            }
        }
    }
}

/// Waits until one of `pending` may have its answer, or `timeout` has passed.
pub fn wait_any<'p>(pending: impl IntoIterator<Item = &'p Pending>, timeout: Option<Duration>) {
    let mut awaited: Vec<_> = pending.into_iter().map(|request| request.answer.subscribe()).collect();
    if let Some(timeout) = timeout {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        awaited.push(monotonic_clock::subscribe_duration(nanoseconds));
    }
    if !awaited.is_empty() {
        poll::poll(&awaited.iter().collect::<Vec<_>>());
    }
}
