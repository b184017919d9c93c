//! `POST /events`: something happened; durable when answered, whoever listens to its name hears of it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use http::StatusCode;
use serde::Serialize;

use super::answer::{self, Answer};
use super::body::{self, Bounds};
use super::error::Problem;
use super::executions::signals;
use super::guard::Caller;
use super::query::Query;
use super::{AppState, code, idempotency};
use crate::node::EventRequest;

/// In the answer and in its envelope.
const MESSAGE: &str = "Event published";

#[derive(Serialize)]
struct Published<'a> {
    message: &'a str,
    event_id: &'a str,
}

pub(super) async fn publish(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let mut members = body::object(&parts.headers, body, Bounds::of_start(&app.settings)).await?;
    body::only(&members, &["name", "payload"])?;
    let idempotency = idempotency::of_body(&app, &parts.headers, &caller, "events", &members)?;
    let name = signals::name(&mut members, "name")?;
    let name =
        name.ok_or_else(|| Problem::new(code::INVALID_REQUEST, "'name' is missing").at("/name", "is missing"))?;
    let payload = members.remove("payload").unwrap_or_default();
    let request = EventRequest { name, payload, source: "api".to_owned(), idempotency };
    let accepted = app.node.publish(request).await?;
    let published = Published { message: MESSAGE, event_id: &accepted.event_id };
    let mut response = answer::with_status(StatusCode::ACCEPTED, MESSAGE, &published)?;
    idempotency::mark_replayed(&mut response, accepted.replayed);
    Ok(response)
}
