//! Retry, fork and overload over HTTP.

use serde_json::{Value, json};

use super::support::{Server, server, url};

async fn ended(server: &Server, exec_id: &str) -> Value {
    server.app.node.wait(&exec_id.into(), None).await.unwrap();
    server.get(&url(exec_id)).await.data()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_execution_is_retried() {
    let server = server().await;
    let failed = server.run("fails").await;
    let retry = format!("{}/retry", url(&failed));
    let reply = server.post(&retry, "").await;
    let exec_id = reply.data()["exec_id"].as_str().unwrap().to_owned();
    assert_eq!(reply.status, 202);
    assert_eq!(reply.header("location"), Some(url(&exec_id).as_str()));
    assert_eq!(reply.data(), json!({"exec_id": exec_id, "exec_url": url(&exec_id), "workflow_id": "fails"}));
    let run = ended(&server, &exec_id).await;
    assert_eq!((&run["status"], &run["forked_from"]), (&json!("FAILED"), &json!(failed)));
    // A key starts one execution, and belongs to one body.
    let keyed = |key: &'static str, body: &'static str| {
        let (server, retry) = (&server, &retry);
        async move { server.call("POST", retry, &[("idempotency-key", key)], body).await }
    };
    let (first, again) = (keyed("k", "{}").await, keyed("k", r#"{"latest": false}"#).await);
    assert_eq!(first.data(), again.data());
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    let other = keyed("k", r#"{"latest": true}"#).await;
    assert_eq!((other.status, other.json()["code"].clone()), (422, json!("idempotency_mismatch")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_forked_at_a_task() {
    let server = server().await;
    let done = server.run("quick").await;
    let fork = format!("{}/fork", url(&done));
    let reply = server.post(&fork, r#"{"at": "only", "input": {"city": "Rome"}, "latest": true}"#).await;
    let exec_id = reply.data()["exec_id"].as_str().unwrap().to_owned();
    let run = ended(&server, &exec_id).await;
    assert_eq!((&run["status"], &run["forked_from"]), (&json!("SUCCESS"), &json!(done)));
    assert_eq!((&run["input"], &run["output"]), (&json!({"city": "Rome"}), &json!({"sum": 3})));
    let retry = format!("{}/retry", url(&done));
    for (path, body, status, code, pointer) in [
        (&fork, "{}", 400, "invalid_request", "/at"),
        (&fork, r#"{"at": 1}"#, 400, "invalid_request", "/at"),
        (&fork, r#"{"at": "a/b"}"#, 400, "invalid_request", "/at"),
        (&fork, r#"{"at": "only", "more": 1}"#, 400, "invalid_request", "/more"),
        (&fork, r#"{"at": "only", "latest": "yes"}"#, 400, "invalid_request", "/latest"),
        (&fork, r#"{"at": "only", "input": []}"#, 422, "input_invalid", "/input"),
        (&fork, r#"{"at": "only", "input": {"city": 1}}"#, 422, "input_invalid", "/input/city"),
        (&fork, r#"{"at": "gone"}"#, 404, "task_not_found", "/at"),
        (&fork, r#"{"at": "only#2"}"#, 409, "task_not_reached", "/at"),
        (&retry, "{}", 409, "execution_not_failed", ""),
        (&format!("{}/retry", url("01NOBODY")), "{}", 404, "execution_not_found", ""),
    ] {
        let reply = server.post(path, body).await;
        let problem = reply.json();
        assert_eq!((reply.status, problem["code"].as_str()), (status, Some(code)), "{path} {body}");
        let found = problem.pointer("/errors/0/pointer").and_then(Value::as_str).unwrap_or_default();
        assert_eq!(found, pointer, "{path} {body}: {problem}");
    }
    let all = server.get("/api/v0/executions/workflows?count=true").await.data();
    assert_eq!(all["page"]["total"], 2, "what was refused is not stored");
}

/// A server without any slot: everything waits.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_place_says_so_and_a_full_queue_answers_429() {
    let server = super::support::server_limited((0, 2)).await;
    let first = server.start("quick").await;
    server.start("quick").await;
    let run = server.get(&url(&first)).await.data();
    assert_eq!((&run["status"], &run["waiting_for"]["kind"]), (&json!("PENDING"), &json!("capacity")), "{run:#}");
    let listed = server.get("/api/v0/executions/workflows?status=pending").await.data();
    assert!(listed["executions"].as_array().unwrap().iter().all(|run| run["waiting_for"]["kind"] == "capacity"));
    let refused = server.post("/api/v0/workflows/quick/executions", "{}").await;
    assert_eq!((refused.status, refused.json()["code"].clone()), (429, json!("overloaded")));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let sync = server.post("/api/v0/workflows/quick/executions/sync", "{}").await;
    assert_eq!((sync.status, sync.json()["code"].clone()), (429, json!("overloaded")));
    let forked = server.post(&format!("{}/fork", url(&first)), r#"{"at": "only"}"#).await;
    assert_eq!((forked.status, forked.json()["code"].clone()), (429, json!("overloaded")));
    let all = server.get("/api/v0/executions/workflows?count=true").await.data();
    assert_eq!(all["page"]["total"], 2, "nothing was stored");
}
