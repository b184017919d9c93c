//! Random programs exported while they run, from each database into each other: every run ends as it must.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::effects::Effects;
use crate::support::oracle::{self, Expected};
use crate::support::program::{self, Program};
use crate::support::{Project, Server, postgres, wait};

const PROGRAMS: u64 = 12;
/// Runs of each program.
const RUNS: usize = 2;

/// Where the runs are, and what becomes of them there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    File,
    Server,
    Memory,
}

fn project_of(programs: &[Program], effects: &Effects, url: &str) -> Project {
    let mut project = Project::empty();
    let rest = format!("{}memories: [{{id: log}}]\n", program::project_file(&effects.grant()));
    for (name, database) in [
        ("file", "driver: sqlite, path: ./data/file.db"),
        ("server", "conn_string: \"${DATABASE_OF_THE_TEST}\""),
        ("memory", "driver: sqlite, path: ':memory:'"),
    ] {
        project.file(&format!("{name}.yaml"), format!("name: moved\ndatabase: {{{database}}}\n{rest}"));
    }
    project.env("DATABASE_OF_THE_TEST", url);
    project.component("guests/zoo");
    project.file(&format!("workflows/{}.yaml", program::SUB), program::sub_workflow(&effects.url()));
    for program in programs {
        project.file(&format!("workflows/{}.yaml", program.id), program.workflow(&effects.url()));
    }
    project
}

impl Database {
    fn arguments(self) -> [&'static str; 2] {
        let name = match self {
            Self::File => "file.yaml",
            Self::Server => "server.yaml",
            Self::Memory => "memory.yaml",
        };
        ["--config", name]
    }
}

/// Every run of a server's database.
fn all(server: &Server) -> Vec<Value> {
    let list = server.get("/api/v0/executions/workflows?limit=500");
    assert_eq!(list.status, 200, "{}", list.text());
    let data = list.data();
    data["executions"].as_array().expect("a list").clone()
}

fn is_one_of(run: &Value, words: &[&str]) -> bool {
    words.iter().any(|word| run["status"] == *word)
}

/// Imports what is at `backup` and lets all of it go on to its end.
fn goes_on(project: &Project, to: Database, programs: &[Program], started: &[(String, usize)]) {
    // In memory a server must be there; a cut-over asks for nothing more.
    let server = (to == Database::Memory).then(|| project.start_with(&to.arguments(), &[]));
    let in_flight = if to == Database::Memory { "resume" } else { "pause" };
    let import = ["import", "backup", "--in-flight", in_flight, "--verify"];
    let imported = project.compozy(&[&to.arguments()[..], &import[..]].concat()).ok();
    assert!(imported.stderr.contains("Verified: exported again"), "{imported}");
    let server = server.unwrap_or_else(|| project.start_with(&to.arguments(), &[]));
    for run in all(&server) {
        if run["status"] == "PAUSED" {
            let exec_id = run["exec_id"].as_str().expect("an id");
            let resumed = server.post(&format!("/api/v0/executions/workflows/{exec_id}/resume"), &json!({}));
            // Its parent has resumed it meanwhile, and it may have ended.
            assert!(resumed.status < 300 || resumed.status == 409, "{}", resumed.text());
        }
    }
    let ended = wait::until("the end of all runs", || {
        let runs = all(&server);
        let left = runs.iter().any(|run| !is_one_of(run, &["SUCCESS", "FAILED", "CANCELED", "TIMED_OUT"]));
        (!left).then_some(runs)
    });
    for (exec_id, number) in started {
        let run = ended.iter().find(|run| run["exec_id"] == exec_id.as_str());
        let Some(run) = run else { panic!("{exec_id} did not come along") };
        let run = server.run(run["exec_id"].as_str().expect("an id"));
        let program = &programs[*number];
        match oracle::result(program) {
            Expected::Success(n) => {
                assert_eq!(
                    (&run["status"], &run["output"]),
                    (&json!("SUCCESS"), &json!({"n": n})),
                    "{program:?} {run:#}"
                );
            }
            Expected::Failed => assert_eq!(run["status"], "FAILED", "{program:?} {run:#}"),
        }
        let subs = ended.iter().filter(|sub| sub["parent_exec_id"] == exec_id.as_str()).count();
        assert_eq!(subs, oracle::sub_runs(program), "sub-runs of {exec_id}: {run:#}");
    }
    assert_eq!(server.stop().code, 0);
    if to != Database::Memory {
        project.compozy(&[&to.arguments()[..], &["doctor", "--deep"]].concat()).ok();
    }
}

#[test]
fn random_programs_go_on_wherever_they_are_moved_to() {
    for (seed, from, to) in [
        (7_100, Database::File, [Database::Server, Database::Memory]),
        (7_200, Database::Server, [Database::File, Database::Memory]),
    ] {
        let programs: Vec<Program> = (0..PROGRAMS).map(|number| Program::random(seed + number)).collect();
        let effects = Effects::listen();
        let url = postgres::database();
        let project = project_of(&programs, &effects, &url);
        let server = project.start_with(&from.arguments(), &[]);
        let start = |number: usize| {
            let program = &programs[number % programs.len()];
            (server.start_run(&program.id, json!({"n": program.input})), number % programs.len())
        };
        let started: Vec<(String, usize)> = (0..programs.len() * RUNS).map(start).collect();
        std::thread::sleep(Duration::from_millis(30));
        project.compozy(&[&from.arguments()[..], &["export", "backup"]].concat()).ok();
        let under_way = std::fs::read_to_string(project.path("backup")).expect("the export");
        let under_way = under_way.lines().filter(|line| line.contains("\"status\":\"RUNNING\"")).count();
        assert!(under_way > 0, "nothing was under way any more");
        server.kill();
        for to in to {
            goes_on(&project, to, &programs, &started);
        }
        for (exec_id, number) in &started {
            for key in oracle::effects(&programs[*number], exec_id) {
                assert!(effects.count(&key) >= 1, "the effect {key} never happened");
            }
        }
        postgres::drop_database(&url);
    }
}
