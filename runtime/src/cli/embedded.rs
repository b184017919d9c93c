//! The backend without a server: the documents come from the database, runs from a node inside this process.

mod ask;
mod schedules;

use std::sync::Arc;
use std::time::Duration;

use compozy_lang::settings::Driver;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc};

use super::backend::{Need, Start};
use super::compose::{self, Loaded};
use super::events::Event;
use super::failure::Failure;
use super::open;
use super::session::Session;
use crate::api::document::execution::{self, Expand, Viewer};
use crate::api::document::workflow::{self, Sort, WorkflowFilter};
use crate::api::document::{event, execution as executions};
use crate::api::{idempotency, query};
use crate::clock::Clock;
use crate::id::ExecId;
use crate::node::{self, Node, Notice, StartRequest};
use crate::storage::Storage;
use crate::storage::row::{Journal, RunFilter};
use crate::storage::sqlite::Role;

/// Events read from the journal at once.
const PAGE: u32 = 500;
/// How often a run that another process drives is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often the journal of a run that is listened to is read.
const LOOK_ANYWAY: Duration = Duration::from_secs(2);

/// The backend without a server.
#[derive(Debug)]
pub struct Embedded {
    loaded: Loaded,
    storage: Arc<dyn Storage>,
    node: Option<Arc<Node>>,
    clock: Clock,
    queue_only: bool,
}

/// What [`events`] reads from.
#[derive(Debug, Clone)]
pub struct EventSource {
    storage: Arc<dyn Storage>,
    node: Option<Arc<Node>>,
    clock: Clock,
}

impl Embedded {
    /// Opens what `need` asks for.
    ///
    /// # Errors
    /// There is nothing to read (`memory_server_unreachable`), or the database cannot be used.
    pub async fn open(session: &Session, loaded: Loaded, need: Need) -> Result<Self, Failure> {
        let ephemeral = compose::is_ephemeral(&loaded.project);
        match (need, ephemeral) {
            (Need::History | Need::Change | Need::Set | Need::Queue, true) => {
                return Err(Failure::new(
                    "memory_server_unreachable",
                    "the project keeps its executions in the memory of a server, and none is running",
                )
                .hint("start it with `compozy start`"));
            }
            (Need::Run, true) => {
                session.output.talk("No server is running: using a private in-memory database, nothing is kept.");
            }
            _ => {}
        }
        let project = &loaded.project;
        // Whether a server holds anything yet is for the server to say.
        let is_served = project.settings.database.driver == Driver::Postgres;
        let exists = is_served || compose::database_file(project).is_some_and(|path| path.exists());
        let role = role(need, exists);
        let storage = open::storage(session, &loaded.project, role).await?;
        let node = match need {
            Need::Run | Need::Queue => {
                let limit = if need == Need::Run { None } else { Some(0) };
                Some(compose::launch(session, &loaded, &storage, node::Kind::Embedded, limit).await?.node)
            }
            Need::Read | Need::History | Need::Change | Need::Set => None,
        };
        Ok(Self { loaded, storage, node, clock: session.clock.clone(), queue_only: need == Need::Queue })
    }

    /// This process runs what it starts.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.node.is_some() && !self.queue_only
    }

    fn viewer(&self) -> Viewer {
        if self.runs() { Viewer::Server } else { Viewer::Database }
    }

    /// As `GET /workflows`.
    ///
    /// # Errors
    /// A bad parameter; the database fails.
    pub async fn workflows(&self, query: &[(&str, String)]) -> Result<Value, Failure> {
        let mut filter = WorkflowFilter { limit: query::DEFAULT_LIMIT, ..WorkflowFilter::default() };
        for (name, value) in query {
            match *name {
                "status" => filter.statuses = statuses(value)?,
                "tags" => filter.tag = Some(tag(value)?),
                "q" => filter.prefix = Some(value.clone()),
                "sort" => filter.sort = sort(value)?,
                "order" => filter.descending = descending(value)?,
                "limit" => filter.limit = limit(value)?,
                "cursor" => filter.cursor = Some(value.clone()),
                _ => return Err(Failure::internal(&format!("unknown parameter {name}"))),
            }
        }
        document(&workflow::list(&*self.storage, &self.loaded.project, &filter, self.viewer()).await?)
    }

    /// As `GET /workflows/{id}`.
    ///
    /// # Errors
    /// `workflow_not_found`; the database fails.
    pub async fn workflow(&self, id: &str) -> Result<Value, Failure> {
        match workflow::load(&*self.storage, &self.loaded.project, id, self.viewer()).await? {
            Some(found) => document(&found),
            None => {
                let names = self.loaded.project.workflows.keys().map(String::as_str);
                let near = compozy_lang::suggest::several(id, names);
                let failure = Failure::new("workflow_not_found", format!("workflow '{id}' not found"));
                Err(if near.is_empty() {
                    failure
                } else {
                    failure.hint(format!("did you mean {}?", near.join(" or ")))
                })
            }
        }
    }

    /// As `GET /executions/workflows`.
    ///
    /// # Errors
    /// A bad parameter; the database fails.
    pub async fn executions(&self, query: &[(&str, String)]) -> Result<Value, Failure> {
        let mut filter = RunFilter { limit: query::DEFAULT_LIMIT, ..RunFilter::default() };
        let now = self.clock.now();
        let time = |name: &str, value: &str| {
            query::time(value, now).ok_or_else(|| {
                Failure::usage(format!("--{name} {value}: not a time")).hint("2026-01-31T09:30:00Z, 24h or 7d")
            })
        };
        for (name, value) in query {
            match *name {
                "workflow_id" => filter.workflow_id = Some(value.clone()),
                "status" => filter.statuses = statuses(value)?,
                "since" => filter.since = Some(time("since", value)?),
                "until" => filter.until = Some(time("until", value)?),
                "tag" => filter.tag = Some(tag(value)?),
                "parent" => filter.parent = Some(exec_id(value)?),
                "limit" => filter.limit = limit(value)?,
                "cursor" => filter.cursor = Some(value.clone()),
                _ => return Err(Failure::internal(&format!("unknown parameter {name}"))),
            }
        }
        document(&executions::list(&*self.storage, &filter, Expand::default(), self.viewer()).await?)
    }

    /// As `GET /executions/workflows/{exec}`.
    ///
    /// # Errors
    /// `execution_not_found`; the database fails.
    pub async fn execution(&self, id: &str) -> Result<Value, Failure> {
        let exec_id = exec_id(id)?;
        match execution::load(&*self.storage, &exec_id, self.viewer()).await? {
            Some(found) => document(&found),
            None => Err(Failure::new("execution_not_found", format!("execution '{id}' not found"))),
        }
    }

    /// All journal events so far.
    ///
    /// # Errors
    /// The database fails.
    pub async fn journal(&self, id: &str) -> Result<Vec<Value>, Failure> {
        let (exec_id, mut events, mut after) = (exec_id(id)?, Vec::new(), 0);
        loop {
            let page = self.storage.journal(&exec_id, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(events) };
            after = last.seq;
            for entry in &page {
                events.push(document(&event::item(&exec_id, entry))?);
            }
        }
    }

    /// Ids of runs that begin with `prefix`, at most two.
    ///
    /// # Errors
    /// The database fails.
    pub async fn with_prefix(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let runs = self.storage.runs_by_prefix(prefix, 2).await?;
        Ok(runs.iter().map(|run| run.exec_id.to_string()).collect())
    }

    /// Starts a run.
    ///
    /// # Errors
    /// What the node refuses.
    pub async fn start(&self, start: Start) -> Result<String, Failure> {
        let node = self.node.as_ref().ok_or_else(|| Failure::internal("this command cannot run workflows"))?;
        let mut request = StartRequest {
            workflow_id: start.workflow_id,
            input: start.input,
            task: start.task,
            tags: start.tags,
            durability: start.durability,
            priority: 0,
            trigger: json!({"type": "manual"}),
            idempotency: None,
        };
        // As a server without authentication keeps it, so that a repeat finds the run whoever took the start.
        request.idempotency = start.key.map(|key| {
            let life = self.loaded.project.settings.server.idempotency_ttl;
            let (who, route) = (idempotency::LOCAL, idempotency::START);
            idempotency::of_start(who, route, &key, &request, None, self.clock.now().after(life))
        });
        Ok(node.submit(request).await?.exec_id.to_string())
    }

    /// What [`events`] reads from.
    #[must_use]
    pub fn event_source(&self) -> EventSource {
        EventSource { storage: Arc::clone(&self.storage), node: self.node.clone(), clock: self.clock.clone() }
    }

    /// Hands runs back after `drain` and closes the database, last of all.
    pub async fn close(self, drain: Duration) {
        if let Some(node) = &self.node {
            node.shutdown(drain).await;
        }
        self.storage.close().await;
    }
}

/// How the database is opened. Where nothing was stored yet there is nothing to change, and no file is made.
fn role(need: Need, exists: bool) -> Role {
    match need {
        Need::Run | Need::Queue | Need::Set => Role::Embedded,
        Need::Change if exists => Role::Embedded,
        Need::Read | Need::History | Need::Change => Role::ReadOnly,
    }
}

/// Sends the events of a run after `after` until its last one.
///
/// # Errors
/// The database fails.
pub async fn events(source: EventSource, id: &str, after: i64, sender: &mpsc::Sender<Event>) -> Result<(), Failure> {
    let exec_id = exec_id(id)?;
    // Subscribed before the journal is read, so that nothing falls between the two.
    let mut notices = source.node.as_ref().map(|node| node.subscribe(&exec_id));
    let mut last = after;
    loop {
        if read_journal(&source, &exec_id, &mut last, sender).await? {
            return Ok(());
        }
        let heard = match &mut notices {
            Some(notices) => hear(&source.clock, notices, &exec_id, &mut last, sender).await,
            None => {
                source.clock.sleep(LOOK).await;
                Heard::Gap
            }
        };
        match heard {
            Heard::End => return Ok(()),
            Heard::Gap => {}
            Heard::Closed => notices = None,
        }
    }
}

/// Why listening stopped.
enum Heard {
    /// The run's last event came, or nobody listens to us.
    End,
    /// Notices were lost; the journal has them.
    Gap,
    /// There will be no more notices.
    Closed,
}

async fn hear(
    clock: &Clock,
    notices: &mut broadcast::Receiver<Notice>,
    exec_id: &ExecId,
    last: &mut i64,
    sender: &mpsc::Sender<Event>,
) -> Heard {
    loop {
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            // The journal is read now and then all the same: another process may have taken the run over.
            () = clock.sleep(LOOK_ANYWAY) => return Heard::Gap,
        };
        match notice {
            Ok(Notice::Events(events)) => {
                // A seq that is too high means that one was committed before we subscribed; the journal has both.
                if events.first().is_some_and(|first| first.seq > *last + 1) {
                    return Heard::Gap;
                }
                for entry in events.iter().filter(|entry| entry.seq > *last).collect::<Vec<_>>() {
                    *last = entry.seq;
                    if send(sender, exec_id, entry).await {
                        return Heard::End;
                    }
                }
            }
            Ok(Notice::Chunk { seq, number, task_id, text }) => {
                let data = event::chunk(exec_id, seq, number, &task_id, &text);
                let data = serde_json::from_str(&data).unwrap_or_default();
                let chunk = Event { id: format!("{seq}.{number}"), name: "llm_chunk".to_owned(), data };
                if sender.send(chunk).await.is_err() {
                    return Heard::End;
                }
            }
            Ok(Notice::Live { seq, number, at, task_id, event: name, data }) => {
                let data = event::live(exec_id, (seq, number), at, &task_id, &data);
                let data = serde_json::from_str(&data).unwrap_or_default();
                let live = Event { id: format!("{seq}.{number}"), name: name.to_owned(), data };
                if sender.send(live).await.is_err() {
                    return Heard::End;
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => return Heard::Gap,
            Err(broadcast::error::RecvError::Closed) => return Heard::Closed,
        }
    }
}

/// Sends what the journal has after `last`; true when that was all there will be.
async fn read_journal(
    source: &EventSource,
    exec_id: &ExecId,
    last: &mut i64,
    sender: &mpsc::Sender<Event>,
) -> Result<bool, Failure> {
    // Read first: whatever is in the journal by then includes the run's last event.
    let run = source.storage.run(exec_id).await?;
    let run = run.ok_or_else(|| Failure::new("execution_not_found", format!("execution '{exec_id}' not found")))?;
    loop {
        let page = source.storage.journal(exec_id, *last, PAGE).await?;
        if page.is_empty() {
            return Ok(run.finished_at.is_some());
        }
        for entry in &page {
            *last = entry.seq;
            if send(sender, exec_id, entry).await {
                return Ok(true);
            }
        }
    }
}

/// Sends one event; true when it was the last, or nobody listens.
async fn send(sender: &mpsc::Sender<Event>, exec_id: &ExecId, entry: &Journal) -> bool {
    let data = serde_json::from_str(&event::data(exec_id, entry)).unwrap_or_default();
    let sent = Event { id: entry.seq.to_string(), name: entry.event.clone(), data };
    let ends = sent.is_terminal();
    sender.send(sent).await.is_err() || ends
}

fn document(document: &impl serde::Serialize) -> Result<Value, Failure> {
    // Through text: stored JSON travels as raw text inside the documents.
    let text = serde_json::to_string(document).map_err(|error| Failure::internal(&error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| Failure::internal(&error.to_string()))
}

fn exec_id(text: &str) -> Result<ExecId, Failure> {
    ExecId::parse(text).ok_or_else(|| Failure::usage(format!("'{text}' is not an execution id")))
}

fn statuses(words: &str) -> Result<Vec<String>, Failure> {
    let words = words.split(',').map(str::trim).filter(|word| !word.is_empty());
    Ok(query::statuses(words)?)
}

fn tag(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=').or_else(|| text.split_once(':')) {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::usage(format!("--tag {text}: expected KEY=VALUE"))),
    }
}

fn sort(word: &str) -> Result<Sort, Failure> {
    serde_json::from_value(word.into())
        .map_err(|_| Failure::usage(format!("--sort {word}")).hint("one of name, created_at, updated_at, status"))
}

fn descending(word: &str) -> Result<bool, Failure> {
    match word.to_ascii_lowercase().as_str() {
        "asc" => Ok(false),
        "desc" => Ok(true),
        _ => Err(Failure::usage(format!("--order {word}")).hint("one of asc, desc")),
    }
}

fn limit(text: &str) -> Result<u32, Failure> {
    text.parse()
        .ok()
        .filter(|limit| (1..=query::MAX_LIMIT).contains(limit))
        .ok_or_else(|| Failure::usage(format!("--limit {text}: must be 1 to {}", query::MAX_LIMIT)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::usable::Plugins;
    use crate::cli::{args, exit};

    const PROJECT: &str = "name: cancel\nworkflows:\n  - source: ./w.yaml\nllm:\n  providers:\n    - {id: mock, type: mock, default: true}\n";
    const WORKFLOW: &str = "id: w\ntasks:\n  - id: one\n    type: basic\n    prompt: hello\n    final: true\n";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stored_run_is_canceled_without_a_server() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("compozy.yaml"), PROJECT).unwrap();
        std::fs::write(folder.path().join("w.yaml"), WORKFLOW).unwrap();
        let cli = args::parse(["compozy", "version", "--local"].map(Into::into)).unwrap();
        let session = Session::new(cli.global, &|_| None).unwrap();
        let loaded = compose::load(&session, &folder.path().join("compozy.yaml"), Plugins::Called).await.unwrap();

        let nothing = Embedded::open(&session, loaded.clone(), Need::Change).await.unwrap();
        let unknown = nothing.cancel("01ARZ3NDEKTSV4RRFFQ69G5FAV", None).await.unwrap_err();
        nothing.close(Duration::ZERO).await;
        assert_ne!(unknown.exit(), exit::OK);
        assert!(!compose::database_file(&loaded.project).unwrap().exists(), "looking made a database");

        let queue = Embedded::open(&session, loaded.clone(), Need::Queue).await.unwrap();
        let start = Start {
            workflow_id: "w".into(),
            input: json!({}),
            task: None,
            tags: serde_json::Map::new(),
            durability: None,
            key: None,
        };
        let id = queue.start(start).await.unwrap();
        queue.close(Duration::ZERO).await;

        let change = Embedded::open(&session, loaded.clone(), Need::Change).await.unwrap();
        change.cancel(&id, Some("wrong input")).await.unwrap();
        change.cancel(&id, None).await.unwrap();
        assert!(change.execution(&id).await.unwrap()["finished_at"].is_null());
        change.close(Duration::ZERO).await;

        let storage = open::storage(&session, &loaded.project, Role::Server).await.unwrap();
        let launched = compose::launch(&session, &loaded, &storage, node::Kind::Server, None).await.unwrap();
        let wait = Some(Duration::from_secs(20));
        let ended = launched.node.wait(&exec_id(&id).unwrap(), wait).await.unwrap().unwrap();
        assert_eq!(ended.status, "CANCELED");
        launched.node.shutdown(Duration::ZERO).await;
        storage.close().await;

        let late = Embedded::open(&session, loaded, Need::Change).await.unwrap();
        late.cancel(&id, None).await.expect("a repeat changes nothing");
        late.close(Duration::ZERO).await;
    }
}
