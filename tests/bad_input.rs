//! Everything a person can get wrong: one clear message each, compared whole, and the documented exit code.
//!
//! The messages stand in `tests/snapshots/bad_input/`; `INSTA_UPDATE=always cargo test bad_input` writes them anew.

use std::os::unix::fs::PermissionsExt;

use crate::support::command::Output;
use crate::support::model_server::{Answer, ModelServer};
use crate::support::redact::redact;
use crate::support::{Project, database, wait};

/// Compares exit code, stdout and stderr with the golden file of `case`.
#[track_caller]
fn check(case: &str, project: &Project, output: &Output) {
    let root = project.root().display().to_string();
    let home = project.root().parent().expect("a parent").display().to_string();
    let user = format!("uid {}", user_id(project));
    let text = redact(&output.to_string(), &[(&root, "[project]"), (&home, "[folder]"), (&user, "uid [uid]")]);
    assert!(!text.contains("panicked"), "{text}");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots/bad_input");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(case, text));
}

fn user_id(project: &Project) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(project.root()).expect("the project").uid()
}

const GREET: &str = "id: greet
config:
  input:
    type: object
    properties: {name: {type: string}, times: {type: integer, minimum: 1}}
    additionalProperties: false
tasks:
  - {id: greet, prompt: \"Greet {{ .input.name | default \\\"you\\\" }}\"}
";

const MOCK: &str = "llm: {providers: [{id: m, type: mock}]}\n";

/// A project with one workflow that asks the mock.
fn greeting() -> Project {
    let project = Project::sqlite(MOCK);
    project.file("workflows/greet.yaml", GREET);
    project
}

#[test]
fn missing_files() {
    let project = Project::empty();
    check("no_project", &project, &project.compozy(&["validate"]));
    check("no_project_run", &project, &project.compozy(&["workflow", "run", "greet"]));
    check("no_such_config", &project, &project.compozy(&["--config", "other.yaml", "start"]));
    let project = greeting();
    check("no_such_env_file", &project, &project.compozy(&["--env-file", "none.env", "workflow", "list"]));
    check("no_such_input_file", &project, &project.compozy(&["workflow", "run", "greet", "--input", "@none.json"]));
    let project = Project::sqlite("workflows: [./flows/none.yaml]\n");
    check("no_such_workflow_file", &project, &project.compozy(&["validate"]));
}

#[test]
fn wrong_yaml() {
    for (case, text) in [
        ("yaml_syntax", "database:\n  driver: sqlite\n path: ./x.db\n"),
        ("yaml_unknown_key", "databse:\n  driver: sqlite\nserver: {prot: 80}\n"),
        ("yaml_duplicate_key", "database:\n  driver: sqlite\n  path: ./a.db\n  path: ./b.db\n"),
        ("yaml_wrong_type", "server: {port: eighty}\ndatabase: {driver: oracle}\n"),
        (
            "yaml_permissions",
            "plugins: [{id: p, source: 'builtin:llm-mock', kind: llm, permissions: {http: ['api.test/v1', 'a@b.test']}}]\n",
        ),
        ("yaml_bare_template", "name: {{ .project.name }}\n"),
        ("yaml_two_documents", "name: a\n---\nname: b\n"),
        ("yaml_pgvector", "database: {driver: sqlite}\nknowledge: {vector_dbs: [{id: main, provider: pgvector}]}\n"),
    ] {
        let project = Project::empty();
        project.file("compozy.yaml", text);
        check(case, &project, &project.compozy(&["validate"]));
    }
    let project = Project::empty();
    project.file("compozy.yaml", b"name: \xff\xfe\n");
    check("yaml_not_utf8", &project, &project.compozy(&["validate"]));
}

/// Every problem of all files at once, and the same codes when a server is to start.
#[test]
fn all_problems_at_once() {
    let project = Project::sqlite(MOCK);
    project.file(
        "workflows/a.yaml",
        "id: a\ntasks:\n  - {id: one, prompt: hi, on_success: {next: tow}}\n  - {id: two, promt: hi}\n",
    );
    project.file(
        "workflows/b.yaml",
        "id: b\ntasks:\n  - {id: one, prompt: \"{{ .inputs.x }}\"}\n  - {id: one, prompt: \"{{ uper .input.x }}\"}\n",
    );
    check("all_at_once", &project, &project.compozy(&["validate"]));
    let start = project.compozy(&["start"]);
    assert_eq!((start.code, start.stdout.as_str()), (3, ""), "{start}");
}

#[test]
fn an_alias_bomb_ends_quickly() {
    let mut text = String::from("x-0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for level in 1..10 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("x-{level}: &a{level} [{}]\n", before.trim_end_matches(", ")));
    }
    let project = Project::empty();
    project.file("compozy.yaml", text);
    let begun = std::time::Instant::now();
    let output = project.compozy(&["validate"]);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    check("alias_bomb", &project, &output);
}

#[test]
fn wrong_workflow_and_input() {
    let project = greeting();
    let run = |arguments: &[&str]| project.compozy(&[&["workflow", "run"], arguments].concat());
    check("unknown_workflow", &project, &run(&["gret"]));
    check("input_not_json", &project, &run(&["greet", "--input", "{name: Ada}"]));
    check("input_not_an_object", &project, &run(&["greet", "--input", "[1]"]));
    check("input_breaks_schema", &project, &run(&["greet", "--input", r#"{"name": 7, "times": 0, "nam": "x"}"#]));
    check("input_breaks_schema_json", &project, &run(&["greet", "--param", "times=0", "-o", "json"]));
    let list = project.compozy(&["execution", "list", "-o", "json"]).ok().json();
    assert_eq!(list["executions"].as_array().map(Vec::len), Some(0), "nothing was stored: {list:#}");
    check("unknown_execution", &project, &project.compozy(&["execution", "get", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]));
    check("unknown_flag", &project, &run(&["greet", "--colour"]));
}

#[test]
fn template_errors() {
    let project = Project::sqlite(MOCK);
    project.file("workflows/syntax.yaml", "id: syntax\ntasks:\n  - {id: a, prompt: \"{{ if .input.x }}yes\"}\n");
    check("template_syntax", &project, &project.compozy(&["validate"]));
    let project = Project::sqlite(MOCK);
    project.file("workflows/missing.yaml", "id: missing\ntasks:\n  - {id: a, prompt: \"Hi {{ .input.nmae }}\"}\n");
    let output = project.compozy(&["workflow", "run", "missing", "--param", "name=Ada"]);
    check("template_missing", &project, &output);
}

fn asking(model: &str) -> Project {
    let mut project = Project::sqlite(
        "llm:\n  retry_attempts: 1\n  retry_backoff_base: 10ms\n  providers:\n    \
         - {id: m, type: openai_compatible, model: small, api_key: \"${KEY}\", base_url: \"${BASE}\"}\n",
    );
    project.env("BASE", model).env("KEY", "sk-secret-value");
    project.file(
        "workflows/ask.yaml",
        "id: ask\ntasks:\n  - {id: ask, prompt: hi, retry_policy: {maximum_attempts: 2, initial_interval: 10ms}}\n",
    );
    project
}

#[test]
fn providers_that_fail() {
    let refuse = |status: u16, headers: &[(&str, &str)], message: &str| {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer::Refuse(status, headers, message.to_owned())
    };
    let cases = [
        ("provider_401", refuse(401, &[], "Incorrect API key provided: sk-secret-value")),
        ("provider_403", refuse(403, &[], "not for you")),
        ("provider_404", refuse(404, &[], "The model `small` does not exist")),
        ("provider_429", refuse(429, &[("retry-after", "0")], "slow down")),
        ("provider_500", refuse(500, &[], "oh no")),
        ("provider_malformed", Answer::Raw("{\"choices\": [".to_owned())),
        ("provider_html", Answer::Raw("<html>It works!</html>".to_owned())),
        ("provider_cut", Answer::Cut),
    ];
    for (case, answer) in cases {
        let model = ModelServer::listen();
        model.script(std::iter::repeat_n(answer, 20));
        let project = asking(&model.base_url());
        let output = project.compozy(&["workflow", "run", "ask"]);
        assert!(!output.to_string().contains("sk-secret-value"), "the key is printed: {output}");
        assert_eq!(output.code, 1, "{case}: {output}");
        check(case, &project, &output);
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let project = asking(&format!("http://{free}/v1"));
    check("provider_down", &project, &project.compozy(&["workflow", "run", "ask"]));
}

/// A refusal that passes is not a failure, and `Retry-After` is honoured.
#[test]
fn a_provider_that_recovers() {
    let model = ModelServer::listen();
    model.script([
        Answer::Refuse(429, vec![("retry-after".to_owned(), "1".to_owned())], "slow down".to_owned()),
        Answer::Refuse(503, Vec::new(), "busy".to_owned()),
        Answer::Slow(std::time::Duration::from_millis(100), "at last".to_owned()),
    ]);
    let project = asking(&model.base_url());
    project.file(
        "compozy.yaml",
        std::fs::read_to_string(project.path("compozy.yaml"))
            .expect("the file")
            .replace("retry_attempts: 1", "retry_attempts: 3"),
    );
    let begun = std::time::Instant::now();
    let output = project.compozy(&["workflow", "run", "ask", "-o", "json"]).ok();
    assert!(begun.elapsed().as_millis() >= 1000, "Retry-After was not waited for");
    assert_eq!(output.json()["output"]["text"], "at last");
    assert_eq!(model.asked().len(), 3);
}

#[test]
fn a_missing_key_is_named_when_it_is_needed() {
    let project = Project::sqlite("llm: {providers: [{id: m, type: openai, api_key: \"${NO_SUCH_KEY}\"}]}\n");
    project.file("workflows/ask.yaml", "id: ask\ntasks:\n  - {id: ask, prompt: hi}\n");
    assert_eq!(project.compozy(&["workflow", "list"]).code, 0, "not needed yet");
    check("missing_key", &project, &project.compozy(&["workflow", "run", "ask"]));
}

#[test]
fn a_port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("a port").port().to_string();
    let project = greeting();
    let output = project.compozy(&["start", "--port", &port]);
    let text = Output { stderr: output.stderr.replace(&format!("port {port}"), "port [port]"), ..output };
    check("port_in_use", &project, &text);
}

#[test]
fn a_database_that_is_served_already() {
    let project = greeting();
    let server = project.start();
    let output = project.compozy(&["start", "--port", "0"]);
    let text = Output {
        stderr: output.stderr.replace(&format!("process {}", server.process_id()), "process [pid]"),
        ..output
    };
    check("already_served", &project, &text);
}

#[test]
fn a_database_folder_that_cannot_be_written() {
    // Below a regular file: not even root can make a folder there.
    let project = Project::empty();
    project.file("compozy.yaml", format!("database: {{driver: sqlite, path: ./file/compozy.db}}\n{MOCK}"));
    project.file("file", "not a folder").file("workflows/greet.yaml", GREET);
    check("database_below_a_file", &project, &project.compozy(&["start", "--port", "0"]));
    check("database_below_a_file_run", &project, &project.compozy(&["workflow", "run", "greet"]));
    let project = Project::empty();
    project.file("compozy.yaml", format!("database: {{driver: sqlite, path: ./data}}\n{MOCK}"));
    std::fs::create_dir(project.path("data")).expect("a folder");
    check("database_is_a_folder", &project, &project.compozy(&["start", "--port", "0"]));
    if user_id(&project) != 0 {
        let project = greeting();
        std::fs::create_dir(project.path("data")).expect("a folder");
        std::fs::set_permissions(project.path("data"), std::fs::Permissions::from_mode(0o500)).expect("a mode");
        let output = project.compozy(&["start", "--port", "0"]);
        assert_eq!(output.code, 2, "{output}");
    }
}

#[test]
fn a_damaged_database() {
    let project = greeting();
    project.compozy(&["workflow", "run", "greet"]).ok();
    let whole = std::fs::read(project.database()).expect("the database");
    let damaged = |case: &str, bytes: &[u8]| {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", project.database().display()));
        }
        std::fs::write(project.database(), bytes).expect("write");
        check(case, &project, &project.compozy(&["start", "--port", "0"]));
        check(&format!("{case}_run"), &project, &project.compozy(&["workflow", "run", "greet"]));
        assert_eq!(std::fs::read(project.database()).expect("the database"), bytes, "{case}: it was written to");
    };
    damaged(
        "database_not_a_database",
        b"This is a letter to my grandmother, not a database. It is longer than a header.",
    );
    let mut torn = whole.clone();
    for byte in torn.iter_mut().skip(4096).take(whole.len() - 4096) {
        *byte = byte.wrapping_mul(31).wrapping_add(7);
    }
    damaged("database_torn_pages", &torn);
    damaged("database_cut_short", &whole[..whole.len() / 2]);
}

/// A database of another program, and one of a later release.
#[test]
fn a_database_that_is_not_ours() {
    let sql = |project: &Project, statement: &str| database::execute(&project.database(), statement);
    let project = greeting();
    sql(&project, "CREATE TABLE recipes (name TEXT)");
    check("database_of_another_program", &project, &project.compozy(&["start", "--port", "0"]));
    let project = greeting();
    project.compozy(&["workflow", "run", "greet"]).ok();
    sql(&project, "INSERT INTO migrations VALUES (999, 'future', 'x', 0)");
    check("database_of_a_later_release", &project, &project.compozy(&["start", "--port", "0"]));
}

#[test]
fn open_to_the_network_is_refused() {
    let project = greeting();
    check("open_to_the_network", &project, &project.compozy(&["start", "--host", "0.0.0.0", "--port", "0"]));
}

/// A closed pipe, an interrupt and a time-out have their own codes.
#[test]
fn ends_of_waiting() {
    let project = greeting();
    project.file("workflows/nap.yaml", "id: nap\ntasks:\n  - {id: nap, prompt: hi, sleep: 1h}\n");
    let server = project.start();
    check(
        "timeout_while_waiting",
        &project,
        &project.compozy(&["workflow", "run", "nap", "--quiet", "--timeout", "300ms"]),
    );
    let running = project.spawn(&["workflow", "run", "nap"]);
    wait::until("progress", || running.stderr().contains("nap").then_some(()));
    running.signal("INT");
    let output = running.finish();
    assert_eq!(output.code, 130, "{output}");
    wait::until("both runs, which go on", || {
        let waiting = server.get("/api/v0/executions/workflows?status=WAITING&count=true").data();
        (waiting["page"]["total"] == 2).then_some(())
    });
}
