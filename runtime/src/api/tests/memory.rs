//! Memories over HTTP.

use compozy_lang::plan::MemoryDefinition;
use serde_json::{Value, json};

use super::support::{Reply, Server, server};

/// A memory of four messages; `here` lives in the process.
pub(in crate::api) fn definition(id: &str) -> MemoryDefinition {
    serde_json::from_value(json!({
        "id": id, "kind": "message_count_based", "description": "", "max_tokens": null, "max_messages": 4,
        "max_context_ratio": null, "token_allocation": null,
        "flushing": {"kind": "lru", "summarize_threshold": null, "summary_tokens": null, "summarize_oldest_percent": null},
        "in_memory": id == "here", "ttl": null,
        "privacy": {"redact_patterns": ["[0-9]{4}"], "non_persistable_message_types": ["tool"], "default_redaction_string": "#"},
        "default_key": null, "place": {"file": "", "line": 1, "column": 1},
    }))
    .unwrap()
}

async fn post(server: &Server, path: &str, body: &Value) -> Reply {
    server.post(&format!("/api/v0/memory/{path}"), &body.to_string()).await
}

async fn get(server: &Server, path: &str) -> Reply {
    server.get(&format!("/api/v0/memory/{path}")).await
}

fn said(texts: &[&str]) -> Value {
    texts.iter().map(|text| json!({"role": "user", "content": text})).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_as_its_task_does() {
    let server = server().await;
    for memory in ["chat", "here"] {
        let at = |operation: &str| format!("{memory}/{operation}");
        let messages = json!([
            {"role": "user", "content": "pin 1234"}, {"role": "tool", "content": "x"},
            {"role": "assistant", "content": "fine"},
        ]);
        let written = post(&server, &at("write"), &json!({"key": "a:1", "messages": messages})).await.data();
        assert_eq!(written.to_string(), r#"{"success":true,"count":2,"key":"a:1"}"#);
        let appended =
            post(&server, &at("append"), &json!({"key": "a:1", "messages": said(&["c", "d", "e"])})).await.data();
        assert_eq!(appended.to_string(), r#"{"success":true,"appended":3,"total_count":4,"key":"a:1"}"#);
        let read = get(&server, &format!("{memory}/read?key=a:1&limit=2&offset=1")).await.data();
        assert_eq!(
            read,
            json!({
                "messages": said(&["c", "d"]), "count": 2, "key": "a:1", "total_count": 4, "limit": 2, "offset": 1,
                "has_more": true,
            })
        );
        let all = get(&server, &format!("{memory}/read?key=a:1")).await.data();
        assert_eq!((all["messages"][0]["content"].as_str(), all["has_more"].as_bool()), (Some("fine"), Some(false)));
        let stats = get(&server, &format!("{memory}/stats?key=a:1")).await.data();
        assert_eq!(stats.to_string(), r#"{"key":"a:1","message_count":4,"token_count":4,"actual_strategy":"lru"}"#);
        let health = get(&server, &format!("{memory}/health?key=a:1")).await.data();
        assert_eq!(health["healthy"], true);
        let overview = get(&server, &format!("health/{memory}")).await.data();
        let expected = json!({
            "memory_ref": memory, "healthy": true, "keys": 1, "message_count": 4, "token_count": 4, "actual_strategy": "lru",
        });
        assert_eq!(overview, expected);
        assert!(get(&server, "health").await.data()["memories"].as_array().unwrap().contains(&expected));
        let dry = post(&server, &at("flush"), &json!({"key": "a:1", "dry_run": true})).await.data();
        assert_eq!(
            dry.to_string(),
            r#"{"success":true,"key":"a:1","summary_generated":false,"message_count":4,"token_count":4,"would_flush":true}"#
        );
        let flushed = post(&server, &at("flush"), &json!({"key": "a:1", "strategy": "simple_fifo"})).await.data();
        assert_eq!((flushed["message_count"].as_u64(), flushed.get("would_flush")), (Some(2), None));
        let cleared = post(&server, &at("clear"), &json!({"key": "a:1", "confirm": true, "backup": true})).await.data();
        assert_eq!(cleared.to_string(), r#"{"success":true,"key":"a:1","messages_cleared":2,"backup_created":true}"#);
        assert_eq!(get(&server, &format!("{memory}/read?key=a:1")).await.data()["count"], 0);
        assert_eq!(get(&server, &format!("{memory}/read?key=a:1:backup")).await.data()["messages"], said(&["d", "e"]));
        let deleted = post(&server, &at("delete"), &json!({"key": "a:1"})).await.data();
        assert_eq!(deleted.to_string(), r#"{"success":true,"key":"a:1"}"#);
    }
    assert_eq!(server.storage.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_one_clear_problem() {
    let server = server().await;
    let long = "x".repeat(10 * 1024 + 1);
    for (path, body, status, code, detail) in [
        ("chta/append", json!({"key": "k", "messages": "x"}), 404, "memory_not_found", "memory 'chta' not found"),
        ("chat/append", json!({"messages": "x"}), 400, "invalid_request", "'key' is missing"),
        ("chat/append", json!({"key": 1, "messages": "x"}), 400, "invalid_request", "'key' must be a string"),
        (
            "chat/append",
            json!({"key": "k", "messages": "x", "role": "user"}),
            400,
            "invalid_request",
            "unknown member 'role'",
        ),
        (
            "chat/append",
            json!({"key": "__k", "messages": "x"}),
            422,
            "memory_failed",
            "memory append failed: '__k' is not a key: a key is 1 to 256 letters, digits and _ : @ . * -, without __ at \
             the start or end",
        ),
        (
            "chat/append",
            json!({"key": "k"}),
            422,
            "memory_failed",
            "memory append failed: the payload: expected a message, a list of messages or a text, got null",
        ),
        (
            "chat/write",
            json!({"key": "k", "messages": [{"role": "user", "content": long}]}),
            422,
            "memory_failed",
            "memory write failed: message 1 is 10241 bytes; limits.max_message_content is 10240",
        ),
        ("chat/clear", json!({"key": "k"}), 422, "memory_failed", "memory clear failed: a clear needs confirm: true"),
        (
            "chat/flush",
            json!({"key": "k", "threshold": 2}),
            422,
            "memory_failed",
            "memory flush failed: the body.threshold: expected a number above 0 and at most 1",
        ),
    ] {
        let reply = post(&server, path, &body).await;
        let problem = reply.json();
        assert_eq!(
            (reply.status, problem["code"].as_str(), problem["detail"].as_str()),
            (status, Some(code), Some(detail))
        );
    }
    for (path, status, code) in [
        ("chat/read", 400, "invalid_request"),
        ("chat/read?key=a%20b", 422, "memory_failed"),
        ("chat/read?key=k&limit=0", 400, "invalid_request"),
        ("chat/stats?key=k&limit=1", 400, "unknown_parameter"),
        ("health/nothing", 404, "memory_not_found"),
        ("chat/append", 405, "method_not_allowed"),
        ("chat/nothing", 404, "route_not_found"),
    ] {
        let reply = get(&server, path).await;
        assert_eq!((reply.status, reply.json()["code"].as_str()), (status, Some(code)), "{path}");
    }
    assert_eq!(server.storage.memory_totals(server.app.clock.now()).await.unwrap(), Vec::new(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_callers_at_once_lose_nothing() {
    let server = std::sync::Arc::new(server().await);
    for memory in ["chat", "here"] {
        let mut callers = tokio::task::JoinSet::new();
        for number in 0..50 {
            let server = server.clone();
            callers.spawn(async move {
                let body = json!({"key": format!("k{}", number % 25), "messages": said(&[&number.to_string()])});
                post(&server, &format!("{memory}/append"), &body).await.data()["total_count"].as_u64().unwrap()
            });
        }
        let mut totals = callers.join_all().await;
        totals.sort_unstable();
        assert_eq!((totals[..25].to_vec(), totals[25..].to_vec()), (vec![1; 25], vec![2; 25]), "{memory}");
        assert_eq!(get(&server, &format!("health/{memory}")).await.data()["message_count"], 50);
    }
}
