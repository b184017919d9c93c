//! `GET /project`.

use std::sync::Arc;

use axum::extract::State;
use http::{HeaderMap, Uri};

use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::document::project::ProjectDocument;
use crate::api::document::workflow::etag;
use crate::api::query::Query;

pub(in crate::api) async fn get(State(app): State<Arc<AppState>>, uri: Uri, headers: HeaderMap) -> Answer {
    Query::parse(&uri, &[])?;
    let document = ProjectDocument::new(&app.node.project());
    let etag = etag(&document.definitions_digest);
    answer::tagged(&document, &etag, &headers)
}
