//! `GET /executions/workflows/{exec}/tasks`: every task execution as a tree.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::Uri;

use super::get::parse;
use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::document::execution::{TaskList, Viewer, WaitingFor};
use crate::api::error::not_found;
use crate::api::query::Query;

pub(in crate::api) async fn list(State(app): State<Arc<AppState>>, Path(exec): Path<String>, uri: Uri) -> Answer {
    Query::parse(&uri, &[])?;
    let exec_id = parse(&exec)?;
    let loaded = app.node.storage().load(&exec_id).await?.ok_or_else(|| not_found(&exec))?;
    let waiting_for = WaitingFor::of(&loaded.run, &loaded.steps, &loaded.timers, Viewer::Server);
    answer::ok(&TaskList::new(&loaded.steps, waiting_for.as_ref()))
}
