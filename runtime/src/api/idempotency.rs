//! Idempotency keys of starts, retries and forks: the same request has the same scope and hash, whether a server takes it or the command
//! line works without one.

use compozy_engine::time::Timestamp;
use serde_json::{Map, Value, json};

use super::body::canonical_hash;
use crate::node::{ForkRequest, Place, StartRequest};
use crate::storage::row::Idempotency;

/// Who starts when authentication is off, also without a server.
pub const LOCAL: &str = "local";
/// The route that answers as soon as the run is durable.
pub const START: &str = "start";
/// The route that waits for the run.
pub(super) const SYNC: &str = "sync";

/// A new run from before the first failure of another one.
pub const RETRY: &str = "retry";
/// A new run from before a task of another one.
pub const FORK: &str = "fork";

/// The key of a retry or fork.
#[must_use]
pub fn of_fork(principal: &str, route: &str, key: &str, request: &ForkRequest, expires_at: Timestamp) -> Idempotency {
    let mut meaning = Map::new();
    if let Place::Task(task) = &request.place {
        meaning.insert("at".to_owned(), task.as_str().into());
    }
    if let Some(input) = &request.input {
        meaning.insert("input".to_owned(), input.clone());
    }
    if request.latest {
        meaning.insert("latest".to_owned(), true.into());
    }
    Idempotency {
        scope: format!("{principal}|{route}|{}", request.exec_id),
        key: key.to_owned(),
        request_hash: canonical_hash(&meaning),
        expires_at,
    }
}

/// The key of a start. `timeout` is that of a caller who waits.
#[must_use]
pub fn of_start(
    principal: &str,
    route: &str,
    key: &str,
    request: &StartRequest,
    timeout: Option<&Value>,
    expires_at: Timestamp,
) -> Idempotency {
    Idempotency {
        scope: format!("{principal}|{route}|{}", request.workflow_id),
        key: key.to_owned(),
        request_hash: canonical_hash(&meaning(request, timeout)),
        expires_at,
    }
}

/// What the request asks for. A member that is left out and one that says what is meant anyway are the same.
fn meaning(request: &StartRequest, timeout: Option<&Value>) -> Map<String, Value> {
    let members = [
        ("input", request.input.clone()),
        ("task_id", json!(request.task)),
        ("tags", Value::Object(request.tags.clone())),
        ("durability", json!(request.durability)),
        ("priority", json!(request.priority)),
        ("timeout", timeout.cloned().unwrap_or_default()),
    ];
    let says_something = |value: &Value| match value {
        Value::Null => false,
        Value::Object(members) => !members.is_empty(),
        other => *other != json!(0),
    };
    members
        .into_iter()
        .filter(|(_, value)| says_something(value))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
