//! `POST /state/import`: an export into the server's database. The body is the file, in either form, compressed or not.

use std::sync::Arc;

use axum::extract::{Request, State};
use futures_util::{StreamExt as _, TryStreamExt as _};

use crate::api::AppState;
use crate::api::answer::{self, Answer};
use crate::api::document::import::document;
use crate::api::query::{self, Query};
use crate::transfer::{self, Chunks, InFlight, OnConflict, Scratch};

pub(in crate::api) async fn import(State(app): State<Arc<AppState>>, request: Request) -> Answer {
    let query = Query::parse(request.uri(), &["on_conflict", "in_flight", "verify", "dry_run"])?;
    let on_conflict = query.get("on_conflict").map_or(Some(OnConflict::Fail), OnConflict::parse);
    let in_flight = query.get("in_flight").map_or(Some(InFlight::Pause), InFlight::parse);
    let import = transfer::ImportRequest {
        on_conflict: on_conflict.ok_or_else(|| query::invalid("on_conflict", "must be fail, skip or replace"))?,
        in_flight: in_flight.ok_or_else(|| query::invalid("in_flight", "must be pause, resume, fail or skip"))?,
        verify: query.flag("verify")?,
        clock: app.clock.clone(),
    };
    let dry_run = query.flag("dry_run")?;
    let idle = app.settings.body_idle_timeout;
    let body = request.into_body().into_data_stream().map_err(std::io::Error::other).boxed();
    // Each piece in time; the whole may take as long as it takes.
    let chunks: Chunks = Box::pin(futures_util::stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout(idle, body.next()).await {
            Ok(Some(piece)) => Some((piece, Some(body))),
            Ok(None) => None,
            Err(_) => Some((Err(std::io::ErrorKind::TimedOut.into()), None)),
        }
    }));
    let scratch = if dry_run { Some(Scratch::new(&app.clock).await?) } else { None };
    let storage = app.node.storage();
    let to = scratch.as_ref().map(Scratch::storage);
    let imported = transfer::import(&**storage, to, chunks, &import, &mut |_, _| {}).await;
    if let Some(scratch) = scratch {
        scratch.remove().await;
    }
    answer::ok(&document(&imported?, dry_run))
}
