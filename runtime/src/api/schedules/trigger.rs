//! `POST /schedules/{workflow}/trigger`: starts the schedule's run now and answers once it is durable.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::{Named, id_of};
use crate::api::answer::{self, Answer};
use crate::api::body::{self, Bounds};
use crate::api::error::Problem;
use crate::api::guard::Caller;
use crate::api::query::Query;
use crate::api::{AppState, exec_url, idempotency};
use crate::id::ExecId;

#[derive(Serialize)]
struct Started<'a> {
    exec_id: &'a ExecId,
    exec_url: &'a str,
    workflow_id: &'a str,
    schedule_id: &'a str,
}

pub(in crate::api) async fn trigger(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(named): Path<Named>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let members = body::object(&parts.headers, body, Bounds::of(&app.settings)).await?;
    body::only(&members, &[])?;
    let id = id_of(&named);
    let idempotency = idempotency::of_body(&app, &parts.headers, &caller, &format!("schedule|{id}"), &members)?;
    let accepted = app.node.trigger_schedule(&id, idempotency).await?;
    let url = exec_url(&accepted.exec_id);
    let (exec_id, workflow_id) = (&accepted.exec_id, accepted.workflow_id.as_str());
    let started = Started { exec_id, exec_url: &url, workflow_id, schedule_id: &id };
    let mut response = answer::with_status(StatusCode::ACCEPTED, "Schedule triggered", &started)?;
    response.headers_mut().insert(LOCATION, HeaderValue::try_from(url).map_err(Problem::internal)?);
    idempotency::mark_replayed(&mut response, accepted.replayed);
    Ok(response)
}
