//! Schedules from outside: the commands with and without a server, changes over restarts, and time that really passes.

use serde_json::{Value, json};

use crate::support::database::Snapshot;
use crate::support::{Project, Server, wait};

const ALL: &str = "/api/v0/schedules";

const REPORT: &str = "id: report
config: {input: {type: object, properties: {mode: {type: string}}}}
schedule: {cron: '0 8 1 1 *', timezone: Europe/Lisbon, input: {mode: full}, catch_up: 1h, jitter: 30s}
tasks: [{id: one, type: aggregate, outputs: {mode: '{{ .input.mode }}', by: '{{ .trigger.type }}'}}]
output: {mode: '{{ .tasks.one.output.mode }}', by: '{{ .tasks.one.output.by }}'}
";
const TWICE: &str = "id: twice
schedule: [{cron: '@yearly'}, {cron: '@monthly', enabled: false}]
tasks: [{id: one, type: aggregate, outputs: {n: 1}}]
";
const TICK: &str = "id: tick
schedule: {cron: '@every 1s', overlap_policy: allow}
tasks: [{id: one, type: aggregate, outputs: {n: 1}}]
";

fn project(workflows: &[(&str, &str)]) -> Project {
    let project = Project::sqlite("");
    for (name, text) in workflows {
        project.file(&format!("workflows/{name}.yaml"), text);
    }
    project
}

fn both() -> Project {
    project(&[("report", REPORT), ("twice", TWICE)])
}

fn one(server: &Server, id: &str) -> Value {
    server.get(&format!("{ALL}/{id}")).data()
}

fn patch(server: &Server, id: &str, body: &Value) -> Value {
    let response = server.send("PATCH", &format!("{ALL}/{id}"), &[], Some(body));
    assert_eq!(response.status, 200, "{}", response.text());
    response.data()
}

#[test]
fn a_document_does_not_depend_on_who_answers() {
    let project = both();
    let reads: &[&[&str]] = &[
        &["schedule", "list"],
        &["schedule", "list", "--workflow", "twice", "--limit", "1"],
        &["schedules", "get", "report"],
        &["schedule", "get", "twice/2"],
        &["schedule", "next", "twice/1", "-n", "3"],
        &["workflow", "get", "twice"],
    ];
    let all = |project: &Project| -> Vec<String> {
        let read = |read: &&[&str]| project.compozy(&[*read, &["-o", "json"]].concat()).ok().stdout;
        reads.iter().map(read).collect()
    };
    let without = all(&project);
    assert!(!project.database().exists(), "reading makes no file");
    let server = project.start();
    assert_eq!(all(&project), without);
    // Changes and what they answer.
    let changes: &[&[&str]] = &[
        &["schedule", "set", "twice/2", "--cron", "@weekly", "--timezone", "UTC"],
        &["schedule", "enable", "twice/2"],
        &["schedule", "reset", "twice/2"],
    ];
    let change = |project: &Project| -> Vec<String> {
        let change = |change: &&[&str]| project.compozy(&[*change, &["-o", "json"]].concat()).ok().stdout;
        changes.iter().map(change).collect()
    };
    let through = change(&project);
    server.stop();
    assert_eq!(change(&project), through);
    assert_eq!(all(&project), without);
}

#[test]
fn commands_say_what_they_did() {
    let project = both();
    let list = project.compozy(&["schedule", "list"]).ok().stdout;
    let lines: Vec<String> = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[0], "ID CRON TIMEZONE ENABLED SET NEXT RUN LAST RUN STATUS");
    assert!(lines[1].starts_with("report 0 8 1 1 * Europe/Lisbon yes no 20"), "{lines:#?}");
    assert_eq!(lines[3], "twice/2 @monthly UTC no no - - -");
    let line = |arguments: &[&str]| project.compozy(arguments).ok().stdout;
    let set = line(&["schedule", "set", "report", "--cron", "0 9 1 1 *", "--timezone", "UTC"]);
    assert!(set.starts_with("Schedule 'report' is set: 0 9 1 1 * UTC, next run 20"), "{set}");
    assert_eq!(line(&["schedule", "disable", "report"]), "Schedule 'report' is disabled: 0 9 1 1 * UTC, no next run\n");
    let get = line(&["schedule", "get", "report"]);
    assert!(get.contains("Enabled: no\n") && get.contains("Set at run time: {\"enabled\":false,"), "{get}");
    assert!(get.contains("Jitter: 30.0s\nCatch up: 1h00m\n"), "{get}");
    let workflow = line(&["workflow", "get", "report"]);
    assert!(workflow.contains("Schedule report: 0 9 1 1 * UTC (disabled)\n"), "{workflow}");
    let next = project.compozy(&["schedule", "next", "report"]).ok();
    assert_eq!((next.stdout.as_str(), next.stderr.as_str()), ("", "The schedule is disabled.\n"));
    let reset = line(&["schedule", "reset", "report"]);
    assert!(reset.starts_with("Schedule 'report' is as declared: 0 8 1 1 * Europe/Lisbon, next run 20"), "{reset}");
    let next = line(&["schedule", "next", "report", "-n", "2"]);
    assert_eq!(next.lines().filter(|line| line.contains("-01-01T08:00:")).count(), 2, "{next}");
    assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new());
}

#[test]
fn commands_fail_with_their_codes() {
    let (project, memory) = (both(), Project::empty());
    memory.file("compozy.yaml", "database: {driver: sqlite, path: ':memory:'}\n").file("workflows/report.yaml", REPORT);
    let check = |project: &Project| {
        for (arguments, code, text) in [
            (&["set", "report", "--cron", "61 * * * *"][..], 3, "schedule '61 * * * *':"),
            (&["set", "report", "--timezone", "Europe/Lisbo"], 3, "Did you mean 'Europe/Lisbon'?"),
            (&["set", "report"], 2, "nothing to set"),
            (&["next", "report", "-n", "0"], 2, "0"),
            (&["get", "repord"], 4, "did you mean 'report'?"),
            (&["enable", "twice"], 4, "did you mean 'twice/1' or 'twice/2'?"),
            (&["trigger", "twice/3"], 4, "schedule 'twice/3' not found"),
        ] {
            let output = project.compozy(&[&["schedule"], arguments].concat());
            assert_eq!(output.code, code, "{arguments:?}: {output}");
            assert!(output.stderr.contains(text), "{arguments:?}: {output}");
        }
    };
    check(&project);
    let server = project.start();
    check(&project);
    let problem = project.compozy(&["schedule", "set", "report", "--cron", "x", "-o", "json"]);
    let problem: Value = serde_json::from_str(&problem.stderr).expect("a problem");
    assert_eq!((&problem["code"], &problem["errors"][0]["code"]), (&json!("definition_invalid"), &json!("CZ0901")));
    server.stop();
    // What lives in the memory of a server cannot be changed without it, but definitions can be read.
    memory.compozy(&["schedule", "list"]).ok();
    assert_eq!(memory.compozy(&["schedule", "disable", "report"]).code, 7);
}

/// What is set keeps over restarts, whoever set it.
#[test]
fn a_change_survives_restarts() {
    let project = both();
    project.compozy(&["schedule", "set", "twice/1", "--cron", "@monthly"]).ok();
    let server = project.start();
    assert_eq!(
        (one(&server, "twice/1")["cron"].clone(), one(&server, "twice/1")["is_override"].clone()),
        (json!("@monthly"), json!(true))
    );
    let changed = patch(&server, "report", &json!({"cron": "0 7 * * *", "timezone": "UTC"}));
    patch(&server, "twice/2", &json!({"enabled": true}));
    assert_eq!(server.stop().code, 0);
    let server = project.start();
    assert_eq!(one(&server, "report"), changed);
    assert_eq!(one(&server, "twice/2")["enabled"], true);
    server.kill();
    // Files that change do not undo it; what nobody set follows them.
    project.file("workflows/twice.yaml", TWICE.replace("@yearly", "@daily").replace("@monthly", "@hourly"));
    let server = project.start();
    assert_eq!(one(&server, "report"), changed);
    let (first, second) = (one(&server, "twice/1"), one(&server, "twice/2"));
    assert_eq!(
        (&first["cron"], &second["cron"], &second["enabled"]),
        (&json!("@monthly"), &json!("@hourly"), &json!(true))
    );
    assert_eq!(server.send("DELETE", &format!("{ALL}/report"), &[], None).status, 204);
    server.stop();
    let server = project.start();
    assert_eq!(
        (&one(&server, "report")["cron"], &one(&server, "report")["is_override"]),
        (&json!("0 8 1 1 *"), &json!(false))
    );
    server.stop();
    assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new());
}

#[test]
fn a_trigger_without_a_server_waits_for_one() {
    let project = both();
    let triggered = project.compozy(&["schedule", "trigger", "report", "-o", "json"]).ok();
    assert!(triggered.stderr.contains("no server is running"), "{triggered}");
    let exec_id = triggered.json()["exec_id"].as_str().expect("exec_id").to_owned();
    let server = project.start();
    let run = server.wait_run(&exec_id);
    assert_eq!(run["output"], json!({"mode": "full", "by": "schedule"}), "{run:#}");
    assert_eq!(one(&server, "report")["last_run_status"], "SUCCESS");
    let again = project.compozy(&["schedule", "trigger", "report"]).ok();
    assert_eq!((again.stdout.lines().count(), again.stderr.as_str()), (2, ""), "{again}");
    server.stop();
}

fn runs(server: &Server) -> usize {
    let page = server.get("/api/v0/executions/workflows?limit=500").data();
    page["executions"].as_array().expect("executions").len()
}

#[test]
fn schedules_fire_as_time_passes() {
    let project = project(&[("tick", TICK)]);
    let server = project.start();
    wait::until("two runs", || (runs(&server) >= 2).then_some(()));
    // Switched off it starts none; read again with another expression it follows the files.
    patch(&server, "tick", &json!({"enabled": false}));
    let count = runs(&server);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(runs(&server), count);
    patch(&server, "tick", &json!({"enabled": null}));
    wait::until("one more", || (runs(&server) > count).then_some(()));
    project.file("workflows/tick.yaml", TICK.replace("@every 1s", "@yearly"));
    assert_eq!(server.post("/api/v0/admin/reload", &json!({})).status, 200);
    wait::until("the plan of the new files", || {
        one(&server, "tick")["next_run_time"]
            .as_str()
            .is_some_and(|next| next.contains("-01-01T00:00:00"))
            .then_some(())
    });
    wait::until("health", || (server.get("/readyz").data()["status"] == "healthy").then_some(()));
    assert_eq!(server.get("/readyz").data()["schedules"]["reconciled"], true);
    assert_eq!(server.stop().code, 0);
    assert_eq!(Snapshot::of(&project.database()).violations, Vec::<String>::new());
}

#[test]
fn a_server_may_leave_schedules_alone() {
    let project = project(&[("tick", TICK)]);
    let server = project.start_with(&["--no-schedules"], &[]);
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(runs(&server), 0);
    server.stop();
    // A variable of a schedule matters to those who fire it.
    project.file("workflows/tick.yaml", TICK.replace("'@every 1s'", "'${TICK_CRON}'"));
    let refused = project.try_start(&[], &[]).expect_err("it does not start");
    assert_eq!(refused.code, 3, "{refused}");
    assert!(refused.stderr.contains("CZ0113") && refused.stderr.contains("TICK_CRON"), "{refused}");
    project.start_with(&["--no-schedules"], &[]).stop();
    let server = project.start_with(&[], &[("TICK_CRON", "@every 1s")]);
    wait::until("a run", || (runs(&server) > 0).then_some(()));
    server.stop();
}
