//! `POST /executions/workflows/{exec}/cancel`: durable when answered; a repeat changes nothing.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use serde_json::Value;

use super::asked;
use crate::api::answer::Answer;
use crate::api::error::Problem;
use crate::api::guard::Caller;
use crate::api::{AppState, code};

/// Longest reason.
const MAX_REASON: usize = 1_024;

pub(in crate::api) async fn cancel(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(exec): Path<String>,
    request: Request,
) -> Answer {
    let (exec_id, mut members) = asked::read(&app, &exec, request, &["reason"]).await?;
    let reason = reason(members.remove("reason"))?;
    let outcome = app.node.cancel(&exec_id, caller.principal.word(), reason.as_deref()).await?;
    asked::say(&app, &exec_id, &outcome).await
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
