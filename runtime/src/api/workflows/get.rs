//! `GET /workflows/{id}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::{HeaderMap, Uri};

use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::document::execution::Viewer;
use crate::api::document::workflow;
use crate::api::query::Query;

pub(in crate::api) async fn get(
    State(app): State<Arc<AppState>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    Query::parse(&uri, &[])?;
    let project = app.node.project();
    let document = workflow::load(app.node.storage().as_ref(), &project, &id, Viewer::Server)
        .await?
        .ok_or_else(|| workflow::not_found(&project, &id))?;
    // The ETag is the definition's: the runs shown beside it do not count.
    let etag = document.etag.clone();
    answer::tagged(&document, &etag, &headers)
}
