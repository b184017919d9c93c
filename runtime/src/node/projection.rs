//! Between the engine's state and storage's rows. State tables are projections of what the engine decided.

use std::sync::Arc;

use compozy_engine::command::Command;
use compozy_engine::decide::Decision;
use compozy_engine::error::StepError;
use compozy_engine::event::Attachment;
use compozy_engine::fork::Fork;
use compozy_engine::json::Json;
use compozy_engine::record::Record;
use compozy_engine::state::{Facts, RunState, Step, StoredState, StoredStep};
use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::Workflow;

use super::signals;
use crate::id::NodeId;
use crate::memory::Prepared;
use crate::storage::row;

/// The stored run cannot be read back into an engine state.
#[derive(Debug, thiserror::Error)]
#[error("stored run is not readable: {0}")]
pub(crate) struct Unreadable(String);

/// What a decision changes in the database. `first_seq` is the seq of its first record.
pub(crate) fn changes(
    plan: &Workflow,
    state: &RunState,
    decision: &Decision,
    node: &NodeId,
    epoch: i64,
    now: Timestamp,
) -> row::Changes {
    let first_seq = state.last_seq - i64::try_from(decision.records.len()).unwrap_or(0) + 1;
    let journal = decision.records.iter().zip(first_seq..).map(|(record, seq)| event(record, seq, now));
    let latest = decision.touched.iter().filter_map(|task| state.steps.get(task));
    let steps = decision.replaced.iter().chain(latest).map(|step| self::step(plan, step));
    let timers = decision.commands.iter().filter_map(|command| match command {
        Command::Arm { timer, due } => Some(row::Timer {
            timer_id: timer.to_string(),
            kind: timer.kind().to_owned(),
            step_key: timer.step().map(ToString::to_string),
            due_at: *due,
        }),
        _ => None,
    });
    let cleared = decision.commands.iter().filter_map(|command| match command {
        Command::Disarm(timer) => Some(timer.to_string()),
        _ => None,
    });
    let demands = decision.commands.iter().filter_map(|command| {
        let (exec_id, wanted) = match command {
            Command::CancelChild { exec_id } => (exec_id, row::Wanted::Cancel),
            Command::PauseChild { exec_id } => (exec_id, row::Wanted::Pause),
            Command::ResumeChild { exec_id } => (exec_id, row::Wanted::Resume),
            _ => return None,
        };
        let by = format!("run {}", state.facts.exec_id);
        Some(row::Demand { exec_id: exec_id.as_str().into(), wanted, by, reason: None })
    });
    let memory = decision.attached.iter().filter_map(Attachment::get::<Prepared>).flat_map(Prepared::rows);
    let signals = signals::Signals::of(&decision.records);
    row::Changes {
        run: Some(run_update(state, now)),
        journal: journal.collect(),
        steps: steps.collect(),
        attempts: decision.attempts.iter().map(|ended| attempt(ended, node, epoch, now)).collect(),
        timers_set: timers.collect(),
        timers_cleared: cleared.collect(),
        usage: decision.usage.iter().map(|(key, usage)| self::usage(key, usage)).collect(),
        noted: signals.noted,
        settled: signals.settled,
        sent: decision.signals.iter().map(|sent| signals::sent(plan, state, sent, now)).collect(),
        demands: demands.collect(),
        memory: memory.cloned().collect(),
        at: now,
        ..row::Changes::default()
    }
}

fn run_update(state: &RunState, now: Timestamp) -> row::RunUpdate {
    row::RunUpdate {
        status: state.status.word().to_owned(),
        reason: state.error.as_ref().filter(|_| state.status == Status::Canceled).map(|error| error.message.clone()),
        output: state.output.as_ref().map(|output| output.as_str().to_owned()),
        error: state.error.as_ref().map(error_text),
        state: to_text(&state.stored()),
        started_at: state.started_at,
        finished_at: state.status.is_terminal().then_some(now),
    }
}

fn step(plan: &Workflow, step: &Step) -> row::Step {
    let kind = plan.task(&step.address).map_or("basic", |task| task.kind_word());
    row::Step {
        step_key: step.key.to_string(),
        task_exec_id: step.id.clone(),
        task_id: step.key.path.clone(),
        kind: kind.to_owned(),
        status: step.status.word().to_owned(),
        attempt: i64::from(step.attempt),
        parent: step.parent.as_ref().map(ToString::to_string),
        position: i64::try_from(step.position).unwrap_or(i64::MAX),
        input: step.recorded_input().map(|input| input.as_str().to_owned()),
        output: step.output.as_ref().map(|output| output.as_str().to_owned()),
        error: step.error.as_ref().map(error_text),
        waiting_for: waiting_for(step),
        state: to_text(&step.stored()),
        result_seq: step.result_seq,
        started_at: step.started_at,
        finished_at: step.finished_at,
    }
}

/// `waiting_for` of a step that does not run (cli-and-api §3.5).
fn waiting_for(step: &Step) -> Option<String> {
    let opening = step.opening.as_deref().filter(|_| !step.status.is_terminal());
    let (kind, detail, until) = match (step.retry_at, opening) {
        (Some(until), _) => {
            let detail = format!("attempt {} of task '{}'", step.attempt + 1, step.key.path);
            ("retry", detail, Some(until))
        }
        (None, Some(opening)) => match (opening.waiting(), opening.awaited()) {
            (Some(wait), _) => ("signal", wait.name.clone(), opening.timeout),
            (None, Some(awaited)) => ("child", awaited.exec_id.clone(), opening.timeout),
            (None, None) => return None,
        },
        (None, None) if step.status == Status::Pending => ("paused", "held back by a pause".to_owned(), None),
        (None, None) => return None,
    };
    let mut waiting =
        serde_json::json!({"kind": kind, "detail": detail, "since": step.attempt_started_at.to_rfc3339()});
    if let (Some(until), Some(fields)) = (until, waiting.as_object_mut()) {
        fields.insert("until".to_owned(), until.to_rfc3339().into());
    }
    Some(waiting.to_string())
}

fn attempt(ended: &compozy_engine::decide::EndedAttempt, node: &NodeId, epoch: i64, now: Timestamp) -> row::Attempt {
    row::Attempt {
        task_exec_id: ended.step_id.clone(),
        attempt: i64::from(ended.attempt),
        node: node.clone(),
        epoch,
        outcome: ended.status.word().to_owned(),
        error: Some(error_text(&ended.error)),
        started_at: ended.started_at,
        finished_at: now,
    }
}

fn usage(key: &compozy_engine::state::StepKey, usage: &compozy_engine::event::Usage) -> row::Usage {
    row::Usage {
        step_key: key.to_string(),
        provider: usage.provider.clone(),
        model: usage.model.clone(),
        prompt_tokens: i64::try_from(usage.prompt_tokens).unwrap_or(i64::MAX),
        completion_tokens: i64::try_from(usage.completion_tokens).unwrap_or(i64::MAX),
    }
}

/// The engine state of a stored run.
pub(crate) fn restore(plan: &Workflow, loaded: &row::LoadedRun) -> Result<RunState, Unreadable> {
    let run = &loaded.run;
    let stored: StoredState = if run.state.is_empty() { StoredState::default() } else { parse("state", &run.state)? };
    let facts = Facts {
        exec_id: run.exec_id.as_str().to_owned(),
        input: Json::from_valid(run.input.as_str()),
        trigger: Json::from_valid(run.trigger.as_str()),
        deadline: run.deadline,
        depth: stored.depth,
    };
    let mut state = RunState::new(facts, stored.entry);
    state.status = run.status.parse().map_err(|_| Unreadable(format!("status '{}'", run.status)))?;
    state.started_at = run.started_at;
    state.output = run.output.as_deref().map(Json::from_valid);
    state.error = run.error.as_deref().map(|text| parse::<StepError>("error", text)).transpose()?;
    state.restore(&stored);
    // One that was imported before it had begun, and was held: it begins now.
    if state.status == Status::Paused && run.started_at.is_none() {
        state.status = Status::Pending;
    }
    state.last_seq = run.last_seq;
    // In the order they started, so that the latest execution of a task is the one that stays.
    for row in &loaded.steps {
        state.steps.put(restore_step(row)?);
    }
    state.steps.count_children(plan);
    state.inbox = signals::inbox(&state, &loaded.signals);
    Ok(state)
}

pub(crate) fn restore_step(row: &row::Step) -> Result<Step, Unreadable> {
    let stored: StoredStep = parse("step state", &row.state)?;
    let key = |text: &str| text.parse().map_err(|()| Unreadable(format!("step key '{text}'")));
    let mut step = Step {
        key: key(&row.step_key)?,
        id: row.task_exec_id.clone(),
        parent: row.parent.as_deref().map(key).transpose()?,
        address: Vec::new(),
        index: None,
        position: u64::try_from(row.position).unwrap_or(0),
        status: row.status.parse().map_err(|_| Unreadable(format!("status '{}'", row.status)))?,
        attempt: u32::try_from(row.attempt).unwrap_or(1),
        retry_at: None,
        overlay: None,
        cause: None,
        skipped: false,
        pause: None,
        opening: None,
        input: row.input.as_deref().map(Json::from_valid),
        output: row.output.as_deref().map(Json::from_valid),
        error: row.error.as_deref().map(|text| parse("step error", text)).transpose()?,
        result_seq: row.result_seq,
        started_at: row.started_at,
        attempt_started_at: row.started_at,
        finished_at: row.finished_at,
    };
    step.restore(stored);
    Ok(step)
}

/// A run as it is recorded before anything happened to it.
pub(crate) fn new_run(
    plan: &Workflow,
    state: &RunState,
    request: &super::StartRequest,
    durability: row::Durability,
    now: Timestamp,
) -> row::Run {
    row::Run {
        tags: serde_json::Value::Object(request.tags.clone()).to_string(),
        durability,
        priority: request.priority,
        ..fresh(plan, state, now)
    }
}

/// A run of `plan` in `state`, outermost and owned by nobody.
fn fresh(plan: &Workflow, state: &RunState, now: Timestamp) -> row::Run {
    let exec_id: crate::id::ExecId = state.facts.exec_id.as_str().into();
    row::Run {
        component: "workflow".to_owned(),
        workflow_id: plan.id.clone(),
        definition_digest: plan.digest.clone(),
        status: state.status.word().to_owned(),
        reason: None,
        input: state.facts.input.as_str().to_owned(),
        output: None,
        error: None,
        trigger: state.facts.trigger.as_str().to_owned(),
        tags: "{}".to_owned(),
        parent_exec_id: None,
        root_exec_id: exec_id.clone(),
        forked_from: None,
        durability: row::Durability::default(),
        priority: 0,
        concurrency: None,
        deadline: state.facts.deadline,
        state: to_text(&state.stored()),
        owner_node: None,
        affinity_node: None,
        epoch: 0,
        last_seq: state.last_seq,
        cancel_request: None,
        pause_request: None,
        created_at: now,
        started_at: state.started_at,
        updated_at: now,
        finished_at: None,
        gated: false,
        attended: false,
        exec_id,
    }
}

/// The run that goes on from `source`, with the steps that it keeps, as it waits in the queue. Tokens of these steps are
/// not counted again.
pub(crate) fn forked(plan: &Workflow, source: &row::Run, fork: &Fork, now: Timestamp) -> row::NewRun {
    let state = &fork.state;
    let journal = fork.records.iter().zip(1..).map(|(record, seq)| event(record, seq, now));
    let changes = row::Changes {
        journal: journal.collect(),
        steps: fork.steps.iter().map(|step| self::step(plan, step)).collect(),
        at: now,
        ..row::Changes::default()
    };
    let run = row::Run {
        component: source.component.clone(),
        workflow_id: source.workflow_id.clone(),
        trigger: source.trigger.clone(),
        tags: source.tags.clone(),
        forked_from: Some(source.exec_id.clone()),
        durability: source.durability,
        priority: source.priority,
        ..fresh(plan, state, now)
    };
    row::NewRun { run, queue: true, changes, definition: None, idempotency: None }
}

fn event(record: &Record, seq: i64, now: Timestamp) -> row::Journal {
    row::Journal {
        seq,
        at: now,
        event: record.event().to_owned(),
        task_id: record.task().map(str::to_owned),
        data: record.data(),
    }
}

/// The row of a run whose first decision is recorded with it.
pub(crate) fn begun(run: row::Run, state: &RunState) -> row::Run {
    row::Run {
        status: state.status.word().to_owned(),
        state: to_text(&state.stored()),
        last_seq: state.last_seq,
        started_at: state.started_at,
        ..run
    }
}

/// The stored definition of a run, read back.
pub(crate) fn plan(text: &str) -> Result<Arc<Workflow>, Unreadable> {
    parse("definition", text).map(Arc::new)
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|error| Unreadable(format!("{what}: {error}")))
}

fn error_text(error: &StepError) -> String {
    to_text(error)
}

/// These types have string keys and no fallible parts, so printing them does not fail.
fn to_text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
