//! Runs on a real PostgreSQL: every command, a server that is killed, and two servers on one database.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Project, Server, postgres, wait};

const HOLD: &str = "id: hold\ntasks:\n  - {id: paid, type: wait, wait_for: paid, timeout: 1h}\n";
const SLOW: &str = "id: slow
tasks:
  - {id: one, prompt: hi, sleep: 1s}
  - {id: two, prompt: hi, sleep: 1s}
  - {id: three, prompt: hi}
";
const QUICK: &str = "id: quick\ntasks:\n  - {id: greet, prompt: hi}\n";

/// A project on this database.
fn project(url: &str) -> Project {
    let mut project = Project::empty();
    let settings = "name: p\ndatabase: {conn_string: \"${DATABASE_OF_THE_TEST}\"}\ncluster: {lease: 2s}\n";
    project.file("compozy.yaml", format!("{settings}llm: {{providers: [{{id: mock, type: mock}}]}}\n"));
    for (name, text) in [("hold", HOLD), ("slow", SLOW), ("quick", QUICK)] {
        project.file(&format!("workflows/{name}.yaml"), text);
    }
    project.env("DATABASE_OF_THE_TEST", url);
    project
}

fn status(run: &Value) -> &str {
    run["status"].as_str().unwrap()
}

/// The run as any server of its database sees it, once it has ended.
fn ended(server: &Server, exec_id: &str) -> Value {
    wait::until("the end of a run", || {
        let run = server.run(exec_id);
        (!["PENDING", "RUNNING", "WAITING"].contains(&status(&run))).then_some(run)
    })
}

#[test]
fn a_project_on_a_server_runs_signals_cancels_and_comes_back() {
    let url = postgres::database();
    let project = project(&url);
    // Nothing was stored yet, and looking makes no tables.
    let nothing = project.compozy(&["execution", "list", "-o", "json"]).ok().json();
    assert_eq!(nothing["executions"].as_array().or(nothing.as_array()).map(Vec::len).unwrap_or_default(), 0);
    let doctor = project.compozy(&["doctor", "-o", "json"]).ok();
    assert!(doctor.stdout.contains("not made yet"), "{doctor}");
    let run = project.compozy(&["workflow", "run", "quick", "-o", "json"]).ok().json();
    assert_eq!(status(&run), "SUCCESS");
    let server = project.start();
    let line = server.stdout();
    let line = line.lines().find(|line| line.starts_with("Database initialized")).unwrap();
    assert!(line.starts_with("Database initialized: driver=postgres host=") && line.contains(" dbname="), "{line}");
    let (held, canceled) = (server.start_run("hold", json!({})), server.start_run("hold", json!({})));
    let slow = server.start_run("slow", json!({}));
    wait::until("the wait", || (status(&server.run(&held)) == "WAITING").then_some(()));
    project.compozy(&["execution", "cancel", &canceled]).ok();
    assert_eq!(status(&ended(&server, &canceled)), "CANCELED");
    server.kill();
    let server = project.start();
    project.compozy(&["signal", "send", &held, "paid", "--payload", "1"]).ok();
    for exec_id in [&held, &slow] {
        assert_eq!(status(&ended(&server, exec_id)), "SUCCESS");
    }
    assert_eq!(server.stop().code, 0);
    let sound = project.compozy(&["doctor", "--deep", "-o", "json"]).ok();
    assert!(sound.stdout.contains("all hold"), "{sound}");
    postgres::drop_database(&url);
}

#[test]
fn one_server_goes_on_with_what_another_one_left() {
    let url = postgres::database();
    let (first, second) = (project(&url), project(&url));
    let (one, two) = (first.start(), second.start());
    let runs: Vec<String> = (0..8).map(|_| one.start_run("slow", json!({}))).collect();
    let held = one.start_run("hold", json!({}));
    wait::until("the wait", || (status(&two.run(&held)) == "WAITING").then_some(()));
    let other = two.start_run("quick", json!({}));
    assert_eq!(status(&ended(&one, &other)), "SUCCESS");
    one.kill();
    let since = Instant::now();
    for exec_id in &runs {
        assert_eq!(status(&ended(&two, exec_id)), "SUCCESS", "after {:?}", since.elapsed());
    }
    let path = format!("/api/v0/executions/workflows/{held}/signals");
    assert!(two.post(&path, &json!({"signal_name": "paid", "payload": {}})).status < 300);
    assert_eq!(status(&ended(&two, &held)), "SUCCESS");
    two.stop();
    let sound = second.compozy(&["doctor", "--deep", "-o", "json"]).ok();
    assert!(sound.stdout.contains("all hold"), "{sound}");
    postgres::drop_database(&url);
}

#[test]
fn a_server_that_is_not_there_is_named_without_its_password() {
    let project = project("postgres://ada:hunter2@127.0.0.1:1/nowhere");
    for command in [&["execution", "list"][..], &["workflow", "run", "quick"]] {
        let output = project.compozy(command);
        assert_eq!(output.code, 7, "{output}");
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains("host=127.0.0.1 port=1 dbname=nowhere cannot be reached"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
