//! Runs on a real PostgreSQL: every command, a server that is killed, and two servers on one database.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::readme::{Terminal, Typed};
use crate::support::{Project, Server, pooler::Pooler, postgres, wait};

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

/// Renewals that do not come through for longer than the lease: the server drops its runs and says so, and takes them up
/// under a new epoch.
#[test]
fn a_server_that_cannot_renew_its_lease_drops_its_runs() {
    let url = postgres::database();
    let project = project(&url);
    let server = project.start();
    let runs: Vec<String> = (0..4).map(|_| server.start_run("slow", json!({}))).collect();
    let lock = "BEGIN; LOCK TABLE nodes IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(4); COMMIT";
    let (locked, held) = (url.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true)));
    let until = std::sync::Arc::clone(&held);
    let blocker = std::thread::spawn(move || {
        postgres::execute(&locked, lock.into());
        until.store(false, std::sync::atomic::Ordering::SeqCst);
    });
    let mut lost = false;
    while held.load(std::sync::atomic::Ordering::SeqCst) {
        lost |= server.get("/api/v0/health").json()["data"]["cluster"]["lease_ok"] == false;
        std::thread::sleep(Duration::from_millis(100));
    }
    blocker.join().expect("it unlocks");
    assert!(lost, "/health says so");
    for exec_id in &runs {
        assert_eq!(status(&ended(&server, exec_id)), "SUCCESS");
    }
    assert!(postgres::asks(&url, "SELECT bool_and(epoch > 1) FROM executions"), "taken up under a new epoch");
    assert_eq!(server.stop().code, 0);
    let sound = project.compozy(&["doctor", "--deep", "-o", "json"]).ok();
    assert!(sound.stdout.contains("all hold"), "{sound}");
    postgres::drop_database(&url);
}

/// Two servers on four sessions that every transaction shares, one of them killed.
#[test]
fn servers_behind_a_pooler_in_transaction_mode() {
    let url = postgres::database();
    let pooler = Pooler::start(&url, 4);
    let [first, second] = [(); 2].map(|()| {
        let project = project(&pooler.url());
        let settings = "name: p\ndatabase: {conn_string: \"${DATABASE_OF_THE_TEST}\"}\n";
        let settings = format!("{settings}cluster: {{lease: 2s, notify: false}}\n");
        project.file("compozy.yaml", format!("{settings}llm: {{providers: [{{id: mock, type: mock}}]}}\n"));
        project
    });
    let (one, two) = (first.start(), second.start());
    let runs: Vec<String> = (0..8).map(|_| one.start_run("slow", json!({}))).collect();
    let held = one.start_run("hold", json!({}));
    wait::until("the wait", || (status(&two.run(&held)) == "WAITING").then_some(()));
    one.kill();
    second.compozy(&["signal", "send", &held, "paid", "--payload", "1"]).ok();
    for exec_id in runs.iter().chain([&held]) {
        assert_eq!(status(&ended(&two, exec_id)), "SUCCESS");
    }
    assert_eq!(two.stop().code, 0);
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

const COMPARISON: &str = "examples/database/postgres-comparison";

/// Numbers are the machine's.
fn without_numbers(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars() {
        match character {
            '0'..='9' | '.' if kept.ends_with('#') => {}
            '0'..='9' => kept.push('#'),
            other => kept.push(other),
        }
    }
    kept
}

/// Someone at the example, with a database of their own instead of the one that Docker starts.
fn at_the_comparison() -> Terminal {
    let url = postgres::database();
    let (_, rest) = url.split_once("://").expect("a URL");
    let (server, name) = rest.split_once('/').expect("a database");
    let (user, server) = server.split_once('@').expect("a user");
    let (user, password) = user.split_once(':').unwrap_or((user, "none"));
    let (host, port) = server.split_once(':').unwrap_or((server, "5432"));
    let variables = [("HOST", host), ("PORT", port), ("USER", user), ("PASSWORD", password), ("NAME", name)];
    let mut terminal = Terminal::with_example(COMPARISON).patience(Duration::from_secs(120));
    for (variable, value) in variables {
        terminal = terminal.env(&format!("DB_{variable}"), value);
    }
    terminal.type_block(&format!("cd {COMPARISON}\n")).ok();
    terminal
}

#[test]
fn the_comparison_is_as_its_readme_says() {
    let mut terminal = at_the_comparison();
    terminal.type_block("cp .env.example .env\n").ok();
    let typed = terminal.type_readme(&format!("{COMPARISON}/README.md"), |block| block > 0);
    assert_eq!(typed.len(), 3);
    for Typed { block, expected, output } in typed {
        assert_eq!(output.code, 0, "{}{output}", block.text);
        let expected = expected.expect("what it prints");
        assert_eq!(without_numbers(&output.stdout), without_numbers(&expected), "{}{output}", block.text);
    }
    for (file, config) in [("postgres", "--config compozy-postgres.yaml"), ("sqlite", "compozy-sqlite.yaml")] {
        terminal.type_block(&format!("RUNS=3 ./benchmark.sh {config}\n")).ok();
        let path = terminal.directory().join(format!("results-{file}.json"));
        let results: Value = serde_json::from_slice(&std::fs::read(path).expect("results")).expect("JSON");
        assert_eq!(results["workflows"], 3);
        assert!((1..=3).contains(&results["peak_concurrency"].as_u64().expect("a number")), "{results}");
        assert!(results["average_latency_ms"].as_u64() >= Some(40), "two pauses of 20 ms: {results}");
    }
    let wrong = terminal.type_block("./benchmark.sh --config=nothing.yaml\n");
    assert!(wrong.code == 2 && wrong.stderr.contains("no file nothing.yaml"), "{wrong}");
}

/// Word for word what CI of the design plan types, in a folder without `compozy.yaml`.
#[test]
fn the_comparison_as_ci_types_it() {
    let mut terminal = at_the_comparison().env("COMPOZY_MOCK_LLM", "1");
    terminal.type_block("compozy start --config=compozy-postgres.yaml\n").ok();
    let output = terminal.type_block("compozy workflow run benchmark\n").ok();
    assert_eq!(output.stdout.lines().next(), Some("Workflow 'benchmark' completed successfully"), "{output}");
}

/// What CI elsewhere types is what the tests here type.
#[test]
fn ci_types_what_is_typed_here() {
    let steps = std::fs::read_to_string(crate::support::root().join(".github/workflows/database-examples.yml"));
    let steps = steps.expect("the CI matrix");
    for command in [
        "cd examples/database/sqlite-quickstart\n          compozy start &\n",
        "compozy workflow run hello-world\n",
        "cd examples/database/sqlite-memory\n          compozy start &\n",
        "compozy workflow run test-workflow\n",
        "compozy --config=compozy-source.yaml workflow run sample-data\n",
        "./scripts/export.sh > backup.json\n          ./scripts/import.sh backup.json\n",
        "compozy --config=compozy-target.yaml workflow list\n",
        "cd examples/database/postgres-comparison\n          compozy start --config=compozy-postgres.yaml &\n",
        "compozy workflow run benchmark\n",
        "./benchmark.sh --config=compozy-postgres.yaml\n",
        "run: .ci/run\n",
    ] {
        assert!(steps.contains(command), "{command}");
    }
}

/// The project of docs/database/postgres.md is valid without a warning.
#[test]
fn the_page_is_valid() {
    let page = std::fs::read_to_string(crate::support::root().join("docs/database/postgres.md")).expect("the page");
    let blocks = crate::support::readme::blocks(&page);
    let yaml: Vec<_> = blocks.iter().filter(|block| block.language == "yaml").collect();
    assert_eq!(yaml.len(), 1);
    let mut project = Project::empty();
    project.file("compozy.yaml", format!("name: p\n{}", yaml[0].text));
    project.file("workflows/hold.yaml", HOLD);
    project.env("DB_PASSWORD", "none");
    let validated = project.compozy(&["validate", "--strict"]);
    assert_eq!((validated.code, validated.stderr.as_str()), (0, ""), "{validated}");
}
