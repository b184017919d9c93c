//! Idempotency keys: how a request names one, what it means together with the key, and how the answer says that it is
//! that of an earlier request. A start, retry or fork has the same scope and hash, whether a server takes it or the
//! command line works without one.

use axum::response::Response;
use compozy_engine::time::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::body::canonical_hash;
use super::error::Problem;
use super::guard::Caller;
use super::{AppState, code};
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

/// Says that the recorded answer of an earlier request was given.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// `Idempotency-Key` or `X-Idempotency-Key`.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut found: Option<&str> = None;
    for name in ["idempotency-key", "x-idempotency-key"] {
        for value in headers.get_all(name) {
            let fits = (1..=255).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
            let key = value.to_str().ok().filter(|_| fits).ok_or_else(|| {
                let detail = "an idempotency key is 1 to 255 visible ASCII characters";
                Problem::new(code::INVALID_REQUEST, detail)
            })?;
            if found.is_some_and(|other| other != key) {
                let detail = "the request carries two different idempotency keys";
                return Err(Problem::new(code::INVALID_REQUEST, detail));
            }
            found = Some(key);
        }
    }
    Ok(found)
}

/// The key of a request whose meaning is its whole body; `route` names what it is sent to.
///
/// # Errors
/// The key cannot be one.
pub(super) fn of_body(
    app: &AppState,
    headers: &HeaderMap,
    caller: &Caller,
    route: &str,
    members: &Map<String, Value>,
) -> Result<Option<Idempotency>, Problem> {
    Ok(key_of(headers)?.map(|key| Idempotency {
        scope: format!("{}|{route}", caller.principal.word()),
        key: key.to_owned(),
        request_hash: canonical_hash(members),
        expires_at: expiry(app),
    }))
}

/// When a key that is used now is free again.
pub(super) fn expiry(app: &AppState) -> Timestamp {
    app.clock.now().after(app.settings.idempotency_ttl)
}

/// Tells the caller whether its key was used before.
pub(super) fn mark_replayed(response: &mut Response, replayed: bool) {
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
}

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

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::key_of;

    #[test]
    fn idempotency_keys_are_read_from_both_headers() {
        let long = "k".repeat(256);
        for (one, other, expected) in [
            (None, None, Ok(None)),
            (Some("k1"), None, Ok(Some("k1"))),
            (None, Some("k1"), Ok(Some("k1"))),
            (Some("k1"), Some("k1"), Ok(Some("k1"))),
            (Some("k1"), Some("k2"), Err(())),
            (Some("a b"), None, Err(())),
            (Some(""), None, Err(())),
            (Some(long.as_str()), None, Err(())),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [("idempotency-key", one), ("x-idempotency-key", other)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            assert_eq!(key_of(&headers).map_err(|_| ()), expected);
        }
    }
}
