//! `GET /executions/workflows`.

use std::sync::Arc;

use axum::extract::State;
use http::Uri;

use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::document::Page;
use crate::api::document::execution::ExecutionList;
use crate::api::query::Query;
use crate::api::workflows::executions::{PARAMETERS, filter, read};

pub(in crate::api) async fn list(State(app): State<Arc<AppState>>, uri: Uri) -> Answer {
    let query = Query::parse(&uri, PARAMETERS)?;
    let filter = filter(&query, &app)?;
    let list = if query.get("project").is_some_and(|name| name != app.node.project().name) {
        let page = Page { limit: filter.limit, next_cursor: None, prev_cursor: None, total: None };
        ExecutionList { executions: Vec::new(), page }
    } else {
        read(&app, &filter, &query).await?
    };
    answer::page(&list, &list.page, &uri)
}
