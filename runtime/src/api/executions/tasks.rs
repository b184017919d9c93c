//! `GET /executions/workflows/{exec}/tasks`: every task execution as a tree.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::Uri;

use super::get::parse;
use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::document::execution::TaskList;
use crate::api::error::not_found;
use crate::api::query::Query;

pub(in crate::api) async fn list(State(app): State<Arc<AppState>>, Path(exec): Path<String>, uri: Uri) -> Answer {
    Query::parse(&uri, &[])?;
    let exec_id = parse(&exec)?;
    let storage = app.node.storage();
    let steps = storage.steps(&exec_id).await?;
    if steps.is_empty() && storage.run(&exec_id).await?.is_none() {
        return Err(not_found(&exec));
    }
    answer::ok(&TaskList::new(&steps))
}
