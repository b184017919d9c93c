//! The events API: something happened, and whoever listens to its name hears of it.

use std::sync::atomic::Ordering;

use serde_json::Value;

use super::driver::Control;
use super::{Error, Node, signals, triggers};
use crate::storage;
use crate::storage::row::{Idempotency, PublishOutcome, Published};

/// Something that is to be published.
#[derive(Debug, Clone)]
pub struct EventRequest {
    /// Name that waits and triggers listen for.
    pub name: String,
    /// What it carries.
    pub payload: Value,
    /// Where it came from, for `.signal.metadata.source`.
    pub source: String,
    /// Key of the request.
    pub idempotency: Option<Idempotency>,
}

/// An event that is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventAccepted {
    /// Its id.
    pub event_id: String,
    /// The idempotency key was used before; this is the event of that time.
    pub replayed: bool,
}

impl Node {
    /// Sends a signal to every run that waits for its name and starts every workflow with a trigger for it, in one
    /// transaction. Durable when this returns. Nobody has to listen.
    ///
    /// # Errors
    /// [`Error::PayloadInvalid`], [`Error::InputTooLarge`], [`Error::Overloaded`], [`Error::ShuttingDown`],
    /// [`Error::IdempotencyMismatch`], [`Error::Storage`]; nothing was stored then, unless the database was lost.
    pub async fn publish(&self, request: EventRequest) -> Result<EventAccepted, Error> {
        let worker = &self.worker;
        if worker.stopping.load(Ordering::Relaxed) {
            return Err(Error::ShuttingDown);
        }
        let listening = worker.steps.listening();
        let EventRequest { name, payload, source, idempotency } = request;
        if listening.starts_runs(&name) && worker.is_overloaded() {
            return Err(Error::Overloaded);
        }
        let (event_id, at) = (worker.clock.ulid(), worker.clock.now());
        let starts = triggers::runs_of(worker, &listening, &name, &event_id, &payload)?;
        let event = Published {
            metadata: signals::metadata(&event_id, None, &source, at),
            payload: payload.to_string(),
            event_id: event_id.clone(),
            name,
            source,
            at,
            idempotency,
        };
        match worker.storage.publish(event, starts.clone()).await {
            Ok(PublishOutcome::Published(woken)) => {
                worker.wake_up(&woken);
                triggers::recorded(worker, &starts);
                Ok(EventAccepted { event_id, replayed: false })
            }
            Ok(PublishOutcome::Repeated { event_id }) => Ok(EventAccepted { event_id, replayed: true }),
            Err(storage::Error::Conflict(_)) => Err(Error::IdempotencyMismatch),
            Err(error) => {
                // Nobody knows whether it is recorded: whoever it would have reached looks.
                worker.tell_all(|| Control::Look);
                worker.wake.notify_one();
                Err(error.into())
            }
        }
    }
}
