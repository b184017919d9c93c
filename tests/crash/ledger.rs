//! What the outside knows of runs, held against a database whose process is dead.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::effects::Effects;
use crate::support::oracle::{self, Expected};
use crate::support::program::{self, Program};
use crate::support::{Project, Server, wait};

/// Which starts were acknowledged, and which steps were seen recorded with how many effects.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Number of the program by run.
    pub(crate) acknowledged: BTreeMap<String, usize>,
    /// Effects of a step at the moment it was first seen recorded.
    frozen: BTreeMap<String, u32>,
}

impl Ledger {
    /// Compares a database whose process has just died with what the outside knows. On PostgreSQL others may live.
    pub(crate) fn check(&mut self, project: &Project, effects: &Effects) {
        let snapshot = project.snapshot();
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

/// `doctor --deep` finds nothing to complain about.
pub(crate) fn doctor(project: &Project) {
    // The usual port may be taken on this machine, which is not the question.
    project.compozy(&["doctor", "--deep", "--local", "--port", "0"]).ok();
}

/// Between two deaths no step is executed twice, as none of the steps with an effect fails.
pub(crate) fn check_effects(effects: &Effects) {
    for (key, lives) in effects.counts() {
        for (life, count) in lives {
            assert_eq!(count, 1, "{key} ran {count} times in life {life} of the server");
        }
    }
}

/// The run's id once the start is acknowledged; `None` if the server died before.
pub(crate) fn start(server: &Server, workflow: &str, input: &Value, key: &str) -> Option<String> {
    let path = format!("/api/v0/workflows/{workflow}/executions");
    let response = server.try_send("POST", &path, &[("idempotency-key", key)], Some(&json!({"input": input}))).ok()?;
    assert_eq!(response.status, 202, "{}", response.text());
    Some(response.data()["exec_id"].as_str().expect("exec_id").to_owned())
}

/// Every run that has ended gives what the oracle knows, with its effects and no more sub-runs than it asked for.
pub(crate) fn check_ends(ended: &BTreeMap<String, Value>, programs: &[Program], effects: &Effects) {
    for (exec_id, run) in ended {
        if run["workflow_id"] == program::SUB {
            check_sub_run(exec_id, run, ended, effects);
            continue;
        }
        check_result(exec_id, run, programs, effects);
        let expected = programs.iter().find(|program| run["workflow_id"] == program.id.as_str()).map(oracle::sub_runs);
        let started = ended.values().filter(|sub| sub["parent_exec_id"] == exec_id.as_str()).count();
        assert_eq!(Some(started), expected, "sub-runs of {exec_id}: {run:#}");
    }
}

/// A sub-run gives what it was asked for, and somebody asked for it.
fn check_sub_run(exec_id: &str, run: &Value, all: &BTreeMap<String, Value>, effects: &Effects) {
    assert!(run["parent_exec_id"].as_str().is_some_and(|parent| all.contains_key(parent)), "{run:#}");
    let n = run["input"]["n"].as_i64().zip(run["input"]["add"].as_i64()).map(|(n, add)| n + add);
    assert_eq!((&run["status"], run["output"]["n"].as_i64()), (&json!("SUCCESS"), n), "{run:#}");
    assert!(effects.count(&format!("{exec_id}:trace:1")) >= 1, "the effect of {exec_id} never happened");
}

/// A run of one of `programs` gives what the oracle knows, and its effects have happened.
pub(crate) fn check_result(exec_id: &str, run: &Value, programs: &[Program], effects: &Effects) {
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

/// Ids of runs that have not ended, at most 500; `None` if the server is dead.
pub(crate) fn active(server: &Server) -> Option<Vec<String>> {
    let path = "/api/v0/executions/workflows?status=active&limit=500";
    let page = server.try_send("GET", path, &[], None).ok().filter(|page| page.status == 200)?.data();
    let executions = page["executions"].as_array().expect("executions").iter();
    Some(executions.map(|execution| execution["exec_id"].as_str().expect("exec_id").to_owned()).collect())
}

/// Waits until no run is under way and returns every run's document.
pub(crate) fn wait_all(server: &Server) -> BTreeMap<String, Value> {
    wait::until("the end of all runs", || active(server).expect("a living server").is_empty().then_some(()));
    documents(server)
}

/// Every run's document.
pub(crate) fn documents(server: &Server) -> BTreeMap<String, Value> {
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
