//! `GET /state/export`: a snapshot of the database as a stream, in the form and of the rows that are asked for.

use std::io::{Seek as _, Write as _};
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use crate::api::answer::Answer;
use crate::api::error::Problem;
use crate::api::query::{self, Query};
use crate::api::{AppState, code};
use crate::id::ExecId;
use crate::storage::transfer::{RunChoice, Selection};
use crate::transfer::{self, Chunks, Form, Sink};

/// Pieces that wait for a slow reader.
const WAITING: usize = 4;
/// Bytes read back at a time.
const CHUNK: usize = 64 << 10;

pub(in crate::api) async fn export(State(app): State<Arc<AppState>>, request: Request) -> Answer {
    let allowed = ["form", "zstd", "include", "workflow", "exec", "status", "since"];
    let query = Query::parse(request.uri(), &allowed)?;
    let form = match query.get("form") {
        None => Form::Ndjson,
        Some(word) => Form::parse(word).ok_or_else(|| query::invalid("form", "must be ndjson or json"))?,
    };
    let zstd = query.flag("zstd")?;
    let export = transfer::ExportRequest {
        selection: selection(&app, &query).await?,
        form,
        zstd,
        project: app.node.project().name.clone(),
        export_id: app.clock.ulid(),
        now: app.clock.now(),
    };
    let mut chunks =
        if app.node.storage().info().ephemeral { spooled(&app, export).await? } else { piped(&app, export) };
    // What fails at once is answered as a problem; later the stream can only break off.
    let first = match chunks.next().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(Problem::new(code::DATABASE_UNAVAILABLE, "the database fails").because(error)),
        None => Bytes::new(),
    };
    let whole = futures_util::stream::iter([Ok(first)]).chain(chunks);
    let mut response = Response::new(Body::from_stream(whole));
    let (kind, name) = match (zstd, form) {
        (true, Form::Ndjson) => ("application/zstd", "attachment; filename=\"compozy.ndjson.zst\""),
        (true, Form::Document) => ("application/zstd", "attachment; filename=\"compozy.json.zst\""),
        (false, Form::Ndjson) => ("application/x-ndjson", "attachment; filename=\"compozy.ndjson\""),
        (false, Form::Document) => ("application/json", "attachment; filename=\"compozy.json\""),
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CONTENT_DISPOSITION, HeaderValue::from_static(name));
    Ok(response)
}

async fn selection(app: &AppState, query: &Query) -> Result<Selection, Problem> {
    let exec_id = query.get("exec").map(str::to_owned);
    if let Some(text) = &exec_id {
        let not_found = || crate::api::error::not_found(text);
        let exec_id = ExecId::parse(text).ok_or_else(not_found)?;
        app.node.storage().run(&exec_id).await?.ok_or_else(not_found)?;
    }
    let runs = RunChoice {
        workflow_id: query.get("workflow").map(str::to_owned),
        exec_id,
        statuses: query::statuses(query.list(&["status"]))?,
        since: query.time("since", app.clock.now())?,
    };
    let words: Vec<&str> = query.list(&["include"]).collect();
    let include = if words.is_empty() {
        transfer::usual(!runs.is_all())
    } else {
        transfer::classes(words.into_iter()).map_err(|message| query::invalid("include", &message))?
    };
    Ok(Selection { include, runs })
}

/// The export as it is written.
fn piped(app: &Arc<AppState>, request: transfer::ExportRequest) -> Chunks {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let storage = Arc::clone(app.node.storage());
    tokio::spawn(async move {
        let mut sink = Pipe(sender.clone());
        if let Err(error) = transfer::export(&*storage, &request, &mut sink, &mut |_, _| {}).await {
            tracing::warn!(export.id = request.export_id, "failed to export: {error}");
            let _nobody_reads = sender.send(Err(std::io::Error::other(error.to_string()))).await;
        }
    });
    Box::pin(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)))
}

struct Pipe(mpsc::Sender<std::io::Result<Bytes>>);

#[async_trait]
impl Sink for Pipe {
    async fn write(&mut self, bytes: Vec<u8>) -> std::io::Result<()> {
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        self.0.send(Ok(bytes.into())).await.map_err(gone)
    }
}

/// The export from a file without a name. A database in memory cannot be written while it is read, and must not wait
/// for whoever reads slowly.
async fn spooled(app: &Arc<AppState>, request: transfer::ExportRequest) -> Result<Chunks, Problem> {
    let path = std::env::temp_dir().join(format!("compozy-export-{}", request.export_id));
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).and_then(|file| std::fs::remove_file(&path).map(|()| file));
    let mut spool = Spool(file.map_err(|error| Problem::internal(format!("spool of an export: {error}")))?);
    transfer::export(&**app.node.storage(), &request, &mut spool, &mut |_, _| {}).await?;
    let mut file = spool.0;
    file.rewind().map_err(Problem::internal)?;
    let file = tokio::fs::File::from_std(file);
    Ok(Box::pin(futures_util::stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut bytes = vec![0; CHUNK];
        match file.read(&mut bytes).await {
            Ok(0) => None,
            Ok(length) => {
                bytes.truncate(length);
                Some((Ok(Bytes::from(bytes)), Some(file)))
            }
            Err(error) => Some((Err(error), None)),
        }
    })))
}

struct Spool(std::fs::File);

#[async_trait]
impl Sink for Spool {
    async fn write(&mut self, bytes: Vec<u8>) -> std::io::Result<()> {
        self.0.write_all(&bytes)
    }
}
