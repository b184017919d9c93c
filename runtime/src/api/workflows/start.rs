//! `POST /workflows/{id}/executions`: starts a run and answers once it is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, Request, State};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::api::answer::{self, Answer};
use crate::api::body::{self, Bounds};
use crate::api::error::Problem;
use crate::api::guard::{Caller, Principal};
use crate::api::query::Query;
use crate::api::{AppState, code, exec_url, idempotency};
use crate::id::ExecId;
use crate::node::{self, Accepted, StartRequest};
use crate::storage::row::Durability;

/// Members of a start body.
const MEMBERS: &[&str] = &["input", "task_id", "tags", "durability", "priority"];
const SYNC_MEMBERS: &[&str] = &["input", "task_id", "tags", "durability", "priority", "timeout"];
/// How long a client waits at least for the answer that there is no room, and at most: no longer than it is then asked
/// to stay away.
const UNHURRIED: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);
/// Clients that may be held up before all wait as long again.
const TOGETHER: u32 = 64;
/// Most tags of one run.
const MAX_TAGS: usize = 64;

#[derive(Serialize)]
struct Started<'a> {
    exec_id: &'a ExecId,
    exec_url: &'a str,
    workflow_id: &'a str,
}

pub(in crate::api) async fn start(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let members = body::object(&parts.headers, body, Bounds::of_start(&app.settings)).await?;
    let (request, _) = read(&app, &parts.headers, caller.principal, id, members, false)?;
    let submitted = app.node.submit(request).await;
    accepted(&unhurried(&app, submitted).await?)
}

/// Before a start is refused for want of room, its client waits a little, and the longer the more clients do: so those
/// who ask again at once, over and over, leave the processors to the runs that are under way, however many they are.
pub(in crate::api) async fn unhurried(
    app: &AppState,
    submitted: Result<Accepted, node::Error>,
) -> Result<Accepted, node::Error> {
    if matches!(submitted, Err(node::Error::Overloaded)) {
        let held = Held::of(&app.refused);
        app.clock.sleep((UNHURRIED * (1 + held.before / TOGETHER)).min(LONGEST)).await;
    }
    submitted
}

/// A client that is held up; not any more when dropped.
struct Held<'a> {
    clients: &'a AtomicU32,
    /// Those held up before it.
    before: u32,
}

impl<'a> Held<'a> {
    fn of(clients: &'a AtomicU32) -> Self {
        Self { clients, before: clients.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says that a run is durable and will run.
pub(in crate::api) fn accepted(accepted: &Accepted) -> Answer {
    let url = exec_url(&accepted.exec_id);
    let started = Started { exec_id: &accepted.exec_id, exec_url: &url, workflow_id: &accepted.workflow_id };
    let mut response = answer::with_status(StatusCode::ACCEPTED, "Workflow execution started", &started)?;
    response.headers_mut().insert(LOCATION, HeaderValue::try_from(url).map_err(Problem::internal)?);
    idempotency::mark_replayed(&mut response, accepted.replayed);
    Ok(response)
}

/// Turns headers and body into a request to the node, and the time a sync caller wants to wait.
pub(in crate::api) fn read(
    app: &AppState,
    headers: &HeaderMap,
    principal: Principal,
    workflow_id: String,
    mut members: Map<String, Value>,
    sync: bool,
) -> Result<(StartRequest, Duration), Problem> {
    body::only(&members, if sync { SYNC_MEMBERS } else { MEMBERS })?;
    let key = idempotency::key_of(headers)?;
    let wait = timeout(&members, app.settings.sync_timeout, app.settings.sync_timeout_max)?;
    let mut request = StartRequest {
        workflow_id,
        input: input(members.remove("input"))?,
        task: text(members.remove("task_id"), "/task_id")?,
        tags: tags(members.remove("tags"))?,
        durability: durability(members.remove("durability"))?,
        priority: priority(members.remove("priority"))?,
        trigger: trigger(headers),
        idempotency: None,
    };
    request.idempotency = key.map(|key| {
        let (route, timeout) =
            if sync { (idempotency::SYNC, members.get("timeout")) } else { (idempotency::START, None) };
        idempotency::of_start(principal.word(), route, key, &request, timeout, idempotency::expiry(app))
    });
    Ok((request, wait))
}

fn input(value: Option<Value>) -> Result<Value, Problem> {
    match value {
        None | Some(Value::Null) => Ok(Value::Object(Map::new())),
        Some(object @ Value::Object(_)) => Ok(object),
        Some(_) => {
            Err(Problem::new(code::INPUT_INVALID, "the input must be an object").at("/input", "must be an object"))
        }
    }
}

pub(in crate::api) fn text(value: Option<Value>, pointer: &str) -> Result<Option<String>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(pointer, "must be a string")),
    }
}

fn tags(value: Option<Value>) -> Result<Map<String, Value>, Problem> {
    let tags = match value {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(tags)) => tags,
        Some(_) => return Err(wrong("/tags", "must be an object")),
    };
    if tags.len() > MAX_TAGS {
        return Err(wrong("/tags", &format!("may hold {MAX_TAGS} tags at most")));
    }
    match tags.iter().find(|(_, value)| !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))) {
        Some((name, _)) => {
            let pointer = format!("/tags/{}", name.replace('~', "~0").replace('/', "~1"));
            Err(wrong(&pointer, "must be a string, a number or a boolean"))
        }
        None => Ok(tags),
    }
}

fn durability(value: Option<Value>) -> Result<Option<Durability>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            serde_json::from_value(value).map(Some).map_err(|_| wrong("/durability", "must be full, normal or memory"))
        }
    }
}

fn priority(value: Option<Value>) -> Result<i64, Problem> {
    match value {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value.as_i64().ok_or_else(|| wrong("/priority", "must be a whole number")),
    }
}

/// Seconds to wait, whole or broken.
fn timeout(members: &Map<String, Value>, default: Duration, longest: Duration) -> Result<Duration, Problem> {
    match members.get("timeout") {
        None | Some(Value::Null) => Ok(default.min(longest)),
        Some(value) => value
            .as_f64()
            .filter(|seconds| *seconds > 0.0)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|wait| *wait <= longest)
            .ok_or_else(|| wrong("/timeout", &format!("must be seconds, above 0 and at most {}", longest.as_secs()))),
    }
}

/// What started the run, with what the caller needs to find it in its own traces.
fn trigger(headers: &HeaderMap) -> Value {
    let mut trigger = json!({"type": "manual"});
    for (header, member) in [("x-correlation-id", "correlation_id"), ("traceparent", "traceparent")] {
        let value = headers.get(header).filter(|value| (1..=128).contains(&value.len()));
        if let (Some(value), Some(trigger)) = (value.and_then(|value| value.to_str().ok()), trigger.as_object_mut()) {
            trigger.insert(member.into(), value.into());
        }
    }
    trigger
}

/// A member of the body that is not as it must be.
pub(in crate::api) fn wrong(pointer: &str, rule: &str) -> Problem {
    let name = pointer.trim_start_matches('/');
    Problem::new(code::INVALID_REQUEST, format!("'{name}' {rule}")).at(pointer, rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_typed() {
        let refused = |problem: Problem| (problem.code().word, problem.violations()[0].pointer.clone());
        let bad = "invalid_request";
        assert_eq!(refused(input(Some(json!([]))).unwrap_err()), ("input_invalid", "/input".into()));
        assert_eq!(refused(text(Some(json!(1)), "/task_id").unwrap_err()), (bad, "/task_id".into()));
        assert_eq!(refused(tags(Some(json!("a"))).unwrap_err()), (bad, "/tags".into()));
        assert_eq!(refused(tags(Some(json!({"a/b": []}))).unwrap_err()), (bad, "/tags/a~1b".into()));
        assert_eq!(refused(durability(Some(json!("fast"))).unwrap_err()), (bad, "/durability".into()));
        assert_eq!(refused(priority(Some(json!(1.5))).unwrap_err()), (bad, "/priority".into()));
        assert_eq!(input(None).unwrap(), json!({}));
        assert_eq!(durability(Some(json!("normal"))).unwrap(), Some(Durability::Normal));
        assert_eq!(priority(Some(json!(-3))).unwrap(), -3);
    }

    #[test]
    fn timeouts_are_bounded() {
        let (default, longest) = (Duration::from_secs(60), Duration::from_secs(3_600));
        let read = |value: Value| {
            let members = json!({"timeout": value});
            timeout(members.as_object().unwrap(), default, longest).ok().map(|wait| wait.as_millis())
        };
        for (value, expected) in [
            (json!(null), Some(60_000)),
            (json!(5), Some(5_000)),
            (json!(0.25), Some(250)),
            (json!(3_600), Some(3_600_000)),
            (json!(3_601), None),
            (json!(0), None),
            (json!(-1), None),
            (json!(1e300), None),
            (json!("5s"), None),
        ] {
            assert_eq!(read(value.clone()), expected, "{value}");
        }
    }
}
