//! Plugins that misbehave in a running server: each ends with its typed code, the server lives, other runs finish.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::listener::Listener;
use crate::support::raw::{LOOP, Raw};
use crate::support::{Project, Server};

/// A deed of a test guest and how its run must end.
struct Deed {
    /// Plugin and function, `zoo endless_loop`; `storm-…` and `leak-…` are functions of the zoo for several deeds.
    tool: &'static str,
    /// Its `with`.
    with: &'static str,
    /// Further keys of its task.
    task: &'static str,
    /// Code of the run's error; `None`: it ends well.
    code: Option<&'static str>,
}

const fn deed(tool: &'static str, with: &'static str, code: Option<&'static str>) -> Deed {
    Deed { tool, with, task: "", code }
}

/// A deed that only its time limit ends.
const fn endless(tool: &'static str, with: &'static str) -> Deed {
    Deed { tool, with, task: "timeout: 700ms", code: Some("CZ0316") }
}

const DEEDS: &[Deed] = &[
    endless("zoo endless_loop", "{}"),
    endless("zoo wait_forever", "{url: \"${SILENT_URL}\"}"),
    endless("zoo call_storm", "{}"),
    endless("zoo log_flood", "{records: 0, bytes: 100}"),
    endless("storm-log", "{interface: log}"),
    endless("storm-config", "{interface: config}"),
    endless("storm-env", "{interface: env}"),
    endless("storm-secrets", "{interface: secrets}"),
    endless("storm-kv", "{interface: kv}"),
    endless("storm-sql", "{interface: sql}"),
    endless("storm-llm", "{interface: llm}"),
    endless("storm-run", "{interface: run}"),
    endless("storm-http", "{interface: http, url: \"http://192.0.2.1/\"}"),
    endless("storm-clock", "{interface: clock}"),
    endless("leak-responses", "{what: responses, url: \"${SILENT_URL}\"}"),
    deed("leak-connections", "{what: connections}", None),
    deed("leak-transactions", "{what: transactions}", None),
    deed("leak-cursors", "{what: cursors}", None),
    deed("zoo memory_bomb", "{}", None),
    deed("zoo deep_recursion", "{}", Some("CZ0704")),
    deed("zoo big_frames", "{}", Some("CZ0704")),
    deed("zoo giant_output", "{}", Some("CZ0704")),
    deed("zoo huge_error", "{bytes: 1000000}", Some("huge")),
    deed("zoo huge_message_log", "{}", Some("CZ0704")),
    deed("zoo panic_now", "{message: boo}", Some("CZ0705")),
    deed("zoo unreachable_now", "{}", Some("CZ0705")),
    deed("zoo error", "{code: sold_out, message: nothing left}", Some("sold_out")),
    deed("zoo fetch", "{url: \"http://192.0.2.1/\"}", Some("CZ0703")),
    deed("zoo handle_storm", "{label: main}", Some("CZ0703")),
    deed("zoo secret", "{name: NO_SUCH_SECRET}", Some("CZ0703")),
    deed("zoo env", "{name: PATH}", Some("CZ0703")),
    deed("zoo ask", "{prompt: more, times: 30}", Some("CZ0704")),
    deed("trap-start never", "{}", Some("CZ0705")),
    deed("bad-json unfinished", "{}", Some("CZ0709")),
    deed("bad-json empty", "{}", Some("CZ0709")),
    deed("bad-json two_values", "{}", Some("CZ0709")),
    deed("bad-json not_a_number", "{}", Some("CZ0709")),
    deed("bad-json deep", "{}", Some("CZ0704")),
    endless("raw-start-loop raw", "{}"),
    endless("raw-realloc-loop raw", "{}"),
    endless("raw-post-return-loop raw", "{}"),
    deed("raw-describe-loop raw", "{}", Some("CZ0316")),
    deed("raw-memory raw", "{}", Some("CZ0704")),
    deed("raw-table raw", "{}", Some("CZ0704")),
    deed("raw-wild-answer raw", "{}", Some("CZ0705")),
    deed("raw-wild-import raw", "{}", Some("CZ0705")),
];

const GUESTS: &[&str] = &["zoo", "trap-start", "bad-json"];

/// Components that no compiler emits.
fn raw_guests() -> Vec<(&'static str, Raw)> {
    let grow = |what: &str| format!("(loop $on (br_if $on (i32.ne {what} (i32.const -1)))) unreachable");
    let import = r#"(import "compozy:host/kv@0.1.0" "get" (func $get (param i32 i32 i32)))"#;
    vec![
        (
            "raw-start-loop",
            Raw::tool().extra("(func $start (loop $on (br $on))) (start $start)").body("describe", "(i32.const 128)"),
        ),
        ("raw-realloc-loop", Raw::tool().realloc(LOOP)),
        ("raw-post-return-loop", Raw::tool().body("post run", "(loop $on (br $on))")),
        ("raw-describe-loop", Raw::tool().body("describe", LOOP)),
        ("raw-memory", Raw::tool().body("run", &grow("(memory.grow (i32.const 16))"))),
        (
            "raw-table",
            Raw::tool()
                .extra("(table $t 1 funcref)")
                .body("run", &grow("(table.grow $t (ref.null func) (i32.const 1000))")),
        ),
        ("raw-wild-answer", Raw::tool().body("run", "(i32.const -16)")),
        (
            "raw-wild-import",
            Raw::tool()
                .head(import)
                .body("run", "(call $get (i32.const -1) (i32.const -1) (i32.const 0)) (i32.const 256)"),
        ),
    ]
}

/// A chain of additions that has nothing to do with any of it.
const NEIGHBOUR: &str = "id: neighbour
tasks:
  - {id: one, tool: add, with: {a: \"{{ .input.n }}\", b: 1}}
  - {id: two, tool: add, with: {a: \"{{ .tasks.one.output.sum }}\", b: 1}}
  - {id: three, tool: add, with: {a: \"{{ .tasks.two.output.sum }}\", b: 1}}
output: {n: \"{{ .tasks.three.output.sum }}\"}
";

fn project(silent: &Listener) -> Project {
    let mut text = String::from(
        "llm: {providers: [{id: mock, type: mock}]}\ndatabases: [{id: shop, driver: sqlite, path: ./data/shop.db}]\nplugins:\n",
    );
    for guest in GUESTS {
        text.push_str(&format!("  - id: {guest}\n    source: ./plugins/{guest}.wasm\n    limits: {{memory: 32MiB}}\n"));
        if *guest == "zoo" {
            let more = "kv: true, sql: [{id: shop, mode: rw}], env: [REGION], secrets: [TOKEN], llm: true";
            text.push_str(&format!("    permissions: {{http: [\"http://{}\"], {more}}}\n", silent.address));
        }
    }
    for (id, _) in raw_guests() {
        text.push_str(&format!(
            "  - {{id: {id}, source: ./plugins/{id}.wasm, limits: {{memory: 32MiB, timeout: 2s}}}}\n"
        ));
    }
    text.push_str("tools:\n  - {id: add, plugin: zoo, function: add}\n");
    for deed in DEEDS {
        let (plugin, function) = match deed.tool.split_once(' ') {
            Some(both) => both,
            None => ("zoo", deed.tool.split('-').next().expect("a word")),
        };
        text.push_str(&format!("  - {{id: {}, plugin: {plugin}, function: {function}}}\n", id(deed)));
    }
    let mut project = Project::sqlite(&text);
    project.env("SILENT_URL", &format!("http://{}/", silent.address)).env("REGION", "eu").env("TOKEN", "canary-zoo");
    for (id, raw) in raw_guests() {
        project.file(&format!("plugins/{id}.wasm"), raw.encode());
    }
    for guest in GUESTS {
        project.component(&format!("guests/{guest}"));
    }
    for deed in DEEDS {
        let id = id(deed);
        let task = format!("    with: {}\n    retries: 0\n    {}\n", deed.with, deed.task);
        project
            .file(&format!("workflows/{id}.yaml"), format!("id: {id}\ntasks:\n  - id: deed\n    tool: {id}\n{task}"));
    }
    project.file("workflows/neighbour.yaml", NEIGHBOUR);
    project
}

fn id(deed: &Deed) -> String {
    deed.tool.replace([' ', '_'], "-")
}

#[test]
fn each_ends_typed_and_others_go_on() {
    let silent = Listener::serve(|_, _| std::thread::sleep(std::time::Duration::from_secs(20)));
    let project = project(&silent);
    let mut server = project.start_with(&["--log-level", "error"], &[]);
    let quiet = settled_files(&server);
    let misbehaving = AtomicBool::new(true);
    let (failures, neighbours) = std::thread::scope(|scope| {
        let neighbours = scope.spawn(|| neighbours(&server, &misbehaving));
        // Whatever ends this closure, the neighbours must end too, or the scope waits for them.
        let _done = Done(&misbehaving);
        // All of them at once, then one after the other is looked at.
        let runs: Vec<String> = DEEDS.iter().map(|deed| server.start_run(&id(deed), json!({}))).collect();
        let failures: Vec<String> =
            DEEDS.iter().zip(runs).filter_map(|(deed, run)| complaint(deed, &server.wait_run(&run))).collect();
        misbehaving.store(false, Ordering::SeqCst);
        (failures, neighbours.join().expect("neighbours"))
    });
    assert_eq!(failures, Vec::<String>::new(), "{}", server.stderr());
    assert!(neighbours >= 3, "only {neighbours} neighbours ran beside them");
    assert!(!server.has_ended());
    assert_eq!(server.get("/readyz").status, 200);
    // Connections, databases and sockets of theirs are closed: what is open is what was open before, but for a few
    // readers of its own database that the server opens under load.
    let started = std::time::Instant::now();
    loop {
        let left: Vec<String> = open_files(&server).into_iter().filter(|open| !is_own(open)).collect();
        let before = quiet.iter().filter(|open| !is_own(open)).count();
        if left.len() <= before {
            break;
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "{before} before: {quiet:#?}, now {left:#?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(server.stop().code, 0);
}

/// Files, sockets and pipes that the server has open, by what they are.
fn open_files(server: &Server) -> Vec<String> {
    let folder = std::fs::read_dir(format!("/proc/{}/fd", server.process_id())).expect("open files");
    let targets = folder.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let mut targets: Vec<String> = targets.map(|target| target.display().to_string()).collect();
    targets.sort();
    targets
}

/// Whether an open file is one of the server's own database, or the memory image of a component that is loaded.
fn is_own(file: &str) -> bool {
    file.contains("/data/compozy.db") || file.starts_with("/memfd:wasm-memory-image")
}

/// The same after an ordinary run, when what is opened lazily is open.
fn settled_files(server: &Server) -> Vec<String> {
    let run = server.start_run("neighbour", json!({"n": 0}));
    server.wait_run(&run);
    open_files(server)
}

/// Says at its end that there is nothing left to misbehave.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Runs neighbours until the others are done and says how many.
fn neighbours(server: &Server, misbehaving: &AtomicBool) -> usize {
    let mut count = 0;
    while misbehaving.load(Ordering::SeqCst) {
        let run = server.start_run("neighbour", json!({"n": count}));
        let run = server.wait_run(&run);
        assert_eq!((&run["status"], &run["output"]), (&json!("SUCCESS"), &json!({"n": count + 3})), "{run:#}");
        count += 1;
    }
    count
}

fn complaint(deed: &Deed, run: &Value) -> Option<String> {
    let code = run["error"]["code"].as_str();
    let status = run["status"].as_str().unwrap_or_default();
    let expected = match deed.code {
        None => "SUCCESS",
        Some(_) => "FAILED",
    };
    if code == deed.code && status == expected {
        let message = run["error"]["message"].as_str().unwrap_or_default();
        return (message.len() > 20_000).then(|| format!("{}: a message of {} bytes", deed.tool, message.len()));
    }
    Some(format!("{}: {status} {}, not {expected} {:?}", deed.tool, run["error"], deed.code))
}

/// What the sandbox denies is denied to a guest that never heard of us, too.
#[test]
fn an_ordinary_guest_finds_nothing() {
    let text = "plugins:\n  - {id: std, source: ./plugins/wasi-std.wasm}\ntools:\n  - {id: probe, plugin: std, function: probe}\n";
    let mut project = Project::sqlite(text);
    project.env("VISIBLE", "yes");
    project.component("guests/wasi-std");
    project.file(
        "workflows/probe.yaml",
        "id: probe\ntasks:\n  - {id: probe, tool: probe, with: {path: /etc/hostname, variable: VISIBLE}}\n",
    );
    let found = project.compozy(&["workflow", "run", "probe", "-o", "json"]).ok().json();
    let output = &found["output"];
    for denied in ["file", "directory_entries", "variable"] {
        assert_eq!(output[denied], Value::Null, "{denied} in {output}");
    }
    assert_eq!((&output["variables"], &output["arguments"]), (&json!(0), &json!(0)), "{output}");
    for refused in ["file_error", "connection_error"] {
        assert!(output[refused].is_string(), "{refused} in {output}");
    }
    assert!(output["seconds_since_1970"].as_u64() > Some(1_700_000_000), "clocks are always there: {output}");
}

/// A component that is not what it should be is refused by name, before anything runs.
#[test]
fn components_of_another_kind_are_refused() {
    for (guest, code) in [("not-a-tool", "CZ0702"), ("bad-describe", "CZ0702")] {
        let text = format!(
            "plugins:\n  - {{id: it, source: ./plugins/{guest}.wasm}}\ntools:\n  - {{id: it, plugin: it, function: twice}}\n"
        );
        let project = Project::sqlite(&text);
        project.component(&format!("guests/{guest}"));
        project.file("workflows/w.yaml", "id: w\ntasks:\n  - {id: t, tool: it, retries: 0}\n");
        let output = project.compozy(&["workflow", "run", "w"]);
        assert_ne!(output.code, 0, "{guest}: {output}");
        assert!(output.stderr.contains(code), "{guest}: {output}");
        assert_eq!(output.stdout, "", "{guest}");
    }
}
