//! `POST /admin/reload`: reads the project's files again.

use std::sync::Arc;

use axum::extract::{Request, State};

use crate::api::answer::{self, Answer};
use crate::api::body::{self, Bounds};
use crate::api::error::Problem;
use crate::api::query::Query;
use crate::api::{AppState, code};

pub(in crate::api) async fn reload(State(app): State<Arc<AppState>>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let members = body::object(&parts.headers, body, Bounds::of(&app.settings)).await?;
    body::only(&members, &[])?;
    let Some(reload) = &app.reload else {
        return Err(Problem::new(code::NOT_READY, "this server cannot reload its files"));
    };
    answer::ok(&reload().await?)
}
