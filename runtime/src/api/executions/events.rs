//! `GET /executions/workflows/{exec}/events?from=&limit=`: the journal.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::Uri;

use super::get::parse;
use crate::api::answer::{self, Answer};
use crate::api::document::Page;
use crate::api::document::event::{self, EventList};
use crate::api::error::{Problem, not_found};
use crate::api::query::Query;
use crate::api::{AppState, code};

pub(in crate::api) async fn list(State(app): State<Arc<AppState>>, Path(exec): Path<String>, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["from", "limit", "cursor"])?;
    let exec_id = parse(&exec)?;
    let limit = query.limit()?;
    let from = match query.get("cursor") {
        None => query.number("from", 1, 0, i64::MAX)?.max(1),
        Some(cursor) => read_cursor(cursor)
            .ok_or_else(|| Problem::new(code::INVALID_CURSOR, "the cursor does not belong to this list"))?,
    };
    let storage = app.node.storage();
    let run = storage.run(&exec_id).await?.ok_or_else(|| not_found(&exec))?;
    let events = storage.journal(&exec_id, from - 1, limit).await?;
    let last = events.last().map_or(from - 1, |event| event.seq);
    let step = i64::from(limit);
    let page = Page {
        limit,
        next_cursor: (last < run.last_seq && !events.is_empty()).then(|| cursor(last + 1)),
        prev_cursor: (from > 1).then(|| cursor((from - step).max(1))),
        total: None,
    };
    let events = events.iter().map(|event| event::item(&exec_id, event)).collect();
    let list = EventList { events, page };
    answer::page(&list, &list.page, &uri)
}

fn cursor(seq: i64) -> String {
    format!("e{seq}")
}

fn read_cursor(cursor: &str) -> Option<i64> {
    cursor.strip_prefix('e')?.parse().ok().filter(|seq| *seq >= 1)
}
