//! The examples, typed as their READMEs say, against a model server and without a key; outputs are compared whole.
//!
//! Order and wording of the commands are the design plan's; `commands_are_the_plans` holds the READMEs to it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use crate::support::http;
use crate::support::listener::Listener;
use crate::support::model_server::ModelServer;
use crate::support::postgres;
use crate::support::readme::{Terminal, Typed};
use crate::support::redact::{redact, squeeze};

const QUICKSTART: &str = "examples/database/sqlite-quickstart";
const MEMORY: &str = "examples/database/sqlite-memory";
const SCRIPT: &str = "examples/plugins/script";
const MIGRATION: &str = "examples/database/migration-export-import";
const TEXT_STATS: &str = "examples/plugins/text-stats";

/// Fails unless every block printed what its README says.
#[track_caller]
fn as_written(typed: &[Typed]) {
    for Typed { block, expected, output } in typed {
        assert_eq!(output.code, 0, "line {}: {}{output}", block.line, block.text);
        if let Some(expected) = expected {
            assert_eq!(comparable(&output.stdout), comparable(expected), "line {}: {}{output}", block.line, block.text);
        }
    }
}

/// Without times, ports, sizes and owners.
fn comparable(text: &str) -> String {
    let text: String =
        text.lines().map(|line| if line.starts_with("-rw") { listed(line) } else { format!("{line}\n") }).collect();
    squeeze(&redact(&text, &[]))
}

/// Of a line of `ls -l` only what does not depend on when and who.
fn listed(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    format!("{} [owner, size and time] {}\n", words.first().unwrap_or(&""), words.last().unwrap_or(&""))
}

#[test]
fn quickstart_with_a_model_server() {
    let model = ModelServer::listen();
    let mut terminal = Terminal::with_example(QUICKSTART)
        .dotenv("OPENAI_API_KEY", "sk-test")
        .dotenv("OPENAI_BASE_URL", &model.base_url());
    let readme = format!("{QUICKSTART}/README.md");
    as_written(&terminal.type_readme(&readme, |block| block < 4));
    let database = terminal.directory().join("data/compozy.db");
    let mode = std::fs::metadata(&database).expect("the database was made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let asked = model.asked();
    let prompts: Vec<_> = asked.iter().map(|asked| asked.body["messages"][0]["content"].clone()).collect();
    assert_eq!(prompts, ["Say hello to World", "Say hello to Ada"]);
    for asked in asked {
        assert_eq!(
            (asked.path.as_str(), asked.authorization.as_deref()),
            ("/v1/chat/completions", Some("Bearer sk-test"))
        );
        assert_eq!(asked.body["model"], "gpt-4o-mini");
    }
    let stopped = terminal.stop_server();
    assert_eq!(stopped.code, 0, "{stopped}");
    assert_eq!(stopped.stdout.lines().count(), 3, "three lines and no more: {stopped}");
    assert!(!stopped.stderr.contains("sk-test"), "the key is in the log: {stopped}");
    // The last block is the keyless one, without the server.
    as_written(&terminal.type_readme(&readme, |block| block == 4));
    assert_eq!(model.asked().len(), 2, "the mock asks nobody");
}

#[test]
fn runs_are_moved_to_another_database_and_back() {
    let url = postgres::database();
    let mut terminal = Terminal::with_example(MIGRATION);
    for (name, value) in postgres::variables(&url) {
        terminal = terminal.env(&name, &value);
    }
    let typed = terminal.type_readme(&format!("{MIGRATION}/README.md"), |_| true);
    as_written(&typed);
    let talk: String = typed.iter().map(|typed| typed.output.stderr.as_str()).collect();
    assert_eq!(talk.matches("Verified: exported again").count(), 2, "{talk}");
    // The file that came back holds what went there.
    let [there, back] = ["backup.json", "back.json"].map(|name| {
        let text = std::fs::read(terminal.directory().join(name)).expect("an export");
        let document: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        (document["header"]["source"]["driver"].clone(), document["footer"]["tables"].clone())
    });
    assert_eq!((there.0.as_str(), back.0.as_str()), (Some("sqlite"), Some("postgres")));
    assert_eq!(there.1, back.1, "the same rows give the same hashes");
    postgres::drop_database(&url);
}

/// Where there is no PostgreSQL, between two files.
#[test]
fn runs_are_moved_between_two_files() {
    let mut terminal = Terminal::with_example(MIGRATION).env("TARGET_DRIVER", "sqlite");
    as_written(&terminal.type_readme(&format!("{MIGRATION}/README.md"), |block| block == 0));
}

#[test]
fn quickstart_without_a_key() {
    let mut terminal = Terminal::with_example(QUICKSTART).env("COMPOZY_MOCK_LLM", "1");
    let commands = "cd examples/database/sqlite-quickstart\ncp .env.example .env\ncompozy start\n";
    let output = terminal.type_block(commands).ok();
    assert_eq!(
        comparable(&output.stdout),
        "Starting Compozy server...\nDatabase initialized: driver=sqlite path=./data/compozy.db\nServer listening on :[port]\n"
    );
    let result =
        "Workflow 'hello-world' completed successfully\nResult: { \"greeting\": \"[mock] Say hello to World\" }\n";
    assert_eq!(terminal.type_block("compozy workflow run hello-world\n").ok().stdout, result);
    terminal.type_block("ls -lh ./data/compozy.db\n").ok();
    let list = terminal.type_block("compozy workflow list\n").ok();
    assert_eq!(
        comparable(&list.stdout),
        "ID NAME STATUS LAST RUN DURATION RUNS\nhello-world Hello World Workflow SUCCESS [time] [duration] 1\n"
    );
    assert_eq!(terminal.stop_server().code, 0);
    // Without the server the same command works on the same database.
    assert_eq!(terminal.type_block("compozy workflow run hello-world\n").ok().stdout, result);
    let list = terminal.type_block("compozy workflow list\n").ok();
    assert_eq!(
        comparable(&list.stdout),
        "ID NAME STATUS LAST RUN DURATION RUNS\nhello-world Hello World Workflow SUCCESS [time] [duration] 2\n"
    );
}

/// Word for word what CI of the design plan types: no `.env`, a server in the background.
#[test]
fn quickstart_as_ci_types_it() {
    let mut terminal = Terminal::with_example(QUICKSTART).env("COMPOZY_MOCK_LLM", "1");
    terminal.type_block("cd examples/database/sqlite-quickstart\ncompozy start\n").ok();
    let output = terminal.type_block("compozy workflow run hello-world\n").ok();
    assert_eq!(output.stdout.lines().next(), Some("Workflow 'hello-world' completed successfully"));
}

#[test]
fn memory_without_a_key() {
    let mut terminal = Terminal::with_example(MEMORY);
    // The last block asks a real model, which is not there: the test below types it with one.
    as_written(&terminal.type_readme(&format!("{MEMORY}/README.md"), |block| block < 3));
    assert_eq!(terminal.stop_server().code, 0);
    // After a restart there is no run, and nothing was written.
    terminal.type_block("compozy start\n").ok();
    let list = terminal.type_block("compozy workflow list\n").ok();
    assert_eq!(
        comparable(&list.stdout),
        "ID NAME STATUS LAST RUN DURATION RUNS\ntest-workflow Test Workflow - - - 0\n"
    );
    assert!(!terminal.directory().join("data").exists());
}

#[test]
fn memory_runs_in_the_server() {
    let mut terminal = Terminal::with_example(MEMORY);
    terminal.type_block("cd examples/database/sqlite-memory\ncompozy start\n").ok();
    terminal.type_block("compozy workflow run test-workflow\n").ok();
    let server = terminal.server().expect("it runs");
    let runs = server.get("/api/v0/executions/workflows").data();
    assert_eq!(runs["executions"].as_array().map(Vec::len), Some(1), "{runs:#}");
}

#[test]
fn memory_with_a_model_server() {
    let model = ModelServer::listen();
    let mut terminal = Terminal::with_example(MEMORY)
        .env("TEST_LLM", "openai")
        .env("OPENAI_API_KEY", "sk-test")
        .env("OPENAI_BASE_URL", &model.base_url());
    terminal.type_block("cd examples/database/sqlite-memory\ncompozy start\n").ok();
    let output = terminal.type_block("compozy workflow run test-workflow --param topic=SQLite -o json\n").ok();
    let summary = "You said: Summarise SQLite in one sentence";
    assert_eq!(
        output.json()["output"],
        serde_json::json!({"topic": "SQLite", "summary": summary, "title": format!("You said: Give this a title: {summary}")})
    );
    assert_eq!(terminal.stop_server().code, 0);
    // Without a server: a private database, said so.
    let output = terminal.type_block("compozy workflow run test-workflow\n").ok();
    assert!(output.stderr.contains("memory"), "{output}");
}

#[test]
fn text_stats() {
    let mut terminal = Terminal::with_example(TEXT_STATS);
    as_written(&terminal.type_readme(&format!("{TEXT_STATS}/README.md"), |_| true));
}

#[test]
fn plugins_that_use_what_the_host_lends() {
    for example in ["examples/plugins/sql-ledger", "examples/plugins/ask-model"] {
        let mut terminal = Terminal::with_example(example);
        as_written(&terminal.type_readme(&format!("{example}/README.md"), |_| true));
    }
}

/// A shop that wants a key, and sends back what it was sent.
#[test]
fn a_plugin_with_a_key_it_never_sees() {
    let example = "examples/plugins/http-secret";
    let authorized = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&authorized);
    let shop = Listener::serve(move |request, stream| {
        let key = http::header(&request.headers, "authorization").unwrap_or_default().to_owned();
        let body = format!("{{\"units\": 7, \"debug\": \"{key}\"}}");
        seen.lock().expect("the keys").push(key);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    });
    let mut terminal = Terminal::with_example(example)
        .dotenv("SHOP_URL", &format!("http://{}", shop.address))
        .dotenv("SHOP_TOKEN", "shop-canary-77");
    as_written(&terminal.type_readme(&format!("{example}/README.md"), |_| true));
    assert_eq!(*authorized.lock().expect("the keys"), ["Bearer shop-canary-77"]);
    let list = terminal.type_block("compozy execution list -o json\n").ok();
    assert!(!list.stdout.contains("shop-canary"), "{list}");
}

#[test]
fn script() {
    let mut terminal = Terminal::with_example(SCRIPT);
    as_written(&terminal.type_readme(&format!("{SCRIPT}/README.md"), |_| true));
}

/// The commands of the design plan's walkthroughs and runbooks, in its order, stand in the READMEs in that order.
#[test]
fn commands_are_the_plans() {
    let quickstart = [
        "cd examples/database/sqlite-quickstart",
        "cp .env.example .env",
        "# Edit .env to add your OpenAI API key",
        "compozy start",
        "compozy workflow run hello-world",
        "ls -lh ./data/compozy.db",
        "compozy workflow list",
    ];
    let memory = ["cd examples/database/sqlite-memory", "compozy start", "compozy workflow run test-workflow"];
    for (example, commands) in [(QUICKSTART, quickstart.as_slice()), (MEMORY, memory.as_slice())] {
        let readme = std::fs::read_to_string(crate::support::root().join(example).join("README.md")).expect("README");
        let blocks = crate::support::readme::blocks(&readme);
        let lines: Vec<&str> =
            blocks.iter().filter(|block| block.language == "bash").flat_map(|block| block.text.lines()).collect();
        let mut rest = lines.as_slice();
        for command in commands {
            let at = rest.iter().position(|line| line == command);
            let at = at.unwrap_or_else(|| panic!("{example}: '{command}' is missing or out of order in {lines:#?}"));
            rest = &rest[at + 1..];
        }
    }
}

/// One example for each type of task, none of which needs a key or a service.
#[test]
fn every_type_of_task() {
    for name in ["agent", "aggregate", "basic", "collection", "composite", "memory", "parallel", "router", "workflow"] {
        let example = format!("examples/tasks/{name}");
        let mut terminal = Terminal::with_example(&example);
        as_written(&terminal.type_readme(&format!("{example}/README.md"), |_| true));
    }
}

#[test]
fn schedules_are_listed_set_and_triggered() {
    let example = "examples/schedules";
    let mut terminal = Terminal::with_example(example);
    as_written(&terminal.type_readme(&format!("{example}/README.md"), |_| true));
    assert_eq!(terminal.stop_server().code, 0);
}

#[test]
fn signals_end_waits_and_start_runs() {
    for example in ["examples/tasks/wait", "examples/tasks/signal"] {
        let mut terminal = Terminal::with_example(example);
        as_written(&terminal.type_readme(&format!("{example}/README.md"), |_| true));
        assert_eq!(terminal.stop_server().code, 0);
    }
}
