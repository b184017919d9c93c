//! A server with three workflows, and a client.
//!
//! `quick` adds two numbers, `fails` fails, `slow` waits an hour for its next attempt unless it is canceled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compozy_lang::plan::{Project, RetryPolicy, Workflow};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::api::{AppState, Hooks, Instance, Settings, bind, serve};
use crate::clock::Clock;
use crate::node;
use crate::storage::Storage;
use crate::storage::sqlite::{self, Role};

/// A running server.
pub(in crate::api) struct Server {
    pub(in crate::api) address: SocketAddr,
    pub(in crate::api) app: Arc<AppState>,
    pub(in crate::api) storage: Arc<dyn Storage>,
    pub(in crate::api) serving: JoinHandle<()>,
}

/// An answer read whole.
#[derive(Debug)]
pub(in crate::api) struct Reply {
    pub(in crate::api) status: u16,
    pub(in crate::api) headers: HeaderMap,
    pub(in crate::api) body: Bytes,
}

impl Reply {
    pub(in crate::api) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(in crate::api) fn data(&self) -> Value {
        assert!((200..300).contains(&self.status) || self.status == 503, "{} {:?}", self.status, self.body);
        self.json()["data"].clone()
    }

    pub(in crate::api) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

pub(in crate::api) async fn server() -> Server {
    server_with(Settings::default()).await
}

/// A server with room for so many runs at once and so many that wait.
pub(in crate::api) async fn server_limited(limits: (usize, usize)) -> Server {
    server_as(Settings::default(), limits).await
}

pub(in crate::api) async fn server_with(settings: Settings) -> Server {
    server_as(settings, (256, 100_000)).await
}

async fn server_as(settings: Settings, limits: (usize, usize)) -> Server {
    let clock = Clock::system();
    let options = sqlite::Options::new(":memory:", Role::Server, clock.clone());
    let storage: Arc<dyn Storage> = Arc::new(sqlite::open(options).await.unwrap());
    let node = node::tests::launch_as(Arc::clone(&storage), clock.clone(), project(), Vec::new(), limits).await;
    node.watch_schedules(true).await;
    let settings = Settings { port: 0, ..settings };
    let listener = bind(&settings).await.unwrap();
    let instance = Instance { id: "instance-1".into(), version: "1.2.3".into(), port: listener.port() };
    let app = AppState::new(node, settings, clock, instance, Hooks::default());
    let address = listener.address();
    let serving = tokio::spawn(serve(listener, Arc::clone(&app)));
    Server { address, app, storage, serving }
}

fn project() -> Project {
    let failing = json!({"times": 9, "code": "broke", "retryable": false});
    let waiting = json!({"times": 9, "code": "flaky", "retryable": true});
    Project {
        name: "demo".into(),
        version: "0.1".into(),
        digest: "digest-of-all".into(),
        memories: vec![super::memory::definition("chat"), super::memory::definition("here")],
        ..node::tests::project([
            workflow("quick", "add", &json!({"a": 1, "b": 2})),
            workflow("fails", "fail", &failing),
            workflow("slow", "fail", &waiting),
        ])
    }
}

/// One task that calls `function` of the zoo. Its input may have a `city`, which is a string.
fn workflow(id: &str, function: &str, with: &Value) -> Workflow {
    let an_hour = Duration::from_secs(3_600);
    let retry = RetryPolicy { initial_interval: an_hour, maximum_interval: an_hour, ..RetryPolicy::default() };
    let transition = json!({"next": null, "with": null});
    serde_json::from_value(json!({
        "id": id, "name": format!("The {id} one"), "version": "", "description": "",
        "file": format!("workflows/{id}.yaml"),
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        "output_schema": null, "timeout": null, "explicit": false, "outputs": null, "env": {},
        "project": {"name": "demo", "version": "", "description": ""},
        "limits": compozy_lang::plan::Limits::default(),
        "tools": {"call": {
            "id": "call", "plugin": "zoo", "function": function, "description": "", "with": null, "config": null,
            "input_schema": null, "output_schema": null, "timeout": null,
        }},
        "tasks": [{
            "id": "only", "kind": {"type": "tool", "tool": "call"}, "with": {"fixed": with}, "input_schema": null,
            "output_schema": null, "outputs": null, "env": {}, "condition": null, "on_success": transition,
            "on_error": transition, "sleep": null, "is_final": null, "timeout": null, "retry": retry,
            "targeted": false, "place": {"file": "", "line": 7, "column": 1},
        }],
        "digest": format!("digest-of-{id}"),
    }))
    .unwrap()
}

impl Server {
    /// Sends a request; the body, if any, as JSON.
    pub(in crate::api) async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let (status, headers, body) = self.open(method, path, headers, body).await;
        Reply { status: status.as_u16(), headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub(in crate::api) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], "").await
    }

    pub(in crate::api) async fn post(&self, path: &str, body: &str) -> Reply {
        self.call("POST", path, &[], body).await
    }

    /// Sends a request and leaves the body to be read.
    pub(in crate::api) async fn open(
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
    pub(in crate::api) async fn start(&self, workflow: &str) -> String {
        let reply = self.post(&format!("/api/v0/workflows/{workflow}/executions"), "{}").await;
        reply.data()["exec_id"].as_str().unwrap().to_owned()
    }

    /// Runs `workflow` to its end and returns the run's id.
    pub(in crate::api) async fn run(&self, workflow: &str) -> String {
        let reply = self.post(&format!("/api/v0/workflows/{workflow}/executions/sync"), "{}").await;
        reply.data()["exec_id"].as_str().unwrap().to_owned()
    }
}

/// Where an execution is found.
pub(in crate::api) fn url(exec_id: &str) -> String {
    format!("/api/v0/executions/workflows/{exec_id}")
}
