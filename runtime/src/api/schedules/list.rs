//! `GET /schedules`: the project's schedules, with what was set at run time.

use std::sync::Arc;

use axum::extract::State;
use http::Uri;

use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::document::schedule::{self, ScheduleFilter};
use crate::api::query::Query;

pub(in crate::api) async fn list(State(app): State<Arc<AppState>>, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["workflow_id", "limit", "cursor"])?;
    let filter = ScheduleFilter {
        workflow_id: query.get("workflow_id").map(Into::into),
        limit: query.limit()?,
        cursor: query.get("cursor").map(Into::into),
    };
    let (storage, project) = (app.node.storage(), app.node.project());
    let list = schedule::list(storage.as_ref(), &project, &filter, app.clock.now()).await?;
    answer::page(&list, &list.page, &uri)
}
