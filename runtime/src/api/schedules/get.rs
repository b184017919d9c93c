//! `GET /schedules/{workflow}`; with `?next=5` also its next five runs.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::Uri;

use super::{Named, id_of};
use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::document::schedule;
use crate::api::query::Query;

/// Most runs that are told ahead.
const MOST: u32 = 100;

pub(in crate::api) async fn get(State(app): State<Arc<AppState>>, Path(named): Path<Named>, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["next"])?;
    let times = query.get("next").map(|_| query.number("next", 0, 0, MOST)).transpose()?;
    answer::ok(&load(&app, &id_of(&named), times).await?)
}

/// The document of a schedule as it is now.
pub(super) async fn load(
    app: &AppState,
    id: &str,
    times: Option<u32>,
) -> Result<schedule::ScheduleDocument, crate::api::error::Problem> {
    schedule::load(app.node.storage().as_ref(), &app.node.project(), id, times, app.clock.now()).await
}
