//! Between the engine's state and the store's rows, as a node does it.

use std::collections::BTreeSet;

use compozy_engine::command::Command;
use compozy_engine::decide::Decision;
use compozy_engine::error::StepError;
use compozy_engine::event::SubRun;
use compozy_engine::json::Json;
use compozy_engine::opening::Signal;
use compozy_engine::record::{Record, SignalState};
use compozy_engine::state::{Facts, RunState, Step, StepKey};
use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;

use super::fault::Fault;
use super::programs::Program;
use super::store::{Changes, JournalRow, Row, Run, SignalRow, StepRow};

/// What a decision changes in the store.
pub(crate) fn changes(state: &RunState, decision: &Decision, now: i64) -> Changes {
    let after = state.last_seq - i64::try_from(decision.records.len()).unwrap();
    let journal = decision.records.iter().zip(after + 1..).map(|(record, seq)| JournalRow {
        seq,
        event: record.event().to_owned(),
        data: record.data(),
    });
    let latest = decision.touched.iter().filter_map(|path| state.steps.get(path));
    let queued = decision.records.iter().filter_map(|record| match record {
        Record::Signal { signal_id, state: SignalState::Queued, .. } => Some((signal_id.clone(), "queued")),
        _ => None,
    });
    let settled = decision.settled.iter().map(|(id, state)| (id.clone(), state.word()));
    let sent = decision.signals.iter().map(|sent| {
        let row = SignalRow {
            position: 0,
            id: sent.signal_id.clone(),
            name: sent.name.clone(),
            payload: sent.payload.to_string(),
            state: "sent".to_owned(),
        };
        (sent.target.clone().unwrap_or_default(), row)
    });
    Changes {
        status: state.status.word().to_owned(),
        state: serde_json::to_string(&state.stored()).unwrap(),
        output: state.output.as_ref().map(ToString::to_string),
        error: state.error.as_ref().map(error_text),
        started_at: state.started_at.map(|at| at.0),
        finished_at: state.status.is_terminal().then_some(now),
        after,
        journal: journal.collect(),
        steps: decision.replaced.iter().chain(latest).map(step_row).collect(),
        timers_set: picked(decision, |command| match command {
            Command::Arm { timer, due } => Some((timer.to_string(), due.0)),
            _ => None,
        }),
        timers_cleared: picked(decision, |command| match command {
            Command::Disarm(timer) => Some(timer.to_string()),
            _ => None,
        }),
        settled: queued.chain(settled).collect(),
        sent: sent.collect(),
        children: decision.children.iter().map(|(key, child)| child_row(state, key, child)).collect(),
        canceled: picked(decision, |command| match command {
            Command::CancelChild { exec_id } => Some(exec_id.clone()),
            _ => None,
        }),
        paused: picked(decision, |command| match command {
            Command::PauseChild { exec_id } => Some(exec_id.clone()),
            _ => None,
        }),
        resumed: picked(decision, |command| match command {
            Command::ResumeChild { exec_id } => Some(exec_id.clone()),
            _ => None,
        }),
    }
}

fn picked<T>(decision: &Decision, pick: impl Fn(&Command) -> Option<T>) -> Vec<T> {
    decision.commands.iter().filter_map(pick).collect()
}

/// A run that has been asked for.
pub(crate) fn new_row(exec_id: &str, workflow: &str, deadline: Option<i64>) -> Row {
    let state = RunState::new(facts(exec_id, deadline), 0);
    Row {
        exec_id: exec_id.to_owned(),
        workflow: workflow.to_owned(),
        status: state.status.word().to_owned(),
        owner: None,
        epoch: 0,
        last_seq: 0,
        state: serde_json::to_string(&state.stored()).unwrap(),
        output: None,
        error: None,
        started_at: None,
        finished_at: None,
        deadline,
        parent: None,
        cancel_request: false,
        pause_request: false,
    }
}

fn child_row(state: &RunState, key: &StepKey, child: &SubRun) -> Row {
    let parent = Some((state.facts.exec_id.clone(), key.to_string()));
    Row { parent, ..new_row(&child.exec_id, &child.workflow_id, None) }
}

pub(crate) fn facts(exec_id: &str, deadline: Option<i64>) -> Facts {
    Facts {
        exec_id: exec_id.to_owned(),
        input: Json::from_valid("{}"),
        trigger: Json::null(),
        deadline: deadline.map(Timestamp),
        depth: 0,
    }
}

fn step_row(step: &Step) -> StepRow {
    StepRow {
        key: step.key.to_string(),
        id: step.id.clone(),
        parent: step.parent.as_ref().map(ToString::to_string),
        position: step.position,
        status: step.status.word().to_owned(),
        attempt: step.attempt,
        input: step.recorded_input().map(|input| input.to_string()),
        output: step.output.as_ref().map(ToString::to_string),
        error: step.error.as_ref().map(error_text),
        state: serde_json::to_string(&step.stored()).unwrap(),
        result_seq: step.result_seq,
        started_at: step.started_at.0,
        finished_at: step.finished_at.map(|at| at.0),
    }
}

fn error_text(error: &StepError) -> String {
    serde_json::to_string(error).unwrap()
}

/// The engine's state of a stored run.
pub(crate) fn restore(program: &Program, run: &Run, fault: Option<Fault>) -> RunState {
    let row = &run.row;
    let stored = serde_json::from_str(&row.state).unwrap();
    let mut state = RunState::new(facts(&row.exec_id, row.deadline), 0);
    state.status = row.status.parse().unwrap();
    state.started_at = row.started_at.map(Timestamp);
    state.output = row.output.as_deref().map(Json::from_valid);
    state.error = row.error.as_deref().map(|text| serde_json::from_str(text).unwrap());
    state.restore(&stored);
    state.last_seq = row.last_seq;
    let mut steps: Vec<&StepRow> = run.steps.values().collect();
    steps.sort_by_key(|step| step.position);
    for step in steps {
        state.steps.put(restore_step(step));
    }
    state.steps.count_children(&program.plan);
    let held: BTreeSet<String> = held(&state).map(|signal| signal.id.clone()).collect();
    let is_kept = |signal: &&SignalRow| {
        let held = held.contains(&signal.id) && fault != Some(Fault::DoubleHeldSignals);
        signal.state == "queued" && !held && fault != Some(Fault::LoseQueuedSignals)
    };
    state.inbox = run.signals.iter().filter(is_kept).map(signal).collect();
    state
}

/// Signals that waits look at.
pub(crate) fn held(state: &RunState) -> impl Iterator<Item = &Signal> {
    state.steps.open().filter_map(|step| step.opening.as_ref()?.waiting()?.signal.as_ref())
}

pub(crate) fn signal(row: &SignalRow) -> Signal {
    Signal {
        id: row.id.clone(),
        position: row.position,
        name: row.name.clone(),
        payload: Json::from_valid(row.payload.as_str()),
        metadata: Json::null(),
    }
}

fn restore_step(row: &StepRow) -> Step {
    let mut step = Step {
        key: row.key.parse().unwrap(),
        id: row.id.clone(),
        parent: row.parent.as_ref().map(|parent| parent.parse().unwrap()),
        address: Vec::new(),
        index: None,
        position: row.position,
        status: row.status.parse::<Status>().unwrap(),
        attempt: row.attempt,
        retry_at: None,
        overlay: None,
        cause: None,
        skipped: false,
        pause: None,
        opening: None,
        input: row.input.as_deref().map(Json::from_valid),
        output: row.output.as_deref().map(Json::from_valid),
        error: row.error.as_deref().map(|text| serde_json::from_str(text).unwrap()),
        result_seq: row.result_seq,
        started_at: Timestamp(row.started_at),
        attempt_started_at: Timestamp(row.started_at),
        finished_at: row.finished_at.map(Timestamp),
    };
    step.restore(serde_json::from_str(&row.state).unwrap());
    step
}

/// All of a state that its rows keep, as text: equal for a state and for what is restored from its rows.
pub(crate) fn fingerprint(state: &RunState) -> String {
    use std::fmt::Write as _;
    let mut text =
        format!("{} seq {} {}\n", state.status, state.last_seq, serde_json::to_string(&state.stored()).unwrap());
    for step in state.steps.iter() {
        // Once the end of a container is decided, nobody counts its children.
        let open = step.opening.as_ref().filter(|opening| opening.closing.is_none() && !step.status.is_terminal());
        let tally = open.and_then(|opening| opening.branches()).map(|branches| branches.tally);
        let error = step.error.as_ref().map(|error| error.retryable);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:?} {tally:?} {error:?}", step_row(step));
    }
    let inbox: Vec<&str> = state.inbox.iter().map(|signal| signal.id.as_str()).collect();
    let _ = writeln!(text, "{inbox:?} {:?} {:?}", state.output, state.error.as_ref().map(error_text));
    text
}
