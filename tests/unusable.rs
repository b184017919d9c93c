//! Projects that are sound in themselves and name what this machine does not have: told at load, with the place, and
//! never by hanging.

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::command::Output;
use crate::support::{Project, wait};

const GREET: &str = "id: greet\ntasks:\n  - {id: greet, prompt: hi}\n";
const MOCK: &str = "llm: {providers: [{id: m, type: mock}]}\n";

/// Commands that may call plugins.
const RUNNING: &[&[&str]] = &[&["validate"], &["doctor"], &["start", "--port", "0"], &["workflow", "run", "greet"]];

fn greeting(extra: &str) -> Project {
    let project = Project::sqlite(&format!("{MOCK}{extra}"));
    project.file("workflows/greet.yaml", GREET);
    project
}

/// The first lines of what a command says on stderr.
fn said(output: &Output) -> (i32, Vec<&str>) {
    (output.code, output.stderr.lines().filter(|line| line.starts_with("error") || line.contains("-->")).collect())
}

#[test]
fn broken_plugin_files_are_told_at_load() {
    let project = greeting("plugins:\n  - id: it\n    source: ./plugins/it.wasm\n");
    let zoo = std::fs::read(crate::support::component("guests/zoo")).expect("the zoo");
    let other = std::fs::read(crate::support::component("guests/not-a-tool")).expect("a guest");
    let cases: [(Option<&[u8]>, &str); 4] = [
        (None, "error[CZ0701]: 'it': no usable implementation: cannot read ./plugins/it.wasm: entity not found"),
        (Some(b"hello"), "error[CZ0702]: 'it': not a tool component: it is not WebAssembly"),
        (Some(&zoo[..5_000]), "error[CZ0702]: 'it': not a tool component: unexpected end-of-file (at offset 0xb42)"),
        (Some(&other), "error[CZ0702]: 'it': not a tool component: it does not export compozy:plugin/tool@0.1.0"),
    ];
    for (bytes, expected) in cases {
        if let Some(bytes) = bytes {
            project.file("plugins/it.wasm", bytes);
        }
        for command in RUNNING {
            let output = project.compozy(command);
            assert_eq!(said(&output), (3, vec![expected, "  --> compozy.yaml:5:13"]), "{command:?}: {output}");
            assert_eq!(output.stdout, "", "{command:?}");
        }
    }
    // Looking at runs needs no plugin.
    project.compozy(&["execution", "list"]).ok();
    project.component("guests/zoo");
    std::fs::rename(project.path("plugins/zoo.wasm"), project.path("plugins/it.wasm")).expect("rename");
    project.compozy(&["validate"]).ok();
    let doctor = project.compozy(&["doctor", "--port", "0"]).ok();
    assert!(doctor.stdout.contains("1 loaded, "), "{doctor}");
}

/// Without an entry in `plugins` the place is that of whoever names it.
#[test]
fn bundled_plugins_that_are_not_there_are_told_at_load() {
    let text = "database: {driver: sqlite}\ntools: [{id: t, plugin: \"builtin:nosuch\"}]\nllm:\n  providers:\n    - {id: m, type: plugin, plugin: \"builtin:nosuch\"}\n";
    let project = Project::empty();
    project.file("compozy.yaml", text);
    project.file("workflows/greet.yaml", "id: greet\ntasks:\n  - {id: greet, tool: t}\n");
    for command in RUNNING {
        let output = project.compozy(command);
        let error = "error[CZ0701]: 'builtin:nosuch': no usable implementation: no plugin 'nosuch' is built in; there are template-go, llm-openai, llm-anthropic, llm-google, llm-ollama, llm-mock, js";
        let expected = vec![error, "  --> compozy.yaml:5:7", error, "  --> workflows/greet.yaml:3:5"];
        assert_eq!(said(&output), (3, expected), "{command:?}: {output}");
    }
    project.file("compozy.yaml", text.replace("nosuch\"}\n", "llm-mock\", model: any}\n").replace("tools", "x-tools"));
    project.file("workflows/greet.yaml", GREET);
    let output = project.compozy(&["workflow", "run", "greet", "-o", "json"]).ok().json();
    assert_eq!(output["output"]["text"], "[mock] hi");
}

#[test]
fn a_driver_that_plugins_cannot_have_is_told_by_every_command() {
    let project = Project::empty();
    let lent = "databases: [{id: shop, driver: postgres, host: localhost}]";
    project.file("compozy.yaml", format!("name: p\n{lent}\n{MOCK}"));
    project.file("workflows/greet.yaml", GREET);
    for command in RUNNING.iter().chain([&["execution", "list"][..]].iter()) {
        let output = project.compozy(command);
        let expected = [
            "error[CZ0801]: database driver 'postgres' is not supported for databases that are lent to plugins",
            "  --> compozy.yaml:2:13",
        ];
        assert_eq!(said(&output), (3, expected.to_vec()), "{command:?}: {output}");
    }
}

#[test]
fn doctor_names_the_variables_that_are_not_set() {
    let mut project = Project::sqlite(
        "llm:\n  providers:\n    - {id: m, type: openai, api_key: \"${NO_SUCH_KEY}\", base_url: \"${BASE:-http://localhost/v1}\"}\n",
    );
    project.file("workflows/greet.yaml", GREET);
    let output = project.compozy(&["doctor", "--port", "0", "-o", "json"]).ok().json();
    let check = |document: &serde_json::Value| {
        let checks = document["checks"].as_array().expect("checks");
        checks.iter().find(|check| check["name"] == "environment").expect("the check").clone()
    };
    assert_eq!(output["ok"], true);
    assert_eq!(
        check(&output),
        json!({"name": "environment", "ok": true, "status": "warning", "detail":
            "environment variable NO_SUCH_KEY is not set (compozy.yaml:4:39, llm.providers.m.api_key) and has no default"})
    );
    let text = "database: {driver: sqlite}\nllm: {providers: [{id: g, type: groq}]}\n";
    project.file("other.yaml", text);
    let output = project.compozy(&["doctor", "--config", "other.yaml", "--port", "0", "-o", "json"]).ok().json();
    assert_eq!(
        check(&output)["detail"],
        "environment variable GROQ_API_KEY is not set (other.yaml:2:19, key of llm.providers.g)"
    );
    project.env("NO_SUCH_KEY", "sk-1");
    let output = project.compozy(&["doctor", "--port", "0", "-o", "json"]).ok().json();
    assert_eq!(check(&output)["status"], "ok");
}

/// A pipe, a socket, a device and a folder in the place of each file.
#[test]
fn what_is_no_file_is_refused_at_once() {
    let swap = |path: &std::path::Path, what: &str| {
        let _ = std::fs::remove_file(path);
        match what {
            "pipe" => assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success()),
            "socket" => drop(UnixListener::bind(path).expect("a socket")),
            "device" => std::os::unix::fs::symlink("/dev/zero", path).expect("a link"),
            _ => std::fs::create_dir(path).expect("a folder"),
        }
    };
    for what in ["pipe", "socket", "device", "folder"] {
        for (file, code, exit) in [
            ("other.yaml", "CZ0102", 2),
            ("compozy.yaml", "CZ0102", 2),
            ("workflows/greet.yaml", "CZ0102", 2),
            (".env", "CZ0102", 2),
            ("p.wasm", "CZ0701", 3),
            ("data/compozy.db", "CZ0803", 3),
        ] {
            // A folder named like a workflow is a folder; the glob leaves it out.
            if (what, file) == ("folder", "workflows/greet.yaml") {
                continue;
            }
            let project = greeting("plugins: [{id: p, source: ./p.wasm}]\n");
            project.component("guests/zoo");
            std::fs::rename(project.path("plugins/zoo.wasm"), project.path("p.wasm")).expect("rename");
            std::fs::create_dir(project.path("data")).expect("a folder");
            swap(&project.path(file), what);
            // The device is reached by a link, and a plugin lies in the project folder.
            let code = if (what, file) == ("device", "p.wasm") { "CZ0206" } else { code };
            let named: &[&str] = if file == "other.yaml" { &["--config", file] } else { &[] };
            for command in RUNNING {
                let begun = Instant::now();
                let output = project.compozy(&[named, *command].concat());
                assert_eq!(output.code, exit, "{what} as {file}, {command:?}: {output}");
                assert!(output.stderr.contains(&format!("error[{code}]")), "{what} as {file}, {command:?}: {output}");
                assert!(begun.elapsed() < Duration::from_secs(10), "{what} as {file}: {:?}", begun.elapsed());
            }
        }
    }
}

#[test]
fn a_link_that_leads_nowhere_is_no_database() {
    let project = greeting("");
    std::fs::create_dir(project.path("data")).expect("a folder");
    std::os::unix::fs::symlink("gone.db", project.database()).expect("a link");
    for command in RUNNING.iter().chain([&["execution", "list"][..]].iter()) {
        let output = project.compozy(command);
        let expected = [
            "error[CZ0803]: database.path: it is a symbolic link that leads nowhere: entity not found",
            "  --> compozy.yaml:1:34",
        ];
        assert_eq!(said(&output), (3, expected.to_vec()), "{command:?}: {output}");
    }
    assert!(!project.path("data/gone.db").exists());
}

#[test]
fn validate_gives_its_findings_as_data() {
    let project = greeting("workflow: []\n");
    let output = project.compozy(&["validate", "-o", "json"]);
    assert_eq!(output.code, 3, "{output}");
    let document = output.json();
    assert_eq!(
        (&document["valid"], &document["diagnostics"][0]["code"]),
        (&json!(false), &json!("CZ0108")),
        "{output}"
    );
    let problem: serde_json::Value = serde_json::from_str(&output.stderr).expect("one problem document");
    assert_eq!((&problem["code"], &problem["exit_code"]), (&json!("CZ0108"), &json!(3)));
}

/// Ready means that what is written will last.
#[test]
fn readiness_follows_the_database() {
    let project = greeting("cluster: {lease: 3s}\n");
    let server = project.start();
    let reason = || {
        let answer = server.get("/readyz");
        (answer.status, answer.data()["database"]["reason"].as_str().map(str::to_owned))
    };
    let well = (200, None);
    let ill = |reason: &str| (503, Some(reason.to_owned()));
    assert_eq!(reason(), well);
    let aside = project.path("aside.db");
    std::fs::rename(project.database(), &aside).expect("move it away");
    assert_eq!(reason(), ill("the database file is gone"));
    std::fs::copy(&aside, project.database()).expect("another file");
    assert_eq!(reason(), ill("the database file was replaced by another one"));
    std::fs::rename(&aside, project.database()).expect("move it back");
    assert_eq!(reason(), well);
    // Writes that fail, by a rule of the database itself.
    let sql = |statement: &str| crate::support::database::execute(&project.database(), statement);
    sql("CREATE TRIGGER refuse BEFORE UPDATE ON nodes BEGIN SELECT RAISE(FAIL, 'no'); END");
    wait::until("not ready", || (reason() == ill("the database fails")).then_some(()));
    sql("DROP TRIGGER refuse");
    wait::until("ready again", || (reason() == well).then_some(()));
}

#[test]
fn a_hangup_replaces_the_models() {
    let project = greeting("");
    let server = project.start();
    let answer = |server: &crate::support::Server| {
        let run = server.start_run("greet", json!({}));
        server.wait_run(&run)["output"]["text"].as_str().map(str::to_owned)
    };
    assert_eq!(answer(&server).as_deref(), Some("[mock] hi"));
    let text = "database: {driver: sqlite, path: ./data/compozy.db}\nllm: {providers: [{id: m, type: mock, config: {answers: [{match: hi, text: Changed}]}}]}\n";
    project.file("compozy.yaml", text);
    server.signal("HUP");
    wait::until("the new answer", || (answer(&server).as_deref() == Some("Changed")).then_some(()));
}

/// SIGHUP reads the definitions again, whenever it comes; it never ends a server, not even one that has just begun.
#[test]
fn a_hangup_during_the_start_is_no_end() {
    let project = greeting("");
    for _ in 0..5 {
        let mut server = project.spawn(&["start", "--port", "0"]);
        wait::until("the first line", || server.stdout().contains("Starting").then_some(()));
        while !server.stdout().contains("listening") {
            assert!(!server.has_ended(), "{}", server.stderr());
            server.signal("HUP");
        }
        server.signal("HUP");
        server.signal("TERM");
        assert_eq!(server.finish().code, 0);
    }
}
