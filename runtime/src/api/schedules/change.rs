//! `PATCH /schedules/{workflow}`: what is set lies over what the project says, also after a restart; `null` takes it back.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use serde_json::{Map, Value};

use super::{Named, get, id_of};
use crate::api::answer::{self, Answer};
use crate::api::body::{self, Bounds};
use crate::api::error::Problem;
use crate::api::query::Query;
use crate::api::{AppState, code};
use crate::node::schedules::Change;

/// Longest expression or name of a zone, bytes.
const MAX_TEXT: usize = 256;

pub(in crate::api) async fn change(
    State(app): State<Arc<AppState>>,
    Path(named): Path<Named>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let members = body::object(&parts.headers, body, Bounds::of(&app.settings)).await?;
    let id = id_of(&named);
    app.node.change_schedule(&id, &read(members)?).await?;
    answer::ok(&get::load(&app, &id, None).await?)
}

fn read(mut members: Map<String, Value>) -> Result<Change, Problem> {
    body::only(&members, &["enabled", "cron", "timezone"])?;
    if members.is_empty() {
        let detail = "the body sets nothing: 'enabled', 'cron' or 'timezone' is expected";
        return Err(Problem::new(code::INVALID_REQUEST, detail));
    }
    let enabled = match members.remove("enabled") {
        None => None,
        Some(Value::Null) => Some(None),
        Some(Value::Bool(enabled)) => Some(Some(enabled)),
        Some(_) => return Err(wrong("enabled", "must be a boolean or null")),
    };
    Ok(Change { enabled, cron: text(&mut members, "cron")?, timezone: text(&mut members, "timezone")? })
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<Option<String>>, Problem> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) if text.len() <= MAX_TEXT => Ok(Some(Some(text.trim().to_owned()))),
        Some(_) => Err(wrong(name, &format!("must be a string of at most {MAX_TEXT} bytes, or null"))),
    }
}

fn wrong(member: &str, rule: &str) -> Problem {
    Problem::new(code::INVALID_REQUEST, format!("'{member}' {rule}")).at(format!("/{member}"), rule)
}
