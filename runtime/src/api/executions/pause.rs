//! `POST /executions/workflows/{exec}/pause` and `/resume`: durable when answered; a repeat changes nothing.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use serde::Serialize;

use super::get::parse;
use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::body::{self, Bounds};
use crate::api::error::not_found;
use crate::api::guard::Caller;
use crate::api::query::Query;
use crate::id::ExecId;
use crate::storage::RequestOutcome;

#[derive(Serialize)]
struct Asked<'a> {
    exec_id: &'a ExecId,
    /// Status of the run after the request; the node that owns it carries the request out.
    status: String,
    /// It was so already, or a request was recorded before this one.
    repeated: bool,
}

pub(in crate::api) async fn pause(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(exec): Path<String>,
    request: Request,
) -> Answer {
    let exec_id = read(&app, &exec, request).await?;
    let outcome = app.node.pause(&exec_id, caller.principal.word()).await?;
    say(&app, &exec_id, &outcome).await
}

pub(in crate::api) async fn resume(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(exec): Path<String>,
    request: Request,
) -> Answer {
    let exec_id = read(&app, &exec, request).await?;
    let outcome = app.node.resume(&exec_id, caller.principal.word()).await?;
    say(&app, &exec_id, &outcome).await
}

/// Which run a request without members is about.
async fn read(app: &AppState, exec: &str, request: Request) -> Result<ExecId, crate::api::error::Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let exec_id = parse(exec)?;
    let members = body::object(&parts.headers, body, Bounds::of(&app.settings)).await?;
    body::only(&members, &[])?;
    Ok(exec_id)
}

async fn say(app: &AppState, exec_id: &ExecId, outcome: &RequestOutcome) -> Answer {
    let run = app.node.storage().run(exec_id).await?.ok_or_else(|| not_found(exec_id.as_str()))?;
    let repeated = matches!(outcome, RequestOutcome::Already { .. });
    answer::ok(&Asked { exec_id, status: run.status, repeated })
}
