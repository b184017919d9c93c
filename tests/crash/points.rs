//! Every workflow of `cases` dies before and after each of its commits, and loses the answer to each of them.
//!
//! A life of the server first ends what the last one left behind and then begins the run that it dies with, so that one
//! start of a process serves one point. `COMPOZY_TEST_CASE=signals` looks at one case only.
//!
//! On PostgreSQL a new process waits for the lease of the dead one, so lives there are longer: each case dies at some of
//! its commits, other ones than its neighbours, and begins its next run at once. `COMPOZY_TEST_EVERY=1` takes them all.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cases::{self, Case};
use super::ledger::{self, Ledger};
use crate::support::effects::Effects;
use crate::support::{Project, Server, postgres, program, setting, wait};

/// More commits than any case has.
const MOST: usize = 100;

/// What cases use besides what programs do.
const MEMORY: &str = "llm: {providers: [{id: mock, type: mock}]}\n\
                      memories: [{id: chat, max_messages: 4}, {id: log}]\n";
/// How often the server is asked whether all runs have ended: each time costs both processes something.
const LOOK: std::time::Duration = std::time::Duration::from_millis(10);

/// Longer than a process takes to die once it has reached its point.
const DEATH: std::time::Duration = std::time::Duration::from_millis(80);

/// A case in a project of its own.
struct Bench {
    case: Case,
    project: Project,
    effects: Effects,
    ledger: Ledger,
}

/// Where a case keeps its runs.
#[derive(Debug, Clone, Copy)]
enum Store {
    Sqlite,
    Postgres,
}

impl Bench {
    fn new(case: &Case, store: Store) -> Self {
        let effects = Effects::listen();
        let extra = program::project_file(&effects.grant()) + MEMORY;
        let project = match store {
            Store::Sqlite => Project::sqlite(&extra),
            Store::Postgres => Project::postgres(&postgres::database(), "1s", &extra),
        };
        project.component("guests/zoo");
        let started = case.starts.iter().map(|started| (started.id, started.workflow));
        for (id, workflow) in started.chain([(case.id, case.workflow)]) {
            let text = format!("id: {id}{}", workflow.replace("URL", &effects.url()));
            project.file(&format!("workflows/{id}.yaml"), text);
        }
        Self { case: *case, project, effects, ledger: Ledger::default() }
    }

    fn live(&self, point: &str) -> Server {
        self.project.start_with(&[], &[("COMPOZY_CRASH_POINT", point)])
    }

    fn start(&mut self, server: &Server, number: usize) {
        if let Some(exec_id) = ledger::start(server, self.case.id, &json!({}), &format!("key-{number}")) {
            self.ledger.acknowledged.insert(exec_id, number);
        }
    }

    /// Waits until all runs have ended, or the server. Cancels what is to be canceled.
    fn settle(&self, server: &mut Server) {
        let mut asked = Vec::new();
        wait::until(&format!("the end of all runs of {}, or of the server", self.case.id), || {
            let active = ledger::active(server);
            for exec_id in active.iter().flatten().filter(|_| self.case.cancel.is_some()) {
                let seen = self.case.cancel.is_some_and(|key| self.effects.count(&format!("{exec_id}:{key}")) > 0);
                if seen && !asked.contains(exec_id) {
                    let path = format!("/api/v0/executions/workflows/{exec_id}/cancel");
                    // It dies with the server, and is asked for again in its next life.
                    let _answer = server.try_send("POST", &path, &[], Some(&json!({"reason": "enough"})));
                    asked.push(exec_id.clone());
                }
            }
            let settled = active.is_some_and(|active| active.is_empty()) || server.has_ended();
            if !settled {
                std::thread::sleep(LOOK);
            }
            settled.then_some(())
        });
    }

    /// Looks at the database after a death: as the outside knows it, and as `doctor --deep` does.
    fn inspect(&mut self) {
        self.effects.next_life();
        self.ledger.check(&self.project, &self.effects);
        ledger::doctor(&self.project);
    }

    /// Everything has ended: is it as it must be?
    fn check(&self, documents: &BTreeMap<String, Value>) {
        for exec_id in self.ledger.acknowledged.keys() {
            assert!(documents.contains_key(exec_id), "{exec_id} is lost");
        }
        let case = &self.case;
        let own = |run: &Value| run["workflow_id"] == case.id;
        let runs = documents.values().filter(|run| own(run)).count();
        for started in case.starts {
            let theirs = documents.iter().filter(|(_, run)| run["workflow_id"] == started.id);
            let theirs: Vec<_> = theirs.collect();
            let (count, most) = (theirs.len(), runs * started.count);
            // A cancel may come before the run that it then need not reach.
            assert!(
                count == most || (case.cancel.is_some() && count < most),
                "{count} runs, not {most}: {}",
                started.id
            );
            for (exec_id, run) in theirs {
                assert_eq!(run["status"], started.status, "{}: {run:#}", started.id);
                for key in started.effects {
                    assert!(self.effects.count(&format!("{exec_id}:{key}")) > 0, "{exec_id}: no effect {key}");
                }
            }
        }
        for (exec_id, run) in documents.iter().filter(|(_, run)| own(run)) {
            assert_eq!(run["status"], case.status, "{}: {run:#}", case.id);
            if !case.output.is_empty() {
                let expected: Value = serde_json::from_str(case.output).expect("the case's output is JSON");
                assert_eq!(run["output"], expected, "{}: {run:#}", case.id);
            }
            for key in case.effects {
                assert!(self.effects.count(&format!("{exec_id}:{key}")) > 0, "the effect {key} never happened");
            }
        }
        for key in self.effects.counts().keys() {
            let mut effects = case.starts.iter().flat_map(|started| started.effects).chain(case.effects);
            let known = effects.any(|effect| key.ends_with(&format!(":{effect}")));
            assert!(known, "the effect {key} of {} should never have happened", case.id);
        }
        self.each_signal_starts_one_run(documents);
        ledger::check_effects(&self.effects);
    }
}

impl Bench {
    /// A run that was started by a signal is the only one of its workflow that this signal has started.
    fn each_signal_starts_one_run(&self, documents: &BTreeMap<String, Value>) {
        let mut seen = std::collections::BTreeSet::new();
        for (exec_id, run) in documents.iter().filter(|(_, run)| run["trigger"]["type"] == "signal") {
            let signal = (run["workflow_id"].to_string(), run["trigger"]["signal_id"].to_string());
            assert!(seen.insert(signal), "{exec_id}: {run:#}");
        }
    }
}

/// The process ends at commit 1, 2, … of a run until there are no more.
fn dies_at_every_commit(case: &Case, side: &str) {
    let mut bench = Bench::new(case, Store::Sqlite);
    for number in 1..MOST {
        let mut server = bench.live(&format!("{side}:run:{number}"));
        bench.settle(&mut server);
        bench.start(&server, number);
        bench.settle(&mut server);
        // A process that dies after the last commit shows the end of the run a little earlier.
        if !server.has_ended() {
            std::thread::sleep(DEATH);
        }
        if !server.has_ended() {
            assert!(number > 3, "{side}:run:{number} was never reached: COMPOZY_CRASH_POINT does nothing here");
            server.kill();
            bench.inspect();
            let server = bench.project.start();
            let documents = ledger::wait_all(&server);
            assert_eq!(server.stop().code, 0);
            bench.inspect();
            return bench.check(&documents);
        }
        let output = server.finish();
        assert_eq!(output.code, 134, "it aborts, nothing else: {output}");
        bench.inspect();
    }
    panic!("{} never ended without a crash", case.id);
}

/// Commits of a run on PostgreSQL that are tried, counted from its start: what follows is claims and renewals.
const TRIED: usize = 22;

/// On PostgreSQL: processes end at commits of a run, each at another one, and at last one lives on. Says how many
/// died.
fn dies_at_some_commits(case: &Case, index: usize, every: usize) -> usize {
    let mut bench = Bench::new(case, Store::Postgres);
    let mut deaths = 0;
    for number in (1 + index % every..TRIED).step_by(every) {
        let side = if (index + number / every).is_multiple_of(2) { "before" } else { "after" };
        let mut server = bench.live(&format!("{side}:run:{number}"));
        bench.start(&server, number);
        bench.settle(&mut server);
        if !server.has_ended() {
            std::thread::sleep(DEATH);
        }
        if server.has_ended() {
            let output = server.finish();
            assert_eq!(output.code, 134, "it aborts, nothing else: {output}");
            deaths += 1;
        } else {
            server.kill();
        }
        bench.inspect();
    }
    let mut server = bench.project.start();
    bench.settle(&mut server);
    let documents = ledger::wait_all(&server);
    assert_eq!(server.stop().code, 0);
    bench.inspect();
    bench.check(&documents);
    deaths
}

/// One process, and of its n-th run the n-th commit succeeds without anyone being told.
fn loses_the_answer_to_every_commit(case: &Case, store: Store) {
    let mut bench = Bench::new(case, store);
    let mut server = bench.live("unknown:run:each");
    for number in 1..MOST {
        bench.start(&server, number);
        bench.settle(&mut server);
        assert!(!server.has_ended(), "{}", server.stderr());
        let lost = server.stderr().matches("nobody is told").count();
        if lost < number {
            // The slower the database, the more goes into one commit.
            let least = if matches!(store, Store::Postgres) { 1 } else { 3 };
            assert!(number > least, "commit {number} was never reached: COMPOZY_CRASH_POINT does nothing here");
            let documents = ledger::documents(&server);
            let own = documents.values().filter(|run| run["workflow_id"] == case.id).count();
            assert_eq!(own, number, "one start, one run");
            assert_eq!(server.stop().code, 0);
            bench.inspect();
            return bench.check(&documents);
        }
    }
    panic!("{} never ended without losing an answer", case.id);
}

/// Four at a time: a life mostly waits.
fn at_every_commit(case: impl Fn(&Case, usize) + Sync) {
    let all: Vec<&Case> = cases::all().collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let only = std::env::var("COMPOZY_TEST_CASE").ok();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let Some(chosen) = all.get(index) else { return };
                    if only.as_deref().is_none_or(|only| only == chosen.id) {
                        case(chosen, index);
                    }
                }
            });
        }
    });
}

#[test]
fn every_case_dies_before_every_commit() {
    at_every_commit(|case, _| dies_at_every_commit(case, "before"));
}

#[test]
fn every_case_dies_after_every_commit() {
    at_every_commit(|case, _| dies_at_every_commit(case, "after"));
}

#[test]
fn every_case_loses_the_answer_to_every_commit() {
    at_every_commit(|case, _| loses_the_answer_to_every_commit(case, Store::Sqlite));
}

#[test]
fn every_case_dies_at_commits_on_postgres() {
    let every = usize::try_from(setting("COMPOZY_TEST_EVERY", 7)).expect("small");
    let deaths = std::sync::atomic::AtomicUsize::new(0);
    at_every_commit(|case, index| {
        deaths.fetch_add(dies_at_some_commits(case, index, every), std::sync::atomic::Ordering::SeqCst);
    });
    let (deaths, cases) = (deaths.into_inner(), cases::all().count());
    println!("{deaths} deaths of {cases} cases");
    assert!(deaths >= cases || std::env::var("COMPOZY_TEST_CASE").is_ok(), "COMPOZY_CRASH_POINT does nothing here");
}

#[test]
fn every_case_loses_the_answer_to_every_commit_on_postgres() {
    at_every_commit(|case, _| loses_the_answer_to_every_commit(case, Store::Postgres));
}
