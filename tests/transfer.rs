//! Export and import from outside: the commands, a server that holds its database in memory, and kills at every commit.

mod programs;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::database::Snapshot;
use crate::support::{Project, wait};

const HOLD: &str = "id: hold
tasks:
  - {id: paid, type: wait, wait_for: paid, timeout: 1h}
  - {id: last, type: aggregate, outputs: {id: \"{{ .tasks.paid.output.signal.payload.id }}\"}}
outputs: {id: \"{{ .tasks.last.output.id }}\"}
";
const QUICK: &str = "id: quick
tasks:
  - {id: one, type: aggregate, outputs: {n: 1}}
outputs: {n: \"{{ .tasks.one.output.n }}\", pad: \"{{ .input.pad }}\"}
";

fn project() -> Project {
    let project = Project::sqlite("name: moved\n");
    project.file("workflows/hold.yaml", HOLD).file("workflows/quick.yaml", QUICK);
    project.file("target.yaml", "name: moved\ndatabase: {driver: sqlite, path: ./target/compozy.db}\n");
    project
}

/// A project with an ended run, one that waits for a signal, and one that has not begun; their ids.
fn populated(project: &Project) -> [String; 3] {
    let pad = format!("pad={}", "x".repeat(9_000));
    project.compozy(&["workflow", "run", "quick", "--param", &pad]).ok();
    let left = project.compozy(&["workflow", "run", "hold", "--timeout", "500ms"]);
    assert_eq!(left.code, 124, "{left}");
    project.compozy(&["workflow", "run", "hold", "--no-wait"]).ok();
    let list = project.compozy(&["execution", "list", "-o", "json"]).ok().json();
    let id = |index: usize| list["executions"][index]["exec_id"].as_str().expect("an id").to_owned();
    [id(2), id(1), id(0)]
}

fn target(project: &Project, arguments: &[&str]) -> crate::support::command::Output {
    let all: Vec<&str> = ["--config", "target.yaml"].iter().chain(arguments).copied().collect();
    project.compozy(&all)
}

fn status(project: &Project, exec_id: &str) -> Value {
    target(project, &["execution", "get", exec_id, "-o", "json"]).ok().json()["status"].clone()
}

/// The hash of each table of an export.
fn hashes(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line"));
    let ends = lines.filter(|line| line["kind"] == "table_end");
    ends.map(|end| (end["table"].to_string(), end["sha256"].to_string())).collect()
}

#[test]
fn runs_move_and_go_on_when_resumed() {
    let project = project();
    let [ended, waiting, pending] = populated(&project);
    let exported = project.compozy(&["export", "backup.json.zst"]).ok();
    assert_eq!(
        (exported.stdout.as_str(), exported.stderr.trim()),
        ("", "Exported 3 executions, 2 tasks to backup.json.zst")
    );
    let dry = target(&project, &["import", "backup.json.zst", "--dry-run"]).ok();
    assert_eq!(dry.stdout, "Would import 3 executions, 2 tasks (0 skipped)\n");
    let imported = target(&project, &["import", "backup.json.zst", "--verify"]).ok();
    assert_eq!(imported.stdout, "Imported 3 executions, 2 tasks (0 skipped)\n");
    let statuses = [&ended, &waiting, &pending].map(|id| status(&project, id));
    assert_eq!(statuses, ["SUCCESS", "PAUSED", "PAUSED"]);
    let again = target(&project, &["import", "backup.json.zst", "-o", "json"]).ok().json();
    assert_eq!((&again["executions"], &again["skipped"]), (&json!(0), &json!(3)));
    assert_eq!(again["tables"]["journal"]["imported"], 0, "{again:#}");
    target(&project, &["doctor", "--deep"]).ok();
    for exec_id in [&waiting, &pending] {
        target(&project, &["signal", "send", exec_id, "paid", "--payload", "{\"id\": 7}"]).ok();
        let resumed = target(&project, &["execution", "resume", exec_id]);
        assert_eq!(resumed.code, 0, "{resumed}");
        let document = target(&project, &["execution", "get", exec_id, "-o", "json"]).ok().json();
        assert_eq!((&document["status"], &document["output"]["id"]), (&json!("SUCCESS"), &json!(7)), "{document:#}");
    }
    target(&project, &["doctor", "--deep"]).ok();
    // What has gone on since is not undone by the file it came from.
    let late = target(&project, &["import", "backup.json.zst"]).ok();
    assert_eq!(late.stdout, "Imported 0 executions, 0 tasks (3 skipped)\n");
    assert_eq!(Snapshot::of(&project.path("target/compozy.db")).violations, Vec::<String>::new());
}

#[test]
fn a_database_in_memory_is_reached_through_its_server() {
    let project = project();
    populated(&project);
    let file = project.compozy(&["export"]).ok().stdout;
    let memory = project_in_memory();
    for arguments in [&["export"][..], &["import", "backup.ndjson"]] {
        memory.file("backup.ndjson", &file);
        let alone = memory.compozy(arguments);
        assert_eq!((alone.code, alone.stdout.as_str()), (7, ""), "{alone}");
    }
    let server = memory.start();
    let imported = memory.compozy(&["import", "backup.ndjson", "--verify"]).ok();
    assert_eq!(imported.stdout, "Imported 3 executions, 2 tasks (0 skipped)\n");
    let out = memory.compozy(&["export", "back.ndjson.zst"]);
    assert_eq!(out.code, 0, "{out}");
    let back = target(&project, &["import", memory.path("back.ndjson.zst").to_str().expect("a path")]).ok();
    assert_eq!(back.stdout, "Imported 3 executions, 2 tasks (0 skipped)\n");
    let there = memory.compozy(&["export"]).ok().stdout;
    assert_eq!(hashes(&there), hashes(&target(&project, &["export"]).ok().stdout));
    for (query, status, code) in [
        ("form=xml", 400, "invalid_request"),
        ("include=everything", 400, "invalid_request"),
        ("exec=01NOBODY", 404, "execution_not_found"),
        ("colour=red", 400, "unknown_parameter"),
    ] {
        let response = server.get(&format!("/api/v0/state/export?{query}"));
        assert_eq!((response.status, &response.json()["code"]), (status, &json!(code)), "{query}");
    }
    let refused = memory.compozy(&["import", "compozy.yaml"]);
    assert!(refused.code == 3 && refused.stderr.contains("import_invalid"), "{refused}");
    server.stop();
}

fn project_in_memory() -> Project {
    let project = Project::empty();
    project.file("compozy.yaml", "name: moved\ndatabase: {driver: sqlite, path: ':memory:'}\n");
    project.file("workflows/hold.yaml", HOLD).file("workflows/quick.yaml", QUICK);
    project
}

#[test]
fn problems_have_their_exit_codes() {
    let project = project();
    let [ended, ..] = populated(&project);
    let text = project.compozy(&["export"]).ok().stdout;
    let (most, _) = text.trim_end().rsplit_once('\n').expect("lines");
    project.file("whole", &text).file("cut", format!("{most}\n"));
    project.file("changed", text.replacen("manual", "manuel", 1));
    let other = text.replace("\"priority\":0", "\"priority\":1");
    project.file("other", other);
    for (arguments, code, said) in [
        (&["import", "missing"][..], 2, "cannot read missing"),
        (&["import", "workflows"], 2, "it is a folder"),
        (&["import", "cut"], 3, "import_truncated"),
        (&["import", "changed"], 3, "they were changed"),
        (&["import", "compozy.yaml"], 3, "import_invalid"),
        (&["import", "whole", "--in-flight", "fail"], 6, "import_conflict"),
        (&["import", "whole", "--in-flight", "never"], 2, "never"),
        (&["export", "-o", "yaml"], 2, "an export is json or ndjson"),
        (&["export", "--include", "everything"], 2, "everything"),
        (&["export", "--exec", "01NOBODY"], 4, "execution_not_found"),
        (&["export", "no/such/folder/x.json"], 2, "cannot write"),
    ] {
        let output = target(&project, arguments);
        assert!(output.code == code && output.stderr.contains(said), "{arguments:?}: {output}");
        assert_eq!(output.stdout, "");
        assert!(!project.path("no").exists());
    }
    let nothing = target(&project, &["execution", "list", "-o", "json"]).ok().json();
    assert_eq!(nothing["executions"], json!([]));
    let one = project.compozy(&["export", "--exec", &ended, "-o", "json"]).ok().json();
    assert_eq!(one["header"]["counts"]["executions"], 1);
    assert_eq!(one["tables"]["executions"][0]["exec_id"], json!(ended));
    assert_eq!(one["footer"]["counts"], one["header"]["counts"]);
}

/// The process ends before and after every commit of an import; the same command goes on, and nothing is seen early.
#[test]
fn an_import_that_is_killed_at_any_commit_goes_on() {
    let project = project();
    populated(&project);
    let text = project.compozy(&["export"]).ok().stdout;
    project.file("backup", &text);
    let mut points = 0;
    for side in ["before", "after"] {
        for number in 1.. {
            std::fs::remove_dir_all(project.path("target")).unwrap_or(());
            let mut command = project.command(crate::support::command::COMPOZY);
            command.args(["--config", "target.yaml", "import", "backup"]);
            command.env("COMPOZY_CRASH_POINT", format!("{side}:{number}"));
            let killed = crate::support::command::Running::spawn(command).finish();
            if killed.code == 0 {
                break;
            }
            points += 1;
            let runs = target(&project, &["execution", "list", "-o", "json"]).ok().json();
            let seen = runs["executions"].as_array().expect("a list").len();
            assert!(seen == 0 || seen == 3, "{side}:{number}: {seen} runs are seen");
            let again = target(&project, &["import", "backup", "-o", "json"]).ok().json();
            assert_eq!(again["executions"], if seen == 0 { 3 } else { 0 }, "{side}:{number}: {again:#}");
            let violations = Snapshot::of(&project.path("target/compozy.db")).violations;
            assert_eq!(violations, Vec::<String>::new(), "{side}:{number}");
        }
    }
    assert!(points > 30, "{points}");
    target(&project, &["doctor", "--deep"]).ok();
}

/// No export holds the value of a secret, wherever a workflow may have put it.
#[test]
fn canary_secrets_are_not_exported() {
    let mut project = project();
    let canary = "canary-7f3b9c51d2e84a60";
    project.env("SERVICE_TOKEN", canary);
    project.file(
        "workflows/leak.yaml",
        "id: leak\nenv: {SERVICE_TOKEN: \"${SERVICE_TOKEN}\"}\ntasks:\n  - {id: say, type: aggregate, outputs: {said: \"{{ .env.SERVICE_TOKEN }}\"}}\noutput: \"{{ .tasks.say.output.said }}\"\n",
    );
    project.compozy(&["workflow", "run", "leak"]).ok();
    let text = project
        .compozy(&["export", "--include", "executions,definitions,schedules,memory,knowledge,vectors,auth,idempotency"])
        .ok();
    assert!(text.stdout.contains("\"workflow_id\":\"leak\""), "{text}");
    assert!(!text.stdout.contains(canary), "{text}");
}

/// A server that goes on while its database is exported is seen at one moment.
#[test]
fn an_export_beside_a_busy_server_is_one_moment() {
    let project = project();
    let server = project.start();
    let ids: Vec<String> = (0..20).map(|_| server.start_run("quick", json!({"pad": 1}))).collect();
    let text = project.compozy(&["export"]).ok().stdout;
    project.file("backup", &text);
    target(&project, &["import", "backup", "--verify"]).ok();
    target(&project, &["doctor", "--deep"]).ok();
    wait::until("all have ended", || ids.iter().all(|id| server.run(id)["status"] == "SUCCESS").then_some(()));
    server.stop();
}
