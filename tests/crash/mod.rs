//! kill -9 at any moment, any number of times: no acknowledged start is lost, no recorded step runs again, no run gets
//! stuck, and every run ends with the result that the oracle knows.
//!
//! `COMPOZY_TEST_KILLS=300` kills more often than the usual 30, `COMPOZY_TEST_SEED` chooses other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::database::Snapshot;
use crate::support::effects::Effects;
use crate::support::oracle::{self, Expected};
use crate::support::program::{self, Program};
use crate::support::random::Random;
use crate::support::{Project, Server, wait};

/// Programs that a loop chooses from.
const PROGRAMS: u64 = 10;
/// Starts that one life of the server is asked for.
const STARTS_PER_LIFE: u32 = 6;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn project_of(programs: &[Program], effects: &Effects) -> Project {
    let project = Project::sqlite(&program::project_file(&effects.grant()));
    project.component("guests/zoo");
    for program in programs {
        project.file(&format!("workflows/{}.yaml", program.id), program.workflow(&effects.url()));
    }
    project
}

/// What the outside knows: which starts were acknowledged, and which steps were seen recorded with how many effects.
#[derive(Debug, Default)]
struct Ledger {
    /// Program number by run.
    acknowledged: BTreeMap<String, usize>,
    /// Effects of a step at the moment it was first seen recorded.
    frozen: BTreeMap<String, u32>,
}

impl Ledger {
    /// Compares a database whose process was just killed with what the outside knows.
    fn check(&mut self, project: &Project, effects: &Effects) {
        let snapshot = Snapshot::of(&project.database());
        assert_eq!(snapshot.violations, Vec::<String>::new());
        for exec_id in self.acknowledged.keys() {
            assert!(snapshot.runs.contains_key(exec_id), "the start of {exec_id} was acknowledged and is lost");
        }
        for (key, count) in &self.frozen {
            assert!(snapshot.recorded.contains(key), "the record of {key} is lost");
            assert_eq!(effects.count(key), *count, "{key} was recorded and ran again");
        }
        for key in snapshot.recorded {
            let count = effects.count(&key);
            self.frozen.entry(key).or_insert(count);
        }
    }
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
        check_result(exec_id, run, &programs, &effects);
    }
    for exec_id in ledger.acknowledged.keys() {
        assert!(ended.contains_key(exec_id), "{exec_id} has not ended");
    }
    check_effects(&effects);
}

/// `doctor --deep` finds nothing to complain about.
fn doctor(project: &Project) {
    // The usual port may be taken on this machine, which is not the question.
    project.compozy(&["doctor", "--deep", "--local", "--port", "0"]).ok();
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
fn start(server: &Server, program: &Program, key: &str) -> Option<String> {
    let path = format!("/api/v0/workflows/{}/executions", program.id);
    let body = json!({"input": {"n": program.input}});
    let response = server.try_send("POST", &path, &[("idempotency-key", key)], Some(&body)).ok()?;
    assert_eq!(response.status, 202, "{}", response.text());
    Some(response.data()["exec_id"].as_str().expect("exec_id").to_owned())
}

/// Waits until no run is under way and returns every run's document.
fn wait_all(server: &Server) -> BTreeMap<String, Value> {
    wait::until("the end of all runs", || {
        let active = server.get("/api/v0/executions/workflows?status=active&limit=1").data();
        active["executions"].as_array().expect("executions").is_empty().then_some(())
    });
    let mut documents = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/api/v0/executions/workflows?limit=500{cursor}")).data();
        for execution in page["executions"].as_array().expect("executions") {
            let exec_id = execution["exec_id"].as_str().expect("exec_id");
            documents.insert(exec_id.to_owned(), server.run(exec_id));
        }
        match page["page"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return documents,
        }
    }
}

fn check_result(exec_id: &str, run: &Value, programs: &[Program], effects: &Effects) {
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

/// Between two kills no step is executed twice, as none of the steps with an effect fails.
fn check_effects(effects: &Effects) {
    for (key, lives) in effects.counts() {
        for (life, count) in lives {
            assert_eq!(count, 1, "{key} ran {count} times in life {life} of the server");
        }
    }
}

/// A program with every kind of step, small enough to be crashed at each of its commits.
fn every_kind() -> Program {
    use program::Step::{Add, AddAndSleep, Effect, Handled, Loop, Retry};
    let steps = vec![Effect, AddAndSleep(1, 5), Retry(1, 2), Handled(3), Loop(2, 4), Add(5), Effect];
    Program { id: "every-kind".to_owned(), input: 7, steps }
}

/// The server aborts before (`before:N`) or after (`after:N`) its N-th commit; only debug builds can.
fn crashed_at_every_commit(side: &str) {
    let program = every_kind();
    for commit in 1..200 {
        let effects = Effects::listen();
        let project = project_of(std::slice::from_ref(&program), &effects);
        let mut ledger = Ledger::default();
        let crashed = live_until_crash(&project, &program, &mut ledger, &format!("{side}:{commit}"));
        effects.next_life();
        if !crashed {
            assert!(commit > 10, "{commit} was never reached: COMPOZY_CRASH_POINT does nothing here");
            return;
        }
        if project.database().exists() {
            ledger.check(&project, &effects);
        }
        go_on(&project, &program, &effects, &mut ledger);
    }
    panic!("the scenario never ended without a crash");
}

/// Lives with a crash point; true if it was reached.
fn live_until_crash(project: &Project, program: &Program, ledger: &mut Ledger, point: &str) -> bool {
    let mut server = match project.try_start(&[], &[("COMPOZY_CRASH_POINT", point)]) {
        Ok(server) => server,
        Err(output) => {
            assert_eq!(output.code, 134, "it aborts, nothing else: {output}");
            return true;
        }
    };
    if let Some(exec_id) = start(&server, program, "the-key") {
        ledger.acknowledged.insert(exec_id.clone(), 0);
        let path = format!("/api/v0/executions/workflows/{exec_id}");
        wait::until("the end of the run or of the server", || {
            let document = server.try_send("GET", &path, &[], None).ok();
            let ended =
                document.is_some_and(|document| document.status == 200 && document.data()["finished_at"].is_string());
            (ended || server.has_ended()).then_some(())
        });
    }
    let output = if server.has_ended() { server.finish() } else { server.stop() };
    assert!([0, 134].contains(&output.code), "{output}");
    output.code != 0
}

/// The next life: the client asks again with its key, and all is as if nothing had happened.
fn go_on(project: &Project, program: &Program, effects: &Effects, ledger: &mut Ledger) {
    let server = project.start();
    let exec_id = start(&server, program, "the-key").expect("this server lives");
    for acknowledged in ledger.acknowledged.keys() {
        assert_eq!(*acknowledged, exec_id, "one key, one run");
    }
    let run = server.wait_run(&exec_id);
    check_result(&exec_id, &run, std::slice::from_ref(program), effects);
    assert_eq!(server.stop().code, 0);
    effects.next_life();
    ledger.check(project, effects);
    check_effects(effects);
    let runs: BTreeSet<String> = Snapshot::of(&project.database()).runs.into_keys().collect();
    assert_eq!(runs, BTreeSet::from([exec_id]));
    doctor(project);
}

#[test]
fn crashed_before_every_commit() {
    crashed_at_every_commit("before");
}

#[test]
fn crashed_after_every_commit() {
    crashed_at_every_commit("after");
}

/// A run of a command that was killed goes on in the next server, once the command's lease has ended.
#[test]
fn a_killed_command_is_taken_over() {
    let program = every_kind();
    let effects = Effects::listen();
    let project = project_of(std::slice::from_ref(&program), &effects);
    // The command's own lease; the server looks for such every third of its.
    let lease = ["--set", "cluster.lease=1s"];
    let input = format!("n={}", program.input);
    let mut command = project.spawn(&[&lease[..], &["workflow", "run", &program.id, "--param", &input]].concat());
    wait::until("the first step", || command.stderr().contains("s0: SUCCESS").then_some(()));
    command.kill();
    effects.next_life();
    let mut ledger = Ledger::default();
    ledger.check(&project, &effects);
    let server = project.start_with(&lease, &[]);
    let ended = wait_all(&server);
    assert_eq!(ended.len(), 1);
    for (exec_id, run) in &ended {
        check_result(exec_id, run, std::slice::from_ref(&program), &effects);
    }
    assert_eq!(server.stop().code, 0);
    effects.next_life();
    ledger.check(&project, &effects);
    check_effects(&effects);
    doctor(&project);
}
