//! The same programs on every store, and on one node and three: the same results and the same canonical journals.
//!
//! `COMPOZY_TEST_PROGRAMS=500` runs more of them, `COMPOZY_TEST_SEED` chooses others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::canonical;
use super::nodes::Cluster;
use crate::crash::ledger;
use crate::support::effects::Effects;
use crate::support::program::{self, Program};
use crate::support::sse::Stream;
use crate::support::{Project, Server, database, postgres, setting};

/// Programs unless another number is asked for.
const USUAL: u64 = 40;

/// One run at a time, so that nodes take what others were asked for.
const ONE_AT_A_TIME: [&str; 2] = ["--set", "engine.max_concurrent_runs=1"];

/// By program: the journal of its run, and after it those of its sub-runs.
type Journals = BTreeMap<String, Vec<String>>;

#[test]
fn every_store_and_any_number_of_nodes_tell_the_same_story() {
    let (count, seed) = (setting("COMPOZY_TEST_PROGRAMS", USUAL), setting("COMPOZY_TEST_SEED", 1));
    let programs: Vec<Program> = (0..count).map(|number| Program::random(seed * 10_000 + number)).collect();
    let expected = alone("./data/compozy.db", &programs);
    assert!(expected.values().all(|journal| journal.len() > 4), "{expected:#?}");
    for (place, journals) in [
        (":memory:", alone(":memory:", &programs)),
        ("PostgreSQL, one node", together(1, &programs)),
        ("PostgreSQL, three nodes", together(3, &programs)),
    ] {
        for program in &programs {
            let (here, there) = (&journals[&program.id], &expected[&program.id]);
            let first = here.iter().zip(there).position(|(here, there)| here != there);
            let first = first.unwrap_or(here.len().min(there.len()));
            assert_eq!(here, there, "{place}: {program:?} differs from a SQLite file in line {first}");
        }
    }
}

/// On one node with a SQLite database.
fn alone(path: &str, programs: &[Program]) -> Journals {
    let effects = Effects::listen();
    let database = format!("database: {{driver: sqlite, path: \"{path}\"}}\n");
    let project = Project::empty();
    project.file("compozy.yaml", database + &program::project_file(&effects.grant()) + program::MEMORIES);
    program::furnish(&project, programs, &effects.url());
    let server = project.start();
    run_all(programs, |_| server.address.clone());
    let journals = journals(&server, programs, &effects);
    assert_eq!(server.stop().code, 0);
    journals
}

/// On so many nodes with one PostgreSQL.
fn together(count: usize, programs: &[Program]) -> Journals {
    let url = postgres::database();
    let cluster = Cluster::new(&url, "10s", count, programs);
    (0..count).for_each(|number| cluster.start_with(number, &ONE_AT_A_TIME));
    run_all(programs, |number| cluster.with(number % count, |server| server.address.clone()));
    cluster.wait_all();
    let journals = cluster.with(0, |server| journals(server, programs, &cluster.effects));
    let nodes = "SELECT DISTINCT node FROM attempts";
    assert_eq!(database::server_column(&url, nodes).len(), count, "every node has run something");
    cluster.stop();
    postgres::drop_database(&url);
    journals
}

/// Starts a run of each from three clients.
fn run_all(programs: &[Program], address: impl Fn(usize) -> String + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(program) = programs.get(number) else { return };
                    let path = format!("/api/v0/workflows/{}/executions", program.id);
                    let body = json!({"input": {"n": program.input}}).to_string();
                    let headers = [("content-type", "application/json")];
                    let answer =
                        crate::support::http::send(&address(number), "POST", &path, &headers, Some(body.as_bytes()));
                    assert_eq!(answer.expect("an answer").status, 202, "{}", program.id);
                }
            });
        }
    });
}

/// Waits for every end, and reads what is told of it.
fn journals(server: &Server, programs: &[Program], effects: &Effects) -> Journals {
    let ended = ledger::wait_all(server);
    ledger::check_ends(&ended, programs, effects);
    assert!(effects.counts().values().all(|lives| lives.values().sum::<u32>() == 1), "nothing runs twice here");
    let mut journals = Journals::new();
    for (exec_id, run) in ended.iter().filter(|(_, run)| run["workflow_id"] != program::SUB) {
        let mut journal = read(server, exec_id);
        // Ids grow with time.
        for (sub, _) in ended.iter().filter(|(_, sub)| sub["parent_exec_id"] == exec_id.as_str()) {
            journal.extend(read(server, sub));
        }
        let workflow = run["workflow_id"].as_str().expect("workflow_id").to_owned();
        assert!(journals.insert(workflow, journal).is_none(), "one run of each");
    }
    journals
}

fn read(server: &Server, exec_id: &str) -> Vec<String> {
    let path = format!("/api/v0/executions/workflows/{exec_id}/stream");
    canonical::journal(&Stream::open(&server.address, &path, None).and_then(Stream::rest).expect("the stream"))
}
