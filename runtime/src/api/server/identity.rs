//! `GET /identity`: proves to a command line that this server has its project and database.

use std::sync::Arc;

use axum::extract::State;
use http::Uri;
use serde::Serialize;

use crate::api::answer::{self, Answer};
use crate::api::query::Query;
use crate::api::shutdown::Phase;
use crate::api::{AppState, error::Problem};
use crate::api::{code, identity};

#[derive(Serialize)]
struct Identity<'a> {
    instance_id: &'a str,
    proof: String,
    ready: bool,
    version: &'a str,
}

pub(in crate::api) async fn get(State(app): State<Arc<AppState>>, uri: Uri) -> Answer {
    let query = Query::parse(&uri, &["nonce"])?;
    let nonce = query
        .get("nonce")
        .filter(|nonce| identity::is_nonce(nonce))
        .ok_or_else(|| Problem::new(code::INVALID_REQUEST, "query parameter 'nonce' must be 32 random bytes in hex"))?;
    let key = &app.node.storage().info().identity_key;
    answer::ok(&Identity {
        instance_id: &app.instance.id,
        proof: identity::proof(key, nonce, app.instance.port, &app.node.project().name),
        ready: app.node.status().ready && app.shutdown.phase() == Phase::Serving,
        version: &app.instance.version,
    })
}
