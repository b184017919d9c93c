//! `GET /workflows/{id}/executions`, and the filters it shares with `GET /executions/workflows`.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::Uri;

use crate::api::answer::{self, Answer};
use crate::api::document::execution::{self, Expand, Viewer};
use crate::api::document::workflow;
use crate::api::error::Problem;
use crate::api::query::{Query, invalid, statuses};
use crate::api::{AppState, code};
use crate::id::ExecId;
use crate::storage::row::RunFilter;

/// Parameters of lists of executions.
pub(in crate::api) const PARAMETERS: &[&str] = &[
    "status",
    "workflow_id",
    "since",
    "until",
    "tag",
    "tags",
    "parent",
    "order",
    "limit",
    "cursor",
    "count",
    "expand",
    "sort",
    "project",
];

pub(in crate::api) async fn list(State(app): State<Arc<AppState>>, Path(id): Path<String>, uri: Uri) -> Answer {
    let query = Query::parse(&uri, PARAMETERS)?;
    if query.get("workflow_id").is_some_and(|other| other != id) {
        return Err(invalid("workflow_id", "contradicts the path"));
    }
    let mut filter = filter(&query, &app)?;
    filter.workflow_id = Some(id.clone());
    let known = app.node.project().workflows.contains_key(&id);
    let list = read(&app, &filter, &query).await?;
    if list.executions.is_empty() && filter.cursor.is_none() && !known && !has_runs(&app, &id).await? {
        return Err(workflow::not_found(&app.node.project(), &id));
    }
    answer::page(&list, &list.page, &uri)
}

/// A page of executions.
pub(in crate::api) async fn read(
    app: &AppState,
    filter: &RunFilter,
    query: &Query,
) -> Result<execution::ExecutionList, Problem> {
    let expand = expand(query)?;
    let listed = execution::list(app.node.storage().as_ref(), filter, expand, Viewer::Server).await;
    Ok(listed?)
}

/// Workflows that left the project are still known by their runs.
async fn has_runs(app: &AppState, id: &str) -> Result<bool, Problem> {
    let filter = RunFilter { workflow_id: Some(id.to_owned()), limit: 1, ..RunFilter::default() };
    Ok(!app.node.storage().runs(&filter).await?.items.is_empty())
}

/// Reads the filters of a list of executions.
pub(in crate::api) fn filter(query: &Query, app: &AppState) -> Result<RunFilter, Problem> {
    let now = app.clock.now();
    let parent = match query.get("parent") {
        Some(text) => Some(ExecId::parse(text).ok_or_else(|| invalid("parent", "must be an execution id"))?),
        None => None,
    };
    if query.get("sort").is_some_and(|sort| sort != "created_at") {
        return Err(invalid("sort", "must be created_at"));
    }
    Ok(RunFilter {
        workflow_id: query.get("workflow_id").map(Into::into),
        statuses: statuses(query.list(&["status"]))?,
        since: query.time("since", now)?,
        until: query.time("until", now)?,
        tag: tag(query)?,
        parent,
        ascending: query.ascending(false)?,
        cursor: query.get("cursor").map(Into::into),
        limit: query.limit()?,
        count: query.flag("count")?,
    })
}

/// `tag=name=value` or `tag=name:value`; `tags` is the same.
pub(in crate::api) fn tag(query: &Query) -> Result<Option<(String, String)>, Problem> {
    let mut tags = query.list(&["tag", "tags"]);
    let Some(tag) = tags.next() else { return Ok(None) };
    if tags.next().is_some() {
        return Err(Problem::new(code::INVALID_REQUEST, "only one tag can be filtered by"));
    }
    let (name, value) = tag.split_once(['=', ':']).ok_or_else(|| invalid("tag", "must be written name=value"))?;
    Ok(Some((name.to_owned(), value.to_owned())))
}

fn expand(query: &Query) -> Result<Expand, Problem> {
    let mut expand = Expand::default();
    for name in query.list(&["expand"]) {
        match name {
            "input" => expand.input = true,
            "output" => expand.output = true,
            "tasks" => expand.tasks = true,
            _ => return Err(invalid("expand", "may name tasks, input and output")),
        }
    }
    Ok(expand)
}
