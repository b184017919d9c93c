//! `POST /executions/workflows/{exec}/pause` and `/resume`: durable when answered; a repeat changes nothing.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};

use super::asked;
use crate::api::AppState;
use crate::api::answer::Answer;
use crate::api::guard::Caller;

pub(in crate::api) async fn pause(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(exec): Path<String>,
    request: Request,
) -> Answer {
    let (exec_id, _) = asked::read(&app, &exec, request, &[]).await?;
    let outcome = app.node.pause(&exec_id, caller.principal.word()).await?;
    asked::say(&app, &exec_id, &outcome).await
}

pub(in crate::api) async fn resume(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(exec): Path<String>,
    request: Request,
) -> Answer {
    let (exec_id, _) = asked::read(&app, &exec, request, &[]).await?;
    let outcome = app.node.resume(&exec_id, caller.principal.word()).await?;
    asked::say(&app, &exec_id, &outcome).await
}
