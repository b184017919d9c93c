//! Reading executions and workflows, canceling, and what the server says of itself.

use serde_json::{Value, json};

use super::support::{server, url};
use crate::api::identity;
use crate::storage::row::{Changes, Usage};

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_has_every_member() {
    let server = server().await;
    let exec_id = server.run("quick").await;
    let run = server.get(&url(&exec_id)).await.data();
    assert_eq!(
        names(&run),
        [
            "workflow_id",
            "workflow_exec_id",
            "exec_id",
            "component",
            "status",
            "reason",
            "input",
            "output",
            "error",
            "tasks",
            "usage",
            "created_at",
            "started_at",
            "updated_at",
            "finished_at",
            "duration_ms",
            "definition_digest",
            "durability",
            "priority",
            "concurrency",
            "trigger",
            "tags",
            "parent_exec_id",
            "forked_from",
            "attempt_count",
            "cancel_request",
            "waiting_for",
        ]
    );
    assert_eq!(run["status"], "SUCCESS");
    assert_eq!(run["waiting_for"], Value::Null);
    assert!(run["finished_at"].as_str().unwrap().ends_with('Z'));
    let tasks = server.get(&format!("{}/tasks", url(&exec_id))).await.data();
    assert!(tasks["tasks"].as_array().is_some_and(|tasks| tasks.iter().all(|task| task["children"].is_array())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_run_says_for_what_and_shows_its_tokens() {
    let server = server().await;
    let exec_id = server.start("slow").await;
    let mut run = server.get(&url(&exec_id)).await.data();
    while run["status"] != "WAITING" {
        server.app.clock.sleep(std::time::Duration::from_millis(10)).await;
        run = server.get(&url(&exec_id)).await.data();
    }
    assert_eq!(run["waiting_for"]["kind"], "retry");
    assert!(run["waiting_for"]["until"].is_string());
    let listed = server.get("/api/v0/executions/workflows?status=waiting").await.data();
    assert_eq!(listed["executions"][0]["waiting_for"], run["waiting_for"]);
    let usage = Usage {
        step_key: "only#1".into(),
        provider: "p".into(),
        model: "m".into(),
        prompt_tokens: 3,
        completion_tokens: 4,
    };
    let changes = Changes { usage: vec![usage], at: server.app.clock.now(), ..Changes::default() };
    server.storage.commit(&exec_id.as_str().into(), server.app.node.id(), 1, &changes).await.unwrap();
    let tokens = json!({
        "step_key": "only#1", "provider": "p", "model": "m",
        "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
    });
    assert_eq!(server.get(&url(&exec_id)).await.data()["usage"], json!([tokens]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let server = server().await;
    let mut all = Vec::new();
    for workflow in ["quick", "fails", "quick", "quick"] {
        all.push(server.run(workflow).await);
    }
    all.reverse();
    let ids = |data: &Value| -> Vec<String> {
        let executions = data["executions"].as_array().unwrap();
        executions.iter().map(|run| run["exec_id"].as_str().unwrap().to_owned()).collect()
    };
    let first = server.get("/api/v0/executions/workflows?limit=3&count=true").await;
    let page = first.data();
    assert_eq!((ids(&page), &page["page"]["total"]), (all[..3].to_vec(), &json!(4)));
    let cursor = page["page"]["next_cursor"].as_str().unwrap();
    let next = format!("/api/v0/executions/workflows?limit=3&count=true&cursor={cursor}");
    assert_eq!(first.header("link"), Some(format!("<{next}>; rel=\"next\"").as_str()));
    let second = server.get(&next).await.data();
    assert_eq!((ids(&second), &second["page"]["next_cursor"]), (all[3..].to_vec(), &Value::Null));
    let back = second["page"]["prev_cursor"].as_str().unwrap();
    let back = server.get(&format!("/api/v0/executions/workflows?limit=3&cursor={back}")).await.data();
    assert_eq!(ids(&back), all[..3]);
    for (query, expected) in [
        ("status=Completed", 3),
        ("status=failed,completed", 4),
        ("status=active", 0),
        ("workflow_id=fails", 1),
        ("since=1h", 4),
        ("until=1h", 0),
        ("parent=none", 0),
        ("project=other", 0),
    ] {
        let listed = server.get(&format!("/api/v0/executions/workflows?{query}")).await.data();
        assert_eq!(ids(&listed).len(), expected, "{query}");
    }
    let oldest = server.get("/api/v0/executions/workflows?order=asc&limit=1").await.data();
    assert_eq!(ids(&oldest), all[3..]);
    let of = server.get("/api/v0/workflows/fails/executions?expand=tasks,input,output").await.data();
    assert_eq!((ids(&of).len(), &of["executions"][0]["input"]), (1, &json!({})));
    assert!(of["executions"][0]["tasks"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn workflows_are_joined_with_their_latest_run() {
    let server = server().await;
    server.run("quick").await;
    let latest = server.run("quick").await;
    let list = server.get("/api/v0/workflows").await.data();
    let entries: Vec<_> = list["workflows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["id"].as_str().unwrap(), entry["status"].as_str(), entry["runs"].as_u64().unwrap()))
        .collect();
    assert_eq!(entries, [("fails", None, 0), ("quick", Some("SUCCESS"), 2), ("slow", None, 0)]);
    assert_eq!(list["workflows"][1]["latest_execution"]["exec_id"], latest);
    assert_eq!(list["page"]["total"], 3);
    assert_eq!(server.get("/api/v0/workflows?status=success").await.data()["page"]["total"], 1);
    assert_eq!(server.get("/api/v0/workflows?q=QU").await.data()["page"]["total"], 1);
    let one = server.get("/api/v0/workflows/quick").await;
    let etag = one.header("etag").unwrap().to_owned();
    assert_eq!((one.data()["digest"].clone(), etag.as_str()), (json!("digest-of-quick"), "\"digest-of-quick\""));
    let again = server.call("GET", "/api/v0/workflows/quick", &[("if-none-match", &etag)], "").await;
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_is_final_and_can_be_repeated() {
    let server = server().await;
    let exec_id = server.start("slow").await;
    let cancel = format!("{}/cancel", url(&exec_id));
    assert_eq!(server.post(&cancel, r#"{"reason":"enough"}"#).await.status, 200);
    server.app.node.wait(&exec_id.as_str().into(), None).await.unwrap();
    let again = server.post(&cancel, "").await.data();
    assert_eq!((&again["status"], &again["repeated"]), (&json!("CANCELED"), &json!(true)));
    let finished = url(&server.run("quick").await);
    let late = server.post(&format!("{finished}/cancel"), "").await;
    assert_eq!((late.status, late.json()["code"].clone()), (409, json!("execution_finished")));
    assert_eq!(late.json()["execution_status"], "SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_executions_begin_where_offset_says() {
    let server = server().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, server.run("quick").await);
    }
    for (query, expected) in [
        ("offset=0", &ids[..]),
        ("offset=1", &ids[1..]),
        ("offset=1&limit=1", &ids[1..2]),
        ("offset=3", &[]),
        ("offset=7", &[]),
    ] {
        let list = server.get(&format!("/api/v0/executions/workflows?{query}&count=true")).await.data();
        let found: Vec<_> = list["executions"].as_array().unwrap().iter().map(|run| run["exec_id"].clone()).collect();
        assert_eq!(found, expected, "{query}");
        assert_eq!(list["page"]["total"], 3, "{query}");
    }
    let both = server.get("/api/v0/executions/workflows?offset=1&limit=1").await.data();
    let cursor = both["page"]["next_cursor"].as_str().unwrap().to_owned();
    let refused = server.get(&format!("/api/v0/executions/workflows?offset=1&cursor={cursor}")).await;
    assert_eq!((refused.status, refused.json()["code"].clone()), (400, json!("invalid_request")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_paged() {
    let server = server().await;
    let exec_id = server.run("quick").await;
    let events = format!("{}/events", url(&exec_id));
    let all = server.get(&events).await.data()["events"].as_array().unwrap().clone();
    assert_eq!(all.first().unwrap()["event"], "workflow_start");
    assert_eq!(all.last().unwrap()["event"], "complete");
    let seqs: Vec<_> = all.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seqs, (1..=i64::try_from(all.len()).unwrap()).collect::<Vec<_>>());
    let (mut paged, mut next) = (Vec::new(), format!("{events}?limit=1"));
    loop {
        let page = server.get(&next).await.data();
        paged.extend(page["events"].as_array().unwrap().clone());
        let Some(cursor) = page["page"]["next_cursor"].as_str() else { break };
        next = format!("{events}?limit=1&cursor={cursor}");
    }
    assert_eq!(paged, all);
    assert_eq!(server.get(&format!("{events}?from=2")).await.data()["events"], json!(all[1..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_what_it_is() {
    let server = server().await;
    let index = server.get("/api/v0").await.data();
    assert_eq!((&index["name"], &index["version"]), (&json!("compozy"), &json!("1.2.3")));
    assert_eq!(server.get("/healthz").await.status, 200);
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, ready.data()["status"].clone()), (200, json!("healthy")));
    let nonce = "0a".repeat(32);
    let proof = server.get(&format!("/api/v0/identity?nonce={nonce}")).await.data();
    assert_eq!((&proof["instance_id"], &proof["ready"]), (&json!("instance-1"), &json!(true)));
    let key = &server.storage.info().identity_key;
    assert!(identity::verify(key, &nonce, server.address.port(), "demo", proof["proof"].as_str().unwrap()));
    let project = server.get("/api/v0/project").await.data();
    assert_eq!(project["definitions_digest"], "digest-of-all");
    let head = server.call("HEAD", "/api/v0", &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let options = server.call("OPTIONS", "/api/v0/workflows/quick/executions", &[], "").await;
    assert_eq!((options.status, options.header("allow")), (204, Some("GET,HEAD,POST")));
}
