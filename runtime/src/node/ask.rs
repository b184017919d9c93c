//! What is asked of runs under way: cancel, pause, resume, signals. Durable before it is answered; the run is told after.

use compozy_engine::status::Status as RunStatus;
use serde_json::Value;

use super::driver::Control;
use super::{Error, Node, signals};
use crate::clock::Clock;
use crate::id::ExecId;
use crate::storage::row::{Demand, Idempotency, NewSignal, SignalOutcome, Wanted};
use crate::storage::{self, RequestOutcome, Storage};

impl Node {
    /// Ends a run as canceled. The request is durable when this returns.
    ///
    /// # Errors
    /// [`Error::ExecutionNotFound`], [`Error::ExecutionFinished`], [`Error::Storage`].
    pub async fn cancel(&self, exec_id: &ExecId, by: &str, reason: Option<&str>) -> Result<RequestOutcome, Error> {
        self.request(exec_id, Wanted::Cancel, by, reason).await
    }

    /// Lets a run start nothing new until it is resumed. The request is durable when this returns.
    ///
    /// # Errors
    /// [`Error::ExecutionNotFound`], [`Error::ExecutionFinished`], [`Error::Storage`].
    pub async fn pause(&self, exec_id: &ExecId, by: &str) -> Result<RequestOutcome, Error> {
        self.request(exec_id, Wanted::Pause, by, None).await
    }

    /// Ends a pause. The request is durable when this returns.
    ///
    /// # Errors
    /// [`Error::ExecutionNotFound`], [`Error::ExecutionFinished`], [`Error::Storage`].
    pub async fn resume(&self, exec_id: &ExecId, by: &str) -> Result<RequestOutcome, Error> {
        self.request(exec_id, Wanted::Resume, by, None).await
    }

    async fn request(
        &self,
        exec_id: &ExecId,
        wanted: Wanted,
        by: &str,
        reason: Option<&str>,
    ) -> Result<RequestOutcome, Error> {
        let reason = reason.map(str::to_owned);
        let demand = Demand { exec_id: exec_id.clone(), wanted, by: by.to_owned(), reason };
        let mut asked = self.worker.storage.request(&demand, self.worker.clock.now()).await;
        if wanted == Wanted::Cancel {
            asked = repeated_cancel(asked);
        }
        // Also when nobody knows whether it was recorded.
        self.worker.tell(exec_id, Control::Look);
        self.worker.wake.notify_one();
        asked.map_err(|error| of_run(exec_id, error))
    }

    /// Keeps a signal for a run, durable when this returns, and tells the run.
    ///
    /// # Errors
    /// [`Error::ExecutionNotFound`], [`Error::ExecutionFinished`], [`Error::IdempotencyMismatch`],
    /// [`Error::PayloadInvalid`], [`Error::Storage`].
    pub async fn signal(&self, exec_id: &ExecId, request: SignalRequest) -> Result<SignalAccepted, Error> {
        self.worker.steps.listening().check_payload(&self.worker.schemas, &request.name, &request.payload)?;
        let kept = put_signal(&*self.worker.storage, &self.worker.clock, exec_id, request).await;
        // Also when nobody knows whether it was recorded.
        self.worker.tell(exec_id, Control::Look);
        self.worker.wake.notify_one();
        kept
    }
}

/// A signal for one run.
#[derive(Debug, Clone)]
pub struct SignalRequest {
    /// Name that a wait listens for.
    pub name: String,
    /// What it carries.
    pub payload: Value,
    /// Chosen by the sender; a second signal with it is the first one.
    pub dedupe_key: Option<String>,
    /// Where it came from, for `.signal.metadata.source`.
    pub source: String,
    /// Key of the request.
    pub idempotency: Option<Idempotency>,
}

/// A signal that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalAccepted {
    /// Its id.
    pub signal_id: String,
    /// `queued`, `consumed` or `ignored`.
    pub state: String,
    /// It was there before.
    pub replayed: bool,
}

/// Keeps a signal for a run, also where no node runs. [`check_signal`](super::check_signal) comes first.
///
/// # Errors
/// As [`Node::signal`].
pub async fn put_signal(
    storage: &dyn Storage,
    clock: &Clock,
    exec_id: &ExecId,
    request: SignalRequest,
) -> Result<SignalAccepted, Error> {
    let (signal_id, now) = (clock.ulid(), clock.now());
    let signal = NewSignal {
        metadata: signals::metadata(&signal_id, None, &request.source, now),
        signal_id: signal_id.clone(),
        name: request.name,
        payload: request.payload.to_string(),
        dedupe_key: request.dedupe_key,
    };
    match storage.put_signal(exec_id, signal, request.idempotency, now).await {
        Ok(SignalOutcome::Queued { .. }) => Ok(SignalAccepted { signal_id, state: "queued".into(), replayed: false }),
        Ok(SignalOutcome::Duplicate { signal_id, state }) => Ok(SignalAccepted { signal_id, state, replayed: true }),
        Err(storage::Error::Conflict(_)) => Err(Error::IdempotencyMismatch),
        Err(error) => Err(of_run(exec_id, error)),
    }
}

/// What storage says of a request for a run.
fn of_run(exec_id: &ExecId, error: storage::Error) -> Error {
    match error {
        storage::Error::NotFound(_) => Error::ExecutionNotFound(exec_id.clone()),
        storage::Error::Finished(status) => Error::ExecutionFinished(status),
        error => error.into(),
    }
}

/// A cancel of a run that is canceled already is a repeat and changes nothing.
///
/// # Errors
/// Every other one.
pub fn repeated_cancel(asked: Result<RequestOutcome, storage::Error>) -> Result<RequestOutcome, storage::Error> {
    match asked {
        Err(storage::Error::Finished(status)) if status.parse() == Ok(RunStatus::Canceled) => {
            Ok(RequestOutcome::Already { owner: None })
        }
        asked => asked,
    }
}
