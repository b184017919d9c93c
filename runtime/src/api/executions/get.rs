//! `GET /executions/workflows/{exec}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::Uri;

use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::document::execution::{self, Viewer};
use crate::api::error::{Problem, not_found};
use crate::api::query::Query;
use crate::id::ExecId;

pub(in crate::api) async fn get(State(app): State<Arc<AppState>>, Path(exec): Path<String>, uri: Uri) -> Answer {
    // The document is whole in any case; `expand` is what older clients send.
    Query::parse(&uri, &["expand"])?;
    let exec_id = parse(&exec)?;
    let document = execution::load(app.node.storage().as_ref(), &exec_id, Viewer::Server)
        .await?
        .ok_or_else(|| not_found(&exec))?;
    answer::ok(&document)
}

/// The id of a path; what cannot be an id is not found.
pub(in crate::api) fn parse(exec: &str) -> Result<ExecId, Problem> {
    ExecId::parse(exec).ok_or_else(|| {
        let shown: String = exec.chars().filter(|c| !c.is_control()).take(64).collect();
        not_found(&shown)
    })
}
