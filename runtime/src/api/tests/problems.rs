//! Every error of every route has the one form.

use super::support::{Reply, server, server_with};
use crate::api::Settings;
use crate::api::code::{ALL, Code};

fn check(reply: &Reply, status: u16, word: &str, path: &str) {
    let context = format!("{path}: {reply:?}");
    assert_eq!(reply.status, status, "{context}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{context}");
    let problem = reply.json();
    assert_eq!(problem["code"], word, "{context}");
    assert_eq!(problem["type"], format!("/problems/{word}"));
    assert_eq!(problem["status"], status);
    assert_eq!(problem["instance"], path.split('?').next().unwrap());
    assert_eq!(problem["request_id"].as_str(), reply.header("x-request-id"));
    assert_eq!(problem["title"], Code::find(word).unwrap().title);
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    let text = String::from_utf8_lossy(&reply.body).to_lowercase();
    for leak in ["select ", "sqlite", "/nowhere", "runtime/src", ".rs:", "sqlx", "panicked"] {
        assert!(!text.contains(leak), "{leak} in {context}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_corpus() {
    let server = server().await;
    let start = "/api/v0/workflows/quick/executions";
    let exec = format!("/api/v0/executions/workflows/{}", server.run("quick").await);
    let at = |rest: &str| format!("{exec}{rest}");
    for (method, path, body, status, word) in [
        ("GET", "/none", "", 404, "route_not_found"),
        ("GET", "/api/v0/", "", 404, "route_not_found"),
        ("GET", "/API/v0", "", 404, "route_not_found"),
        ("GET", "/api/v0//workflows", "", 404, "route_not_found"),
        ("GET", "/api/v0/workflows/%ff", "", 404, "route_not_found"),
        ("DELETE", "/api/v0/workflows", "", 405, "method_not_allowed"),
        ("PUT", "/healthz", "", 405, "method_not_allowed"),
        ("GET", "/api/v0/workflows?limt=1", "", 400, "unknown_parameter"),
        ("GET", "/api/v0/workflows?limit=501", "", 400, "invalid_request"),
        ("GET", "/api/v0/workflows?sort=size", "", 400, "invalid_request"),
        ("GET", "/api/v0/workflows?cursor=zzz", "", 400, "invalid_cursor"),
        ("GET", "/api/v0/workflows?status=lost", "", 400, "invalid_request"),
        ("GET", "/api/v0/workflows/quik", "", 404, "workflow_not_found"),
        ("GET", "/api/v0/workflows/quik/executions", "", 404, "workflow_not_found"),
        ("GET", "/api/v0/executions/workflows?cursor=zzz", "", 400, "invalid_cursor"),
        ("GET", "/api/v0/executions/workflows?since=soon", "", 400, "invalid_request"),
        ("GET", "/api/v0/executions/workflows?tag=x", "", 400, "invalid_request"),
        ("GET", "/api/v0/executions/workflows?expand=all", "", 400, "invalid_request"),
        ("GET", "/api/v0/executions/workflows/01NONE", "", 404, "execution_not_found"),
        ("GET", "/api/v0/executions/workflows/a%20b", "", 404, "execution_not_found"),
        ("GET", "/api/v0/executions/workflows/01NONE/tasks", "", 404, "execution_not_found"),
        ("GET", "/api/v0/executions/workflows/01NONE/events", "", 404, "execution_not_found"),
        ("GET", "/api/v0/executions/workflows/01NONE/stream", "", 404, "execution_not_found"),
        ("POST", "/api/v0/executions/workflows/01NONE/cancel", "", 404, "execution_not_found"),
        ("POST", &at("/cancel"), "", 409, "execution_finished"),
        ("POST", &at("/cancel"), r#"{"reason":1}"#, 400, "invalid_request"),
        ("POST", &at("/cancel"), r#"{"reasn":"x"}"#, 400, "invalid_request"),
        ("GET", &at("/stream?events=task_strat"), "", 400, "unknown_event_type"),
        ("GET", &at("/stream?last_event_id=x"), "", 400, "invalid_request"),
        ("GET", &at("/events?from=x"), "", 400, "invalid_request"),
        ("GET", &at("/events?cursor=x"), "", 400, "invalid_cursor"),
        ("POST", start, "{", 400, "invalid_json"),
        ("POST", start, "[]", 400, "invalid_request"),
        ("POST", start, r#"{"inputs":{}}"#, 400, "invalid_request"),
        ("POST", start, r#"{"timeout":1}"#, 400, "invalid_request"),
        ("POST", start, r#"{"tags":1}"#, 400, "invalid_request"),
        ("POST", start, r#"{"input":[]}"#, 422, "input_invalid"),
        ("POST", "/api/v0/workflows/quick/executions/sync", r#"{"timeout":0}"#, 400, "invalid_request"),
        ("POST", "/api/v0/workflows/quick/executions/sync?strict=maybe", "{}", 400, "invalid_request"),
        ("POST", "/api/v0/workflows/quik/executions", "{}", 404, "workflow_not_found"),
        ("POST", "/api/v0/workflows/quik/executions/sync", "{}", 404, "workflow_not_found"),
        ("GET", "/api/v0/identity", "", 400, "invalid_request"),
        ("GET", "/api/v0/identity?nonce=12", "", 400, "invalid_request"),
        ("GET", "/problems/none", "", 404, "problem_not_found"),
        ("POST", "/api/v0/admin/reload", "", 503, "not_ready"),
    ] {
        check(&server.call(method, path, &[], body).await, status, word, path);
    }
    let deep = format!(r#"{{"input":{}{}}}"#, "[".repeat(70), "]".repeat(70));
    check(&server.post(start, &deep).await, 400, "invalid_json", start);
    for (headers, status, word) in [
        (&[("content-type", "text/plain")][..], 415, "unsupported_media_type"),
        (&[("content-type", "application/x-www-form-urlencoded")], 415, "unsupported_media_type"),
        (&[("host", "evil.example")], 421, "host_not_allowed"),
        (&[("origin", "http://evil.example")], 403, "origin_not_allowed"),
        (&[("idempotency-key", "a b")], 400, "invalid_request"),
        (&[("idempotency-key", "a"), ("x-idempotency-key", "b")], 400, "invalid_request"),
        (&[("x-long", &"x".repeat(33 << 10))], 431, "headers_too_large"),
    ] {
        check(&server.call("POST", start, headers, "{}").await, status, word, start);
    }
    let long = format!("/{}", "x".repeat(9 << 10));
    check(&server.get(&long).await, 414, "uri_too_long", &long);
    let unknown = server.post(start, r#"{"inputt":{}}"#).await.json();
    assert_eq!(unknown["hint"], "did you mean 'input'?");
    assert_eq!(unknown["errors"][0]["pointer"], "/inputt");
    let allow = server.call("PATCH", start, &[], "").await;
    assert_eq!(allow.header("allow"), Some("GET,HEAD,POST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_are_refused() {
    let mut settings = Settings::default();
    settings.limits.start_body_bytes = 64;
    let server = server_with(settings).await;
    let start = "/api/v0/workflows/quick/executions";
    let body = format!(r#"{{"input":{{"a":"{}"}}}}"#, "x".repeat(64));
    check(&server.post(start, &body).await, 413, "payload_too_large", start);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_database_is_503_and_says_no_more() {
    let server = server().await;
    server.storage.close().await;
    for path in ["/api/v0/workflows", "/api/v0/executions/workflows", "/api/v0/executions/workflows/01X"] {
        check(&server.get(path).await, 503, "database_unavailable", path);
    }
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, ready.json()["data"]["status"].as_str()), (503, Some("not_ready")));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_is_explained() {
    let server = server().await;
    for code in ALL {
        let page = server.get(&format!("/problems/{}", code.word)).await.data();
        assert_eq!((&page["code"], &page["exit_code"]), (&code.word.into(), &code.exit.into()));
    }
}
