//! `GET /memory/{memory}/read|stats|health?key=`: looking at a key. It changes nothing: only tasks and agents use a memory.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::Uri;
use serde::Serialize;

use super::{failed, find};
use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::query::{Query, invalid};
use crate::memory::{Message, Operation, Place};

#[derive(Serialize)]
struct Page<'a> {
    messages: Vec<Message>,
    /// Of this page.
    count: usize,
    key: &'a str,
    /// Under the key.
    total_count: usize,
    limit: u32,
    offset: usize,
    has_more: bool,
}

pub(in crate::api) async fn read(State(app): State<Arc<AppState>>, uri: Uri, Path(memory): Path<String>) -> Answer {
    let query = Query::parse(&uri, &["key", "limit", "offset"])?;
    let (limit, offset) = (query.limit()?, query.number("offset", 0_usize, 0, usize::MAX)?);
    let project = app.node.project();
    let place = Place::new(find(&project, &memory)?, key(&query)?).map_err(|error| failed("read", error))?;
    let seen = app.node.memory().look(place, true).await.map_err(|error| failed("read", error))?;
    let all = seen.state.messages;
    let total_count = all.len();
    let page = all.into_iter().skip(offset).take(limit as usize);
    let messages: Vec<Message> = page.map(|message| Message { role: message.role, content: message.content }).collect();
    let count = messages.len();
    let has_more = offset.saturating_add(count) < total_count;
    answer::ok(&Page { messages, count, key: place.key, total_count, limit, offset, has_more })
}

pub(in crate::api) async fn stats(State(app): State<Arc<AppState>>, uri: Uri, Path(memory): Path<String>) -> Answer {
    tell(&app, &Query::parse(&uri, &["key"])?, &memory, &Operation::Stats).await
}

pub(in crate::api) async fn health(State(app): State<Arc<AppState>>, uri: Uri, Path(memory): Path<String>) -> Answer {
    tell(&app, &Query::parse(&uri, &["key"])?, &memory, &Operation::Health).await
}

async fn tell(app: &AppState, query: &Query, memory: &str, operation: &Operation) -> Answer {
    let project = app.node.project();
    let word = operation.word();
    let place = Place::new(find(&project, memory)?, key(query)?).map_err(|error| failed(word, error))?;
    let told = app.node.memory().perform_now(place, operation).await;
    answer::ok(&told.map_err(|error| failed(word, error))?)
}

fn key(query: &Query) -> Result<&str, crate::api::error::Problem> {
    query.get("key").ok_or_else(|| invalid("key", "is missing"))
}
