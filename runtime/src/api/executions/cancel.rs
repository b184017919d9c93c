//! `POST /executions/workflows/{exec}/cancel`: durable when answered; a repeat changes nothing.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use serde::Serialize;
use serde_json::Value;

use super::get::parse;
use crate::api::answer::{self, Answer};
use crate::api::body::{self, Bounds};
use crate::api::error::{Problem, not_found};
use crate::api::guard::Caller;
use crate::api::query::Query;
use crate::api::{AppState, code};
use crate::id::ExecId;
use crate::storage::RequestOutcome;

/// Longest reason.
const MAX_REASON: usize = 1_024;

#[derive(Serialize)]
struct Canceled<'a> {
    exec_id: &'a ExecId,
    /// Status of the run after the request; the node that owns it carries the request out.
    status: String,
    /// A request was recorded before this one.
    repeated: bool,
}

pub(in crate::api) async fn cancel(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(exec): Path<String>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let exec_id = parse(&exec)?;
    let mut members = body::object(&parts.headers, body, Bounds::of(&app.settings)).await?;
    body::only(&members, &["reason"])?;
    let reason = reason(members.remove("reason"))?;
    let outcome = app.node.cancel(&exec_id, caller.principal.word(), reason.as_deref()).await?;
    let run = app.node.storage().run(&exec_id).await?.ok_or_else(|| not_found(&exec))?;
    let repeated = matches!(outcome, RequestOutcome::Already { .. });
    answer::ok(&Canceled { exec_id: &exec_id, status: run.status, repeated })
}

fn reason(value: Option<Value>) -> Result<Option<String>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(reason)) if reason.len() <= MAX_REASON => Ok(Some(reason)),
        Some(_) => {
            let rule = format!("must be a string of at most {MAX_REASON} bytes");
            Err(Problem::new(code::INVALID_REQUEST, format!("'reason' {rule}")).at("/reason", rule))
        }
    }
}
