//! What a journal says of a run and its steps.

use std::collections::HashMap;

use serde::Deserialize;

use super::encode::TERMINAL;

/// What the run's row says.
#[derive(Debug)]
pub(in crate::storage) struct Stated {
    pub(in crate::storage) exec_id: String,
    pub(in crate::storage) status: String,
    pub(in crate::storage) last_seq: i64,
    /// Events before this one were removed by retention.
    pub(in crate::storage) journal_from: i64,
}

/// An event as it is stored; without data when its payload is missing.
#[derive(Debug)]
pub(in crate::storage) struct Event {
    pub(in crate::storage) seq: i64,
    pub(in crate::storage) event: String,
    pub(in crate::storage) data: Option<String>,
}

/// What a step's row says.
#[derive(Debug)]
pub(in crate::storage) struct Stood {
    pub(in crate::storage) step_key: String,
    pub(in crate::storage) status: String,
    pub(in crate::storage) attempt: i64,
}

/// Adds a sentence for each difference between a run's journal and its rows.
pub(in crate::storage) fn compare(run: &Stated, events: &[Event], steps: &[Stood], found: &mut Vec<String>) {
    let Stated { exec_id, status, last_seq, journal_from } = run;
    let whole = *journal_from == 1;
    if !whole && !TERMINAL.contains(&status.as_str()) {
        found.push(format!("run {exec_id} is {status} but its journal begins at {journal_from}"));
    }
    let mut replayed = Replayed::default();
    let mut expected = *journal_from;
    for Event { seq, event, data } in events {
        if *seq != expected {
            found.push(format!("run {exec_id} misses event {expected} before event {seq}"));
        }
        expected = seq + 1;
        // A missing payload is told by the check of references.
        let Some(data) = data else { continue };
        match serde_json::from_str(data) {
            Ok(data) if whole => replayed.apply(exec_id, event, data, found),
            Ok(_) => {}
            Err(_) => found.push(format!("run {exec_id} event {seq} holds no JSON object")),
        }
    }
    // Of a run that is being removed the last event may be gone before its row.
    let removing = !whole && events.is_empty();
    if expected - 1 != *last_seq && !removing {
        found.push(format!("run {exec_id} has last_seq {last_seq} but its journal ends at {}", expected - 1));
    }
    if let Some(word) = replayed.status.as_deref().filter(|word| word != status) {
        found.push(format!("run {exec_id} is {status} but its journal says {word}"));
    }
    if whole {
        compare_steps(exec_id, replayed, steps, found);
    }
}

fn compare_steps(exec_id: &str, mut replayed: Replayed, steps: &[Stood], found: &mut Vec<String>) {
    for Stood { step_key: key, status, attempt } in steps {
        match replayed.steps.remove(key) {
            Some((word, number)) if word == *status && number == *attempt => {}
            Some((word, number)) => found.push(format!(
                "step {exec_id}/{key} is {status} in attempt {attempt} but the journal says {word} in attempt {number}"
            )),
            None => found.push(format!("step {exec_id}/{key} is not in the journal")),
        }
    }
    let mut lost: Vec<_> = replayed.steps.into_keys().collect();
    lost.sort();
    found.extend(lost.into_iter().map(|key| format!("step {exec_id}/{key} is in the journal but not stored")));
}

/// Fields of an event that move state.
#[derive(Debug, Deserialize)]
struct Data {
    step_key: Option<String>,
    status: Option<String>,
    attempt: Option<i64>,
}

/// What the journal says.
#[derive(Debug, Default)]
struct Replayed {
    status: Option<String>,
    steps: HashMap<String, (String, i64)>,
}

impl Replayed {
    fn apply(&mut self, exec_id: &str, event: &str, data: Data, found: &mut Vec<String>) {
        match event {
            "workflow_start" | "workflow_status" | "complete" | "error" => {
                let word = data.status.or_else(|| (event == "workflow_start").then(|| "RUNNING".to_owned()));
                let Some(word) = word else { return };
                if let Some(before) = self.status.as_deref().filter(|before| !moves(before, &word)) {
                    found.push(format!("run {exec_id} went from {before} to {word}"));
                }
                self.status = Some(word);
            }
            "task_start" | "task_status" | "task_retry" => {
                let Some(key) = data.step_key else {
                    found.push(format!("run {exec_id} has a {event} event without step_key"));
                    return;
                };
                let (status, attempt) = self.steps.entry(key.clone()).or_insert_with(|| ("PENDING".to_owned(), 1));
                let word = data.status.or_else(|| (event == "task_start").then(|| "RUNNING".to_owned()));
                if let Some(word) = word {
                    if TERMINAL.contains(&status.as_str()) {
                        found.push(format!("step {exec_id}/{key} was recorded as {status} and then as {word}"));
                    }
                    *status = word;
                }
                *attempt = data.attempt.unwrap_or(*attempt);
            }
            _ => {}
        }
    }
}

/// Whether a run may go from one status to another (cli-and-api §9.2 f).
fn moves(from: &str, to: &str) -> bool {
    if TERMINAL.contains(&from) {
        return false;
    }
    from == to
        || TERMINAL.contains(&to)
        || matches!(
            (from, to),
            ("PENDING", "RUNNING" | "PAUSED")
                | ("RUNNING", "WAITING" | "PAUSED")
                | ("WAITING", "RUNNING" | "PAUSED")
                | ("PAUSED", "RUNNING" | "WAITING")
        )
}
