//! `GET /memory/health[/{memory}]`: every memory of the project, or one, over all its keys.

use std::sync::Arc;

use axum::extract::{Path, State};
use compozy_lang::plan::MemoryDefinition;
use http::Uri;
use serde::Serialize;

use super::{failed, find};
use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::query::Query;
use crate::memory::rule::word;
use crate::storage::row::MemoryTotals;

#[derive(Serialize)]
struct Overview<'a> {
    healthy: bool,
    memories: Vec<One<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    memory_ref: &'a str,
    /// Its place answers; a memory whose place does not answer is told as a problem.
    healthy: bool,
    keys: u64,
    message_count: u64,
    token_count: u64,
    actual_strategy: &'static str,
}

pub(in crate::api) async fn all(State(app): State<Arc<AppState>>, uri: Uri) -> Answer {
    Query::parse(&uri, &[])?;
    let totals = app.node.memory().totals().await.map_err(|error| failed("health", error))?;
    let project = app.node.project();
    let memories = project.memories.iter().map(|memory| one_of(&app, memory, &totals)).collect();
    answer::ok(&Overview { healthy: true, memories })
}

pub(in crate::api) async fn one(State(app): State<Arc<AppState>>, uri: Uri, Path(memory): Path<String>) -> Answer {
    Query::parse(&uri, &[])?;
    let project = app.node.project();
    let memory = find(&project, &memory)?;
    let totals = app.node.memory().totals().await.map_err(|error| failed("health", error))?;
    answer::ok(&one_of(&app, memory, &totals))
}

fn one_of<'a>(app: &AppState, memory: &'a MemoryDefinition, totals: &[MemoryTotals]) -> One<'a> {
    let total = totals.iter().find(|total| total.memory == memory.id);
    One {
        memory_ref: &memory.id,
        healthy: true,
        keys: total.map_or(0, |total| total.keys),
        message_count: total.map_or(0, |total| total.messages),
        token_count: total.map_or(0, |total| total.tokens),
        actual_strategy: word(app.node.memory().actual_strategy_of(memory)),
    }
}
