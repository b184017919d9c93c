//! The HTTP API of a running server (cli-and-api §7), seen as a client sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::listener::Listener;
use crate::support::model_server::{Answer, ModelServer};
use crate::support::sse::{Event, Stream};
use crate::support::{Project, Server, wait};

const ADD: &str = "id: add
config:
  input:
    type: object
    required: [n]
    properties: {n: {type: integer}, tag: {type: string}}
tasks:
  - {id: one, tool: add, with: {a: \"{{ .input.n }}\", b: 1}}
  - {id: two, tool: add, with: {a: \"{{ .tasks.one.output.sum }}\", b: 1}}
output: {n: \"{{ .tasks.two.output.sum }}\"}
";

const FAIL: &str = "id: fail
tasks:
  - {id: only, tool: fail, retries: 0, with: {code: planned, message: as planned}}
";

const SLEEP: &str = "id: sleep
tasks:
  - {id: doze, tool: add, with: {a: 1, b: 1}, sleep: 1h}
  - {id: never, tool: add, with: {a: 1, b: 1}}
";

const TOOLS: &str =
    "plugins: [{id: zoo, source: ./plugins/zoo.wasm, permissions: {http: [\"${SLOW_GRANT:-http://127.0.0.1:9}\"]}}]
tools:
  - {id: add, plugin: zoo, function: add}
  - {id: fail, plugin: zoo, function: fail}
  - {id: fetch, plugin: zoo, function: fetch}
";

fn project() -> Project {
    let project = Project::sqlite(TOOLS);
    project.component("guests/zoo");
    project.file("workflows/add.yaml", ADD).file("workflows/fail.yaml", FAIL).file("workflows/sleep.yaml", SLEEP);
    project
}

const RUNS: &str = "/api/v0/executions/workflows";

/// Checks the one form of every error.
#[track_caller]
fn problem(server: &Server, method: &str, path: &str, body: Option<&Value>, status: u16, code: &str) -> Value {
    let response = server.send(method, path, &[], body);
    assert_eq!(response.status, status, "{method} {path}: {}", response.text());
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{method} {path}");
    let document = response.json();
    for (member, expected) in [
        ("type", json!(format!("/problems/{code}"))),
        ("code", json!(code)),
        ("status", json!(status)),
        ("request_id", json!(response.header("x-request-id"))),
    ] {
        assert_eq!(document[member], expected, "{method} {path}: {document:#}");
    }
    for member in ["title", "detail", "instance"] {
        assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {document:#}");
    }
    document
}

#[test]
fn a_run_is_started_read_and_listed() {
    let project = project();
    let server = project.start();
    let response = server.post("/api/v0/workflows/add/executions", &json!({"input": {"n": 40}, "tags": {"team": "a"}}));
    assert_eq!(response.status, 202);
    let body = response.json();
    assert_eq!(body["status"], 202);
    assert!(body["message"].is_string());
    let exec_id = body["data"]["exec_id"].as_str().expect("exec_id").to_owned();
    assert_eq!(exec_id.len(), 26);
    assert_eq!(body["data"]["workflow_id"], "add");
    let location = response.header("location").expect("location").to_owned();
    assert!(location.ends_with(&format!("{RUNS}/{exec_id}")), "{location}");
    server.wait_run(&exec_id);
    let run = server.get(&location).data();
    for (member, expected) in [
        ("workflow_id", json!("add")),
        ("exec_id", json!(exec_id)),
        ("workflow_exec_id", json!(exec_id)),
        ("status", json!("SUCCESS")),
        ("input", json!({"n": 40})),
        ("output", json!({"n": 42})),
        ("error", Value::Null),
        ("durability", json!("full")),
        ("tags", json!({"team": "a"})),
        ("waiting_for", Value::Null),
        ("parent_exec_id", Value::Null),
    ] {
        assert_eq!(run[member], expected, "{member} in {run:#}");
    }
    for time in ["created_at", "started_at", "updated_at", "finished_at"] {
        let text = run[time].as_str().expect(time);
        assert!(text.len() == 24 && text.ends_with('Z') && text.as_bytes()[19] == b'.', "{time}: {text}");
    }
    assert!(run["definition_digest"].as_str().is_some_and(|digest| digest.len() >= 32), "{run:#}");
    let list = server.get(&format!("{RUNS}?workflow_id=add")).data();
    assert_eq!(list["executions"][0]["exec_id"], json!(exec_id));
    let steps = server.get(&format!("{RUNS}/{exec_id}/tasks"));
    assert_eq!(steps.status, 200, "{}", steps.text());
}

#[test]
fn a_sync_start_answers_with_the_output() {
    let project = project();
    let server = project.start();
    let path = "/api/v0/workflows/add/executions/sync";
    let response = server.post(path, &json!({"input": {"n": 1}}));
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("compozy-status"), Some("SUCCESS"));
    let data = response.data();
    assert_eq!((&data["output"], &data["workflow"]["status"]), (&json!({"n": 3}), &json!("SUCCESS")));
    let failed = server.post("/api/v0/workflows/fail/executions/sync", &json!({}));
    assert_eq!((failed.status, failed.header("compozy-status")), (200, Some("FAILED")));
    assert_eq!(failed.data()["workflow"]["error"]["code"], "planned", "{}", failed.text());
    problem(&server, "POST", "/api/v0/workflows/fail/executions/sync?strict=true", Some(&json!({})), 422, "run_failed");
    let body = json!({"timeout": 1});
    let late = problem(&server, "POST", "/api/v0/workflows/sleep/executions/sync", Some(&body), 408, "sync_timeout");
    let exec_id = late["exec_id"].as_str().expect("exec_id");
    assert_eq!(server.run(exec_id)["status"], "WAITING", "the run goes on");
}

#[test]
fn an_idempotency_key_starts_one_run() {
    let project = project();
    let server = project.start();
    let path = "/api/v0/workflows/add/executions";
    let send =
        |key: &str, n: i64| server.send("POST", path, &[("idempotency-key", key)], Some(&json!({"input": {"n": n}})));
    let first = send("k", 1);
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, None));
    let again = send("k", 1);
    assert_eq!((again.status, again.header("idempotency-replayed")), (202, Some("true")));
    assert_eq!(first.data(), again.data());
    // Order of members and spelling of the header are not part of the request.
    let spaced = crate::support::http::send(
        &server.address,
        "POST",
        path,
        &[("x-idempotency-key", "k"), ("content-type", "application/json")],
        Some(b"{ \"input\" : {\"n\":1} }"),
    );
    assert_eq!(spaced.expect("an answer").data(), first.data());
    let other = send("k", 2);
    assert_eq!(other.status, 422);
    assert_eq!(other.json()["code"], "idempotency_mismatch");
    assert_ne!(send("k2", 1).data()["exec_id"], first.data()["exec_id"]);
    let both = server.send(
        "POST",
        path,
        &[("idempotency-key", "a"), ("x-idempotency-key", "b")],
        Some(&json!({"input": {"n": 1}})),
    );
    assert_eq!(both.status, 400);
    // The key outlives the process.
    server.kill();
    let server = project.start();
    let replayed = server.send("POST", path, &[("idempotency-key", "k")], Some(&json!({"input": {"n": 1}})));
    assert_eq!(replayed.data()["exec_id"], first.data()["exec_id"]);
}

#[test]
fn ten_at_once_with_one_key_start_one_run() {
    let project = project();
    let server = project.start();
    let ids: BTreeSet<String> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..10)
            .map(|_| {
                let server = &server;
                let path = "/api/v0/workflows/add/executions";
                scope.spawn(move || {
                    let response =
                        server.send("POST", path, &[("idempotency-key", "one")], Some(&json!({"input": {"n": 1}})));
                    assert_eq!(response.status, 202, "{}", response.text());
                    response.data()["exec_id"].as_str().expect("exec_id").to_owned()
                })
            })
            .collect();
        posts.into_iter().map(|post| post.join().expect("post")).collect()
    });
    assert_eq!(ids.len(), 1, "{ids:?}");
    let list = server.get(&format!("{RUNS}?count=true")).data();
    assert_eq!(list["page"]["total"], 1, "{list:#}");
}

#[test]
fn lists_are_paged_and_filtered() {
    let project = project();
    let server = project.start();
    let started: Vec<String> = (0..7).map(|n| server.start_run("add", json!({"n": n}))).collect();
    let failed = server.start_run("fail", json!({}));
    for run in started.iter().chain([&failed]) {
        server.wait_run(run);
    }
    let ids = |list: &Value| -> Vec<String> {
        let runs = list["executions"].as_array().expect("executions");
        runs.iter().map(|run| run["exec_id"].as_str().expect("exec_id").to_owned()).collect()
    };
    let mut seen = Vec::new();
    let mut path = format!("{RUNS}?limit=3");
    loop {
        let page = server.get(&path).data();
        assert_eq!(page["page"]["limit"], 3);
        seen.extend(ids(&page));
        // What starts meanwhile does not move the pages that follow.
        server.start_run("sleep", json!({}));
        match page["page"]["next_cursor"].as_str() {
            Some(cursor) => path = format!("{RUNS}?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    let mut expected: Vec<String> = started.iter().chain([&failed]).cloned().collect();
    expected.reverse();
    assert_eq!(seen, expected, "newest first, each once");
    for (query, count) in [
        ("status=SUCCESS", 7),
        ("status=completed&limit=500", 7),
        ("status=failed", 1),
        ("status=FAILED,SUCCESS", 8),
        ("workflow_id=fail", 1),
        ("workflow_id=nothing", 0),
    ] {
        let list = server.get(&format!("{RUNS}?{query}")).data();
        assert_eq!(ids(&list).len(), count, "{query}: {list:#}");
    }
    assert_eq!(ids(&server.get("/api/v0/workflows/fail/executions").data()), [failed]);
    problem(&server, "GET", &format!("{RUNS}?cursor=nonsense"), None, 400, "invalid_cursor");
    problem(&server, "GET", &format!("{RUNS}?limit=0"), None, 400, "invalid_request");
    problem(&server, "GET", &format!("{RUNS}?colour=red"), None, 400, "unknown_parameter");
    let workflows = server.get("/api/v0/workflows").data();
    let names: Vec<&Value> =
        workflows["workflows"].as_array().expect("workflows").iter().map(|one| &one["id"]).collect();
    assert_eq!(names, ["add", "fail", "sleep"]);
    assert_eq!(server.get("/api/v0/workflows/add").data()["id"], "add");
}

#[test]
fn a_cancel_is_durable_and_final() {
    let project = project();
    let server = project.start();
    let run = server.start_run("sleep", json!({}));
    wait::until("a sleeping run", || (server.run(&run)["status"] == "WAITING").then_some(()));
    assert_eq!(server.run(&run)["waiting_for"]["kind"], "timer");
    let cancel = format!("{RUNS}/{run}/cancel");
    let response = server.post(&cancel, &json!({"reason": "no longer needed"}));
    assert_eq!(response.status, 200, "{}", response.text());
    // Acknowledged is durable, whatever happens next.
    server.kill();
    let server = project.start();
    let document = server.wait_run(&run);
    assert_eq!(
        (&document["status"], &document["error"]["code"]),
        (&json!("CANCELED"), &json!("CZ0321")),
        "{document:#}"
    );
    let again = server.post(&cancel, &json!({})).data();
    assert_eq!((&again["status"], &again["repeated"]), (&json!("CANCELED"), &json!(true)), "a repeat changes nothing");
    problem(
        &server,
        "POST",
        &format!("{RUNS}/01ARZ3NDEKTSV4RRFFQ69G5FAV/cancel"),
        Some(&json!({})),
        404,
        "execution_not_found",
    );
}

#[test]
fn a_stream_resumes_where_it_was_left() {
    let project = project();
    let server = project.start();
    let run = server.start_run("add", json!({"n": 1}));
    let path = format!("{RUNS}/{run}/stream");
    let mut stream = Stream::open(&server.address, &path, None).expect("a stream");
    let first = stream.next().expect("an event").expect("an event");
    assert_eq!(stream.retry.as_deref(), Some("2000"));
    let mut events = vec![first];
    // Reconnect after each event: every one arrives once, in order.
    while !events.last().is_some_and(Event::is_terminal) {
        let last = events.last().map(|event| event.id.clone());
        let mut stream = Stream::open(&server.address, &path, last.as_deref()).expect("a stream");
        events.push(stream.next().expect("an event").expect("an event"));
    }
    let seqs: Vec<u64> = events.iter().filter_map(Event::seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    let names: Vec<&str> =
        events.iter().map(|event| event.name.as_str()).filter(|name| *name != "workflow_status").collect();
    assert_eq!(names, ["workflow_start", "task_start", "task_status", "task_start", "task_status", "complete"]);
    for event in &events {
        assert_eq!((&event.data["exec_id"], &event.data["seq"]), (&json!(run), &json!(event.seq())), "{event:?}");
        assert!(event.data["at"].is_string(), "{event:?}");
    }
    // An ended run replays and the server closes.
    let replay = Stream::open(&server.address, &path, None).and_then(Stream::rest).expect("the replay");
    assert_eq!(replay, events);
    let filtered = Stream::open(&server.address, &format!("{path}?events=task_status"), None).and_then(Stream::rest);
    assert!(filtered.expect("events").iter().all(|event| event.name == "task_status" || event.is_terminal()));
    problem(&server, "GET", &format!("{path}?events=nonsense"), None, 400, "unknown_event_type");
}

/// Events come when they are committed, not when somebody asks, and outlive a dead server.
#[test]
fn a_stream_is_pushed_across_a_crash() {
    let project = project();
    let server = project.start();
    let run = server.start_run("sleep", json!({}));
    let path = format!("{RUNS}/{run}/stream");
    let mut stream = Stream::open(&server.address, &path, None).expect("a stream");
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event: &Event| event.name != "timer") {
        seen.push(stream.next().expect("an event").expect("an event"));
    }
    server.kill();
    let server = project.start();
    let last = seen.iter().rev().find_map(|event| event.seq()).expect("a number").to_string();
    let mut stream = Stream::open(&server.address, &path, Some(&last)).expect("a stream");
    server.post(&format!("{RUNS}/{run}/cancel"), &json!({}));
    while seen.last().is_some_and(|event| !event.is_terminal()) {
        seen.push(stream.next().expect("an event").expect("an event"));
    }
    let seqs: Vec<u64> = seen.iter().filter_map(Event::seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "{seen:#?}");
}

#[test]
fn a_models_answer_is_streamed() {
    let model = ModelServer::listen();
    model.script([Answer::Text("one two three".to_owned())]);
    let project = Project::sqlite(&format!(
        "llm: {{providers: [{{id: m, type: openai_compatible, model: small, base_url: \"{}\"}}]}}\n",
        model.base_url()
    ));
    project.file("workflows/ask.yaml", "id: ask\ntasks:\n  - {id: ask, prompt: hi}\n");
    let server = project.start();
    let run = server.start_run("ask", json!({}));
    let document = server.wait_run(&run);
    assert_eq!(document["output"], json!({"text": "one two three", "response": "one two three"}), "{document:#}");
    let usage = &document["usage"][0];
    assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&json!(7), &json!(3)), "{document:#}");
}

#[test]
fn health_is_told() {
    let project = project();
    let server = project.start();
    assert_eq!(server.get("/healthz").status, 200);
    for path in ["/readyz", "/api/v0/health"] {
        let health = server.get(path);
        assert_eq!(health.status, 200, "{path}");
        let body = health.json();
        let health = if body["data"].is_object() { &body["data"] } else { &body };
        assert_eq!(
            (&health["ready"], &health["database"]["driver"]),
            (&json!(true), &json!("sqlite")),
            "{path}: {body:#}"
        );
    }
}

#[test]
fn every_error_has_one_form() {
    let project = project();
    let server = project.start();
    let start = "/api/v0/workflows/add/executions";
    problem(&server, "GET", "/nothing/here", None, 404, "route_not_found");
    problem(&server, "GET", "/api/v0/workflows/add/", None, 404, "route_not_found");
    problem(&server, "DELETE", start, None, 405, "method_not_allowed");
    problem(&server, "GET", "/api/v0/workflows/nothing", None, 404, "workflow_not_found");
    let missing = problem(
        &server,
        "POST",
        "/api/v0/workflows/ad/executions",
        Some(&json!({"input": {"n": 1}})),
        404,
        "workflow_not_found",
    );
    assert!(missing.to_string().contains("add"), "the nearest name: {missing:#}");
    problem(&server, "GET", &format!("{RUNS}/01ARZ3NDEKTSV4RRFFQ69G5FAV"), None, 404, "execution_not_found");
    problem(&server, "POST", start, Some(&json!({"inputs": {}})), 400, "invalid_request");
    problem(&server, "POST", start, Some(&json!([1])), 400, "invalid_request");
    problem(&server, "POST", start, Some(&json!({"input": {"n": 1}, "task_id": "nothing"})), 404, "task_not_found");
    let invalid = problem(&server, "POST", start, Some(&json!({"input": {"n": "one"}})), 422, "input_invalid");
    assert_eq!(invalid["errors"][0]["pointer"], "/input/n", "{invalid:#}");
    let list = server.get(&format!("{RUNS}?count=true")).data();
    assert_eq!(list["page"]["total"], 0, "a refused start stores nothing: {list:#}");
    for (headers, body, status, code) in [
        (&[("content-type", "text/plain")][..], "{}", 415, "unsupported_media_type"),
        (&[("content-type", "application/json")][..], "{\"input\": ", 400, "invalid_json"),
        (
            &[("content-type", "application/json"), ("origin", "http://evil.example")][..],
            "{}",
            403,
            "origin_not_allowed",
        ),
        (&[("content-type", "application/json"), ("host", "evil.example")][..], "{}", 421, "host_not_allowed"),
    ] {
        let response = crate::support::http::send(&server.address, "POST", start, headers, Some(body.as_bytes()))
            .expect("an answer");
        assert_eq!((response.status, response.json()["code"].clone()), (status, json!(code)), "{headers:?} {body}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
    }
    let deep = format!("{{\"input\": {}{}}}", "[".repeat(100), "]".repeat(100));
    let headers = [("content-type", "application/json")];
    let response =
        crate::support::http::send(&server.address, "POST", start, &headers, Some(deep.as_bytes())).expect("an answer");
    assert_eq!(response.status, 400, "{}", response.text());
    let large = format!("{{\"input\": {{\"n\": 1, \"tag\": \"{}\"}}}}", "x".repeat(11 << 20));
    // The server may close before it has read all of it.
    if let Ok(response) = crate::support::http::send(&server.address, "POST", start, &headers, Some(large.as_bytes())) {
        assert_eq!(response.status, 413, "{}", response.text());
    }
    assert_eq!(server.get("/healthz").status, 200);
    let echoed = server.send("GET", "/healthz", &[("x-request-id", "mine-1")], None);
    assert_eq!(echoed.header("x-request-id"), Some("mine-1"));
}

/// Shutdown order of cli-and-api §6.3: running steps end and are recorded, waiters are answered, the database is last.
#[test]
fn shutdown_lets_running_steps_end() {
    let slow = Listener::serve(|_, stream| {
        std::thread::sleep(Duration::from_millis(1500));
        crate::support::listener::answer(stream, 200, &[], b"slow");
    });
    let mut project = project();
    project.env("SLOW_GRANT", &format!("http://{}", slow.address));
    project.file(
        "workflows/slow.yaml",
        format!("id: slow\ntasks:\n  - {{id: wait, tool: fetch, with: {{url: \"http://{}/\"}}}}\n", slow.address),
    );
    let server = project.start();
    let sleeping = server.start_run("sleep", json!({}));
    let answer = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| server.post("/api/v0/workflows/slow/executions/sync", &json!({})));
        wait::until("the slow step", || {
            let active = server.get(&format!("{RUNS}?workflow_id=slow&status=RUNNING")).data();
            active["executions"].as_array().is_some_and(|runs| !runs.is_empty()).then_some(())
        });
        server.signal("TERM");
        waiter.join().expect("the waiter")
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.data()["output"]["body"], "slow");
    let output = server.finish();
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(output.stdout.lines().count(), 3, "{output}");
    let left: Vec<_> =
        std::fs::read_dir(project.path(".compozy/run")).map(|entries| entries.flatten().collect()).unwrap_or_default();
    assert_eq!(left.len(), 0, "the run record is removed");
    // What was not finished goes on elsewhere.
    let server = project.start();
    assert_eq!(server.run(&sleeping)["status"], "WAITING");
}

#[test]
fn a_second_signal_leaves_at_once() {
    let silent = Listener::serve(|_, _| std::thread::sleep(Duration::from_secs(15)));
    let mut project = project();
    project.env("SLOW_GRANT", &format!("http://{}", silent.address));
    project.file(
        "workflows/slow.yaml",
        format!("id: slow\ntasks:\n  - {{id: wait, tool: fetch, with: {{url: \"http://{}/\"}}}}\n", silent.address),
    );
    let server = project.start();
    let run = server.start_run("slow", json!({}));
    wait::until("the slow step", || (server.run(&run)["status"] == "RUNNING").then_some(()));
    server.signal("INT");
    wait::until("not ready", || {
        let ready = server.try_send("GET", "/readyz", &[], None);
        ready.map_or(true, |ready| ready.status == 503).then_some(())
    });
    server.signal("INT");
    assert_eq!(server.finish().code, 130);
}
