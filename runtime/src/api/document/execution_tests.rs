//! Execution documents, member by member.

use compozy_engine::time::Timestamp;
use serde_json::json;

use super::*;
use crate::id::NodeId;
use crate::storage::row::{Concurrency, Timer};

fn run(status: &str) -> Run {
    let exec_id = ExecId::from("01RUN");
    Run {
        exec_id: exec_id.clone(),
        component: "workflow".into(),
        workflow_id: "hello".into(),
        definition_digest: "d1".into(),
        status: status.into(),
        reason: None,
        input: r#"{"b":1,"a":2.50}"#.into(),
        output: None,
        error: None,
        trigger: r#"{"type":"manual"}"#.into(),
        tags: "{}".into(),
        parent_exec_id: None,
        root_exec_id: exec_id,
        forked_from: None,
        durability: Durability::Full,
        priority: 0,
        concurrency: None,
        deadline: None,
        state: "{}".into(),
        owner_node: Some(NodeId::from("n1")),
        affinity_node: None,
        epoch: 1,
        last_seq: 4,
        cancel_request: None,
        pause_request: None,
        created_at: Timestamp(1_000),
        started_at: Some(Timestamp(2_000)),
        updated_at: Timestamp(3_000),
        finished_at: None,
        gated: false,
        attended: true,
    }
}

fn step(key: &str, parent: Option<&str>, status: &str) -> Step {
    let (task_id, _) = key.split_once('#').unwrap();
    Step {
        step_key: key.into(),
        task_exec_id: format!("01RUN:{}", key.replace('#', ":")),
        task_id: task_id.into(),
        kind: "basic".into(),
        status: status.into(),
        attempt: 2,
        parent: parent.map(Into::into),
        position: 1,
        input: None,
        output: Some("1.0".into()),
        error: None,
        waiting_for: None,
        state: "{}".into(),
        result_seq: None,
        started_at: Timestamp(2_000),
        finished_at: Some(Timestamp(7_000)),
    }
}

fn timer(kind: &str, due: i64) -> Timer {
    let key = Some("greet#1".to_owned());
    Timer { timer_id: format!("greet#1/{kind}"), kind: kind.into(), step_key: key, due_at: Timestamp(due) }
}

/// Statuses, owners, lives of nodes, requests and kinds of steps against each other: whatever has not ended and does not
/// execute says why.
#[test]
fn what_is_not_running_says_what_it_waits_for() {
    let mut waiting = step("greet#1", None, "WAITING");
    waiting.waiting_for = Some(r#"{"kind":"signal","detail":"go","since":"x"}"#.into());
    let nobody = |status: &str, attended: bool| Run { owner_node: None, attended, ..run(status) };
    let gated = |attended: bool| {
        let concurrency = Some(Concurrency { key: "k".into(), limit: 2 });
        Run { gated: true, concurrency, ..nobody("PENDING", attended) }
    };
    let dead = |status: &str| Run { attended: false, ..run(status) };
    let ends = "1970-01-01T00:00:00.009Z";
    let timers = || vec![timer("timeout", 5_000), timer("sleep", 90_000), timer("retry", 9_000)];
    let (server, database) = (Viewer::Server, Viewer::Database);
    for (run, steps, timers, viewer, kind, until) in [
        // In the queue: claimed by a live node, by one that died, by none.
        (run("PENDING"), vec![], vec![], server, Some("capacity"), None),
        (dead("PENDING"), vec![], vec![], server, Some("no_node"), None),
        (nobody("PENDING", false), vec![], vec![], server, Some("capacity"), None),
        (nobody("PENDING", true), vec![], vec![], database, Some("capacity"), None),
        (nobody("PENDING", false), vec![], vec![], database, Some("no_node"), None),
        (gated(false), vec![], vec![], server, Some("concurrency"), None),
        (gated(true), vec![], vec![], database, Some("concurrency"), None),
        (gated(false), vec![], vec![], database, Some("no_node"), None),
        // Under way, or left behind.
        (run("RUNNING"), vec![], vec![], server, None, None),
        (run("RUNNING"), vec![], vec![], database, None, None),
        (dead("RUNNING"), vec![], vec![], server, Some("no_node"), None),
        (dead("RUNNING"), vec![], vec![], database, Some("no_node"), None),
        (nobody("RUNNING", false), vec![], vec![], server, Some("capacity"), None),
        (nobody("RUNNING", false), vec![], vec![], database, Some("no_node"), None),
        (run("PAUSED"), vec![], vec![], server, Some("paused"), None),
        (nobody("PAUSED", false), vec![], vec![], database, Some("paused"), None),
        (run("WAITING"), vec![waiting.clone()], vec![timer("retry", 9_000)], server, Some("signal"), None),
        (nobody("WAITING", false), vec![waiting], vec![], database, Some("signal"), None),
        (run("WAITING"), vec![step("greet#1", None, "WAITING")], timers(), server, Some("retry"), Some(ends)),
        (run("WAITING"), vec![], vec![timer("sleep", 9_000)], server, Some("timer"), Some(ends)),
        (run("WAITING"), vec![], vec![], server, Some("timer"), None),
        (run("SUCCESS"), vec![], vec![], server, None, None),
        (run("FAILED"), vec![], vec![], database, None, None),
        (run("TIMED_OUT"), vec![], vec![], server, None, None),
        (run("CANCELED"), vec![], vec![], database, None, None),
    ] {
        let found = WaitingFor::of(&run, &steps, &timers, viewer);
        assert_eq!(found.as_ref().map(|w| w.kind.as_str()), kind, "{viewer:?} {run:?}");
        assert_eq!(found.as_ref().and_then(|w| w.until.as_deref()), until, "{run:?}");
        assert!(found.is_none_or(|w| !w.detail.is_empty() && !w.since.is_empty()), "{run:?}");
    }
}

#[test]
fn a_step_that_does_not_run_says_what_it_waits_for() {
    let told = |status: &str, own: Option<&str>| Step {
        waiting_for: own.map(|kind| format!(r#"{{"kind":"{kind}","detail":"d","since":"x"}}"#)),
        finished_at: None,
        ..step("greet#1", None, status)
    };
    let of = |run: Run| WaitingFor::of(&run, &[], &[], Viewer::Database);
    let (live, dead, paused) =
        (run("RUNNING"), Run { attended: false, ..run("RUNNING") }, Run { owner_node: None, ..run("PAUSED") });
    for (step, run, kind) in [
        (told("RUNNING", None), of(live.clone()), None),
        (told("RUNNING", None), of(dead), Some("no_node")),
        // A pause lets what is under way come to its end.
        (told("RUNNING", None), of(paused.clone()), None),
        (told("WAITING", Some("retry")), of(live.clone()), Some("retry")),
        (told("WAITING", Some("child")), of(paused.clone()), Some("child")),
        (told("PENDING", Some("paused")), of(paused.clone()), Some("paused")),
        (told("PENDING", None), of(paused.clone()), Some("paused")),
        (told("WAITING", None), of(live), Some("timer")),
        (step("greet#1", None, "SUCCESS"), of(paused), None),
    ] {
        let found = WaitingFor::of_step(&step, run.as_ref());
        assert_eq!(found.as_ref().map(|w| w.kind.as_str()), kind, "{step:?} {run:?}");
    }
}

#[test]
fn the_document_keeps_json_as_it_was_stored_and_reads_back() {
    let finished =
        Run { output: Some(r#"{"z":1e3,"a":"ü"}"#.into()), finished_at: Some(Timestamp(12_000)), ..run("SUCCESS") };
    let usage = [Usage {
        step_key: "greet#1".into(),
        provider: "p".into(),
        model: "m".into(),
        prompt_tokens: 3,
        completion_tokens: 4,
    }];
    let steps =
        vec![step("greet#1", None, "SUCCESS"), step("other#1", None, "SUCCESS"), step("greet#2", None, "FAILED")];
    let loaded = LoadedRun { run: finished, steps, timers: Vec::new(), signals: Vec::new() };
    let text = serde_json::to_string(&build(&loaded, &usage, Viewer::Server)).unwrap();
    assert!(text.contains(r#""input":{"b":1,"a":2.50},"output":{"z":1e3,"a":"ü"},"error":null"#), "{text}");
    assert!(text.contains(r#""tasks":{"greet":{"task_id":"greet","task_exec_id":"01RUN:greet:2""#), "{text}");
    let document: Execution = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&document).unwrap(), text);
    assert_eq!(document.duration_ms, Some(10));
    assert_eq!(document.attempt_count, 6);
    assert_eq!(document.usage[0].total_tokens, 7);
    let order: Vec<&str> = document.tasks.0.iter().map(|task| task.step_key.as_str()).collect();
    assert_eq!(order, ["greet#2", "other#1"]);
}

#[test]
fn damaged_json_is_shown_as_text() {
    let loaded = LoadedRun {
        run: Run { input: "{broken".into(), ..run("FAILED") },
        steps: vec![],
        timers: vec![],
        signals: vec![],
    };
    let document = serde_json::to_value(build(&loaded, &[], Viewer::Server)).unwrap();
    assert_eq!(document["input"], "{broken");
}

#[test]
fn the_steps_tree_follows_its_containers() {
    let steps = [
        step("loop#1", None, "SUCCESS"),
        step("loop/a#1", Some("loop#1"), "SUCCESS"),
        step("loop/inner#1", Some("loop#1"), "SUCCESS"),
        step("loop/inner/x#1", Some("loop/inner#1"), "SUCCESS"),
        step("loop/inner/y#1", Some("loop/inner#1"), "SUCCESS"),
        step("last#1", None, "SUCCESS"),
        step("lost#1", Some("gone#1"), "SUCCESS"),
    ];
    fn shape(tasks: &[TaskExecution]) -> serde_json::Value {
        tasks.iter().map(|task| json!({task.step_key.as_str(): shape(task.children.as_deref().unwrap())})).collect()
    }
    assert_eq!(
        shape(&TaskList::new(&steps, None).tasks),
        json!([
            {"loop#1": [
                {"loop/a#1": []},
                {"loop/inner#1": [{"loop/inner/x#1": []}, {"loop/inner/y#1": []}]},
            ]},
            {"last#1": []},
            {"lost#1": []},
        ])
    );
}
