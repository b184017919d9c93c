//! `GET /`, `GET /api/v0`, and what has no route.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};
use serde_json::json;

use crate::api::answer::{self, Answer};
use crate::api::error::Problem;
use crate::api::{AppState, ENDPOINTS, guard};

/// `{name, version, endpoints}`.
pub(in crate::api) async fn index(State(app): State<Arc<AppState>>) -> Answer {
    answer::ok(&json!({"name": "compozy", "version": app.instance.version, "endpoints": ENDPOINTS}))
}

/// No route has the path.
pub(in crate::api) async fn not_found() -> Problem {
    guard::route_not_found()
}

/// The path has a route, the method does not; the router adds `Allow`, which is all that OPTIONS asks for.
pub(in crate::api) async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS { StatusCode::NO_CONTENT } else { StatusCode::METHOD_NOT_ALLOWED }.into_response()
}
