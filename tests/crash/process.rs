//! One workflow, and a process that ends before or after each of its own commits, from its very first, or does not learn
//! how it ended.

use std::collections::BTreeSet;

use super::kills::{project_of, start};
use super::ledger::{Ledger, check_effects, check_result, doctor, wait_all};
use crate::support::database::Snapshot;
use crate::support::effects::Effects;
use crate::support::program::{self, Program};
use crate::support::{Project, wait};

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
        let crashed = live_until_crash(&project, &program, &mut ledger, &format!("{side}:{commit}"), "the-key");
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
fn live_until_crash(project: &Project, program: &Program, ledger: &mut Ledger, point: &str, key: &str) -> bool {
    let mut server = match project.try_start(&[], &[("COMPOZY_CRASH_POINT", point)]) {
        Ok(server) => server,
        Err(output) => {
            assert_eq!(output.code, 134, "it aborts, nothing else: {output}");
            return true;
        }
    };
    if let Some(exec_id) = start(&server, program, key) {
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

/// A server takes a run over and is not told how its first, second, … commit ended: its own row, the recovery, the
/// claim, and what the run commits.
#[test]
fn a_takeover_loses_the_answer_to_every_commit() {
    let program = every_kind();
    let effects = Effects::listen();
    let project = project_of(std::slice::from_ref(&program), &effects);
    let mut ledger = Ledger::default();
    for commit in 1..100 {
        let crashed = live_until_crash(&project, &program, &mut ledger, "after:run:4", &format!("key-{commit}"));
        assert!(crashed, "COMPOZY_CRASH_POINT does nothing here");
        effects.next_life();
        ledger.check(&project, &effects);
        let server = project.start_with(&[], &[("COMPOZY_CRASH_POINT", &format!("unknown:{commit}"))]);
        let ended = wait_all(&server);
        let output = server.stop();
        assert_eq!(output.code, 0, "{output}");
        effects.next_life();
        ledger.check(&project, &effects);
        doctor(&project);
        assert_eq!(ended.len(), commit);
        for (exec_id, run) in &ended {
            check_result(exec_id, run, std::slice::from_ref(&program), &effects);
        }
        check_effects(&effects);
        if !output.stderr.contains("nobody is told") {
            assert!(commit > 10, "{commit} was never reached: COMPOZY_CRASH_POINT does nothing here");
            return;
        }
    }
    panic!("the takeover never ended without losing an answer");
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
