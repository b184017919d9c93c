//! Retry, fork, concurrency keys and a full queue from outside: HTTP, the command line, without a server, and over
//! `kill -9` at every commit.

use serde_json::{Value, json};

use crate::support::database::Snapshot;
use crate::support::effects::Effects;
use crate::support::{Project, Server, program, wait};

const RUNS: &str = "/api/v0/executions/workflows";

/// Leaves a trace, fails unless the input says otherwise, adds one.
const MEND: &str = r#"id: mend
config:
  input: {type: object, properties: {n: {type: integer, default: 4}, times: {type: integer, default: 9}}}
tasks:
  - {id: trace, tool: effect, with: {url: "URL", value: "{{ .input.n }}"}}
  - {id: bad, tool: fail, with: {times: "{{ .input.times }}", retryable: false}}
  - {id: last, tool: add, with: {a: "{{ .tasks.trace.output.value }}", b: 1}}
output: {n: "{{ .tasks.last.output.sum }}"}
"#;

/// One at a time.
const ALONE: &str = r#"id: alone
config: {concurrency: {key: "only one", limit: 1}}
tasks:
  - {id: trace, tool: effect, with: {url: "URL", value: 1}}
  - {id: nap, tool: nap, with: {milliseconds: 20}}
"#;

const HOLD: &str = "id: hold\nconfig: {concurrency: 1}\ntasks: [{id: paid, type: wait, wait_for: paid, timeout: 1h}]\n";

fn project(effects: &Effects, more: &str) -> Project {
    let project = Project::sqlite(&format!("{}{more}", program::project_file(&effects.grant())));
    project.component("guests/zoo");
    for (name, text) in [("mend", MEND), ("alone", ALONE), ("hold", HOLD)] {
        project.file(&format!("workflows/{name}.yaml"), text.replace("URL", &effects.url()));
    }
    project
}

fn sound(project: &Project) {
    assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new());
    project.compozy(&["doctor", "--deep", "--local", "--port", "0"]).ok();
}

#[test]
fn commands_retry_and_fork_through_a_server() {
    let effects = Effects::listen();
    let project = project(&effects, "");
    let server = project.start();
    let failed = server.start_run("mend", json!({}));
    assert_eq!(server.wait_run(&failed)["status"], "FAILED");
    let started = project.compozy(&["execution", "retry", &failed]).ok();
    let lines: Vec<&str> = started.stdout.lines().collect();
    assert_eq!(lines[0], "Workflow 'mend' started");
    let again = lines[1].strip_prefix("Execution: ").expect("the id").to_owned();
    let run = server.wait_run(&again);
    assert_eq!((&run["status"], &run["forked_from"]), (&json!("FAILED"), &json!(failed)));
    assert_eq!((effects.count(&format!("{failed}:trace:1")), effects.count(&format!("{again}:trace:1"))), (1, 0));
    assert_eq!(project.compozy(&["execution", "retry", &failed, "--wait"]).code, 1);
    let fork = ["execution", "fork", &failed, "--at", "bad", "--input", r#"{"times": 0}"#, "--wait", "-o", "json"];
    let forked = project.compozy(&fork).ok().json();
    assert_eq!((&forked["status"], &forked["output"]), (&json!("SUCCESS"), &json!({"n": 5})), "{forked:#}");
    assert_eq!(forked["tasks"]["trace"]["output"], run["tasks"]["trace"]["output"]);
    let done = forked["exec_id"].as_str().expect("exec_id").to_owned();
    let shown = project.compozy(&["execution", "get", &done]).ok().stdout;
    assert!(shown.contains(&format!("Forked from: {failed}")), "{shown}");
    for (arguments, code) in [
        (vec!["retry", done.as_str()], 6),
        (vec!["retry", "01NOBODY000000"], 4),
        (vec!["fork", &failed], 2),
        (vec!["fork", &failed, "--at", "gone"], 4),
        (vec!["fork", &failed, "--at", "last"], 6),
        (vec!["fork", &failed, "--at", "bad/x"], 2),
        (vec!["fork", &failed, "--at", "bad", "--input", "["], 2),
        (vec!["fork", &failed, "--at", "bad", "--input", r#"{"n": "x"}"#], 3),
    ] {
        let arguments: Vec<&str> = std::iter::once("execution").chain(arguments).collect();
        let output = project.compozy(&arguments);
        assert_eq!(output.code, code, "{arguments:?}: {output}");
    }
    server.stop();
    sound(&project);
}

#[test]
fn commands_retry_and_fork_without_a_server() {
    let effects = Effects::listen();
    let project = project(&effects, "");
    let first = project.compozy(&["workflow", "run", "mend", "-o", "json"]);
    assert_eq!((first.code, &first.json()["status"]), (1, &json!("FAILED")), "{first}");
    let again = project.compozy(&["execution", "retry", "@last", "-o", "json"]);
    assert_eq!((again.code, &again.json()["status"]), (1, &json!("FAILED")), "{again}");
    assert_eq!(again.json()["forked_from"], first.json()["exec_id"]);
    // What was wrong is mended in the file; only the new definition knows.
    let mended = MEND.replace("tool: fail,", "tool: fail, condition: \"false\",").replace("URL", &effects.url());
    project.file("workflows/mend.yaml", mended);
    assert_eq!(project.compozy(&["execution", "retry", "@last"]).code, 1);
    let latest = project.compozy(&["execution", "retry", "@last", "--latest"]).ok();
    assert!(latest.stdout.contains(r#"{ "n": 5 }"#), "{latest}");
    let traces: u32 = effects.counts().values().flat_map(|lives| lives.values()).sum();
    assert_eq!(traces, 1, "the step before the failure ran once");
    let fork = ["execution", "fork", "@last", "--at", "trace", "--input", r#"{"n": 10}"#, "-o", "json"];
    let forked = project.compozy(&fork).ok().json();
    assert_eq!(forked["output"], json!({"n": 11}), "{forked:#}");
    assert_eq!(project.compozy(&["execution", "retry", "@last"]).code, 6);
    sound(&project);
}

fn document(server: &Server, exec_id: &str) -> Value {
    server.get(&format!("{RUNS}/{exec_id}")).data()
}

fn until_status(server: &Server, exec_id: &str, status: &str) -> Value {
    wait::until(status, || Some(document(server, exec_id)).filter(|document| document["status"] == status))
}

#[test]
fn a_concurrency_key_holds_over_processes() {
    let effects = Effects::listen();
    let project = project(&effects, "");
    let server = project.start();
    let first = server.start_run("hold", json!({}));
    until_status(&server, &first, "WAITING");
    let second = server.start_run("hold", json!({}));
    let waiting = document(&server, &second);
    assert_eq!((&waiting["status"], &waiting["waiting_for"]["kind"]), (&json!("PENDING"), &json!("concurrency")));
    assert_eq!(waiting["concurrency"], json!({"key": "workflow hold", "limit": 1}));
    // Another workflow has its own key; a command beside the server waits for this one.
    assert_eq!(server.wait_run(&server.start_run("alone", json!({})))["status"], "SUCCESS");
    let beside = project.spawn(&["workflow", "run", "hold", "--local", "-o", "json"]);
    wait::until("the third", || {
        let list = server.get(&format!("{RUNS}?workflow_id=hold&status=pending")).data();
        (list["executions"].as_array()?.len() == 2).then_some(())
    });
    server.stop();
    let get = |exec_id: &str| project.compozy(&["execution", "get", exec_id, "-o", "json"]).ok().json();
    assert_eq!(get(&second)["waiting_for"]["kind"], "no_node");
    let server = project.start();
    assert_eq!(until_status(&server, &second, "PENDING")["waiting_for"]["kind"], "concurrency");
    let paid =
        |exec_id: &str| server.post(&format!("{RUNS}/{exec_id}/signals"), &json!({"signal_name": "paid"})).status;
    assert_eq!(paid(&first), 200);
    until_status(&server, &first, "SUCCESS");
    until_status(&server, &second, "WAITING");
    assert_eq!(paid(&second), 200);
    until_status(&server, &second, "SUCCESS");
    let list = server.get(&format!("{RUNS}?workflow_id=hold&limit=1")).data();
    let third = list["executions"][0]["exec_id"].as_str().expect("exec_id").to_owned();
    until_status(&server, &third, "WAITING");
    assert_eq!(paid(&third), 200);
    let ended = beside.finish();
    assert_eq!((ended.code, &ended.json()["status"]), (0, &json!("SUCCESS")), "{ended}");
    assert!(ended.stderr.contains("waits for its turn: 1 execution of concurrency key 'workflow hold'"), "{ended}");
    server.stop();
    sound(&project);
}

#[test]
fn a_full_queue_answers_429_also_after_a_restart() {
    let effects = Effects::listen();
    let project = project(&effects, "engine: {max_pending: 2}\n");
    let mut server = project.start();
    let first = server.start_run("hold", json!({}));
    until_status(&server, &first, "WAITING");
    let ids = [first, server.start_run("hold", json!({})), server.start_run("hold", json!({}))];
    for _ in 0..2 {
        let refused = server.post("/api/v0/workflows/hold/executions", &json!({}));
        assert_eq!((refused.status, &refused.json()["code"]), (429, &json!("overloaded")), "{}", refused.text());
        assert!(refused.header("retry-after").is_some());
        let command = project.compozy(&["workflow", "run", "hold", "--no-wait"]);
        assert_eq!(command.code, 7, "{command}");
        server.kill();
        server = project.start();
    }
    let listed = server.get(&format!("{RUNS}?count=true")).data();
    assert_eq!(listed["page"]["total"], 3, "nothing was stored");
    for exec_id in &ids {
        assert_eq!(server.post(&format!("{RUNS}/{exec_id}/cancel"), &json!({})).status, 200);
        until_status(&server, exec_id, "CANCELED");
    }
    server.stop();
    sound(&project);
}

/// The id of a retry that was acknowledged before the server died.
fn until_killed(server: &Server) -> Option<String> {
    let post = |path: &str, body: Value| {
        let headers = [("idempotency-key", "the-key")];
        server.try_send("POST", path, &headers, Some(&body)).ok().filter(|response| response.status == 202)
    };
    let id = |response: crate::support::http::Response| response.data()["exec_id"].as_str().map(str::to_owned);
    let failed = id(post("/api/v0/workflows/mend/executions", json!({"input": {}}))?)?;
    loop {
        let document = server.try_send("GET", &format!("{RUNS}/{failed}"), &[], None).ok()?;
        if document.data()["finished_at"].is_string() {
            break;
        }
    }
    id(post(&format!("{RUNS}/{failed}/retry"), json!({"input": {"times": 0}}))?)
}

#[test]
fn an_acknowledged_retry_outlives_a_kill_at_every_commit() {
    let mut crashes = 0;
    for side in ["before", "after", "unknown"] {
        for number in 3..=12 {
            let point = format!("{side}:{number}");
            let effects = Effects::listen();
            let project = project(&effects, "");
            let Ok(mut server) = project.try_start(&[], &[("COMPOZY_CRASH_POINT", &point)]) else { continue };
            let retried = until_killed(&server);
            if let Some(exec_id) = &retried {
                wait::until("the end of the run, or of the server", || {
                    let document = server.try_send("GET", &format!("{RUNS}/{exec_id}"), &[], None).ok();
                    let ended = document.is_some_and(|document| document.data()["finished_at"].is_string());
                    (ended || server.has_ended()).then_some(())
                });
            }
            crashes += u32::from(server.has_ended());
            server.kill();
            assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new(), "{point}");
            let Some(exec_id) = retried else { continue };
            let server = project.start();
            let ended = until_status(&server, &exec_id, "SUCCESS");
            assert_eq!(ended["output"], json!({"n": 5}), "{point}");
            assert_eq!(effects.count(&format!("{exec_id}:trace:1")), 0, "{point}: a kept step ran again");
            server.stop();
            sound(&project);
        }
    }
    assert!(crashes >= 6, "{crashes}: COMPOZY_CRASH_POINT does nothing here");
}

#[test]
fn a_concurrency_key_outlives_a_kill_at_every_commit() {
    let mut crashes = 0;
    for side in ["before", "after", "unknown"] {
        for number in 4..=14 {
            let point = format!("{side}:{number}");
            let effects = Effects::listen();
            let project = project(&effects, "");
            let Ok(mut server) = project.try_start(&[], &[("COMPOZY_CRASH_POINT", &point)]) else { continue };
            let path = "/api/v0/workflows/alone/executions";
            let start = |_| server.try_send("POST", path, &[], Some(&json!({}))).ok();
            let started: Vec<String> = (0..3)
                .filter_map(start)
                .filter(|response| response.status == 202)
                .filter_map(|response| response.data()["exec_id"].as_str().map(str::to_owned))
                .collect();
            wait::until("the crash, or the end of all", || {
                let list = server.try_send("GET", &format!("{RUNS}?status=active"), &[], None).ok();
                let ended = list.is_some_and(|list| list.data()["executions"].as_array().is_some_and(Vec::is_empty));
                (ended || server.has_ended()).then_some(())
            });
            crashes += u32::from(server.has_ended());
            server.kill();
            assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new(), "{point}");
            let server = project.start();
            let mut spans: Vec<(String, String)> = Vec::new();
            for exec_id in &started {
                let run = until_status(&server, exec_id, "SUCCESS");
                let time = |name: &str| run[name].as_str().expect("a time").to_owned();
                spans.push((time("started_at"), time("finished_at")));
            }
            spans.sort();
            for (one, next) in spans.iter().zip(spans.iter().skip(1)) {
                assert!(one.1 <= next.0, "{point}: two at once: {spans:?}");
            }
            server.stop();
            sound(&project);
        }
    }
    assert!(crashes >= 6, "{crashes}: COMPOZY_CRASH_POINT does nothing here");
}
