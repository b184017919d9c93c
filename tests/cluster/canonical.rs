//! The canonical journal of a run: what is left of its events once all is taken out that may differ between two true
//! executions of one program. Two stores, or one node and three, must leave the same.
//!
//! 1. Times, durations and ids go: the members of [`NOT_COMPARED`]; in texts, ids of runs and times in milliseconds.
//! 2. Tasks of the outermost list run one after another, so the order of their events stays. Within one of them the
//!    events of a step (all that name its key) keep their order, and steps are listed by key: which of two that run side
//!    by side comes first is chance, and whether one waited for what it needs is seen by the result.
//! 3. Whether the run is RUNNING or WAITING in between tells how fast its steps are, and goes.
//! 4. A signal may come before or after its step begins to wait. That it was `queued`, and that the step was WAITING for
//!    it, goes; which step sent and which consumed it stays.

use serde_json::{Map, Value};

use crate::support::sse::Event;

/// Members of events that are no part of the story.
const NOT_COMPARED: &[&str] =
    &["exec_id", "seq", "at", "task_exec_id", "duration_ms", "retry_at", "until", "signal_id"];

/// The canonical journal, a line per event.
pub(super) fn journal(events: &[Event]) -> Vec<String> {
    let mut lines: Vec<(&str, &str, String)> = Vec::new();
    for event in events.iter().filter(|event| event.seq().is_some() && !is_chance(event)) {
        let key = event.data["step_key"].as_str().unwrap_or_default();
        let outermost = key.split(['/', '#']).next().unwrap_or_default();
        lines.push((outermost, key, format!("{} {}", event.name, without_ids(&event.data))));
    }
    // A stable sort, so that the events of a step keep their order.
    for task in lines.chunk_by_mut(|left, right| left.0 == right.0) {
        task.sort_by_key(|(_, key, _)| *key);
    }
    lines.into_iter().map(|(_, _, line)| line).collect()
}

/// Whether the event tells how fast something was.
fn is_chance(event: &Event) -> bool {
    let status = event.data["status"].as_str().unwrap_or_default();
    match event.name.as_str() {
        "workflow_status" => ["RUNNING", "WAITING"].contains(&status),
        "signal" => event.data["state"] == "queued",
        "task_status" => status == "WAITING" && event.data["waiting_for"]["kind"] == "signal",
        _ => false,
    }
}

fn without_ids(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !NOT_COMPARED.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), without_ids(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(without_ids).collect(),
        Value::String(text) => {
            let words = text.split_inclusive(|character: char| !character.is_ascii_alphanumeric() && character != '.');
            Value::String(words.map(without_id).collect())
        }
        other => other.clone(),
    }
}

/// A word with the character that ends it. All ids of runs (26 characters, the first of which is the time's) are one, and
/// so are all times.
fn without_id(word: &str) -> String {
    let letters = word.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
    let rest = &word[letters.len()..];
    let is_time = letters.strip_suffix("ms").is_some_and(|number| number.parse::<f64>().is_ok());
    match letters {
        id if id.len() == 26 && id.starts_with('0') => format!("RUN{rest}"),
        _ if is_time => format!("TIME{rest}"),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
fn event(id: &str, name: &str, data: Value) -> Event {
    Event { id: id.to_owned(), name: name.to_owned(), data }
}

/// Events as they stand in a journal, from `key status` lines.
#[cfg(test)]
fn told(lines: &[&str]) -> Vec<String> {
    let events = lines.iter().zip(1..).map(|(line, seq)| {
        let (key, status) = line.split_once(' ').expect("a key");
        event(&seq.to_string(), "task_status", serde_json::json!({"step_key": key, "status": status, "seq": seq}))
    });
    journal(&events.collect::<Vec<_>>())
}

#[test]
fn only_the_order_of_what_runs_side_by_side_is_chance() {
    let one = told(&["a#1 R", "a/x#1 R", "a/y#1 R", "a/y#1 S", "a/x#1 S", "a#1 S", "b#1 R"]);
    assert_eq!(one, told(&["a#1 R", "a/x#1 R", "a/x#1 S", "a/y#1 R", "a/y#1 S", "a#1 S", "b#1 R"]));
    for (other, lines) in [
        ("a step that ends before it begins", ["a#1 R", "a/x#1 S", "a/x#1 R", "a/y#1 R", "a/y#1 S", "a#1 S", "b#1 R"]),
        ("an outer step that comes too early", ["a#1 R", "a/x#1 R", "a/x#1 S", "b#1 R", "a/y#1 R", "a/y#1 S", "a#1 S"]),
        ("another end", ["a#1 R", "a/x#1 R", "a/x#1 F", "a/y#1 R", "a/y#1 S", "a#1 S", "b#1 R"]),
        ("another execution", ["a#1 R", "a/x#2 R", "a/x#1 S", "a/y#1 R", "a/y#1 S", "a#1 S", "b#1 R"]),
        ("two ends", ["a#1 R", "a/x#1 R", "a/x#1 S", "a/x#1 S", "a/y#1 R", "a/y#1 S", "b#1 R"]),
    ] {
        assert_ne!(one, told(&lines), "{other}");
    }
}

#[test]
fn ids_times_and_speed_are_chance() {
    use serde_json::json;
    let run = |id: &str, took: &str, late: bool| {
        let child = json!({"kind": "child", "detail": id});
        let mut events = vec![
            event("1", "workflow_start", json!({"exec_id": id, "seq": 1, "at": took, "workflow_id": "w"})),
            event("2", "task_status", json!({"step_key": "a#1", "status": "WAITING", "waiting_for": child})),
            event("2.1", "llm_chunk", json!({"text": took})),
            event(
                "3",
                "task_status",
                json!({"step_key": "a#1", "error": {"message": format!("after {took} in {id}.")}}),
            ),
            event("4", "signal", json!({"step_key": "a#1", "signal_id": id, "name": "go", "state": "consumed"})),
        ];
        if late {
            let signal = json!({"kind": "signal", "detail": "go"});
            events.push(event("5", "workflow_status", json!({"status": "WAITING"})));
            let waits = json!({"step_key": "a#1", "status": "WAITING", "waiting_for": signal});
            events.push(event("6", "task_status", waits));
        }
        journal(&events)
    };
    let one = run("01M854DMBBJ74QE8RRRTPZ539T", "40.451ms", false);
    assert_eq!(one, run("01M854DMDZQ2B7J01SY6S2WMZ9", "41ms", true));
    assert_eq!(one[2], r#"task_status {"step_key":"a#1","error":{"message":"after TIME in RUN."}}"#);
    assert_eq!(one.len(), 4);
}
