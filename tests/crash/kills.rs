//! Random programs of all task types, killed at random moments.
//!
//! `COMPOZY_TEST_KILLS=300` kills more often than the usual 30, `COMPOZY_TEST_SEED` chooses other programs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::ledger::{Ledger, check_effects, doctor, wait_all};
use crate::support::effects::Effects;
use crate::support::oracle::{self, Expected};
use crate::support::program::{self, Program};
use crate::support::random::Random;
use crate::support::{Project, Server};

/// Programs that a loop chooses from.
const PROGRAMS: u64 = 16;
/// Starts that one life of the server is asked for.
const STARTS_PER_LIFE: u32 = 6;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

pub(super) fn project_of(programs: &[Program], effects: &Effects) -> Project {
    let project = Project::sqlite(&(program::project_file(&effects.grant()) + "memories: [{id: log}]\n"));
    project.component("guests/zoo");
    project.file(&format!("workflows/{}.yaml", program::SUB), program::sub_workflow(&effects.url()));
    for program in programs {
        project.file(&format!("workflows/{}.yaml", program.id), program.workflow(&effects.url()));
    }
    project
}

#[test]
fn killed_at_random_moments() {
    let kills = setting("COMPOZY_TEST_KILLS", 30);
    let seed = setting("COMPOZY_TEST_SEED", 1);
    let programs: Vec<Program> = (0..PROGRAMS).map(|number| Program::random(seed * 1000 + number)).collect();
    let effects = Effects::listen();
    let project = project_of(&programs, &effects);
    let mut random = Random::new(seed);
    let mut ledger = Ledger::default();
    for life in 0..kills {
        let server = project.start();
        let acknowledged = starts_until_killed(server, &programs, &mut random, life);
        ledger.acknowledged.extend(acknowledged);
        effects.next_life();
        ledger.check(&project, &effects);
        doctor(&project);
    }
    let server = project.start();
    let ended = wait_all(&server);
    assert_eq!(server.stop().code, 0);
    effects.next_life();
    ledger.check(&project, &effects);
    doctor(&project);
    assert!(
        ledger.acknowledged.len() as u64 >= kills,
        "too few starts to mean anything: {}",
        ledger.acknowledged.len()
    );
    for (exec_id, run) in &ended {
        if run["workflow_id"] == program::SUB {
            check_sub_run(exec_id, run, &ended, &effects);
            continue;
        }
        check_result(exec_id, run, &programs, &effects);
        let expected = programs.iter().find(|program| run["workflow_id"] == program.id.as_str()).map(oracle::sub_runs);
        let started = ended.values().filter(|sub| sub["parent_exec_id"] == exec_id.as_str()).count();
        assert_eq!(Some(started), expected, "sub-runs of {exec_id}: {run:#}");
    }
    for exec_id in ledger.acknowledged.keys() {
        assert!(ended.contains_key(exec_id), "{exec_id} has not ended");
    }
    check_effects(&effects);
}

/// Posts starts from two clients and kills the server at a random moment. Returns what was acknowledged.
fn starts_until_killed(server: Server, programs: &[Program], random: &mut Random, life: u64) -> Vec<(String, usize)> {
    let moment = Duration::from_millis(random.between(10, 300));
    let acknowledged = Mutex::new(Vec::new());
    let (started, dead) = (AtomicU32::new(0), AtomicBool::new(false));
    let choices: Vec<usize> = (0..STARTS_PER_LIFE).map(|_| (random.next() % programs.len() as u64) as usize).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !dead.load(Ordering::SeqCst) {
                    let number = started.fetch_add(1, Ordering::SeqCst);
                    let Some(choice) = choices.get(number as usize) else { return };
                    let Some(exec_id) = start(&server, &programs[*choice], &format!("{life}-{number}")) else { return };
                    acknowledged.lock().unwrap().push((exec_id, *choice));
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        std::thread::sleep(moment);
        server.signal("KILL");
        dead.store(true, Ordering::SeqCst);
    });
    server.kill();
    acknowledged.into_inner().unwrap()
}

/// The run's id once the start is acknowledged; `None` if the server died before.
pub(super) fn start(server: &Server, program: &Program, key: &str) -> Option<String> {
    super::ledger::start(server, &program.id, &json!({"n": program.input}), key)
}

/// A sub-run gives what it was asked for, and somebody asked for it.
fn check_sub_run(exec_id: &str, run: &Value, all: &BTreeMap<String, Value>, effects: &Effects) {
    assert!(run["parent_exec_id"].as_str().is_some_and(|parent| all.contains_key(parent)), "{run:#}");
    let n = run["input"]["n"].as_i64().zip(run["input"]["add"].as_i64()).map(|(n, add)| n + add);
    assert_eq!((&run["status"], run["output"]["n"].as_i64()), (&json!("SUCCESS"), n), "{run:#}");
    assert!(effects.count(&format!("{exec_id}:trace:1")) >= 1, "the effect of {exec_id} never happened");
}

pub(super) fn check_result(exec_id: &str, run: &Value, programs: &[Program], effects: &Effects) {
    let workflow = run["workflow_id"].as_str().expect("workflow_id");
    let program = programs.iter().find(|program| program.id == workflow).expect("a known program");
    match oracle::result(program) {
        Expected::Success(number) => {
            assert_eq!(
                (&run["status"], &run["output"]),
                (&json!("SUCCESS"), &json!({"n": number})),
                "{program:?} {run:#}"
            );
        }
        Expected::Failed => assert_eq!(run["status"], "FAILED", "{program:?} {run:#}"),
    }
    for key in oracle::effects(program, exec_id) {
        assert!(effects.count(&key) >= 1, "the effect {key} never happened");
    }
}
