//! What the routes that ask something of a run have in common: reading the request and answering it.

use axum::extract::Request;
use serde::Serialize;
use serde_json::{Map, Value};

use super::get::parse;
use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::body::{self, Bounds};
use crate::api::error::{Problem, not_found};
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

/// The run a request is about, and its body, which may have the members `allowed`.
pub(super) async fn read(
    app: &AppState,
    exec: &str,
    request: Request,
    allowed: &[&str],
) -> Result<(ExecId, Map<String, Value>), Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let exec_id = parse(exec)?;
    let members = body::object(&parts.headers, body, Bounds::of(&app.settings)).await?;
    body::only(&members, allowed)?;
    Ok((exec_id, members))
}

/// Says what has become of a request.
pub(super) async fn say(app: &AppState, exec_id: &ExecId, outcome: &RequestOutcome) -> Answer {
    let run = app.node.storage().run(exec_id).await?.ok_or_else(|| not_found(exec_id.as_str()))?;
    let repeated = matches!(outcome, RequestOutcome::Already { .. });
    answer::ok(&Asked { exec_id, status: run.status, repeated })
}
