//! Signals, pause and resume from outside: HTTP, the command line, without a server, and over `kill -9` at every commit.

use serde_json::{Value, json};

use crate::support::database::Snapshot;
use crate::support::{Project, Server, wait};

const HOLD: &str = "id: hold
tasks:
  - {id: paid, type: wait, wait_for: paid, timeout: 1h, condition: 'signal.payload.id == 7'}
  - {id: last, type: aggregate, outputs: {id: \"{{ .tasks.paid.output.signal.payload.id }}\"}}
";

const RUNS: &str = "/api/v0/executions/workflows";

fn project() -> Project {
    let project = Project::sqlite("");
    project.file("workflows/hold.yaml", HOLD);
    project
}

fn ask(server: &Server, exec_id: &str, verb: &str, body: &Value) -> Value {
    let response = server.post(&format!("{RUNS}/{exec_id}/{verb}"), body);
    assert_eq!(response.status, 200, "{verb}: {}", response.text());
    response.data()
}

fn document(server: &Server, exec_id: &str) -> Value {
    server.get(&format!("{RUNS}/{exec_id}")).data()
}

fn until_status(server: &Server, exec_id: &str, status: &str) -> Value {
    wait::until(status, || Some(document(server, exec_id)).filter(|document| document["status"] == status))
}

#[test]
fn a_run_takes_the_signal_it_waits_for() {
    let project = project();
    let server = project.start();
    let exec_id = server.start_run("hold", json!({}));
    let waiting = until_status(&server, &exec_id, "WAITING");
    assert_eq!(waiting["waiting_for"]["kind"], "signal", "{waiting:#}");
    let other = ask(&server, &exec_id, "signals", &json!({"signal_name": "paid", "payload": {"id": 6}}));
    assert_eq!(other["state"], "queued");
    let path = format!("{RUNS}/{exec_id}/signals");
    for (body, status, code) in [
        (json!({"payload": 1}), 400, "invalid_request"),
        (json!({"signal_name": 1}), 400, "invalid_request"),
        (json!({"signal_name": "paid", "more": 1}), 400, "invalid_request"),
    ] {
        let response = server.post(&path, &body);
        assert_eq!((response.status, &response.json()["code"]), (status, &json!(code)), "{body}");
    }
    let keyed = |key: &str, id: i64| {
        let body = json!({"signal_name": "paid", "payload": {"id": id}});
        server.send("POST", &path, &[("idempotency-key", key)], Some(&body))
    };
    let (first, again) = (keyed("k1", 7), keyed("k1", 7));
    assert_eq!(first.data()["signal_id"], again.data()["signal_id"]);
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    let mismatch = keyed("k1", 8);
    assert_eq!((mismatch.status, &mismatch.json()["code"]), (422, &json!("idempotency_mismatch")));
    let ended = until_status(&server, &exec_id, "SUCCESS");
    assert_eq!(ended["output"], json!({"id": 7}), "{ended:#}");
    let late = server.post(&path, &json!({"signal_name": "paid"}));
    assert_eq!((late.status, &late.json()["code"]), (409, &json!("execution_finished")));
    let nobody = server.post(&format!("{RUNS}/01NOBODY/signals"), &json!({"signal_name": "paid"}));
    assert_eq!((nobody.status, &nobody.json()["code"]), (404, &json!("execution_not_found")));
    server.stop();
    assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new());
}

#[test]
fn commands_pause_signal_and_resume() {
    let project = project();
    let server = project.start();
    let exec_id = server.start_run("hold", json!({}));
    project.compozy(&["execution", "pause", &exec_id]).ok();
    until_status(&server, &exec_id, "PAUSED");
    assert_eq!(ask(&server, &exec_id, "pause", &json!({}))["repeated"], true);
    let sent = project.compozy(&["signal", "send", &exec_id, "paid", "--payload", r#"{"id": 7}"#, "-o", "json"]).ok();
    assert_eq!(sent.json()["state"], "queued");
    server.stop();
    assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new());
    // A server that starts leaves it paused; without one the command drives the run to its end.
    let server = project.start();
    assert_eq!(document(&server, &exec_id)["status"], "PAUSED");
    server.stop();
    let again = ["signal", "send", &exec_id, "paid", "--dedupe-key", "x", "--payload", "1", "-o", "json"];
    let (first, second) = (project.compozy(&again).ok().json(), project.compozy(&again).ok().json());
    assert_eq!(first, second);
    let resumed = project.compozy(&["execution", "resume", &exec_id, "-o", "json"]).ok();
    assert_eq!((&resumed.json()["status"], &resumed.json()["output"]), (&json!("SUCCESS"), &json!({"id": 7})));
    assert_eq!(project.compozy(&["execution", "pause", &exec_id]).code, 6);
    assert_eq!(project.compozy(&["signal", "send", &exec_id, "paid"]).code, 6);
    assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new());
}

/// A command that was killed still holds its run and the sub-run; who resumes it at once waits out that lease.
#[test]
fn a_killed_command_is_resumed() {
    let project = project();
    project.file("workflows/above.yaml", "id: above\ntasks:\n  - {id: sub, type: workflow, workflow: hold}\n");
    let lease = ["--set", "cluster.lease=2s"];
    let mut command = project.spawn(&[&lease[..], &["workflow", "run", "above"]].concat());
    wait::until("the sub-run", || command.stderr().contains("workflow: WAITING").then_some(()));
    let list = || project.compozy(&["execution", "list", "-o", "json"]).ok().json()["executions"].clone();
    let of = |id: &str| {
        list().as_array()?.iter().find(|run| run["workflow_id"] == id)?["exec_id"].as_str().map(str::to_owned)
    };
    let (above, hold) = (of("above").expect("above"), wait::until("hold", || of("hold")));
    command.kill();
    project.compozy(&["signal", "send", &hold, "paid", "--payload", r#"{"id": 7}"#]).ok();
    let resumed = project.spawn(&[&lease[..], &["execution", "resume", &above, "-o", "json"]].concat());
    wait::until("its end", || (list()[1]["status"] == "SUCCESS").then_some(()));
    let resumed = resumed.finish().ok();
    assert_eq!((&resumed.json()["status"], &resumed.json()["output"]), (&json!("SUCCESS"), &json!({"id": 7})));
    assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new());
}

/// What one life of a server acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    exec_id: Option<String>,
    paused: bool,
    signaled: bool,
}

/// Pauses a run, sends it the signal it waits for, and resumes it, until the server dies.
fn until_killed(server: &Server) -> Acknowledged {
    let mut done = Acknowledged::default();
    let post = |path: &str, body: Value| server.try_send("POST", path, &[], Some(&body)).ok();
    let Some(started) = post("/api/v0/workflows/hold/executions", json!({"input": {}})) else { return done };
    let exec_id = started.data()["exec_id"].as_str().unwrap().to_owned();
    done.exec_id = Some(exec_id.clone());
    let verb = |verb: &str, body: Value| post(&format!("{RUNS}/{exec_id}/{verb}"), body).is_some();
    done.paused = verb("pause", json!({}));
    done.signaled = done.paused && verb("signals", json!({"signal_name": "paid", "payload": {"id": 7}}));
    if done.signaled && verb("resume", json!({})) {
        done.paused = false;
    }
    done
}

#[test]
fn what_was_acknowledged_outlives_a_kill_at_every_commit() {
    let mut crashes = 0;
    for side in ["before", "after"] {
        for number in 2..=9 {
            let point = format!("{side}:{number}");
            let project = project();
            let Ok(mut server) = project.try_start(&[], &[("COMPOZY_CRASH_POINT", &point)]) else { continue };
            let done = until_killed(&server);
            let all = done.signaled && !done.paused;
            if !all {
                wait::until("the crash", || server.has_ended().then_some(()));
            }
            crashes += u32::from(server.has_ended());
            server.kill();
            assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new(), "{point}");
            let Some(exec_id) = done.exec_id else { continue };
            let server = project.start();
            if done.paused {
                // Unless the resume was recorded and only its answer was lost, the pause holds.
                ask_quietly(&server, &exec_id, "resume");
            }
            if !done.signaled {
                let body = json!({"signal_name": "paid", "payload": {"id": 7}});
                let sent = server.post(&format!("{RUNS}/{exec_id}/signals"), &body);
                assert!(sent.status == 200 || sent.status == 409, "{point}: {}", sent.text());
                ask_quietly(&server, &exec_id, "resume");
            }
            let ended = until_status(&server, &exec_id, "SUCCESS");
            assert_eq!(ended["output"], json!({"id": 7}), "{point}");
            server.stop();
            assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new(), "{point}");
        }
    }
    assert!(crashes >= 8, "{crashes}: COMPOZY_CRASH_POINT does nothing here");
}

/// As [`ask`], of a run that may have ended.
fn ask_quietly(server: &Server, exec_id: &str, verb: &str) {
    let response = server.post(&format!("{RUNS}/{exec_id}/{verb}"), &json!({}));
    assert!(matches!(response.status, 200 | 409), "{verb}: {}", response.text());
}
