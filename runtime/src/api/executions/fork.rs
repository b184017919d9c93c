//! `POST /executions/workflows/{exec}/retry` and `/fork`: a new run that goes on from the records of this one.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use serde_json::Value;

use super::get::parse;
use crate::api::answer::Answer;
use crate::api::body::{self, Bounds};
use crate::api::error::Problem;
use crate::api::guard::Caller;
use crate::api::query::Query;
use crate::api::workflows::start::{accepted, text, wrong};
use crate::api::{AppState, code, idempotency};
use crate::node::{self, ForkRequest, Place};

pub(in crate::api) async fn retry(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(exec): Path<String>,
    request: Request,
) -> Answer {
    go_on(&app, &caller, &exec, request, idempotency::RETRY).await
}

pub(in crate::api) async fn fork(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(exec): Path<String>,
    request: Request,
) -> Answer {
    go_on(&app, &caller, &exec, request, idempotency::FORK).await
}

async fn go_on(app: &AppState, caller: &Caller, exec: &str, request: Request, route: &str) -> Answer {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let exec_id = parse(exec)?;
    let mut members = body::object(&parts.headers, body, Bounds::of_start(&app.settings)).await?;
    body::only(&members, &["at", "input", "latest"])?;
    let place = match text(members.remove("at"), "/at")? {
        Some(task) => Place::Task(task),
        None if route == idempotency::RETRY => Place::Failure,
        None => return Err(wrong("/at", "is required: the task before which the new execution begins")),
    };
    let mut request = ForkRequest {
        exec_id,
        place,
        input: input(members.remove("input"))?,
        latest: latest(members.remove("latest"))?,
        idempotency: None,
    };
    request.idempotency = idempotency::key_of(&parts.headers)?
        .map(|key| idempotency::of_fork(caller.principal.word(), route, key, &request, idempotency::expiry(app)));
    let forked = app.node.fork(request).await.map_err(|error| match &error {
        node::Error::TaskNotFound { .. } => {
            Problem::new(code::TASK_NOT_FOUND, error.to_string()).at("/at", "the workflow has no such task")
        }
        _ => error.into(),
    });
    accepted(&forked?)
}

fn input(value: Option<Value>) -> Result<Option<Value>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(object @ Value::Object(_)) => Ok(Some(object)),
        Some(_) => {
            Err(Problem::new(code::INPUT_INVALID, "the input must be an object").at("/input", "must be an object"))
        }
    }
}

fn latest(value: Option<Value>) -> Result<bool, Problem> {
    match value {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(latest)) => Ok(latest),
        Some(_) => Err(wrong("/latest", "must be true or false")),
    }
}
