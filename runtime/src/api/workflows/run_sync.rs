//! `POST /workflows/{id}/executions/sync`: starts a run and waits for its end.
//!
//! The run belongs to the database, not to this request: a caller that goes away, a timeout or a shutdown only end the
//! waiting. A repeated idempotency key attaches to the same run.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, Request, State};
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use super::start;
use crate::api::answer::{self, Answer};
use crate::api::body::{self, Bounds};
use crate::api::document::Json;
use crate::api::document::execution::{self, Execution, Viewer};
use crate::api::error::{self, Problem};
use crate::api::guard::Caller;
use crate::api::query::Query;
use crate::api::shutdown::Phase;
use crate::api::{AppState, code, exec_url, idempotency};
use crate::id::ExecId;

/// Status word of the run.
const COMPOZY_STATUS: HeaderName = HeaderName::from_static("compozy-status");

#[derive(Serialize)]
struct Finished<'a> {
    exec_id: &'a ExecId,
    output: Option<&'a Json>,
    workflow: &'a Execution,
}

/// How the waiting ended.
enum Outcome {
    Ended,
    Timeout,
    Shutdown,
}

pub(in crate::api) async fn run(
    State(app): State<Arc<AppState>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let (parts, body) = request.into_parts();
    let strict = Query::parse(&parts.uri, &["strict"])?.flag("strict")?;
    // A place is taken before anything is stored: a refused call leaves nothing behind.
    let _place = Arc::clone(&app.sync_waiters)
        .try_acquire_owned()
        .map_err(|_| Problem::new(code::OVERLOADED, "too many calls wait for executions").retry_after_ms(1_000))?;
    let members = body::object(&parts.headers, body, Bounds::of_start(&app.settings)).await?;
    let (request, wait) = start::read(&app, &parts.headers, caller.principal, id, members, true)?;
    let submitted = app.node.submit(request).await;
    let accepted = start::unhurried(&app, submitted).await?;
    let outcome = wait_for(&app, &accepted.exec_id, wait).await?;
    let workflow = execution::load(app.node.storage().as_ref(), &accepted.exec_id, Viewer::Server)
        .await?
        .ok_or_else(|| error::not_found(accepted.exec_id.as_str()))?;
    let status = HeaderValue::try_from(workflow.status.as_str()).map_err(Problem::internal)?;
    let problem = match outcome {
        Outcome::Ended if strict && workflow.status != "SUCCESS" => {
            let detail = format!("the execution ended with {}", workflow.status);
            Problem::new(code::RUN_FAILED, detail).header(COMPOZY_STATUS, status)
        }
        Outcome::Ended => {
            let finished =
                Finished { exec_id: &accepted.exec_id, output: workflow.output.as_ref(), workflow: &workflow };
            let mut response = answer::ok(&finished)?;
            response.headers_mut().insert(COMPOZY_STATUS, status);
            idempotency::mark_replayed(&mut response, accepted.replayed);
            return Ok(response);
        }
        Outcome::Timeout => {
            let detail = format!("the execution did not end within {} ms; it goes on", wait.as_millis());
            Problem::new(code::SYNC_TIMEOUT, detail).header(COMPOZY_STATUS, status)
        }
        Outcome::Shutdown => {
            let detail = "the server is shutting down; the execution goes on when it is back";
            Problem::new(code::SHUTTING_DOWN, detail).retry_after_ms(5_000)
        }
    };
    Err(problem
        .member("exec_id", &accepted.exec_id)
        .member("exec_url", &exec_url(&accepted.exec_id))
        .member("workflow", &workflow))
}

async fn wait_for(app: &AppState, exec_id: &ExecId, wait: Duration) -> Result<Outcome, Problem> {
    let ended = tokio::select! {
        biased;
        run = app.node.wait(exec_id, Some(wait)) => run?,
        () = app.shutdown.reached(Phase::Closing) => return Ok(Outcome::Shutdown),
    };
    Ok(if ended.is_some() { Outcome::Ended } else { Outcome::Timeout })
}
