//! `/schedules`. A schedule is named by its workflow, or, where the workflow has several, by `<workflow>/<number>`: two
//! segments of the path, since an escaped slash has no route.

pub(super) mod change;
pub(super) mod get;
pub(super) mod list;
pub(super) mod remove;
pub(super) mod trigger;

use std::sync::Arc;

use axum::routing::{MethodRouter, get};

use super::AppState;

/// The segments of a path that name a schedule.
type Named = Vec<(String, String)>;

/// What one schedule answers to.
pub(super) fn one() -> MethodRouter<Arc<AppState>> {
    get(get::get).patch(change::change).delete(remove::remove)
}

fn id_of(named: &Named) -> String {
    let segments: Vec<&str> = named.iter().map(|(_, segment)| segment.as_str()).collect();
    segments.join("/")
}
