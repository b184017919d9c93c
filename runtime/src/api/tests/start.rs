//! Starting runs, with and without waiting.

use serde_json::json;

use super::support::{server, server_with, url};
use crate::api::{Auth, Settings};

const START: &str = "/api/v0/workflows/quick/executions";
const SYNC: &str = "/api/v0/workflows/quick/executions/sync";

#[tokio::test(flavor = "multi_thread")]
async fn a_start_answers_202_with_its_place() {
    let server = server().await;
    let body = r#"{"input": {"b": 1, "a": 2.50}, "tags": {"env": "test"}, "priority": 3, "durability": "normal"}"#;
    let headers = [("x-request-id", "r-1"), ("x-correlation-id", "c-1")];
    let reply = server.call("POST", START, &headers, body).await;
    assert_eq!(
        (reply.status, reply.header("x-request-id"), reply.header("x-correlation-id")),
        (202, Some("r-1"), Some("c-1"))
    );
    let exec_id = reply.data()["exec_id"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("location"), Some(url(&exec_id).as_str()));
    assert_eq!(reply.data(), json!({"exec_id": exec_id, "exec_url": url(&exec_id), "workflow_id": "quick"}));
    let run = server.get(&url(&exec_id)).await.data();
    assert_eq!(run["input"], json!({"b": 1, "a": 2.5}));
    assert_eq!((&run["tags"], &run["priority"]), (&json!({"env": "test"}), &json!(3)));
    assert_eq!(run["trigger"], json!({"type": "manual", "correlation_id": "c-1"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_posts_with_one_key_start_one_run() {
    let server = server().await;
    let post = |body: &'static str| server.call("POST", START, &[("idempotency-key", "k1")], body);
    let all = futures_util::future::join_all((0..10).map(|_| post(r#"{"input":{"a":1}}"#))).await;
    let first = all[0].data()["exec_id"].clone();
    assert!(all.iter().all(|reply| reply.status == 202 && reply.data()["exec_id"] == first));
    assert_eq!(all.iter().filter(|reply| reply.header("idempotency-replayed") == Some("true")).count(), 9);
    let listed = server.get("/api/v0/executions/workflows?count=true").await.data();
    assert_eq!(listed["page"]["total"], 1);
    // Another spelling of the same body is the same request; another body is not.
    assert_eq!(post(r#"{ "input" : {"a" : 1} }"#).await.data()["exec_id"], first);
    // What says nothing more than its absence changes nothing either.
    let same = r#"{"input":{"a":1},"tags":{},"priority":0,"durability":null}"#;
    assert_eq!(post(same).await.data()["exec_id"], first);
    let bare = server.call("POST", START, &[("idempotency-key", "k2")], "{}").await.data();
    let empty = server.call("POST", START, &[("idempotency-key", "k2")], r#"{"input":{}}"#).await.data();
    assert_eq!(bare["exec_id"], empty["exec_id"]);
    let other = post(r#"{"input":{"a":2}}"#).await;
    assert_eq!((other.status, other.json()["code"].clone()), (422, json!("idempotency_mismatch")));
    let alias = server.call("POST", START, &[("x-idempotency-key", "k1")], r#"{"input":{"a":1}}"#).await;
    assert_eq!(alias.data()["exec_id"], first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_call_answers_with_the_output() {
    let server = server().await;
    let reply = server.post(SYNC, r#"{"input":{"a":1}}"#).await;
    assert_eq!((reply.status, reply.header("compozy-status")), (200, Some("SUCCESS")));
    let data = reply.data();
    assert_eq!((&data["output"], &data["workflow"]["status"]), (&json!({"sum": 3}), &json!("SUCCESS")));
    assert_eq!(data["exec_id"], data["workflow"]["exec_id"]);
    let failed = server.post("/api/v0/workflows/fails/executions/sync", "").await;
    assert_eq!((failed.status, failed.header("compozy-status")), (200, Some("FAILED")));
    assert_eq!(failed.data()["workflow"]["status"], "FAILED");
    let strict = server.post("/api/v0/workflows/fails/executions/sync?strict=true", "").await;
    assert_eq!((strict.status, strict.json()["code"].clone()), (422, json!("run_failed")));
    assert_eq!(strict.json()["workflow"]["status"], "FAILED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_call_that_is_too_slow_names_the_run_and_attaches_again() {
    let server = server().await;
    let path = "/api/v0/workflows/slow/executions/sync";
    let key = [("idempotency-key", "k1")];
    let reply = server.call("POST", path, &key, r#"{"timeout": 0.05}"#).await;
    let problem = reply.json();
    assert_eq!((reply.status, &problem["code"]), (408, &json!("sync_timeout")));
    let exec_id = problem["exec_id"].as_str().unwrap();
    assert_eq!(problem["exec_url"], url(exec_id));
    assert!(problem["workflow"]["finished_at"].is_null());
    let cancel = format!("{}/cancel", url(exec_id));
    let (again, canceled) = tokio::join!(
        server.call("POST", path, &key, r#"{"timeout": 0.05}"#),
        server.post(&cancel, r#"{"reason":"enough"}"#),
    );
    assert_eq!(canceled.status, 200);
    assert_eq!(again.data()["exec_id"], exec_id);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("compozy-status"), Some("CANCELED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_are_limited() {
    let mut settings = Settings::default();
    settings.limits.sync_waiters = 0;
    let reply = server_with(settings).await.post(SYNC, "{}").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_callers_start_excepted_workflows_only() {
    let key = "0123456789abcdef0123456789abcdef";
    let auth = Some(Auth::new(Some(key), vec!["quick".into()]));
    let server = server_with(Settings { auth, ..Settings::default() }).await;
    assert_eq!(server.post(START, "{}").await.status, 202);
    assert_eq!(server.post("/api/v0/workflows/fails/executions", "{}").await.status, 401);
    assert_eq!(server.get("/api/v0/workflows").await.header("www-authenticate"), Some("Bearer"));
    let bearer = format!("Bearer {key}");
    let admin = [("authorization", bearer.as_str())];
    assert_eq!(server.call("GET", "/api/v0/workflows", &admin, "").await.status, 200);
    // Health says no more than needed to strangers.
    let health = server.get("/api/v0/health").await.data();
    assert_eq!(health, json!({"status": "healthy", "ready": true}));
    let health = server.call("GET", "/api/v0/health", &admin, "").await.data();
    assert_eq!(health["database"]["driver"], "sqlite");
}
