//! `GET /workflows`: definitions joined with their latest run.

use std::sync::Arc;

use axum::extract::State;
use http::Uri;

use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::document::Page;
use crate::api::document::execution::Viewer;
use crate::api::document::workflow::{self, Sort, WorkflowFilter, WorkflowList};
use crate::api::error::Problem;
use crate::api::query::{Query, invalid, statuses};

const PARAMETERS: &[&str] =
    &["q", "status", "tag", "tags", "sort", "order", "limit", "cursor", "offset", "project", "expand"];

pub(in crate::api) async fn list(State(app): State<Arc<AppState>>, uri: Uri) -> Answer {
    let query = Query::parse(&uri, PARAMETERS)?;
    let filter = filter(&query)?;
    let project = app.node.project();
    let list = if query.get("project").is_some_and(|name| name != project.name) {
        let page = Page { limit: filter.limit, next_cursor: None, prev_cursor: None, total: Some(0) };
        WorkflowList { workflows: Vec::new(), page }
    } else {
        workflow::list(app.node.storage().as_ref(), &project, &filter, Viewer::Server).await?
    };
    answer::page(&list, &list.page, &uri)
}

fn filter(query: &Query) -> Result<WorkflowFilter, Problem> {
    let sort = match query.get("sort") {
        None | Some("name" | "id") => Sort::Name,
        Some("created_at") => Sort::CreatedAt,
        Some("updated_at") => Sort::UpdatedAt,
        Some("status") => Sort::Status,
        Some(_) => return Err(invalid("sort", "must be name, created_at, updated_at or status")),
    };
    Ok(WorkflowFilter {
        prefix: query.get("q").map(Into::into),
        statuses: statuses(query.list(&["status"]))?,
        tag: super::executions::tag(query)?,
        sort,
        descending: !query.ascending(true)?,
        limit: query.limit()?,
        offset: query.number("offset", 0, 0, usize::MAX)?,
        cursor: query.get("cursor").map(Into::into),
    })
}
