//! What must hold after every commit (cli-and-api §9.2), and at the end.

use std::collections::{BTreeMap, BTreeSet};

use compozy_engine::command::Command;
use compozy_engine::decide::resume;
use compozy_engine::event::TimerKey;
use compozy_engine::state::{RunState, Step, StepKey, StoredStep};
use compozy_engine::status::Status;
use serde_json::Value;

use super::effects::Call;
use super::programs::{LAPS, Leaf, Program, Programs};
use super::projection;
use super::store::{JournalRow, Run, StepRow, Store, Tx};
use super::world::Settings;

/// What was seen of the store.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    runs: BTreeMap<String, Seen>,
    pub(crate) commits: u64,
}

/// What was seen of a run.
#[derive(Debug)]
struct Seen {
    status: Status,
    paused: bool,
    events: usize,
    /// What the journal says of the run and of its steps: status and attempt.
    replayed: Status,
    steps: BTreeMap<String, (String, u64)>,
    /// Recorded results.
    results: BTreeMap<String, StepRow>,
    /// How often the journal says of a signal that it is queued, and that it is consumed or ignored.
    signals: BTreeMap<String, (u32, u32)>,
    /// Waits that have consumed a signal.
    consumers: BTreeSet<String>,
    /// An ended run, whole.
    ended: Option<String>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            status: Status::Pending,
            paused: false,
            events: 0,
            replayed: Status::Pending,
            steps: BTreeMap::new(),
            results: BTreeMap::new(),
            signals: BTreeMap::new(),
            consumers: BTreeSet::new(),
            ended: None,
        }
    }
}

type Checked = Result<(), String>;

fn ensure(holds: bool, violation: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(violation()) }
}

impl Audit {
    /// Checks a run whose rows have changed.
    pub(crate) fn check(&mut self, store: &Store, programs: &Programs, exec_id: &str) -> Checked {
        self.commits += 1;
        let Some(run) = store.runs.get(exec_id) else { return Err("the run is gone".to_owned()) };
        let seen = self.runs.entry(exec_id.to_owned()).or_default();
        if let Some(ended) = &seen.ended {
            return ensure(*ended == whole(run), || format!("an ended run has changed: {:?}", run.row));
        }
        let state = projection::restore(&programs[&run.row.workflow], run, None);
        let new = run.journal.get(seen.events..).unwrap_or_default();
        seen.follow(run, new, state.paused)?;
        seen.results(run)?;
        seen.status(run)?;
        seen.waits(&state)?;
        (seen.events, seen.status, seen.paused) = (run.journal.len(), state.status, state.paused);
        let queued = store.ready.contains_key(exec_id);
        if run.is_terminal() {
            seen.ended = Some(whole(run));
            return ended(run, queued);
        }
        going_on(run, &state, queued)?;
        sub_runs(store, exec_id, &state)
    }

    /// A call of a step begins.
    pub(crate) fn begins(&self, store: &Store, exec_id: &str, key: &StepKey, attempt: u32, call: Call) -> Checked {
        let Some(run) = store.runs.get(exec_id) else { return Err(format!("{key} begins, its run is not stored")) };
        let Some(row) = run.steps.get(&key.to_string()) else {
            return Err(format!("{key} begins, its start is not stored"));
        };
        let is_terminal = row.status.parse().is_ok_and(Status::is_terminal);
        ensure(!is_terminal, || format!("{key} runs again after its result was recorded ({call:?})"))?;
        ensure(row.attempt == attempt, || format!("{key} runs attempt {attempt}, stored is {}", row.attempt))
    }

    /// A client was told that its wish is done.
    pub(crate) fn acknowledged(&self, store: &Store, tx: &Tx) -> Checked {
        let stored =
            |exec_id: &str| store.runs.get(exec_id).ok_or(format!("acknowledged, but {exec_id} is not stored"));
        match tx {
            Tx::Start(row, _) => stored(&row.exec_id).map(|_| ()),
            Tx::Cancel { exec_id } => {
                let run = stored(exec_id)?;
                ensure(run.row.cancel_request || run.is_terminal(), || format!("the cancel of {exec_id} is lost"))
            }
            Tx::Signal { exec_id, signal } => {
                let run = stored(exec_id)?;
                let known = run.signals.iter().any(|known| known.id == signal.id);
                ensure(known || run.is_terminal(), || format!("signal {} to {exec_id} is lost", signal.id))
            }
            _ => Ok(()),
        }
    }

    /// Checks what everything has come to; returns how many runs the oracle was asked about.
    pub(crate) fn finish(&self, store: &Store, programs: &Programs, settings: &Settings) -> Result<usize, String> {
        let mut compared = 0;
        for (exec_id, run) in &store.runs {
            if run.row.cancel_request {
                continue;
            }
            let canceled = run.row.status == "CANCELED";
            ensure(!canceled, || format!("{exec_id} is canceled, and nobody asked for it"))?;
            if settings.calm && !settings.fickle && run.row.deadline.is_none() {
                let program = &programs[&run.row.workflow];
                let expected = &program.expected;
                compared += 1;
                let got = executions(program, run);
                let expected_steps: BTreeMap<_, _> = expected
                    .executions
                    .iter()
                    .map(|((path, number), (status, attempts, output))| {
                        (format!("{path}#{number}"), (status.word().to_owned(), *attempts, output.clone()))
                    })
                    .collect();
                ensure(run.row.status == expected.status.word() && got == expected_steps, || {
                    format!(
                        "{exec_id} ({}) is {} with\n{got:#?}\nthe oracle says {} with\n{expected_steps:#?}",
                        run.row.workflow, run.row.status, expected.status
                    )
                })?;
            }
        }
        Ok(compared)
    }
}

/// Executions by key: status, attempts, output. What a wait does with its signals and how often a task leads to itself is
/// not the oracle's.
fn executions(program: &Program, run: &Run) -> BTreeMap<String, (String, u32, Value)> {
    let own = run.steps.values().filter(|step| !step.key.contains("/processor#"));
    own.filter_map(|step| {
        let output = step.output.as_deref().filter(|_| step.status == "SUCCESS");
        let output = output.map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
        let stored: StoredStep = serde_json::from_str(&step.state).unwrap();
        let mut key: StepKey = step.key.parse().unwrap();
        if program.leaves.get(&stored.address) == Some(&Leaf::Loop) {
            if !key.execution.is_multiple_of(LAPS) {
                return None;
            }
            key.execution /= LAPS;
        }
        Some((key.to_string(), (step.status.clone(), step.attempt, output)))
    })
    .collect()
}

fn whole(run: &Run) -> String {
    format!("{:?} {:?} {:?} {:?}", run.row, run.steps, run.journal.len(), run.timers)
}

impl Seen {
    /// The journal is contiguous and replays to the state tables.
    fn follow(&mut self, run: &Run, new: &[JournalRow], paused: bool) -> Checked {
        for (row, seq) in new.iter().zip(i64::try_from(self.events).unwrap() + 1..) {
            ensure(row.seq == seq, || format!("the journal goes on with {} instead of {seq}", row.seq))?;
            self.replay(row)?;
            let starts = row.event == "task_start" && self.paused && paused;
            ensure(!starts, || format!("a paused run starts a step: {}", row.data))?;
        }
        let last_seq = i64::try_from(run.journal.len()).unwrap();
        ensure(run.row.last_seq == last_seq, || format!("last_seq {} of {last_seq} events", run.row.last_seq))?;
        ensure(run.row.status == self.replayed.word(), || {
            format!("the run is {}, the journal says {}", run.row.status, self.replayed)
        })?;
        let stored: BTreeMap<String, (String, u64)> =
            run.steps.iter().map(|(key, row)| (key.clone(), (row.status.clone(), u64::from(row.attempt)))).collect();
        ensure(stored == self.steps, || format!("the steps are {stored:?}, the journal says {:?}", self.steps))?;
        for signal in &run.signals {
            let (queued, settled) = self.signals.get(&signal.id).copied().unwrap_or_default();
            let expected = match signal.state.as_str() {
                "sent" => (0, 0),
                "queued" => (1, 0),
                _ => (1, 1),
            };
            ensure((queued, settled) == expected, || {
                format!("signal {} is {}, the journal: queued {queued}, settled {settled}", signal.id, signal.state)
            })?;
        }
        Ok(())
    }

    fn replay(&mut self, row: &JournalRow) -> Checked {
        let data: Value = serde_json::from_str(&row.data).map_err(|error| error.to_string())?;
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = text("step_key");
        let attempt = data.get("attempt").and_then(Value::as_u64).unwrap_or(1);
        let status = || text("status").parse::<Status>().map_err(|_| format!("no status in {}", row.data));
        let before = self.steps.get(&key).cloned();
        match row.event.as_str() {
            "workflow_start" => self.replayed = Status::Running,
            "workflow_status" | "complete" | "error" => self.replayed = status()?,
            "task_start" => {
                let expected = match before.as_ref().map(|(status, attempt)| (status.as_str(), *attempt)) {
                    None | Some(("PENDING", _)) => 1,
                    Some(("WAITING", former)) => former + 1,
                    Some((status, _)) => return Err(format!("{key} starts again while {status}")),
                };
                ensure(attempt == expected, || format!("{key} starts attempt {attempt}, not {expected}"))?;
                self.steps.insert(key, ("RUNNING".to_owned(), attempt));
            }
            "task_status" | "task_retry" => {
                let status = status()?;
                let ended = before.is_some_and(|(status, _)| status.parse().is_ok_and(Status::is_terminal));
                ensure(!ended, || format!("{key} ends twice: {}", row.data))?;
                self.steps.insert(key, (status.word().to_owned(), attempt));
            }
            "signal" => {
                let (queued, settled) = self.signals.entry(text("signal_id")).or_default();
                match text("state").as_str() {
                    "queued" => *queued += 1,
                    "ignored" => *settled += 1,
                    "consumed" => {
                        *settled += 1;
                        self.consumers.insert(key);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// At most one result per step, which never changes.
    fn results(&mut self, run: &Run) -> Checked {
        for (key, row) in &run.steps {
            if row.result_seq.is_none() {
                continue;
            }
            // Only what the engine keeps beside the result may change: the sleep after it.
            let row = StepRow { state: String::new(), ..row.clone() };
            match self.results.get(key) {
                Some(result) => ensure(*result == row, || format!("the result of {key} was {result:?}, now {row:?}"))?,
                None => drop(self.results.insert(key.clone(), row)),
            }
        }
        Ok(())
    }

    /// A wait that ended well did so with a signal.
    fn waits(&self, state: &RunState) -> Checked {
        let waited = |step: &&Step| {
            let waited = step.opening.as_ref().is_some_and(|opening| opening.waiting().is_some());
            waited && step.status == Status::Success && !step.skipped
        };
        let without = state.steps.iter().filter(waited).find(|step| !self.consumers.contains(&step.key.to_string()));
        ensure(without.is_none(), || format!("a wait ended well and consumed no signal: {without:?}"))
    }

    /// Status moves only along the arrows.
    fn status(&self, run: &Run) -> Checked {
        use Status::{Paused, Pending, Running, Waiting};
        let now = run.row.status.parse().map_err(|_| format!("no status: {}", run.row.status))?;
        let allowed = match (self.status, now) {
            (before, now) if before == now => true,
            (_, now) if now.is_terminal() => true,
            // A start that is held back by a pause passes through RUNNING within its commit.
            (Pending, Running | Waiting | Paused) => true,
            (Running | Waiting | Paused, Running | Waiting | Paused) => true,
            _ => false,
        };
        ensure(allowed, || format!("the run goes from {} to {now}", self.status))
    }
}

fn ended(run: &Run, queued: bool) -> Checked {
    ensure(run.row.owner.is_none() && !queued, || format!("an ended run is owned or queued: {:?}", run.row))?;
    ensure(run.timers.is_empty(), || format!("an ended run has timers: {:?}", run.timers))?;
    ensure(run.row.finished_at.is_some(), || "an ended run has no end".to_owned())?;
    let open = run.steps.values().find(|step| !step.status.parse().is_ok_and(Status::is_terminal));
    ensure(open.is_none(), || format!("an ended run has an open step: {open:?}"))
}

/// A run that has not ended has something to wait for, and so has each of its steps.
fn going_on(run: &Run, state: &RunState, queued: bool) -> Checked {
    let owned = run.row.owner.is_some();
    ensure(!(owned && queued), || "a run is owned and queued".to_owned())?;
    let paused = run.row.status == "PAUSED" && run.row.pause_request && !run.row.cancel_request;
    ensure(owned || queued || paused, || format!("nobody will go on with {:?}", run.row))?;
    if state.status == Status::Pending {
        return Ok(());
    }
    let executing = state.steps.iter().any(Step::executes);
    let expected = match (state.paused, executing) {
        (true, _) => Status::Paused,
        (false, true) => Status::Running,
        (false, false) => Status::Waiting,
    };
    ensure(state.status == expected, || format!("the run is {}, its steps say {expected}", state.status))?;
    timers(run, state)?;
    let goes_on = state.paused || state.steps.listening().next().is_some();
    let commands = resume(state);
    let goes_on = goes_on || commands.iter().any(|command| !is_deadline(command));
    ensure(goes_on, || "the run waits for nothing".to_owned())?;
    for step in state.steps.open() {
        ensure(moves(state, step), || format!("{} waits for nothing: {:?}", step.key, step.opening))?;
    }
    if !state.paused {
        let waits = state.steps.listening().filter_map(|step| step.opening.as_ref()?.waiting());
        let names: Vec<&str> = waits.map(|wait| wait.name.as_str()).collect();
        let kept = state.inbox.iter().find(|signal| names.contains(&signal.name.as_str()));
        ensure(kept.is_none(), || format!("a wait does not get the signal that is kept for it: {kept:?}"))?;
    }
    Ok(())
}

fn is_deadline(command: &Command) -> bool {
    matches!(command, Command::Arm { timer: TimerKey::RunTimeout, .. })
}

/// Pending timers are those that a node would arm.
fn timers(run: &Run, state: &RunState) -> Checked {
    let armed = resume(state).into_iter().filter_map(|command| match command {
        Command::Arm { timer, due } => Some((timer.to_string(), due.0)),
        _ => None,
    });
    // Retries of a paused run are armed at the end of the pause.
    let kept = |timer: &String| !(state.paused && timer.starts_with("retry/"));
    let armed: BTreeMap<String, i64> = armed.filter(|(timer, _)| kept(timer)).collect();
    let stored: BTreeMap<String, i64> =
        run.timers.iter().filter(|(timer, _)| kept(timer)).map(|(timer, due)| (timer.clone(), *due)).collect();
    ensure(armed == stored, || format!("the timers are {stored:?}, needed are {armed:?}"))
}

/// An open step executes, waits for something, or holds a step that does.
fn moves(state: &RunState, step: &Step) -> bool {
    if step.executes() || step.retry_at.is_some() || (step.status == Status::Pending && state.paused) {
        return true;
    }
    let Some(opening) = &step.opening else { return false };
    let listens = opening.waiting().is_some_and(|wait| wait.signal.is_none());
    if listens || opening.awaited().is_some() {
        return true;
    }
    let below = |other: &&Step| other.parent.as_ref() == Some(&step.key);
    state.steps.iter().filter(below).any(|child| !child.status.is_terminal() || child.pause.is_some())
}

/// Sub-runs that are waited for are stored; who gives up waiting cancels them, who pauses pauses them.
fn sub_runs(store: &Store, exec_id: &str, state: &RunState) -> Checked {
    for step in state.steps.iter() {
        let Some(opening) = &step.opening else { continue };
        let Some(awaited) = opening.awaited() else { continue };
        let Some(child) = store.runs.get(&awaited.exec_id) else {
            return Err(format!("the sub-run {} of {exec_id} is not stored", awaited.exec_id));
        };
        if child.is_terminal() || child.row.cancel_request {
            continue;
        }
        let waits = !step.status.is_terminal() && opening.closing.is_none();
        ensure(waits, || format!("the sub-run of {} goes on after its step: {:?}", step.key, child.row))?;
        let held = !state.paused || child.row.pause_request;
        ensure(held, || format!("the sub-run of {} goes on while its run is paused", step.key))?;
    }
    Ok(())
}
