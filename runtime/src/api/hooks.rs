//! `POST /hooks/{slug}` (or the method its webhook names): a delivery, verified before anything is read of it.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use http::header::{ALLOW, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::{self, Answer};
use super::body::{self, Bounds};
use super::error::Problem;
use super::{AppState, code, exec_url, idempotency};
use crate::id::ExecId;
use crate::node::webhooks::{Delivered, Delivery, digest};

/// Most query parameters of a delivery.
const MOST_PARAMETERS: usize = 256;

#[derive(Serialize)]
struct Started<'a> {
    status: &'a str,
    event: &'a str,
    exec_id: &'a ExecId,
    exec_url: &'a str,
    workflow_id: &'a str,
}

#[derive(Serialize)]
struct NoMatch {
    status: &'static str,
}

pub(super) async fn receive(State(app): State<Arc<AppState>>, Path(slug): Path<String>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let hook = app.node.webhook(&slug).ok_or_else(|| {
        Problem::new(code::ROUTE_NOT_FOUND, "no webhook has this slug").hint("slugs stand in the triggers of workflows")
    })?;
    if parts.method.as_str() != hook.method() {
        let allow = HeaderValue::from_str(hook.method()).map_err(Problem::internal)?;
        let detail = format!("this webhook takes {}", hook.method());
        return Err(Problem::new(code::METHOD_NOT_ALLOWED, detail).header(ALLOW, allow));
    }
    let largest = app.node.project().settings.webhooks.default_max_body_bytes;
    let bounds = Bounds { bytes: usize::try_from(largest).unwrap_or(usize::MAX), ..Bounds::of(&app.settings) };
    let bytes = body::raw(&parts.headers, body, bounds).await?;
    let header = |name: &str| parts.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    app.node.verify_delivery(&hook, header, &bytes).await?;
    let delivery = Delivery {
        payload: body::value(&bytes, bounds.depth)?,
        headers: headers(&parts.headers),
        query: query(&parts.uri)?,
        digest: digest(&bytes),
        key: idempotency::key_of(&parts.headers)?.map(str::to_owned),
    };
    match app.node.deliver(&hook, delivery).await? {
        Delivered::Started { event, accepted } => {
            let url = exec_url(&accepted.exec_id);
            let started = Started {
                status: "started",
                event: &event,
                exec_id: &accepted.exec_id,
                exec_url: &url,
                workflow_id: &accepted.workflow_id,
            };
            let mut response = answer::with_status(StatusCode::ACCEPTED, "Workflow execution started", &started)?;
            response.headers_mut().insert(LOCATION, HeaderValue::try_from(url).map_err(Problem::internal)?);
            Ok(response)
        }
        Delivered::Duplicate => Err(Problem::new(code::DUPLICATE_EVENT, "this delivery came before")),
        Delivered::NoMatch => answer::ok(&NoMatch { status: "no_matching_event" }),
    }
}

/// Headers as templates see them: lower-case names; values of one name joined by commas (RFC 9110 §5.3).
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let joined = |name| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.collect::<Vec<_>>().join(", ")
    };
    headers.keys().map(|name| (name.as_str().to_owned(), Value::String(joined(name)))).collect()
}

/// Query parameters as templates see them; of one that is given several times the first counts.
fn query(uri: &Uri) -> Result<Map<String, Value>, Problem> {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| Problem::new(code::INVALID_REQUEST, "the query is not form-encoded UTF-8"))?
        .0;
    if pairs.len() > MOST_PARAMETERS {
        let detail = format!("the query has more than {MOST_PARAMETERS} parameters");
        return Err(Problem::new(code::INVALID_REQUEST, detail));
    }
    let mut query = Map::new();
    for (name, value) in pairs {
        query.entry(name).or_insert(Value::String(value));
    }
    Ok(query)
}
