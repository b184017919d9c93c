//! Who does the work of a command: a live server of the same project, or this process (cli-and-api §4.1).
//!
//! Both give the documents of the API, so that no command needs to know which one it was.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::Client;
use super::compose::{self, Loaded};
use super::discovery::{self, Server, Wanted, WantedProject};
use super::embedded::{self, Embedded};
use super::events::Event;
use super::failure::Failure;
use super::session::Session;
use super::usable::{self, Plugins};
use crate::storage::row::Durability;

/// Shortest prefix of an execution id.
const PREFIX: usize = 6;
/// Most executions looked through for a prefix on a server, and how many per page.
const SEARCHED: (usize, u32) = (10_000, 500);
/// Events waiting between the source and the command.
const EVENTS: usize = 1_024;

/// What a command needs of a database when there is no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Definitions, and what is stored if anything is.
    Read,
    /// Stored runs; there are none in memory.
    History,
    /// Stored runs, and to write down what is asked of them.
    Change,
    /// To write down what hangs on no run; the database is made if there is none.
    Set,
    /// A node that runs workflows.
    Run,
    /// A place to store a run that another process will take up.
    Queue,
}

/// Who does the work.
#[derive(Debug)]
pub enum Backend {
    /// A server.
    Remote(Client),
    /// This process.
    Embedded(Box<Embedded>),
}

/// A request to run a workflow.
#[derive(Debug, Clone)]
pub struct Start {
    /// Which workflow.
    pub workflow_id: String,
    /// Its input.
    pub input: Value,
    /// Task to begin with.
    pub task: Option<String>,
    /// Tags.
    pub tags: Map<String, Value>,
    /// Durability level.
    pub durability: Option<Durability>,
    /// Idempotency key of the user.
    pub key: Option<String>,
}

/// A request for a run that goes on from another one.
#[derive(Debug, Clone)]
pub struct Fork {
    /// Task before which it begins; `None`: the first step that failed.
    pub at: Option<String>,
    /// Another input.
    pub input: Option<Value>,
    /// Under the present definition.
    pub latest: bool,
}

/// The events of a run as they come.
#[derive(Debug)]
pub struct Watch {
    /// The events.
    pub events: mpsc::Receiver<Event>,
    /// Ends with the last event, or with why there are no more.
    pub source: JoinHandle<Result<(), Failure>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.source.abort();
    }
}

impl Backend {
    /// Chooses the server, or sets up what this process needs.
    ///
    /// # Errors
    /// An invalid project, no project and no server, a server that does not answer.
    pub async fn choose(session: &Session, need: Need) -> Result<Self, Failure> {
        if let Some(url) = &session.server {
            return Ok(Self::Remote(client(session, url)?));
        }
        let Some(config) = session.config_file() else { return Self::without_project(session).await };
        let loaded = compose::load(session, &config, Plugins::Unused).await?;
        let server = if session.local { None } else { discover(session, &loaded).await? };
        if let Some(server) = server {
            session.output.detail(&format!("using the server at {}", server.url));
            let client = client(session, &server.url)?;
            if matches!(need, Need::Run | Need::Queue) {
                warn_if_older(session, &client, &loaded).await;
            }
            return Ok(Self::Remote(client));
        }
        if need == Need::Run {
            usable::require_plugins(&loaded).await?;
        }
        Ok(Self::Embedded(Box::new(Embedded::open(session, loaded, need).await?)))
    }

    /// No project file here: any one live server counts.
    async fn without_project(session: &Session) -> Result<Self, Failure> {
        let root = std::env::current_dir().unwrap_or_default();
        let nowhere = || {
            Failure::new("CZ0101", format!("no compozy.yaml found in {}", root.display()))
                .hint("change to the project folder, or use --config FILE or --server URL")
        };
        if session.local {
            return Err(nowhere());
        }
        let wanted = Wanted { root: root.clone(), runtime: compose::runtime_folder(), project: None };
        match discovery::find(&wanted, &super::open::NoKeys, &session.output, &session.clock).await? {
            Some(server) => Ok(Self::Remote(client(session, &server.url)?)),
            None => Err(nowhere()),
        }
    }

    /// Nobody but this process is there to run anything.
    #[must_use]
    pub fn without_server(&self) -> bool {
        matches!(self, Self::Embedded(embedded) if !embedded.runs())
    }

    /// `GET /workflows`.
    ///
    /// # Errors
    /// A bad parameter, or the server or database is out of reach; so for all that follow.
    pub async fn workflows(&self, query: &[(&str, String)]) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => client.get(&["workflows"], query).await,
            Self::Embedded(embedded) => embedded.workflows(query).await,
        }
    }

    /// `GET /workflows/{id}`.
    ///
    /// # Errors
    /// Also `workflow_not_found`.
    pub async fn workflow(&self, id: &str) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => client.get(&["workflows", id], &[]).await,
            Self::Embedded(embedded) => embedded.workflow(id).await,
        }
    }

    /// `GET /executions/workflows`.
    ///
    /// # Errors
    /// As [`Self::workflows`].
    pub async fn executions(&self, query: &[(&str, String)]) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => client.get(&["executions", "workflows"], query).await,
            Self::Embedded(embedded) => embedded.executions(query).await,
        }
    }

    /// `GET /executions/workflows/{exec}`.
    ///
    /// # Errors
    /// Also `execution_not_found`.
    pub async fn execution(&self, exec_id: &str) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => client.get(&["executions", "workflows", exec_id], &[]).await,
            Self::Embedded(embedded) => embedded.execution(exec_id).await,
        }
    }

    /// All journal events of a run so far.
    ///
    /// # Errors
    /// Also `execution_not_found`.
    pub async fn journal(&self, exec_id: &str) -> Result<Vec<Value>, Failure> {
        match self {
            Self::Remote(client) => remote_journal(client, exec_id).await,
            Self::Embedded(embedded) => embedded.journal(exec_id).await,
        }
    }

    /// Starts a run; durable when it returns the execution id.
    ///
    /// # Errors
    /// Also `workflow_not_found`, `input_invalid`, `overloaded`.
    pub async fn start(&self, session: &Session, start: Start) -> Result<String, Failure> {
        match self {
            Self::Remote(client) => {
                let mut body = json!({"input": start.input});
                if let Some(members) = body.as_object_mut() {
                    members.extend(start.task.map(|task| ("task_id".to_owned(), task.into())));
                    members.extend((!start.tags.is_empty()).then(|| ("tags".to_owned(), start.tags.into())));
                    members.extend(start.durability.map(|level| ("durability".to_owned(), json!(level))));
                }
                // A key of our own makes it safe to send again when the answer got lost.
                let key = start.key.unwrap_or_else(|| session.clock.ulid());
                let accepted = client.post(&["workflows", &start.workflow_id, "executions"], &body, Some(&key)).await?;
                let exec_id = accepted.get("exec_id").and_then(Value::as_str);
                exec_id
                    .map(str::to_owned)
                    .ok_or_else(|| Failure::internal("the server answered without an execution id"))
            }
            Self::Embedded(embedded) => embedded.start(start).await,
        }
    }

    /// Starts a run that goes on from another one; gives `{exec_id, exec_url, workflow_id}`.
    ///
    /// # Errors
    /// Also `execution_not_found`, `execution_not_failed`, `task_not_found`, `task_not_reached`, `input_invalid`.
    pub async fn fork(&self, session: &Session, exec_id: &str, fork: Fork) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => {
                let verb = if fork.at.is_some() { "fork" } else { "retry" };
                let mut body = json!({"latest": fork.latest});
                if let Some(members) = body.as_object_mut() {
                    members.extend(fork.at.map(|task| ("at".to_owned(), task.into())));
                    members.extend(fork.input.map(|input| ("input".to_owned(), input)));
                }
                // A key of our own makes it safe to send again when the answer got lost.
                let key = session.clock.ulid();
                client.post(&["executions", "workflows", exec_id, verb], &body, Some(&key)).await
            }
            Self::Embedded(embedded) => embedded.fork(exec_id, fork).await,
        }
    }

    /// Asks for a run to be canceled; gives its document.
    ///
    /// # Errors
    /// Also `execution_not_found`, `execution_finished`.
    pub async fn cancel(&self, exec_id: &str, reason: Option<&str>) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => {
                let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
                client.post(&["executions", "workflows", exec_id, "cancel"], &body, None).await?;
            }
            Self::Embedded(embedded) => embedded.cancel(exec_id, reason).await?,
        }
        self.execution(exec_id).await
    }

    /// Asks for a run to be paused, or resumed; gives its document.
    ///
    /// # Errors
    /// Also `execution_not_found`, `execution_finished`.
    pub async fn pause(&self, exec_id: &str, paused: bool) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => {
                let verb = if paused { "pause" } else { "resume" };
                client.post(&["executions", "workflows", exec_id, verb], &json!({}), None).await?;
            }
            Self::Embedded(embedded) => embedded.pause(exec_id, paused).await?,
        }
        self.execution(exec_id).await
    }

    /// Sends a signal to a run; gives `{signal_id, state}`.
    ///
    /// # Errors
    /// Also `execution_not_found`, `execution_finished`.
    pub async fn signal(
        &self,
        session: &Session,
        exec_id: &str,
        name: &str,
        payload: Value,
        dedupe_key: Option<&str>,
    ) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => {
                let mut body = json!({"signal_name": name, "payload": payload});
                if let (Some(key), Some(members)) = (dedupe_key, body.as_object_mut()) {
                    members.insert("dedupe_key".to_owned(), key.into());
                }
                // A key of our own makes it safe to send again when the answer got lost.
                let key = session.clock.ulid();
                client.post(&["executions", "workflows", exec_id, "signals"], &body, Some(&key)).await
            }
            Self::Embedded(embedded) => embedded.signal(exec_id, name, payload, dedupe_key).await,
        }
    }

    /// The events of a run after `after`, as they come.
    #[must_use]
    pub fn watch(&self, exec_id: &str, after: i64) -> Watch {
        let (sender, events) = mpsc::channel(EVENTS);
        let exec_id = exec_id.to_owned();
        let source = match self {
            Self::Remote(client) => {
                let client = client.clone();
                tokio::spawn(async move { client.events(&exec_id, after, &sender).await })
            }
            Self::Embedded(embedded) => {
                let source = embedded.event_source();
                tokio::spawn(async move { embedded::events(source, &exec_id, after, &sender).await })
            }
        };
        Watch { events, source }
    }

    /// The id that `text` means: an id, a unique prefix of at least 6 characters, or `@last`.
    ///
    /// # Errors
    /// `execution_not_found`, or usage when several match.
    pub async fn resolve(&self, text: &str) -> Result<String, Failure> {
        let not_found = || Failure::new("execution_not_found", format!("execution '{text}' not found"));
        if text == "@last" {
            let newest = self.executions(&[("limit", "1".to_owned())]).await?;
            return id_of(newest.pointer("/executions/0")).ok_or_else(not_found);
        }
        if crate::id::ExecId::parse(text).is_none() {
            return Err(Failure::usage(format!("'{text}' is not an execution id")));
        }
        match self.execution(text).await {
            Ok(found) => return id_of(Some(&found)).ok_or_else(not_found),
            Err(failure) if failure.code() != Some("execution_not_found") => return Err(failure),
            Err(_) if text.len() < PREFIX => return Err(not_found().hint("a prefix needs at least 6 characters")),
            Err(_) => {}
        }
        let found = match self {
            Self::Remote(client) => remote_prefix(client, text).await?,
            Self::Embedded(embedded) => embedded.with_prefix(text).await?,
        };
        match found.as_slice() {
            [] => Err(not_found()),
            [one] => Ok(one.clone()),
            several => {
                Err(Failure::usage(format!("'{text}' is the beginning of several executions")).hint(several.join(", ")))
            }
        }
    }

    /// Lets go of what this process holds; runs under way are handed back.
    pub async fn close(self) {
        if let Self::Embedded(embedded) = self {
            embedded.close(Duration::ZERO).await;
        }
    }
}

fn id_of(document: Option<&Value>) -> Option<String> {
    document?.get("exec_id")?.as_str().map(str::to_owned)
}

fn client(session: &Session, url: &str) -> Result<Client, Failure> {
    Client::new(url, session.api_key.clone(), session.insecure, session.clock.clone())
}

/// The live server of a project, if there is one.
///
/// # Errors
/// One that does not answer, or does not get ready.
pub async fn discover(session: &Session, loaded: &Loaded) -> Result<Option<Server>, Failure> {
    let keys = super::open::DatabaseKeys { session, loaded };
    discovery::find(&wanted(loaded), &keys, &session.output, &session.clock).await
}

fn wanted(loaded: &Loaded) -> Wanted {
    let project = &loaded.project;
    let server = &project.settings.server;
    Wanted {
        root: project.root.clone(),
        runtime: compose::runtime_folder(),
        project: Some(WantedProject {
            config: project.config_file.clone(),
            name: project.name.clone(),
            host: server.host.clone(),
            port: server.port,
        }),
    }
}

/// Says so when the server runs other definitions than those here. A server that cannot say is not asked twice.
async fn warn_if_older(session: &Session, client: &Client, loaded: &Loaded) {
    let Ok(project) = client.get(&["project"], &[]).await else { return };
    let theirs = project.get("definitions_digest").and_then(Value::as_str);
    if theirs.is_some_and(|theirs| theirs != loaded.project.digest) {
        session.output.warn(
            "the server runs another revision of this project; restart it, or send it SIGHUP, to use these files",
        );
    }
}

async fn remote_journal(client: &Client, exec_id: &str) -> Result<Vec<Value>, Failure> {
    let (mut events, mut from) = (Vec::new(), 0);
    loop {
        let query = [("from", from.to_string()), ("limit", "500".to_owned())];
        let page = client.get(&["executions", "workflows", exec_id, "events"], &query).await?;
        let items = page.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
        let last = items.iter().filter_map(|item| item.get("seq").and_then(Value::as_i64)).max();
        events.extend(items);
        match last {
            Some(last) if last > from && !page.pointer("/page/next_cursor").unwrap_or(&Value::Null).is_null() => {
                from = last
            }
            _ => return Ok(events),
        }
    }
}

async fn remote_prefix(client: &Client, prefix: &str) -> Result<Vec<String>, Failure> {
    let (mut found, mut seen, mut cursor) = (Vec::new(), 0, None);
    while seen < SEARCHED.0 && found.len() < 2 {
        let mut query = vec![("limit", SEARCHED.1.to_string())];
        query.extend(cursor.take().map(|cursor: String| ("cursor", cursor)));
        let page = client.get(&["executions", "workflows"], &query).await?;
        let items = page.get("executions").and_then(Value::as_array).cloned().unwrap_or_default();
        seen += items.len();
        found.extend(items.iter().filter_map(|item| id_of(Some(item))).filter(|id| id.starts_with(prefix)));
        match page.pointer("/page/next_cursor").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    Ok(found)
}
