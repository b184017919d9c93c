//! A server with three workflows, and a client.
//!
//! `quick` ends well with its input as output, `fails` fails, `slow` waits until it is canceled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use compozy_lang::plan::{Limits, Project, ProjectFacts, Workflow};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::api::{AppState, Instance, Settings, bind, serve};
use crate::clock::Clock;
use crate::node::Node;
use crate::storage::Storage;
use crate::storage::sqlite::{Options, Role, open};

/// A running server.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) app: Arc<AppState>,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) serving: JoinHandle<()>,
}

/// An answer read whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(super) fn data(&self) -> Value {
        assert!((200..300).contains(&self.status) || self.status == 503, "{} {:?}", self.status, self.body);
        self.json()["data"].clone()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

pub(super) async fn server() -> Server {
    server_with(Settings::default()).await
}

pub(super) async fn server_with(settings: Settings) -> Server {
    let clock = Clock::system();
    let storage: Arc<dyn Storage> =
        Arc::new(open(Options::new(":memory:", Role::Server, clock.clone())).await.unwrap());
    let node = Node::fake(Arc::clone(&storage), Arc::new(project()), clock.clone());
    let settings = Settings { port: 0, ..settings };
    let listener = bind(&settings).await.unwrap();
    let instance = Instance { id: "instance-1".into(), version: "1.2.3".into(), port: listener.port() };
    let app = AppState::new(node, settings, clock, instance, None);
    let address = listener.address();
    let serving = tokio::spawn(serve(listener, Arc::clone(&app)));
    Server { address, app, storage, serving }
}

fn project() -> Project {
    let workflow = |id: &str| Workflow {
        id: id.to_owned(),
        name: format!("The {id} one"),
        version: String::new(),
        description: String::new(),
        file: format!("workflows/{id}.yaml"),
        input_schema: None,
        output_schema: None,
        timeout: None,
        tasks: Vec::new(),
        explicit: false,
        outputs: None,
        env: BTreeMap::new(),
        project: ProjectFacts::default(),
        limits: Limits::default(),
        tools: BTreeMap::new(),
        digest: format!("digest-of-{id}"),
    };
    Project {
        name: "demo".into(),
        version: "0.1".into(),
        description: String::new(),
        root: "/nowhere".into(),
        config_file: "/nowhere/compozy.yaml".into(),
        settings: compozy_lang::settings::Settings::default(),
        workflows: ["quick", "fails", "slow"].map(|id| (id.to_owned(), Arc::new(workflow(id)))).into(),
        providers: Vec::new(),
        plugins: Vec::new(),
        databases: Vec::new(),
        digest: "digest-of-all".into(),
    }
}

impl Server {
    /// Sends a request; the body, if any, as JSON.
    pub(super) async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let (status, headers, body) = self.open(method, path, headers, body).await;
        Reply { status: status.as_u16(), headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], "").await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Reply {
        self.call("POST", path, &[], body).await
    }

    /// Sends a request and leaves the body to be read.
    pub(super) async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, HeaderMap, Incoming) {
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address.to_string());
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        // The connection lives as long as its task, which ends when the sender is gone and the body is read.
        tokio::spawn(async move {
            let _ = sender.ready().await;
        });
        (parts.status, parts.headers, body)
    }

    /// Starts `workflow` and returns the run's id.
    pub(super) async fn start(&self, workflow: &str) -> String {
        let reply = self.post(&format!("/api/v0/workflows/{workflow}/executions"), "{}").await;
        reply.data()["exec_id"].as_str().unwrap().to_owned()
    }

    /// Runs `workflow` to its end and returns the run's id.
    pub(super) async fn run(&self, workflow: &str) -> String {
        let reply = self.post(&format!("/api/v0/workflows/{workflow}/executions/sync"), "{}").await;
        reply.data()["exec_id"].as_str().unwrap().to_owned()
    }
}

/// Where an execution is found.
pub(super) fn url(exec_id: &str) -> String {
    format!("/api/v0/executions/workflows/{exec_id}")
}
