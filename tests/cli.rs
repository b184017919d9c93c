//! The command line: one document on stdout, talk on stderr, the same shape with and without a server, exit codes.

use serde_json::{Value, json};

use crate::support::command::Output;
use crate::support::{Project, wait};

const ADD: &str = "id: add
config: {input: {type: object, required: [n], properties: {n: {type: integer}}}}
tasks:
  - {id: one, tool: add, with: {a: \"{{ .input.n }}\", b: 1}}
output: {n: \"{{ .tasks.one.output.sum }}\"}
";
const ANSWER: &str = "id: answer
tasks: [{id: one, tool: echo, with: {answer: Because., sources: [b.md, a.md], n: 1}}]
";
const FAIL: &str = "id: fail
tasks: [{id: only, tool: fail, retries: 0, with: {code: planned, message: as planned}}]
";
const NAP: &str = "id: nap
tasks: [{id: nap, tool: add, with: {a: 1, b: 1}, sleep: 1h}]
";

fn project() -> Project {
    let project = Project::sqlite(
        "plugins: [{id: zoo, source: ./plugins/zoo.wasm}]\ntools:\n  - {id: add, plugin: zoo, function: add}\n  \
         - {id: fail, plugin: zoo, function: fail}\n  - {id: echo, plugin: zoo, function: echo}\n",
    );
    project.component("guests/zoo");
    for (name, text) in [("add", ADD), ("answer", ANSWER), ("fail", FAIL), ("nap", NAP)] {
        project.file(&format!("workflows/{name}.yaml"), text);
    }
    project
}

fn run(project: &Project, arguments: &[&str]) -> Output {
    project.compozy(&[&["workflow", "run"], arguments].concat())
}

/// Every document is the same whether a server or the command itself reads or produces it.
#[test]
fn a_document_does_not_depend_on_who_answers() {
    let project = project();
    let embedded = run(&project, &["add", "--param", "n=1", "-o", "json"]).ok().json();
    let exec_id = embedded["exec_id"].as_str().expect("exec_id").to_owned();
    let failed = run(&project, &["fail", "-o", "json"]);
    assert_eq!((failed.code, &failed.json()["error"]["code"]), (1, &json!("planned")));
    let reads: &[&[&str]] = &[
        &["execution", "get", &exec_id],
        &["execution", "get", &exec_id, "--tasks", "--events"],
        &["execution", "list"],
        &["workflow", "list"],
        &["workflow", "get", "add"],
    ];
    let all = |project: &Project| -> Vec<String> {
        let read = |read: &&[&str]| project.compozy(&[*read, &["-o", "json"]].concat()).ok().stdout;
        reads.iter().map(read).collect()
    };
    let without = all(&project);
    let server = project.start();
    assert_eq!(all(&project), without);
    let served = run(&project, &["add", "--param", "n=1", "-o", "json"]).ok().json();
    let names = |document: &Value| document.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    assert_eq!(names(&served), names(&embedded));
    assert_eq!(server.run(served["exec_id"].as_str().expect("exec_id")), served);
}

#[test]
fn results_have_two_forms() {
    let project = project();
    let result = run(&project, &["add", "--param", "n=41"]).ok();
    assert_eq!(result.stdout, "Workflow 'add' completed successfully\nResult: { \"n\": 42 }\n");
    let answer = run(&project, &["answer"]).ok();
    let expected = "Workflow 'answer' completed\nAnswer: Because.\nSources: [b.md, a.md]\nResult: { \"n\": 1 }\n";
    assert_eq!(answer.stdout, expected);
    let failed = run(&project, &["fail", "--quiet"]);
    let exec_id = failed.stderr.split("Execution: ").nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let expected = format!(
        "Workflow 'fail' failed\nError: task 'only': as planned [planned]\nExecution: {exec_id}\nHint: compozy execution get {exec_id}\n"
    );
    assert_eq!(failed, Output { code: 1, stdout: String::new(), stderr: expected });
}

#[test]
fn events_come_one_per_line() {
    let project = project();
    let output = run(&project, &["add", "--param", "n=1", "-o", "ndjson"]).ok();
    let lines: Vec<Value> = output.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(names, ["workflow_start", "task_start", "task_status", "complete", "result"], "{}", output.stdout);
    assert_eq!(lines.last().expect("a line")["data"]["output"], json!({"n": 2}));
}

#[test]
fn input_is_laid_together() {
    let project = project();
    project.file("input.json", r#"{"n": 1, "a": {"x": 1}}"#);
    let arguments = [
        "add",
        "--input-file",
        "input.json",
        "--input",
        r#"{"n": 2}"#,
        "--param",
        "a.y=[1]",
        "-p",
        "t=text",
        "-o",
        "json",
    ];
    let input = &run(&project, &arguments).ok().json()["input"];
    assert_eq!((&input["n"], &input["a"]["y"], &input["t"]), (&json!(2), &json!([1]), &json!("text")), "{input}");
}

/// A stored start without a server runs as soon as there is one.
#[test]
fn detached_runs_wait_for_a_server() {
    let project = project();
    let output = run(&project, &["add", "--param", "n=1", "--no-wait"]).ok();
    let exec_id = output.stdout.lines().nth(1).and_then(|line| line.strip_prefix("Execution: ")).expect("an id");
    assert_eq!(output.stdout, format!("Workflow 'add' started\nExecution: {exec_id}\n"));
    assert!(output.stderr.contains("server"), "it says that none is running: {output}");
    let get = |project: &Project| project.compozy(&["execution", "get", exec_id, "-o", "json"]).ok().json();
    assert_eq!(get(&project)["status"], "PENDING");
    let server = project.start();
    assert_eq!(server.wait_run(exec_id)["output"], json!({"n": 2}));
    // In memory there is nobody to wait for.
    let nowhere = run(&project, &["add", "--param", "n=1", "--no-wait", "--local", "--db-path", ":memory:"]);
    assert_eq!((nowhere.code, nowhere.stdout.as_str()), (7, ""), "{nowhere}");
}

#[test]
fn a_key_starts_one_run() {
    let project = project();
    let key = ["add", "--param", "n=1", "--idempotency-key", "k", "-o", "json"];
    let first = run(&project, &key).ok().json();
    assert_eq!(run(&project, &key).ok().json()["exec_id"], first["exec_id"]);
    let other = run(&project, &["add", "--param", "n=2", "--idempotency-key", "k"]);
    assert_eq!(other.code, 6, "{other}");
    // A server on the same database knows the key too.
    let _server = project.start();
    assert_eq!(run(&project, &key).ok().json()["exec_id"], first["exec_id"]);
    assert_eq!(run(&project, &["add", "--param", "n=2", "--idempotency-key", "k"]).code, 6);
}

#[test]
fn executions_are_found_watched_and_canceled() {
    let project = project();
    let server = project.start();
    let exec_id = server.start_run("nap", json!({}));
    wait::until("a sleeping run", || (server.run(&exec_id)["status"] == "WAITING").then_some(()));
    for id in ["@last", &exec_id, &exec_id[..20]] {
        let found = project.compozy(&["execution", "get", id, "-o", "json"]).ok().json();
        assert_eq!((&found["exec_id"], &found["waiting_for"]["kind"]), (&json!(exec_id), &json!("timer")), "{id}");
    }
    let watch = project.spawn(&["execution", "watch", &exec_id]);
    project.compozy(&["execution", "cancel", &exec_id, "--reason", "enough", "--wait"]).ok();
    assert_eq!(watch.finish().code, 1, "a canceled run has not succeeded");
    project.compozy(&["execution", "cancel", &exec_id]).ok();
    let finished = server.start_run("add", json!({"n": 1}));
    server.wait_run(&finished);
    let late = project.compozy(&["execution", "cancel", &finished]);
    assert_eq!(late.code, 6, "{late}");
    let list = project.compozy(&["execution", "list", "--status", "cancelled", "-o", "json"]).ok().json();
    assert_eq!(list["executions"].as_array().map(Vec::len), Some(1), "{list:#}");
    assert_eq!(project.compozy(&["execution", "get", "nosuch"]).code, 4);
}

/// Without a project file here, the one live server is used, however it was configured.
#[test]
fn a_folder_without_a_project_finds_the_server() {
    let mut project = project();
    let runtime = project.root().display().to_string();
    project.env("XDG_RUNTIME_DIR", &runtime);
    let server = project.start();
    let url = format!("http://{}", server.address);
    let output = project.compozy(&["--server", &url, "workflow", "run", "add", "--param", "n=1"]).ok();
    assert_eq!(output.stdout.lines().count(), 2);
    let gone = project.compozy(&["--server", "http://127.0.0.1:9", "workflow", "list"]);
    assert_eq!((gone.code, gone.stdout.as_str()), (7, ""), "{gone}");
    let contradiction = project.compozy(&["--server", &url, "--local", "workflow", "list"]);
    assert_eq!(contradiction.code, 2, "{contradiction}");
}

#[test]
fn nothing_secret_is_shown() {
    let mut project = Project::sqlite("llm: {providers: [{id: m, type: openai, api_key: \"${KEY}\"}]}\n");
    project.env("KEY", "sk-canary-12345");
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--origin"],
        &["config", "show", "-o", "json"],
        &["config", "diagnostics"],
    ] {
        let output = project.compozy(arguments);
        assert!(!output.to_string().contains("canary"), "{arguments:?}: {output}");
    }
}

#[test]
fn the_small_commands_work() {
    let project = project();
    let version = project.compozy(&["version"]).ok();
    assert!(version.stdout.starts_with(&format!("compozy {}", env!("CARGO_PKG_VERSION"))), "{version}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(project.compozy(&["completions", shell]).ok().stdout.contains("compozy"), "{shell}");
    }
    for document in ["config show", "workflow list", "execution list", "doctor", "validate", "version"] {
        let arguments: Vec<&str> = document.split(' ').chain(["-o", "json", "--port", "0"]).collect();
        let output = project.compozy(&arguments).ok();
        assert!(output.json().is_object(), "{document}: {output}");
    }
    for code in ["CZ0601", "input_invalid"] {
        assert!(project.compozy(&["explain", code]).ok().stdout.contains(code));
    }
    assert_eq!(project.compozy(&["explain", "CZ9999"]).code, 4);
    let schema: Value = serde_json::from_str(&project.compozy(&["schema", "workflow"]).ok().stdout).expect("JSON");
    assert!(schema["$defs"]["workflow"]["properties"]["tasks"].is_object(), "{schema:#}");
}

/// The reader may go away before the writer is done.
#[test]
fn a_closed_pipe_ends_quietly() {
    let project = project();
    let mut command = project.command("bash");
    command.args([
        "-c",
        "\"$0\" completions bash | head -1 >/dev/null; echo ${PIPESTATUS[0]}",
        crate::support::command::COMPOZY,
    ]);
    let output = crate::support::command::Running::spawn(command).finish();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("0\n", ""));
}
