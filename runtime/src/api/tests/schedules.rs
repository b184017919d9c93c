//! `/schedules`: listing, changing, removing, triggering.

use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::{Overlap, Schedule};
use serde_json::{Value, json};

use super::support::{Server, server};

const ALL: &str = "/api/v0/schedules";

fn schedule(id: &str, cron: &str) -> Schedule {
    Schedule {
        id: id.into(),
        cron: cron.into(),
        timezone: "UTC".into(),
        enabled: true,
        jitter: Duration::from_secs(30),
        start_at: None,
        end_at: None,
        input: json!({"city": "Lisbon"}),
        overlap: Overlap::BufferOne,
        catch_up: Duration::from_secs(3_600),
    }
}

/// `quick` has one schedule, `slow` has two.
async fn scheduled() -> Server {
    let server = server().await;
    let mut project = (*server.app.node.project()).clone();
    for (workflow, schedules) in [
        ("quick", vec![schedule("quick", "0 8 * * MON")]),
        ("slow", vec![schedule("slow/1", "0 9 1 1 *"), Schedule { enabled: false, ..schedule("slow/2", "@daily") }]),
    ] {
        Arc::make_mut(project.workflows.get_mut(workflow).unwrap()).schedules = schedules;
    }
    server.app.node.replace_project(Arc::new(project));
    server
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_listed_page_by_page() {
    let server = scheduled().await;
    let list = server.get(ALL).await.data();
    let ids = |list: &Value| -> Vec<String> {
        let all = list["schedules"].as_array().unwrap().iter();
        all.map(|schedule| schedule["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&list), ["quick", "slow/1", "slow/2"]);
    assert_eq!(list["page"], json!({"limit": 50, "next_cursor": null, "prev_cursor": null, "total": 3}));
    let first = server.get(&format!("{ALL}?limit=2")).await;
    assert!(first.header("link").is_some_and(|link| link.contains("rel=\"next\"")));
    let next = first.data()["page"]["next_cursor"].as_str().unwrap().to_owned();
    let second = server.get(&format!("{ALL}?limit=2&cursor={next}")).await.data();
    assert_eq!(ids(&second), ["slow/2"]);
    let back = second["page"]["prev_cursor"].as_str().unwrap();
    assert_eq!(ids(&server.get(&format!("{ALL}?limit=2&cursor={back}")).await.data()), ["quick", "slow/1"]);
    assert_eq!(ids(&server.get(&format!("{ALL}?workflow_id=slow")).await.data()), ["slow/1", "slow/2"]);
    for (query, code) in
        [("?cursor=x", "invalid_cursor"), ("?limit=0", "invalid_request"), ("?q=a", "unknown_parameter")]
    {
        let reply = server.get(&format!("{ALL}{query}")).await;
        assert_eq!((reply.status, &reply.json()["code"]), (400, &json!(code)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_has_every_member() {
    let server = scheduled().await;
    let quick = server.get(&format!("{ALL}/quick")).await.data();
    assert_eq!(
        names(&quick),
        [
            "id",
            "workflow_id",
            "cron",
            "timezone",
            "enabled",
            "jitter_ms",
            "start_at",
            "end_at",
            "overlap_policy",
            "catch_up_ms",
            "is_override",
            "override",
            "next_run_time",
            "last_run_time",
            "last_run_status",
            "last_exec_id",
            "last_fire",
            "buffered_at",
        ]
    );
    assert_eq!((&quick["overlap_policy"], &quick["catch_up_ms"]), (&json!("buffer_one"), &json!(3_600_000)));
    assert!(quick["next_run_time"].as_str().is_some_and(|next| next.contains("T08:00:")), "{quick}");
    let off = server.get(&format!("{ALL}/slow/2?next=3")).await.data();
    assert_eq!(
        (&off["enabled"], &off["next_run_time"], &off["next_run_times"]),
        (&json!(false), &Value::Null, &json!([]))
    );
    let first = server.get(&format!("{ALL}/slow/1?next=3")).await.data();
    assert_eq!(first["next_run_times"].as_array().map(Vec::len), Some(3));
    assert_eq!(first["next_run_times"][0], first["next_run_time"]);
    for (path, hint) in [("slow", "did you mean 'slow/1' or 'slow/2'?"), ("qick", "did you mean 'quick'?")] {
        let reply = server.get(&format!("{ALL}/{path}")).await;
        assert_eq!((reply.status, &reply.json()["code"]), (404, &json!("schedule_not_found")));
        assert_eq!(reply.json()["hint"], hint);
    }
    assert_eq!(server.get(&format!("{ALL}/slow/2/3")).await.status, 404);
    assert_eq!(server.get(&format!("{ALL}/quick/trigger")).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_lies_over_the_project_until_it_is_taken_back() {
    let server = scheduled().await;
    let path = format!("{ALL}/slow/2");
    let patch = async |body: &Value| server.call("PATCH", &path, &[], &body.to_string()).await;
    let changed = patch(&json!({"enabled": true, "cron": "30 7 * * *", "timezone": "europe/lisbon"})).await.data();
    assert_eq!(
        (&changed["is_override"], &changed["cron"], &changed["timezone"]),
        (&json!(true), &json!("30 7 * * *"), &json!("Europe/Lisbon"))
    );
    assert!(changed["next_run_time"].is_string());
    let changed = patch(&json!({"cron": null})).await.data();
    assert_eq!((&changed["cron"], &changed["override"]["enabled"]), (&json!("@daily"), &json!(true)));
    assert_eq!(server.get(&path).await.data(), changed);
    for (body, status, code, pointer) in [
        (json!({"cron": "61 * * * *"}), 422, "CZ0901", "/cron"),
        (json!({"timezone": "Europe/Lisbo"}), 422, "CZ0902", "/timezone"),
        (json!({"cron": 1}), 400, "invalid_request", "/cron"),
        (json!({"enabled": "yes"}), 400, "invalid_request", "/enabled"),
        (json!({"jitter": "1s"}), 400, "invalid_request", "/jitter"),
        (json!({"cron": "x".repeat(300)}), 400, "invalid_request", "/cron"),
    ] {
        let reply = patch(&body).await;
        let problem = reply.json();
        assert_eq!((reply.status, &problem["errors"][0]["code"]), (status, &json!(code)), "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    assert_eq!(patch(&json!({})).await.status, 400);
    assert_eq!(patch(&json!({"cron": "61 * * * *"})).await.json()["code"], "definition_invalid");
    assert_eq!(server.get(&path).await.data(), changed, "what was refused changed nothing");
    let removed = server.call("DELETE", &path, &[], "").await;
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    assert_eq!(server.get(&path).await.data()["is_override"], false);
    // A declared schedule of which nothing was set is switched off.
    assert_eq!(server.call("DELETE", &format!("{ALL}/quick"), &[], "").await.status, 204);
    let quick = server.get(&format!("{ALL}/quick")).await.data();
    assert_eq!((&quick["enabled"], &quick["next_run_time"]), (&json!(false), &Value::Null));
    assert_eq!(server.call("DELETE", &format!("{ALL}/nothing"), &[], "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_starts_the_run_of_the_schedule() {
    let server = scheduled().await;
    let path = format!("{ALL}/quick/trigger");
    let keyed = async |body: &str| server.call("POST", &path, &[("idempotency-key", "k1")], body).await;
    let first = keyed("{}").await;
    assert_eq!(first.status, 202);
    let data = first.data();
    assert_eq!(names(&data), ["exec_id", "exec_url", "workflow_id", "schedule_id"]);
    assert_eq!(first.header("location"), data["exec_url"].as_str());
    let again = keyed("").await;
    assert_eq!((again.status, again.data(), again.header("idempotency-replayed")), (202, data.clone(), Some("true")));
    let exec_id = data["exec_id"].as_str().unwrap();
    let ended = server.app.node.wait(&exec_id.into(), Some(Duration::from_secs(30))).await.unwrap().expect("it ends");
    assert_eq!((ended.status.as_str(), ended.input.as_str()), ("SUCCESS", r#"{"city":"Lisbon"}"#));
    let run = server.get(&super::support::url(exec_id)).await.data();
    assert_eq!((&run["trigger"]["type"], &run["trigger"]["name"]), (&json!("schedule"), &json!("quick")));
    let quick = server.get(&format!("{ALL}/quick")).await.data();
    assert_eq!((&quick["last_run_status"], &quick["last_exec_id"]), (&json!("SUCCESS"), &json!(exec_id)));
    assert_eq!(quick["last_run_time"], run["created_at"]);
    assert_eq!(quick["last_fire"]["state"], "started");
    assert_eq!(server.post(&format!("{ALL}/slow/2/trigger"), "").await.status, 202);
    assert_eq!(server.post(&path, r#"{"input": {}}"#).await.status, 400);
    assert_eq!(server.post(&format!("{ALL}/nothing/trigger"), "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_schedules_are_looked_after() {
    let server = scheduled().await;
    for _ in 0..1_000 {
        let health = server.get("/readyz").await.data();
        let reconciled = health["schedules"]["reconciled"].as_bool().unwrap();
        assert_eq!(health["status"], if reconciled { "healthy" } else { "degraded" });
        if reconciled {
            return;
        }
    }
    panic!("never reconciled");
}
