//! `GET /healthz`, `GET /readyz`, `GET /health`.
//!
//! Ready is: a database round trip, a database whose file is in its place and takes writes, migrated, the lease, the engine's loop, and no shutdown.
//! Nothing optional counts; schedules that are not looked after yet only make it degraded.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::guard::{Caller, Principal};
use crate::api::shutdown::Phase;

/// Longest round trip to the database that counts as ready.
const PING_LIMIT: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    ready: bool,
    #[serde(flatten)]
    report: Option<Report<'a>>,
}

#[derive(Serialize)]
struct Report<'a> {
    version: &'a str,
    started_at: String,
    uptime_ms: u64,
    mock_llm: bool,
    database: Database,
    worker: Worker,
    schedules: Schedules,
    cluster: Cluster,
}

#[derive(Serialize)]
struct Database {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    driver: &'static str,
    durability: crate::storage::row::Durability,
    latency_ms: Option<f64>,
    migrated: bool,
}

#[derive(Serialize)]
struct Worker {
    ready: bool,
    running: usize,
}

#[derive(Serialize)]
struct Schedules {
    reconciled: bool,
}

#[derive(Serialize)]
struct Cluster {
    lease_ok: bool,
}

/// The process is alive.
pub(in crate::api) async fn alive() -> Answer {
    answer::ok(&json!({"status": "alive"}))
}

/// 200 when ready, else 503 with the same report.
pub(in crate::api) async fn health(State(app): State<Arc<AppState>>, Extension(caller): Extension<Caller>) -> Answer {
    let node = app.node.status();
    let (latency, trouble) = match ping(&app).await {
        Ok(latency) => (Some(latency), node.trouble.or_else(|| app.probe.as_ref()?())),
        Err(trouble) => (None, Some(trouble)),
    };
    log_change(&app, trouble);
    let serving = app.shutdown.phase() == Phase::Serving;
    let ready = trouble.is_none() && node.ready && node.lease_ok && serving;
    let info = app.node.storage().info();
    let report = Report {
        version: &app.instance.version,
        started_at: app.started_at.to_rfc3339(),
        uptime_ms: u64::try_from(app.clock.now().since(app.started_at).as_millis()).unwrap_or(u64::MAX),
        mock_llm: app.settings.mock_llm,
        database: Database {
            ready: trouble.is_none(),
            reason: trouble,
            driver: info.driver,
            durability: info.durability,
            latency_ms: latency.map(|latency| (latency.as_secs_f64() * 1e6).round() / 1e3),
            migrated: info.schema_version > 0,
        },
        worker: Worker { ready: node.ready, running: node.running },
        schedules: Schedules { reconciled: node.schedules_reconciled },
        cluster: Cluster { lease_ok: node.lease_ok },
    };
    let report = (caller.principal != Principal::Anonymous).then_some(report);
    let status = match (ready, node.schedules_reconciled) {
        (false, _) => "not_ready",
        (true, false) => "degraded",
        (true, true) => "healthy",
    };
    let health = Health { status, ready, report };
    respond(ready, &health)
}

fn respond(ready: bool, health: &Health<'_>) -> Result<Response, crate::api::error::Problem> {
    if ready { answer::ok(health) } else { answer::with_status(StatusCode::SERVICE_UNAVAILABLE, "Not ready", health) }
}

/// A round trip through the database, or why there is none.
async fn ping(app: &AppState) -> Result<Duration, &'static str> {
    match tokio::time::timeout(PING_LIMIT, app.node.storage().ping()).await {
        Ok(Ok(latency)) => Ok(latency),
        Ok(Err(error)) => {
            tracing::debug!("the database does not answer: {error}");
            Err(error.in_short())
        }
        Err(_) => Err("the database does not answer in time"),
    }
}

/// Readiness is asked for every few seconds; only its changes are news.
fn log_change(app: &AppState, trouble: Option<&'static str>) {
    let before = std::mem::replace(&mut *app.trouble.lock().unwrap_or_else(PoisonError::into_inner), trouble);
    match (before, trouble) {
        (before, Some(trouble)) if before != Some(trouble) => tracing::error!("not ready: {trouble}"),
        (Some(_), None) => tracing::info!("the database is well again"),
        _ => {}
    }
}
