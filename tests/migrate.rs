//! `compozy migrate`: forward, back and forward again on both drivers, and everything that is refused.

use std::path::Path;

use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};

use crate::support::command::Output;
use crate::support::{Project, database, postgres};

const QUICK: &str = "id: quick
tasks:
  - {id: one, type: aggregate, outputs: {n: 1}}
outputs: {n: \"{{ .tasks.one.output.n }}\", pad: \"{{ .input.pad }}\"}
";

fn project() -> Project {
    let project = Project::sqlite("name: p\n");
    project.file("workflows/quick.yaml", QUICK);
    project
}

/// A run with a payload that is stored apart; its id.
fn ran(project: &Project) -> String {
    let pad = format!("pad={}", "x".repeat(9_000));
    project.compozy(&["workflow", "run", "quick", "--param", &pad]).ok();
    project.compozy(&["execution", "list", "-o", "json"]).ok().json()["executions"][0]["exec_id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

fn status(project: &Project, code: u8) -> Value {
    let output = project.compozy(&["migrate", "status", "-o", "json"]);
    assert_eq!(output.code, i32::from(code), "{output}");
    output.json()
}

/// Version and state.
fn stands(project: &Project, code: u8) -> (i64, String) {
    let status = status(project, code);
    (status["version"].as_i64().expect("a version"), status["state"].as_str().expect("a state").to_owned())
}

#[track_caller]
fn is_refused(output: &Output, said: &str) {
    assert!(output.code == 6 && output.stderr.contains(said), "{said}: {output}");
}

/// Every object of the schema.
fn schema(file: &Path) -> Vec<(String, String)> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("open");
        let sql = "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name";
        let rows = sqlx::query(sql).fetch_all(&mut connection).await.expect("its schema");
        // Two ways lead to the same columns with other white space.
        let squeezed = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ,", ",");
        rows.iter().map(|row| (row.get(0), squeezed(row.get(1)))).collect()
    })
}

#[test]
fn a_file_goes_forward_and_back() {
    let project = project();
    assert_eq!(stands(&project, 6), (0, "pending".to_owned()));
    assert!(!project.path("data").exists(), "looking makes nothing");
    project.compozy(&["migrate", "up", "--to", "3"]).ok();
    assert_eq!(stands(&project, 6), (3, "pending".to_owned()));
    let said = project.compozy(&["migrate", "up"]).ok();
    assert_eq!(said.stdout, "The schema was at version 3 and is at version 5\n");
    let said = project.compozy(&["migrate", "up"]).ok();
    assert_eq!(said.stdout, "The schema is at version 5; nothing was to be done\n");
    let id = ran(&project);
    let (before, run) = (schema(&project.database()), project.compozy(&["execution", "get", &id, "-o", "json"]).ok());
    for version in (1..5).rev() {
        let down = project.compozy(&["migrate", "down", "--to", &version.to_string(), "-o", "json"]).ok().json();
        assert_eq!((&down["version"], &down["state"]), (&json!(version), &json!("pending")));
        project.compozy(&["migrate", "up"]).ok();
        assert_eq!(schema(&project.database()), before, "after version {version}");
        assert_eq!(project.compozy(&["execution", "get", &id, "-o", "json"]).ok().json(), run.json());
        project.compozy(&["doctor", "--deep"]).ok();
    }
    let table = project.compozy(&["migrate", "down", "--steps", "1"]).ok();
    assert_eq!(table.stdout, "The schema was at version 5 and is at version 4\n");
    let table = project.compozy(&["migrate", "status"]);
    assert_eq!(table.code, 6);
    let last = table.stdout.lines().last().expect("a line").split_whitespace().collect::<Vec<_>>();
    assert_eq!(last, ["5", "transfer", "pending"]);
    // The next command brings it up to date by itself, unless it may not.
    let kept = project.compozy(&["workflow", "run", "quick", "--set", "database.auto_migrate=false"]);
    is_refused(&kept, "pending migrations");
    project.compozy(&["workflow", "run", "quick", "--param", "pad=1"]).ok();
    assert_eq!(stands(&project, 0), (5, "current".to_owned()));
}

#[test]
fn what_is_in_use_or_would_be_lost_is_refused() {
    let project = project();
    let id = ran(&project);
    let server = project.start();
    for arguments in [&["migrate", "up"][..], &["migrate", "down", "--steps", "1", "--force"]] {
        is_refused(&project.compozy(arguments), "in use by another process");
    }
    assert_eq!(stands(&project, 0).0, 5, "looking is allowed");
    server.stop();
    project.compozy(&["export", "backup.ndjson"]).ok();
    let copy = ["--db-path", "./data/copy.db"];
    let at_copy = |arguments: &[&str]| project.compozy(&[&copy, arguments].concat());
    at_copy(&["import", "backup.ndjson"]).ok();
    let refused = at_copy(&["migrate", "down", "--steps", "1"]);
    is_refused(&refused, "1 runs that know their export");
    assert_eq!(at_copy(&["migrate", "status", "-o", "json"]).ok().json()["version"], 5);
    at_copy(&["migrate", "down", "--steps", "1", "--force"]).ok();
    at_copy(&["migrate", "up"]).ok();
    at_copy(&["execution", "get", &id]).ok();
    // Some steps may go and a later one not: what went is gone.
    database::execute(
        &project.path("data/copy.db"),
        "INSERT INTO events (event_id, name, payload, source, published_at) VALUES ('e', 'n', '1', '{}', 1)",
    );
    is_refused(&at_copy(&["migrate", "down", "--to", "1"]), "1 published events");
    assert_eq!(at_copy(&["migrate", "status", "-o", "json"]).json()["version"], 2);
    at_copy(&["migrate", "up"]).ok();
}

#[test]
fn ways_that_lead_nowhere_are_told_so() {
    let project = project();
    for (arguments, code, said) in [
        (&["down"][..], 2, "--to"),
        (&["down", "--to", "1", "--steps", "1"], 2, "cannot be used with"),
        (&["down", "--steps", "0"], 2, "0"),
        (&["down", "--to", "x"], 2, "x"),
        (&["up", "--to", "0"], 2, "0"),
        (&["up", "--to", "-1"], 2, "-1"),
        (&["down", "--steps", "1"], 6, "there is no database yet"),
        (&["up", "--to", "9"], 6, "there is no migration 9"),
    ] {
        let output = project.compozy(&[&["migrate"], arguments].concat());
        assert!(output.code == code && output.stderr.contains(said), "{arguments:?}: {output}");
        assert!(!project.path("data").exists(), "{arguments:?}");
    }
    project.compozy(&["migrate", "up"]).ok();
    for (arguments, said) in [
        (&["down", "--to", "9"][..], "`migrate up` goes forward"),
        (&["down", "--steps", "5"], "at most 4 can be taken back"),
        (&["up", "--to", "2"], "`migrate down --to 2` goes back"),
    ] {
        is_refused(&project.compozy(&[&["migrate"], arguments].concat()), said);
    }
    let memory = project.compozy(&["migrate", "status", "--db-path", ":memory:"]);
    assert!(memory.code == 2 && memory.stderr.contains("nothing to migrate"), "{memory}");
    // A newer release, one changed by hand, and another program.
    let file = project.database();
    database::execute(&file, "INSERT INTO migrations VALUES (6, 'later', 'x', 1)");
    assert_eq!(stands(&project, 6), (6, "newer".to_owned()));
    for arguments in [&["up"][..], &["down", "--steps", "1"]] {
        is_refused(&project.compozy(&[&["migrate"], arguments].concat()), "newer than this program");
    }
    database::execute(&file, "UPDATE migrations SET version = 5, checksum = 'y' WHERE version = 5");
    for arguments in [&["up"][..], &["status"], &["down", "--steps", "1"]] {
        is_refused(&project.compozy(&[&["migrate"], arguments].concat()), "is not the one this program knows");
    }
    database::execute(&project.path("data/other.db"), "CREATE TABLE theirs (n)");
    for arguments in [&["up"][..], &["status"], &["down", "--steps", "1"]] {
        let all = [&["--db-path", "./data/other.db", "migrate"], arguments].concat();
        is_refused(&project.compozy(&all), "another program");
    }
}

#[test]
fn a_server_goes_forward_and_back() {
    let url = postgres::database();
    let mut project = Project::empty();
    project.file("compozy.yaml", "name: p\ndatabase: {conn_string: \"${DATABASE_OF_THE_TEST}\"}\n");
    project.file("workflows/quick.yaml", QUICK);
    project.env("DATABASE_OF_THE_TEST", &url);
    assert_eq!(stands(&project, 6), (0, "pending".to_owned()));
    project.compozy(&["migrate", "up", "--to", "1"]).ok();
    assert_eq!(stands(&project, 6), (1, "pending".to_owned()));
    project.compozy(&["migrate", "up"]).ok();
    let newest = stands(&project, 0).0;
    let id = ran(&project);
    let run = project.compozy(&["execution", "get", &id, "-o", "json"]).ok().json();
    let server = project.start();
    is_refused(&project.compozy(&["migrate", "down", "--steps", "1", "--force"]), "nodes work on the database");
    project.compozy(&["migrate", "up"]).ok();
    server.stop();
    let down = project.compozy(&["migrate", "down", "--to", "1", "-o", "json"]).ok().json();
    assert_eq!((&down["driver"], &down["version"]), (&json!("postgres"), &json!(1)), "{down:#}");
    let kept = project.compozy(&["execution", "list"]);
    assert_eq!(kept.code, 6, "{kept}");
    let up = project.compozy(&["migrate", "up", "-o", "json"]).ok().json();
    assert_eq!((&up["version"], &up["state"]), (&json!(newest), &json!("current")));
    assert_eq!(project.compozy(&["execution", "get", &id, "-o", "json"]).ok().json(), run);
    project.compozy(&["doctor", "--deep"]).ok();
    // What an import has left is not lost unasked.
    postgres::execute(&url, "UPDATE executions SET import_hash = 'h'".to_owned());
    is_refused(&project.compozy(&["migrate", "down", "--steps", "1"]), "1 runs that know their export");
    project.compozy(&["migrate", "down", "--steps", "1", "--force"]).ok();
    is_refused(&project.compozy(&["migrate", "down", "--steps", "1"]), "version 1 is the first");
    // A password is not told.
    let nowhere = project.compozy(&["migrate", "status", "--db-conn-string", "postgres://a:hunter2@127.0.0.1:1/x"]);
    assert!(nowhere.code == 7 && !format!("{nowhere}").contains("hunter2"), "{nowhere}");
    postgres::drop_database(&url);
}
