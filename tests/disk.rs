//! The disk takes nothing more for a while: nothing is marked wrongly, nothing runs twice, and runs go on by themselves.
//!
//! The limit of the system on the size of files (`prlimit --fsize`) stands for the disk: every write of the database
//! then fails in the middle of a commit, as with a device that fails, and works again when the limit is lifted.

#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::crash::ledger::{self, Ledger};
use crate::support::effects::Effects;
use crate::support::{Project, Server, program, wait};

const STEADY: &str = r#"id: steady
tasks:
  - {id: each, type: collection, mode: sequential, items: "1..40", task: {id: "e-{{ .item }}", tool: effect, with: {url: "URL", value: "{{ .item }}"}}}
  - {id: calm, type: wait, wait_for: calm, timeout: 300ms, on_timeout: last}
  - {id: last, tool: effect, with: {url: "URL", value: 0}}
output: {n: "{{ len .tasks.each.output }}"}
"#;

/// Sets how long a file of the server may become.
fn limit(server: &Server, bytes: &str) {
    let process = server.process_id().to_string();
    let status = Command::new("prlimit").args(["--pid", &process, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(status.expect("prlimit, of util-linux, is there").success());
}

#[test]
fn runs_wait_out_a_disk_that_takes_nothing() {
    let effects = Effects::listen();
    let project = Project::sqlite(&program::project_file(&effects.grant()));
    project.component("guests/zoo");
    project.file("workflows/steady.yaml", STEADY.replace("URL", &effects.url()));
    let server = project.start();
    let mut ledger = Ledger::default();
    let mut begin = |server: &Server, numbers: std::ops::Range<usize>| {
        for number in numbers {
            let exec_id = ledger::start(server, "steady", &json!({}), &format!("key-{number}")).expect("it lives");
            ledger.acknowledged.insert(exec_id, number);
        }
    };
    begin(&server, 0..4);
    for round in 0..3 {
        let seen = effects.counts().len();
        wait::until("some effects", || (effects.counts().len() > seen + 3).then_some(()));
        limit(&server, "1");
        let refused = |key: &str| {
            let path = "/api/v0/workflows/steady/executions";
            let answer = server.try_send("POST", path, &[("idempotency-key", key)], Some(&json!({}))).ok();
            answer.map(|answer| (answer.status, answer.json()["code"].clone()))
        };
        let key = format!("key-{}", 4 + round);
        wait::until("a start that is refused", || match refused(&key) {
            Some((503 | 507, code)) => {
                assert!(
                    ["database_unavailable", "disk_full", "database_busy"].iter().any(|known| code == *known),
                    "{code}"
                );
                Some(())
            }
            // Whatever was acknowledged until then must be there afterwards.
            Some((202, _)) => None,
            other => panic!("{other:?}"),
        });
        // Long enough for every run to have met it, and for timers to come due.
        std::thread::sleep(Duration::from_millis(700));
        let active = ledger::active(&server).expect("it lives");
        assert!(active.len() >= 4, "a run ended on a disk that takes nothing: {active:?}");
        assert_eq!(server.get("/healthz").status, 200);
        limit(&server, "unlimited");
        begin(&server, 4 + round..5 + round);
    }
    assert!(server.stderr().contains("commit waits"), "no run met the limit:\n{}", server.stderr());
    let documents = ledger::wait_all(&server);
    assert_eq!(documents.len(), 7, "one start, one run");
    for (exec_id, run) in &documents {
        assert_eq!((&run["status"], &run["output"]["n"]), (&json!("SUCCESS"), &json!(40)), "{exec_id}: {run:#}");
    }
    assert_eq!(server.stop().code, 0);
    ledger.check(&project, &effects);
    ledger::check_effects(&effects);
    assert_eq!(effects.counts().len(), 7 * 41);
    ledger::doctor(&project);
}
