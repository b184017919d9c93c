//! Random programs of all task types, killed at random moments.
//!
//! `COMPOZY_TEST_KILLS=300` kills more often than the usual 30, `COMPOZY_TEST_SEED` chooses other programs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use super::ledger::{Ledger, check_effects, check_ends, doctor, wait_all};
use crate::support::effects::Effects;
use crate::support::program::{self, Program};
use crate::support::random::Random;
use crate::support::{Project, Server, setting};

/// Programs that a loop chooses from.
const PROGRAMS: u64 = 16;
/// Starts that one life of the server is asked for.
const STARTS_PER_LIFE: u32 = 6;

pub(super) fn project_of(programs: &[Program], effects: &Effects) -> Project {
    let project = Project::sqlite(&(program::project_file(&effects.grant()) + program::MEMORIES));
    program::furnish(&project, programs, &effects.url());
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
    check_ends(&ended, &programs, &effects);
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
