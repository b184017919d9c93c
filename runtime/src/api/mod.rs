//! The HTTP API under `/api/v0`: the only user of axum and of hyper's server.
//!
//! Every route stands in [`router`]. A request passes [`guard`], then its handler in `<resource>/<verb>.rs`; what goes
//! out is a document of [`document`] in an envelope or a [`error::Problem`]. The command line uses the same documents
//! when it works without a server.

mod answer;
mod body;
pub mod code;
pub mod document;
pub mod error;
mod events;
mod executions;
mod guard;
mod hooks;
pub mod idempotency;
pub mod identity;
mod memory;
mod patience;
mod project;
mod publish;
pub mod query;
mod schedules;
pub mod serve;
mod server;
mod settings;
pub mod shutdown;
mod state;
mod workflows;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::{get, post};
use compozy_engine::time::Timestamp;
use tokio::sync::Semaphore;

pub use serve::{BindError, Listener, bind, serve};
pub use settings::{Auth, Cors, Limits, Settings};
pub use shutdown::{Phase, Shutdown};

use crate::clock::Clock;
use crate::node::Node;
use error::Problem;

/// Loads the definitions again; all files are valid or nothing changes. The answer is the `data` of the response.
pub type Reload = Arc<
    dyn Fn() -> Pin<Box<dyn Future<Output = Result<document::project::ProjectDocument, Problem>> + Send>> + Send + Sync,
>;

/// Looks from outside whether what was written will last; says why not. Called for every readiness check.
pub type Probe = Arc<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// What the process around the server lends it.
#[derive(Default)]
pub struct Hooks {
    /// Loads the definitions again.
    pub reload: Option<Reload>,
    /// Looks after the database from outside.
    pub probe: Option<Probe>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hooks").field("probe", &self.probe.is_some()).finish_non_exhaustive()
    }
}

/// Which process this is.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Id of the process, also in its run record.
    pub id: String,
    /// Version of compozy.
    pub version: String,
    /// Port it listens on.
    pub port: u16,
}

/// What every handler works with.
pub struct AppState {
    node: Arc<Node>,
    settings: Settings,
    clock: Clock,
    instance: Instance,
    started_at: Timestamp,
    shutdown: Shutdown,
    reload: Option<Reload>,
    probe: Option<Probe>,
    /// Why the database was last found not ready, so that a change is logged once.
    trouble: Mutex<Option<&'static str>>,
    /// Free event streams.
    streams: Arc<Semaphore>,
    /// Free places of sync calls.
    sync_waiters: Arc<Semaphore>,
    /// Clients that wait to be told that there is no room.
    refused: AtomicU32,
}

impl std::fmt::Debug for AppState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AppState").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl AppState {
    /// The state of a server that begins now.
    #[must_use]
    pub fn new(node: Arc<Node>, settings: Settings, clock: Clock, instance: Instance, hooks: Hooks) -> Arc<Self> {
        let (streams, waiters) = (settings.limits.streams, settings.limits.sync_waiters);
        Arc::new(Self {
            started_at: clock.now(),
            streams: Arc::new(Semaphore::new(streams.min(Semaphore::MAX_PERMITS))),
            sync_waiters: Arc::new(Semaphore::new(waiters.min(Semaphore::MAX_PERMITS))),
            refused: AtomicU32::new(0),
            shutdown: Shutdown::default(),
            node,
            settings,
            clock,
            instance,
            reload: hooks.reload,
            probe: hooks.probe,
            trouble: Mutex::default(),
        })
    }

    /// Steers the shutdown: [`Shutdown::drain`] before the node drains, [`Shutdown::close`] after.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }
}

/// Paths of the API, for `GET /api/v0`.
const ENDPOINTS: &[&str] = &[
    "/healthz",
    "/readyz",
    "/api/v0/identity",
    "/api/v0/health",
    "/api/v0/project",
    "/api/v0/workflows",
    "/api/v0/executions/workflows",
    "/api/v0/schedules",
    "/api/v0/events",
    "/api/v0/hooks/{slug}",
    "/api/v0/memory/health",
    "/api/v0/state/export",
    "/api/v0/state/import",
    "/api/v0/admin/reload",
    "/problems/{code}",
];

/// Every route.
fn router(app: Arc<AppState>) -> Router {
    Router::new()
        .route("/", get(server::index::index))
        .route("/healthz", get(server::health::alive))
        .route("/readyz", get(server::health::health))
        .route("/problems/{code}", get(server::problem::get))
        .route("/api/v0", get(server::index::index))
        .route("/api/v0/identity", get(server::identity::get))
        .route("/api/v0/health", get(server::health::health))
        .route("/api/v0/project", get(project::get::get))
        .route("/api/v0/admin/reload", post(project::reload::reload))
        .route("/api/v0/workflows", get(workflows::list::list))
        .route("/api/v0/workflows/{id}", get(workflows::get::get))
        .route("/api/v0/workflows/{id}/executions", get(workflows::executions::list).post(workflows::start::start))
        .route("/api/v0/workflows/{id}/executions/sync", post(workflows::run_sync::run))
        .route("/api/v0/executions/workflows", get(executions::list::list))
        .route("/api/v0/executions/workflows/{exec}", get(executions::get::get))
        .route("/api/v0/executions/workflows/{exec}/tasks", get(executions::tasks::list))
        .route("/api/v0/executions/workflows/{exec}/events", get(executions::events::list))
        .route("/api/v0/executions/workflows/{exec}/stream", get(executions::stream::stream))
        .route("/api/v0/executions/workflows/{exec}/cancel", post(executions::cancel::cancel))
        .route("/api/v0/executions/workflows/{exec}/pause", post(executions::pause::pause))
        .route("/api/v0/executions/workflows/{exec}/resume", post(executions::pause::resume))
        .route("/api/v0/executions/workflows/{exec}/retry", post(executions::fork::retry))
        .route("/api/v0/executions/workflows/{exec}/fork", post(executions::fork::fork))
        .route("/api/v0/executions/workflows/{exec}/signals", post(executions::signals::send))
        .route("/api/v0/state/export", get(state::export::export))
        .route("/api/v0/state/import", post(state::import::import))
        .route("/api/v0/schedules", get(schedules::list::list))
        .route("/api/v0/schedules/{workflow}", schedules::one())
        .route("/api/v0/schedules/{workflow}/trigger", post(schedules::trigger::trigger))
        .route("/api/v0/schedules/{workflow}/{number}", schedules::one())
        .route("/api/v0/schedules/{workflow}/{number}/trigger", post(schedules::trigger::trigger))
        .route("/api/v0/events", post(publish::publish))
        .route("/api/v0/hooks/{slug}", post(hooks::receive).put(hooks::receive).patch(hooks::receive))
        .route("/api/v0/memory/health", get(memory::overview::all))
        .route("/api/v0/memory/health/{memory}", get(memory::overview::one))
        .route("/api/v0/memory/{memory}/read", get(memory::read::read))
        .route("/api/v0/memory/{memory}/stats", get(memory::read::stats))
        .route("/api/v0/memory/{memory}/health", get(memory::read::health))
        .route("/api/v0/memory/{memory}/write", post(memory::change::write))
        .route("/api/v0/memory/{memory}/append", post(memory::change::append))
        .route("/api/v0/memory/{memory}/delete", post(memory::change::delete))
        .route("/api/v0/memory/{memory}/flush", post(memory::change::flush))
        .route("/api/v0/memory/{memory}/clear", post(memory::change::clear))
        .fallback(server::index::not_found)
        .method_not_allowed_fallback(server::index::other_method)
        .with_state(app)
}

/// Where an execution is found.
fn exec_url(exec_id: &crate::id::ExecId) -> String {
    format!("/api/v0/executions/workflows/{exec_id}")
}
