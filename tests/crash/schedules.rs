//! A time that has come, and a process that ends before or after each of its commits, from its very first, or does not
//! learn how it ended: the time starts one run, and that run ends well.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::ledger::{self, Ledger};
use crate::support::effects::Effects;
use crate::support::{Project, database, program, wait};

/// Every ten days, so that no second time comes while the test runs; what was missed is caught up.
const WORKFLOW: &str = r#"
id: tick
schedule: {cron: "@every 240h", catch_up: 240h, overlap_policy: POLICY, input: {value: 7}}
tasks:
  - {id: trace, tool: effect, with: {url: "URL", value: "{{ .input.value }}"}}
  - {id: sum, tool: add, with: {a: "{{ .tasks.trace.output.value }}", b: 1}}
output: {n: "{{ .tasks.sum.output.sum }}"}
"#;

/// More commits than a life has.
const MOST: usize = 60;

/// A project whose schedule was to fire at its latest time, when nobody was there.
fn missed(effects: &Effects, policy: &str) -> Project {
    let project = Project::sqlite(&program::project_file(&effects.grant()));
    project.component("guests/zoo");
    project.file("workflows/tick.yaml", WORKFLOW.replace("URL", &effects.url()).replace("POLICY", policy));
    project.compozy(&["schedule", "reset", "tick"]).ok();
    let sql = "UPDATE schedules SET next_fire_at = next_fire_at - 240 * 3600 * 1000000";
    database::execute(&project.database(), sql);
    project
}

/// One life with a crash point, and the life after; false when the point was not reached.
fn crashed(point: &str, policy: &str) -> bool {
    let effects = Effects::listen();
    let project = missed(&effects, policy);
    let mut ledger = Ledger::default();
    let output = match project.try_start(&[], &[("COMPOZY_CRASH_POINT", point)]) {
        Ok(mut server) => {
            wait::until("the end of the run, or of the server", || {
                let settled = ledger::active(&server).is_some_and(|active| active.is_empty());
                let ended = settled && !listed(&server).is_empty();
                (ended || server.has_ended()).then_some(())
            });
            if server.has_ended() { server.finish() } else { server.stop() }
        }
        Err(output) => output,
    };
    assert!([0, 134].contains(&output.code), "{point}: {output}");
    effects.next_life();
    ledger.check(&project, &effects);
    let server = project.start();
    wait::until("the run", || (!listed(&server).is_empty()).then_some(()));
    let ended = ledger::wait_all(&server);
    assert_eq!(ended.len(), 1, "{point}: one time, one run: {ended:#?}");
    let run = ended.values().next().expect("a run");
    assert_eq!((&run["status"], &run["output"]), (&json!("SUCCESS"), &json!({"n": 8})), "{point}: {run:#}");
    assert_eq!(run["trigger"], json!({"type": "schedule", "name": "tick"}));
    let schedule = server.get("/api/v0/schedules/tick").data();
    assert_eq!((&schedule["last_exec_id"], &schedule["last_fire"]["state"]), (&run["exec_id"], &json!("started")));
    assert_eq!(server.stop().code, 0);
    effects.next_life();
    ledger.check(&project, &effects);
    ledger::check_effects(&effects);
    ledger::doctor(&project);
    output.code == 134 || output.stderr.contains("nobody is told")
}

/// The runs a living server knows; none from one that is dying.
fn listed(server: &crate::support::Server) -> Vec<Value> {
    let page = server.try_send("GET", "/api/v0/executions/workflows", &[], None);
    let page = page.ok().filter(|page| page.status == 200).map(|page| page.data());
    page.and_then(|page| page["executions"].as_array().cloned()).unwrap_or_default()
}

/// Three at a time, since a life mostly waits.
fn at_every_commit(side: &str, policy: &str) {
    let (next, unreached) = (AtomicUsize::new(1), AtomicUsize::new(MOST));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let commit = next.fetch_add(1, Ordering::SeqCst);
                    if commit >= unreached.load(Ordering::SeqCst) {
                        return;
                    }
                    if !crashed(&format!("{side}:{commit}"), policy) {
                        unreached.fetch_min(commit, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let unreached = unreached.into_inner();
    assert!((5..MOST).contains(&unreached), "{unreached} commits: COMPOZY_CRASH_POINT does nothing here");
}

#[test]
fn a_fire_dies_before_every_commit() {
    at_every_commit("before", "skip");
}

#[test]
fn a_fire_dies_after_every_commit() {
    at_every_commit("after", "buffer_one");
}

#[test]
fn a_fire_loses_the_answer_to_every_commit() {
    at_every_commit("unknown", "allow");
}
