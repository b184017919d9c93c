//! `POST /memory/{memory}/write|append|delete|flush|clear`: changes that are durable when answered.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use serde_json::{Map, Value};

use super::{failed, find};
use crate::api::answer::{self, Answer};
use crate::api::body::{self, Bounds};
use crate::api::error::Problem;
use crate::api::query::Query;
use crate::api::{AppState, code};
use crate::memory::{Error, FLUSH, Flush, Operation, Place, Settings, message, unconfirmed};

type Members = Map<String, Value>;

pub(in crate::api) async fn write(app: State<Arc<AppState>>, memory: Path<String>, request: Request) -> Answer {
    change(app, memory, request, "write", &["messages"], |members| messages(members).map(Operation::Write)).await
}

pub(in crate::api) async fn append(app: State<Arc<AppState>>, memory: Path<String>, request: Request) -> Answer {
    change(app, memory, request, "append", &["messages"], |members| messages(members).map(Operation::Append)).await
}

pub(in crate::api) async fn delete(app: State<Arc<AppState>>, memory: Path<String>, request: Request) -> Answer {
    change(app, memory, request, "delete", &[], |_| Ok(Operation::Delete)).await
}

pub(in crate::api) async fn flush(app: State<Arc<AppState>>, memory: Path<String>, request: Request) -> Answer {
    let read = |members: &Members| Settings::new("the body", members, FLUSH).and_then(Flush::of).map(Operation::Flush);
    change(app, memory, request, "flush", FLUSH, read).await
}

pub(in crate::api) async fn clear(app: State<Arc<AppState>>, memory: Path<String>, request: Request) -> Answer {
    let known = &["confirm", "backup"];
    let read = |members: &Members| {
        let settings = Settings::new("the body", members, known)?;
        let backup = settings.flag("backup")?;
        if settings.flag("confirm")? { Ok(Operation::Clear { backup }) } else { Err(unconfirmed()) }
    };
    change(app, memory, request, "clear", known, read).await
}

/// Reads a body with a `key` and the members `known`, and does what `read` makes of them.
async fn change(
    State(app): State<Arc<AppState>>,
    Path(memory): Path<String>,
    request: Request,
    word: &str,
    known: &[&str],
    read: impl FnOnce(&Members) -> Result<Operation, Error>,
) -> Answer {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let project = app.node.project();
    let memory = find(&project, &memory)?;
    let mut members = body::object(&parts.headers, body, Bounds::of(&app.settings)).await?;
    let allowed: Vec<&str> = ["key"].into_iter().chain(known.iter().copied()).collect();
    body::only(&members, &allowed)?;
    let key = match members.remove("key") {
        Some(Value::String(key)) => key,
        None => return Err(wrong("is missing")),
        Some(_) => return Err(wrong("must be a string")),
    };
    let operation = read(&members).map_err(|error| failed(word, error))?;
    let place = Place::new(memory, &key).map_err(|error| failed(word, error))?;
    let done = app.node.memory().perform_now(place, &operation).await;
    answer::ok(&done.map_err(|error| failed(word, error))?)
}

fn messages(members: &Members) -> Result<Vec<message::Message>, Error> {
    message::read(members.get("messages").unwrap_or(&Value::Null))
}

fn wrong(rule: &str) -> Problem {
    Problem::new(code::INVALID_REQUEST, format!("'key' {rule}")).at("/key", rule)
}
