//! `DELETE /schedules/{workflow}`: takes back what was set at run time; a schedule of which nothing was set is switched
//! off, since only the project's files can remove it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{StatusCode, Uri};

use super::{Named, id_of};
use crate::api::AppState;
use crate::api::answer::Answer;
use crate::api::query::Query;

pub(in crate::api) async fn remove(State(app): State<Arc<AppState>>, Path(named): Path<Named>, uri: Uri) -> Answer {
    Query::parse(&uri, &[])?;
    app.node.remove_schedule(&id_of(&named)).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
