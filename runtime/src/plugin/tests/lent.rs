//! What the host lends: refused unless granted, and never more than granted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use compozy_lang::plan::{Access, Grant, Permissions};
use serde_json::{Value, json};
use wasmtime_wasi::async_trait;

use super::{SECRET, bind, bind_with, call};
use crate::plugin::egress::connect::{Network, Resolver};
use crate::plugin::host::sql;
use crate::plugin::{Binding, CallError, Kind, Services};

/// A server that echoes what it was sent, redirects from `/moved` to the inside, from `/around` to itself and from
/// `/endless` for ever, and takes its time at `/slow`.
pub(super) async fn echo_server() -> String {
    let echo = |headers: HeaderMap, body: String| async move {
        let headers: BTreeMap<_, _> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        // Reversed, so that an echo alone does not give a secret back.
        json!({"headers": headers, "body": body}).to_string().chars().rev().collect::<String>()
    };
    let moved = || async { (StatusCode::FOUND, [("location", "http://169.254.169.254/latest/meta-data")]) };
    let to = |location: &'static str| axum::routing::any(async move || (StatusCode::FOUND, [("location", location)]));
    let slow = || async {
        let never = std::future::pending::<()>();
        drop(tokio::time::timeout(Duration::from_millis(250), never).await);
        "slow"
    };
    let app = axum::Router::new()
        .route("/", axum::routing::any(echo))
        .route("/moved", axum::routing::get(moved))
        .route("/around", to("/?round=1"))
        .route("/endless", to("/endless"))
        .route("/slow", axum::routing::get(slow));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    origin
}

fn http(patterns: &[&str]) -> Permissions {
    Permissions { http: patterns.iter().map(|&pattern| pattern.to_owned()).collect(), ..Permissions::default() }
}

fn echoed(answer: &Value) -> Value {
    let text: String = answer["body"].as_str().unwrap().chars().rev().collect();
    serde_json::from_str(&text).unwrap()
}

async fn zoo(permissions: Permissions) -> Binding {
    bind_with("guests/zoo", permissions, Services::default()).await
}

#[tokio::test]
async fn requests_reach_granted_hosts_and_no_others() {
    let origin = echo_server().await;
    let granted = zoo(http(&[&origin])).await;
    let answer =
        call(&granted, "fetch", json!({"url": format!("{origin}/"), "method": "POST", "body": "hi"})).await.unwrap();
    assert_eq!(answer["status"], 200);
    let echo = echoed(&answer);
    assert_eq!((&echo["body"], &echo["headers"]["host"]), (&json!("hi"), &json!(origin.trim_start_matches("http://"))));

    let other = format!("http://127.0.0.1:{}", 9);
    for (binding, url, line) in [
        (bind("guests/zoo").await, origin.clone(), format!("allow it with permissions.http: [{origin}]")),
        (granted.clone(), other.clone(), format!("allow it with permissions.http: [{other}]")),
        (
            granted.clone(),
            "https://api.example.com/".into(),
            "allow it with permissions.http: [api.example.com]".into(),
        ),
        (
            granted.clone(),
            "http://169.254.169.254/".into(),
            "allow it with permissions.http: [http://169.254.169.254]".into(),
        ),
    ] {
        let error = call(&binding, "fetch", json!({"url": url})).await.unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str(), error.retryable),
            (Kind::Plugin, "CZ0703", false),
            "{url}: {error:?}"
        );
        assert_eq!(error.help.as_deref(), Some(line.as_str()));
    }
}

/// A name server that leads inside.
#[derive(Debug)]
struct Inside;

#[async_trait]
impl Resolver for Inside {
    async fn resolve(&self, _name: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        Ok(vec![[127, 0, 0, 1].into()])
    }
}

#[tokio::test]
async fn a_granted_name_that_leads_inside_is_refused() {
    let origin = echo_server().await;
    let port = origin.rsplit(':').next().unwrap();
    let services = Services { network: Arc::new(Network::new(Arc::new(Inside))), ..Services::default() };
    let binding = bind_with("guests/zoo", http(&[&format!("http://*:{port}")]), services).await;
    for host in ["rebind.test", "2130706433", "0x7f.1", "localhost", "[::ffff:127.0.0.1]"] {
        let error = call(&binding, "fetch", json!({"url": format!("http://{host}:{port}/")})).await.unwrap_err();
        assert_ne!(error.kind, Kind::Trap, "{host}: {error:?}");
        assert!(
            error.help.as_deref().is_some_and(|help| help.starts_with("allow it with permissions.http: [")),
            "{host}: {error:?}"
        );
    }
}

#[tokio::test]
async fn redirects_come_back_to_the_guest() {
    let origin = echo_server().await;
    let answer = call(&zoo(http(&[&origin])).await, "fetch", json!({"url": format!("{origin}/moved")})).await.unwrap();
    assert_eq!(
        (&answer["status"], &answer["headers"]["location"]),
        (&json!(302), &json!("http://169.254.169.254/latest/meta-data"))
    );
}

#[tokio::test]
async fn secrets_are_placeholders_inside_and_values_only_on_the_wire() {
    let origin = echo_server().await;
    let permissions = Permissions { secrets: vec!["TOKEN".into()], ..http(&[&origin]) };
    let binding = zoo(permissions).await;
    let placeholder = call(&binding, "secret", json!({"name": "TOKEN"})).await.unwrap();
    let placeholder = placeholder["value"].as_str().unwrap();
    assert!(placeholder.starts_with("placeholder-") && !placeholder.contains(SECRET), "{placeholder}");

    let request = json!({"url": origin, "method": "POST", "secret": "TOKEN", "headers": {"x-more": placeholder}, "body": format!("token={placeholder}&x")});
    let echo = echoed(&call(&binding, "fetch", request).await.unwrap());
    assert_eq!(echo["headers"]["authorization"], format!("Bearer {SECRET}"));
    assert_eq!(echo["headers"]["x-more"], SECRET);
    assert_eq!(echo["body"], format!("token={SECRET}&x"));

    let error = call(&binding, "secret", json!({"name": "OTHER"})).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.help.as_deref()),
        ("CZ0703", Some("allow it with permissions.secrets: [OTHER]"))
    );
    let error = call(&binding, "env", json!({"name": "TOKEN"})).await.unwrap_err();
    assert_eq!(error.code, "CZ0703", "not readable in clear");
    assert!(!format!("{binding:?}").contains(SECRET));
}

#[tokio::test]
async fn run_config_and_environment_are_what_was_given() {
    let binding = zoo(Permissions { env: vec!["REGION".into()], ..Permissions::default() }).await;
    let seen = call(&binding, "context", Value::Null).await.unwrap();
    let deadline = seen["deadline_unix_ms"].as_i64().unwrap();
    let now = crate::clock::Clock::system().now().0 / 1_000;
    assert!((now..now + 3_000).contains(&deadline), "{deadline} {now}");
    assert_eq!(
        (&seen["exec_id"], &seen["step_path"], &seen["attempt"]),
        (&json!("01RUN"), &json!("outer/task"), &json!(2))
    );
    assert_eq!(seen["idempotency_key"], "01RUN:outer/task:1");
    assert_eq!(call(&binding, "settings", Value::Null).await.unwrap(), json!({"currency": "EUR"}));
    let region = call(&binding, "env", json!({"name": "REGION"})).await.unwrap();
    assert!(region.to_string().contains("eu"), "{region}");
}

#[tokio::test]
async fn an_ordinary_wasi_component_loads_and_finds_nothing() {
    let binding = bind("guests/wasi-std").await;
    let found = call(&binding, "probe", json!({"path": "/etc/passwd", "variable": "HOME"})).await.unwrap();
    assert_eq!(
        (&found["file"], &found["directory_entries"], &found["variable"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!((&found["variables"], &found["arguments"]), (&json!(0), &json!(0)));
    assert!(found["connection_error"].is_string());
    assert!(found["seconds_since_1970"].as_u64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn granted_folders_can_be_read_and_nothing_around_them() {
    let grant = Grant { id: "wit".into(), write: false };
    let binding =
        bind_with("guests/wasi-std", Permissions { fs: vec![grant], ..Permissions::default() }, Services::default())
            .await;
    let file = |path: &'static str| {
        let binding = binding.clone();
        async move { call(&binding, "probe", json!({"path": path, "variable": "HOME"})).await.unwrap()["file"].clone() }
    };
    assert!(file("wit/tool.wit").await.as_str().is_some_and(|text| text.contains("interface tool")));
    for outside in ["wit/../Cargo.toml", "Cargo.toml", "/etc/passwd"] {
        assert_eq!(file(outside).await, Value::Null, "{outside}");
    }
}

#[tokio::test]
async fn the_key_value_space_keeps_what_was_granted() {
    let storage = Arc::new(super::memory::Memory::default());
    let services = Services { storage: Some(storage.clone()), ..Services::default() };
    let bound =
        |access| bind_with("guests/zoo", Permissions { kv: access, ..Permissions::default() }, services.clone());
    let all = bound(Access::ReadWrite).await;
    for (operation, expected) in [
        (json!({"operation": "get", "key": "a"}), Value::Null),
        (json!({"operation": "set", "key": "a", "value": "1"}), Value::Null),
        (json!({"operation": "get", "key": "a"}), json!("1")),
        (json!({"operation": "compare_and_set", "key": "a", "expected": "2", "value": "3"}), json!(false)),
        (json!({"operation": "compare_and_set", "key": "a", "expected": "1", "value": "3"}), json!(true)),
        (json!({"operation": "compare_and_set", "key": "b", "value": "x"}), json!(true)),
        (json!({"operation": "compare_and_set", "key": "b", "value": "x"}), json!(false)),
        (json!({"operation": "keys", "key": ""}), json!(["a", "b"])),
        (json!({"operation": "keys", "key": "", "after": "a", "limit": 1}), json!(["b"])),
        (json!({"operation": "delete", "key": "a"}), json!(true)),
        (json!({"operation": "delete", "key": "a"}), json!(false)),
    ] {
        assert_eq!(call(&all, "kv", operation.clone()).await.unwrap(), expected, "{operation}");
    }
    let other = Binding { plugin_id: "other".into(), ..all.clone() };
    assert_eq!(call(&other, "kv", json!({"operation": "get", "key": "b"})).await.unwrap(), Value::Null);
    call(&all, "kv", json!({"operation": "set", "key": "t", "value": "1", "ttl_ms": 0})).await.unwrap();
    assert_eq!(call(&all, "kv", json!({"operation": "get", "key": "t"})).await.unwrap(), Value::Null, "expired");

    for (access, operation, code) in [
        (Access::None, json!({"operation": "get", "key": "a"}), "CZ0703"),
        (Access::Read, json!({"operation": "set", "key": "a", "value": "1"}), "CZ0703"),
        (Access::Read, json!({"operation": "delete", "key": ""}), "CZ0703"),
        (Access::ReadWrite, json!({"operation": "get", "key": "k".repeat(513)}), "CZ0704"),
        (Access::ReadWrite, json!({"operation": "get", "key": ""}), "CZ0704"),
        (Access::ReadWrite, json!({"operation": "set", "key": "a", "value": "x".repeat((1 << 20) + 1)}), "CZ0704"),
    ] {
        let error = call(&bound(access).await, "kv", operation.clone()).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (Kind::Plugin, code), "{error:?}");
    }
    let unopened = zoo(Permissions { kv: Access::Read, ..Permissions::default() }).await;
    assert_eq!(call(&unopened, "kv", json!({"operation": "get", "key": "a"})).await.unwrap_err().code, "unavailable");
}

/// A database that writes down what is asked of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    /// How many hold it: one more for each open handle.
    pub(super) fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    pub(super) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn row(number: i64) -> Vec<sql::Value> {
    vec![sql::Value::Integer(number), sql::Value::Null, sql::Value::Text("x".into()), sql::Value::Blob(vec![1])]
}

#[async_trait]
impl sql::Databases for Recorder {
    async fn open(&self, label: &str, write: bool) -> Result<Arc<dyn sql::Connection>, sql::Error> {
        self.note(format!("open {label} write={write}"));
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl sql::Connection for Recorder {
    async fn query(&self, statement: &str, parameters: Vec<sql::Value>, _: usize) -> Result<sql::RowSet, sql::Error> {
        self.note(format!("query {statement} {parameters:?}"));
        if statement == "bad" {
            return Err(sql::Error {
                code: "database".into(),
                message: "syntax error".into(),
                sqlstate: Some("42601".into()),
                severity: Some("ERROR".into()),
                detail: None,
                retryable: false,
            });
        }
        Ok(sql::RowSet { columns: vec!["n".into()], rows: vec![row(1)] })
    }

    async fn execute(&self, statement: &str, _: Vec<sql::Value>) -> Result<u64, sql::Error> {
        self.note(format!("execute {statement}"));
        Ok(3)
    }

    async fn cursor(&self, _: &str, _: Vec<sql::Value>) -> Result<Box<dyn sql::Cursor>, sql::Error> {
        Ok(Box::new(Numbers { at: 0, _recorder: self.clone() }))
    }

    async fn begin(&self) -> Result<Box<dyn sql::Transaction>, sql::Error> {
        self.note("begin");
        Ok(Box::new(Open { recorder: self.clone(), ended: false }))
    }
}

#[derive(Debug)]
struct Numbers {
    at: i64,
    _recorder: Recorder,
}

#[async_trait]
impl sql::Cursor for Numbers {
    fn columns(&self) -> Vec<String> {
        vec!["n".into()]
    }

    async fn next(&mut self, max_rows: u32, _: usize) -> Result<Vec<Vec<sql::Value>>, sql::Error> {
        let from = self.at;
        self.at = (from + i64::from(max_rows)).min(5);
        Ok((from..self.at).map(|number| vec![sql::Value::Integer(number)]).collect())
    }
}

#[derive(Debug)]
struct Open {
    recorder: Recorder,
    ended: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            self.recorder.note("rolled back by drop");
        }
    }
}

#[async_trait]
impl sql::Transaction for Open {
    async fn query(
        &mut self,
        statement: &str,
        parameters: Vec<sql::Value>,
        bytes: usize,
    ) -> Result<sql::RowSet, sql::Error> {
        sql::Connection::query(&self.recorder, statement, parameters, bytes).await
    }

    async fn execute(&mut self, statement: &str, parameters: Vec<sql::Value>) -> Result<u64, sql::Error> {
        if statement == "hang" {
            std::future::pending::<()>().await;
        }
        sql::Connection::execute(&self.recorder, statement, parameters).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), sql::Error> {
        self.ended = true;
        self.recorder.note("commit");
        Ok(())
    }

    async fn rollback(mut self: Box<Self>) -> Result<(), sql::Error> {
        self.ended = true;
        self.recorder.note("rollback");
        Ok(())
    }
}

async fn with_databases(recorder: &Recorder) -> Binding {
    let grant = |id: &str, write| Grant { id: id.into(), write };
    let permissions = Permissions { sql: vec![grant("shop", true), grant("log", false)], ..Permissions::default() };
    let services = Services { databases: Some(Arc::new(recorder.clone())), ..Services::default() };
    bind_with("guests/zoo", permissions, services).await
}

#[tokio::test]
async fn databases_are_opened_by_granted_labels() {
    let recorder = Recorder::default();
    let binding = with_databases(&recorder).await;
    let query = |input: Value| call(&binding, "query", input);
    let rows = query(json!({"label": "shop", "statement": "select ?", "parameters": [1, null, "x", 1.5, true]}))
        .await
        .unwrap();
    assert_eq!(rows, json!({"columns": ["n"], "rows": [[1, null, "x", [1]]]}));
    assert_eq!(
        recorder.taken(),
        [
            "open shop write=true",
            r#"query select ? [Value::Integer(1), Value::Null, Value::Text("x"), Value::Real(1.5), Value::Boolean(true)]"#
        ]
    );
    query(json!({"label": "log", "statement": "s", "execute": true})).await.unwrap();
    assert_eq!(recorder.taken(), ["open log write=false", "execute s"]);
    let pieces = query(json!({"label": "shop", "statement": "s", "cursor": 2})).await.unwrap();
    assert_eq!(pieces, json!({"columns": ["n"], "pieces": [[[0], [1]], [[2], [3]], [[4]]]}));

    recorder.taken();
    let error: CallError = query(json!({"label": "compozy", "statement": "s"})).await.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.help.as_deref()),
        ("CZ0703", Some("allow it with permissions.sql: [compozy]"))
    );
    assert!(recorder.taken().is_empty(), "refused before anything is opened");
    let error = query(json!({"label": "shop", "statement": "bad"})).await.unwrap_err();
    assert!(error.message.contains("syntax error"), "{error:?}");
    let error = query(json!({"label": "shop", "statement": "x".repeat(300 << 10)})).await.unwrap_err();
    assert_eq!(error.code, "CZ0704");
}

#[tokio::test]
async fn transactions_end_as_the_guest_says_and_are_rolled_back_otherwise() {
    let recorder = Recorder::default();
    let binding = with_databases(&recorder).await;
    for (end, last) in [("commit", "commit"), ("rollback", "rollback"), ("drop", "rollback")] {
        let input = json!({"label": "shop", "statement": "s", "execute": true, "transaction": end});
        assert_eq!(call(&binding, "query", input).await.unwrap(), json!({"changed": 3}));
        assert_eq!(recorder.taken(), ["open shop write=true", "begin", "execute s", last], "{end}");
    }
    let short = Binding {
        limits: compozy_lang::plan::PluginLimits { timeout: Duration::from_millis(100), ..binding.limits.clone() },
        ..binding
    };
    let input = json!({"label": "shop", "statement": "hang", "execute": true, "transaction": "commit"});
    assert_eq!(call(&short, "query", input).await.unwrap_err().kind, Kind::Deadline);
    assert_eq!(recorder.taken(), ["open shop write=true", "begin", "rolled back by drop"]);
}

#[tokio::test]
async fn handles_are_capped() {
    let recorder = Recorder::default();
    let binding = with_databases(&recorder).await;
    let error = call(&binding, "handle_storm", json!({"label": "shop"})).await.unwrap_err();
    assert_eq!(error.code, "CZ0704", "{error:?}");
    assert_eq!(recorder.taken().len(), sql::HANDLES as usize);
}
