//! The oracle: dialect §4 and §5 read literally, by recursion over simulated time.
//!
//! What a task does depends only on where and when it starts, so a container computes its children one by one and then
//! cuts off what a decision of its strategy, a timeout or a cancel would have stopped.

use std::collections::BTreeMap;

use compozy_engine::status::Status;
use compozy_lang::plan::Strategy as End;
use serde_json::{Map, Value, json};

use super::program::{Body, Node, chance, duration, is_targeted};

const SECOND: u64 = 1_000_000;

/// One execution of a task.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    path: String,
    start: u64,
    end: u64,
    status: Status,
    /// When its attempts started.
    attempts: Vec<u64>,
    output: Value,
}

/// What one execution of a task came to.
struct Trace {
    entries: Vec<Entry>,
    /// When its sleep is over.
    done: u64,
    ok: bool,
    /// A failure that is worth another attempt of what holds it.
    retryable: bool,
    output: Value,
}

/// What the inside of a container came to, before its end is rendered.
struct Inside {
    entries: Vec<Entry>,
    decided: u64,
    ok: bool,
    retryable: bool,
    output: Value,
}

/// Executions by path and number: status, attempts, and output.
pub(crate) type Executions = BTreeMap<(String, u32), (Status, u32, Value)>;

/// How the whole program ends.
#[derive(Debug, PartialEq)]
pub(crate) struct Result {
    pub(crate) status: Status,
    pub(crate) executions: Executions,
}

/// Runs a program. With `cancel` it is canceled at that time, unless it has ended.
pub(crate) fn run(nodes: &[Node], cancel: Option<u64>) -> Result {
    let inside = list(nodes, false, "", "", 0);
    let mut status = if inside.ok { Status::Success } else { Status::Failed };
    let mut entries = inside.entries;
    if let Some(at) = cancel.filter(|at| *at < inside.decided) {
        cut(&mut entries, at);
        status = Status::Canceled;
    }
    entries.sort_by_key(|entry| entry.start);
    let mut executions = Executions::new();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for entry in entries {
        let number = counts.entry(entry.path.clone()).or_default();
        *number += 1;
        let attempts = u32::try_from(entry.attempts.len()).unwrap();
        executions.insert((entry.path, *number), (entry.status, attempts, entry.output));
    }
    Result { status, executions }
}

/// Takes away what happens at or after `at`.
fn cut(entries: &mut Vec<Entry>, at: u64) {
    entries.retain(|entry| entry.start < at);
    for entry in entries.iter_mut().filter(|entry| entry.end > at) {
        entry.attempts.retain(|start| *start < at);
        entry.status = Status::Canceled;
        entry.end = at;
        entry.output = Value::Null;
    }
}

fn list(nodes: &[Node], explicit: bool, path: &str, place: &str, start: u64) -> Inside {
    let mut inside =
        Inside { entries: Vec::new(), decided: start, ok: true, retryable: false, output: Value::Object(Map::new()) };
    let mut outputs: Map<String, Value> = (0..nodes.len()).map(|index| (format!("t{index}"), Value::Null)).collect();
    let mut at = 0;
    while let Some(node) = nodes.get(at) {
        let id = format!("t{at}");
        let trace = task(node, &join(path, &id), &join(place, &id), inside.decided);
        inside.decided = trace.done;
        inside.entries.extend(trace.entries);
        outputs.insert(id, if trace.ok { trace.output } else { Value::Null });
        let length = nodes.len();
        let next = match (trace.ok, node.route(at, length)) {
            (true, Some(route)) => route,
            (true, None) if node.ends_list && !node.is_skipped() => None,
            // A skipped task renders no transition.
            (true, None) if Node::target(node.next, at, length).is_some() && !node.is_skipped() => {
                Node::target(node.next, at, length)
            }
            (true, None) if explicit => None,
            (true, None) => (at + 1..length).find(|index| !is_targeted(nodes, *index)),
            (false, _) => match Node::target(node.on_error, at, length) {
                Some(target) => Some(target),
                None => {
                    (inside.ok, inside.retryable) = (false, trace.retryable);
                    break;
                }
            },
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    inside.output = Value::Object(outputs);
    inside
}

/// One execution with all its attempts and its sleep.
fn task(node: &Node, path: &str, place: &str, start: u64) -> Trace {
    let mut entry = Entry {
        path: path.to_owned(),
        start,
        end: start,
        status: Status::Success,
        attempts: Vec::new(),
        output: Value::Null,
    };
    let mut entries = Vec::new();
    let mut now = start;
    for attempt in 1.. {
        entry.attempts.push(now);
        let inside = one_attempt(node, path, place, attempt, now);
        entries.extend(inside.entries);
        entry.end = inside.decided;
        let retryable = inside.retryable;
        if inside.ok {
            let sleep = if node.sleeps && !node.is_skipped() { SECOND } else { 0 };
            entry.output = inside.output.clone();
            let done = entry.end + sleep;
            entries.push(entry);
            return Trace { entries, done, ok: true, retryable: false, output: inside.output };
        }
        if retryable && attempt < node.attempts {
            now = entry.end + SECOND * (1 << (attempt - 1));
            continue;
        }
        let timed_out = inside.output == json!("timed out");
        entry.status = if timed_out { Status::TimedOut } else { Status::Failed };
        entry.output = Value::Null;
        let done = entry.end;
        entries.push(entry);
        return Trace { entries, done, ok: false, retryable, output: Value::Null };
    }
    unreachable!("attempts end")
}

fn one_attempt(node: &Node, path: &str, place: &str, attempt: u32, now: u64) -> Inside {
    let ends = |ok: bool, output: Value| Inside {
        entries: Vec::new(),
        decided: now + duration("run", place, attempt),
        ok,
        retryable: node.retryable,
        output,
    };
    if node.is_skipped() {
        return ends(true, Value::Null);
    }
    let opened = now + duration("run", place, attempt);
    let inner = format!("{place}#{attempt}");
    let mut inside = match &node.body {
        Body::Leaf { failing } => return ends(chance("fail", place, attempt, 4) >= *failing, json!(place)),
        Body::Router { .. } => return ends(true, json!("routed")),
        Body::Composite { children, explicit } => list(children, *explicit, path, &inner, opened),
        Body::Parallel { children, end, workers } => {
            let child = |index: usize, at: u64| {
                let id = format!("t{index}");
                task(&children[index], &join(path, &id), &join(&inner, &id), at)
            };
            let ids: Vec<String> = (0..children.len()).map(|index| format!("t{index}")).collect();
            branches(&ids, *end, *workers as usize, 0, opened, true, child)
        }
        Body::Collection { items, child, end, workers, batch, sequential } => {
            let ids: Vec<String> = (0..*items).map(|index| format!("{}-{index}", child_prefix(path))).collect();
            let child = |index: usize, at: u64| {
                let id = &ids[index];
                task(child, &join(path, id), &join(&inner, id), at)
            };
            let (workers, batch) = if *sequential { (1, 0) } else { (*workers as usize, *batch as usize) };
            branches(&ids, *end, workers, batch, opened, false, child)
        }
    };
    if let Some(deadline) = node.timeout.map(|timeout| opened + timeout).filter(|deadline| *deadline < inside.decided) {
        cut(&mut inside.entries, deadline);
        let entries = inside.entries;
        inside = Inside { entries, decided: deadline, ok: false, retryable: true, output: json!("timed out") };
    }
    inside.decided += duration("close", place, attempt);
    inside
}

/// Children of a collection are named after its child, which is named after the place in the list.
fn child_prefix(path: &str) -> String {
    let own = path.rsplit('/').next().unwrap();
    // A collection right inside another is named by its item; its child by its own place, 0.
    if own.starts_with('c') { "c0".to_owned() } else { own.replacen('t', "c", 1) }
}

/// Children side by side.
fn branches(
    ids: &[String],
    end: End,
    workers: usize,
    batch: usize,
    opened: u64,
    map: bool,
    child: impl Fn(usize, u64) -> Trace,
) -> Inside {
    let (mut now, mut started, mut succeeded, mut failed) = (opened, 0, 0, 0);
    let mut open: Vec<(usize, Trace)> = Vec::new();
    let mut ended: Vec<(usize, Trace)> = Vec::new();
    let mut winner = None;
    loop {
        let over = match end {
            End::FailFast => failed > 0,
            End::Race => succeeded > 0,
            End::WaitAll | End::BestEffort => false,
        };
        if over || (started == ids.len() && open.is_empty()) {
            break;
        }
        let edge = batch > 0 && started % batch == 0 && !open.is_empty();
        if started < ids.len() && open.len() < workers && !edge {
            open.push((started, child(started, now)));
            started += 1;
            continue;
        }
        let first = (0..open.len()).min_by_key(|at| open[*at].1.done).unwrap();
        let (index, trace) = open.remove(first);
        now = trace.done;
        if trace.ok {
            succeeded += 1;
            winner = Some(index);
        } else {
            failed += 1;
        }
        ended.push((index, trace));
    }
    let ok = match end {
        End::WaitAll | End::FailFast => failed == 0,
        End::BestEffort | End::Race => succeeded > 0 || ids.is_empty(),
    };
    let mut values = vec![Value::Null; ids.len()];
    let mut entries = Vec::new();
    let retryable = ended.iter().any(|(_, trace)| !trace.ok && trace.retryable);
    for (index, trace) in ended {
        if trace.ok {
            values[index] = trace.output;
        }
        entries.extend(trace.entries);
    }
    for (index, mut trace) in open {
        cut(&mut trace.entries, now);
        // One that only slept has ended well.
        let own = trace.entries.iter().filter(|entry| entry.path.ends_with(&format!("/{}", ids[index])));
        if let Some(entry) = own.max_by_key(|entry| entry.start).filter(|entry| entry.status == Status::Success) {
            values[index] = entry.output.clone();
        }
        entries.extend(trace.entries);
    }
    let only = winner.filter(|_| matches!(end, End::Race) && ok);
    let kept = ids.iter().zip(values).enumerate().filter(|(index, _)| only.is_none_or(|only| only == *index));
    let output = if map {
        Value::Object(kept.map(|(_, (id, value))| (id.clone(), value)).collect())
    } else {
        Value::Array(kept.map(|(_, (_, value))| value).collect())
    };
    Inside { entries, decided: now, ok, retryable, output }
}

fn join(path: &str, id: &str) -> String {
    if path.is_empty() { id.to_owned() } else { format!("{path}/{id}") }
}
