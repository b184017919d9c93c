//! `POST /executions/workflows/{exec}/signals`: kept for the run, durable when answered, taken by the wait for its name.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use serde::Serialize;
use serde_json::{Map, Value};

use super::get::parse;
use crate::api::answer::{self, Answer};
use crate::api::body::{self, Bounds};
use crate::api::error::Problem;
use crate::api::guard::Caller;
use crate::api::query::Query;
use crate::api::{AppState, code, idempotency};
use crate::node::SignalRequest;

/// Longest name and dedupe key, bytes.
const MAX_NAME: usize = 255;

#[derive(Serialize)]
struct Kept<'a> {
    signal_id: &'a str,
    /// `queued`; of a repeat what became of it meanwhile.
    state: &'a str,
}

pub(in crate::api) async fn send(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(exec): Path<String>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let exec_id = parse(&exec)?;
    let mut members = body::object(&parts.headers, body, Bounds::of_start(&app.settings)).await?;
    body::only(&members, &["signal_name", "payload", "dedupe_key"])?;
    let idempotency = idempotency::of_body(&app, &parts.headers, &caller, &format!("signal|{exec_id}"), &members)?;
    let name = name(&mut members, "signal_name")?.ok_or_else(|| wrong("signal_name", "is missing"))?;
    let request = SignalRequest {
        name,
        dedupe_key: self::name(&mut members, "dedupe_key")?,
        payload: members.remove("payload").unwrap_or_default(),
        source: "api".to_owned(),
        idempotency,
    };
    let kept = app.node.signal(&exec_id, request).await?;
    let mut response = answer::ok(&Kept { signal_id: &kept.signal_id, state: &kept.state })?;
    idempotency::mark_replayed(&mut response, kept.replayed);
    Ok(response)
}

pub(in crate::api) fn name(members: &mut Map<String, Value>, member: &str) -> Result<Option<String>, Problem> {
    match members.remove(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if (1..=MAX_NAME).contains(&text.len()) => Ok(Some(text)),
        Some(_) => Err(wrong(member, &format!("must be a string of 1 to {MAX_NAME} bytes"))),
    }
}

fn wrong(member: &str, rule: &str) -> Problem {
    Problem::new(code::INVALID_REQUEST, format!("'{member}' {rule}")).at(format!("/{member}"), rule)
}
