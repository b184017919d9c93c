//! `GET /workflows/{id}/executions`, and the filters it shares with `GET /executions/workflows`.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::Uri;

use crate::api::answer::{self, Answer};
use crate::api::document::execution::{self, Expand, Viewer};
use crate::api::document::workflow;
use crate::api::error::Problem;
use crate::api::query::{MAX_LIMIT, Query, invalid, statuses};
use crate::api::{AppState, code};
use crate::id::ExecId;
use crate::storage::row::RunFilter;

/// Largest offset: whoever goes further uses the cursor.
const MAX_OFFSET: u32 = 100_000;

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
    "offset",
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
    let offset = query.number("offset", 0, 0, MAX_OFFSET)?;
    if offset > 0 && filter.cursor.is_some() {
        return Err(invalid("offset", "cannot be combined with cursor"));
    }
    let skipped;
    let filter = match skip(app, filter, offset).await? {
        Skipped::Nothing => filter,
        Skipped::To(cursor) => {
            skipped = RunFilter { cursor: Some(cursor), ..filter.clone() };
            &skipped
        }
        // Behind the end: the page is empty, the count still right.
        Skipped::All => {
            let last = RunFilter { limit: 1, ..filter.clone() };
            let mut listed = execution::list(app.node.storage().as_ref(), &last, expand, Viewer::Server).await?;
            listed.executions.clear();
            listed.page.limit = filter.limit;
            listed.page.next_cursor = None;
            return Ok(listed);
        }
    };
    let listed = execution::list(app.node.storage().as_ref(), filter, expand, Viewer::Server).await;
    Ok(listed?)
}

/// Where an offset leads.
enum Skipped {
    Nothing,
    To(String),
    All,
}

/// Walks over the first `offset` runs of a list: its pages are stable, so the next one begins where they end.
async fn skip(app: &AppState, filter: &RunFilter, offset: u32) -> Result<Skipped, Problem> {
    let mut left = offset;
    let mut walk = RunFilter { count: false, ..filter.clone() };
    while left > 0 {
        walk.limit = left.min(MAX_LIMIT);
        let page = app.node.storage().runs(&walk).await?;
        match page.next {
            Some(cursor) => walk.cursor = Some(cursor),
            None => return Ok(Skipped::All),
        }
        left -= walk.limit;
    }
    Ok(walk.cursor.map_or(Skipped::Nothing, Skipped::To))
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
