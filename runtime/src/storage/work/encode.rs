//! Logical transactions as rows to bind, made by the caller so that whoever writes only binds them.

use std::sync::Arc;

use compozy_engine::time::Timestamp;
use sha2::{Digest, Sha256};

use super::super::Error;
use super::super::row::{Changes, Durability, NewRun, RunUpdate, Started, Woken};
use super::operation::Outcome;
use super::outward::Outward;
use super::slot::{Slot, Value};
use crate::id::{ExecId, NodeId};

/// Longer texts than this many bytes are stored once, by content.
const INLINE_BYTES: usize = 8 * 1024;
/// What a reference starts with; no JSON text does.
pub(in crate::storage) const REFERENCE: &str = "@sha256:";

/// Status words after which nothing changes any more.
pub(in crate::storage) const TERMINAL: [&str; 4] = ["SUCCESS", "FAILED", "TIMED_OUT", "CANCELED"];

/// A logical transaction of one run.
#[derive(Debug)]
pub(in crate::storage) struct Encoded {
    /// Its run.
    pub(in crate::storage) exec_id: ExecId,
    /// New values of the run's row; a start has none.
    pub(in crate::storage) update: Option<Update>,
    /// A start: the values its row is cached by.
    pub(in crate::storage) started: Option<Start>,
    /// Rows to write, whole rows per slot.
    pub(in crate::storage) rows: Vec<(Slot, Vec<Value>)>,
    /// What it does to other runs; most do nothing.
    pub(in crate::storage) outward: Option<Box<Outward>>,
}

/// A JSON text as it is stored.
#[derive(Debug, Clone)]
pub(in crate::storage) struct Stored {
    /// The text, or a reference to it when it is long.
    pub(in crate::storage) value: Value,
    /// Hash and bytes of what is referred to.
    pub(in crate::storage) large: Option<(Arc<str>, Arc<[u8]>)>,
}

impl Stored {
    pub(in crate::storage) fn new(json: &str) -> Self {
        if json.len() <= INLINE_BYTES {
            return Self { value: text(json), large: None };
        }
        let hash: Arc<str> = hex(&Sha256::digest(json.as_bytes())).into();
        Self { value: text(format!("{REFERENCE}{hash}")), large: Some((hash, json.as_bytes().into())) }
    }

    /// The rows of `payloads` and `payload_refs` that it needs for the run `exec`.
    pub(in crate::storage) fn rows(&self, exec: &Value, at: Timestamp) -> Option<([Value; 3], [Value; 2])> {
        let (hash, bytes) = self.large.as_ref()?;
        let hash = Value::Text(Arc::clone(hash));
        Some(([hash.clone(), Value::Blob(Arc::clone(bytes)), integer(at.0)], [hash, exec.clone()]))
    }
}

/// What the writer must know of a start.
#[derive(Debug)]
pub(in crate::storage) struct Start {
    pub(in crate::storage) status: Arc<str>,
    pub(in crate::storage) durability: Durability,
    pub(in crate::storage) workflow_id: Arc<str>,
    pub(in crate::storage) definition: Option<Definition>,
    pub(in crate::storage) idempotency: Option<Key>,
    pub(in crate::storage) has_parent: bool,
    /// Key that it waits for in the queue.
    pub(in crate::storage) concurrency_key: Option<Arc<str>>,
    pub(in crate::storage) at: Timestamp,
}

/// A definition that may be stored already.
#[derive(Debug)]
pub(in crate::storage) struct Definition {
    pub(in crate::storage) digest: Arc<str>,
    pub(in crate::storage) kind: Arc<str>,
    pub(in crate::storage) id: Arc<str>,
    pub(in crate::storage) content: Arc<str>,
}

/// An idempotency key and the request it stands for.
#[derive(Debug, Clone)]
pub(in crate::storage) struct Key {
    pub(in crate::storage) scope: Arc<str>,
    pub(in crate::storage) key: Arc<str>,
    pub(in crate::storage) request_hash: Arc<str>,
}

impl Encoded {
    /// The runs that it starts beside its own.
    pub(in crate::storage) fn starts(&self) -> &[Self] {
        self.outward.as_ref().map_or(&[], |outward| &outward.starts)
    }

    /// What is answered once its rows are written.
    pub(in crate::storage) fn outcome(&self, woken: Vec<Woken>) -> Outcome {
        if self.started.is_some() { Outcome::Started(Started::New) } else { Outcome::Committed(woken) }
    }

    /// A start of a run inside another one.
    pub(in crate::storage) fn has_parent(&self) -> bool {
        self.started.as_ref().is_some_and(|start| start.has_parent)
    }

    /// The idempotency key of a start.
    pub(in crate::storage) fn key(&self) -> Option<(&Start, &Key)> {
        let start = self.started.as_ref()?;
        Some((start, start.idempotency.as_ref()?))
    }
}

impl Definition {
    /// The row of this revision.
    pub(in crate::storage) fn row(&self, at: Timestamp) -> [Value; 5] {
        let [digest, kind, id, content] =
            [&self.digest, &self.kind, &self.id, &self.content].map(|text| Value::Text(Arc::clone(text)));
        [digest, kind, id, content, integer(at.0)]
    }

    /// The row that makes it the current revision.
    pub(in crate::storage) fn head(&self, at: Timestamp) -> [Value; 4] {
        let [kind, id, digest] = [&self.kind, &self.id, &self.digest].map(|text| Value::Text(Arc::clone(text)));
        [kind, id, digest, integer(at.0)]
    }
}

/// The guarded change of a run's row.
#[derive(Debug)]
pub(in crate::storage) struct Update {
    pub(in crate::storage) node: NodeId,
    pub(in crate::storage) epoch: i64,
    /// `None`: as it is.
    pub(in crate::storage) status: Option<Arc<str>>,
    pub(in crate::storage) ends: bool,
    pub(in crate::storage) at: Timestamp,
    values: Vec<Value>,
}

impl Update {
    /// The row for `slot`: [`Slot::Advance`] takes all but what only an end has.
    pub(in crate::storage) fn row(&self, slot: Slot) -> &[Value] {
        self.values.get(..slot.columns()).unwrap_or(&self.values)
    }
}

/// Builds the rows of one logical transaction.
struct Builder {
    rows: Vec<(Slot, Vec<Value>)>,
    /// Id of the run.
    exec: Value,
    at: Timestamp,
}

impl Builder {
    fn put<const N: usize>(&mut self, slot: Slot, row: [Value; N]) {
        debug_assert_eq!(N, slot.columns());
        match self.rows.iter_mut().find(|(present, _)| *present == slot) {
            Some((_, rows)) => rows.extend(row),
            None => self.rows.push((slot, Vec::from(row))),
        }
    }

    /// The text itself, or a reference to it when it is long.
    fn json(&mut self, json: &str) -> Value {
        let stored = Stored::new(json);
        if let Some((payload, reference)) = stored.rows(&self.exec, self.at) {
            self.put(Slot::Payload, payload);
            self.put(Slot::PayloadRef, reference);
        }
        stored.value
    }

    /// The rows in the order their statements run.
    fn rows(mut self) -> Vec<(Slot, Vec<Value>)> {
        self.rows.sort_by_key(|(slot, _)| *slot);
        self.rows
    }

    fn json_option(&mut self, json: Option<&str>) -> Value {
        json.map_or(Value::Null, |json| self.json(json))
    }

    /// Everything but the run's row.
    fn changes(&mut self, changes: &Changes) {
        let exec = &self.exec.clone();
        for event in &changes.journal {
            let data = self.json(&event.data);
            let row = [
                exec.clone(),
                integer(event.seq),
                integer(event.at.0),
                text(event.event.as_str()),
                optional(event.task_id.as_deref()),
                data,
            ];
            self.put(Slot::Journal, row);
        }
        for step in &changes.steps {
            let [input, output, error] =
                [&step.input, &step.output, &step.error].map(|json| self.json_option(json.as_deref()));
            let row = [
                exec.clone(),
                text(step.step_key.as_str()),
                text(step.task_exec_id.as_str()),
                text(step.task_id.as_str()),
                text(step.kind.as_str()),
                text(step.status.as_str()),
                integer(step.attempt),
                optional(step.parent.as_deref()),
                integer(step.position),
                input,
                output,
                error,
                optional(step.waiting_for.as_deref()),
                text(step.state.as_str()),
                step.result_seq.map_or(Value::Null, integer),
                integer(step.started_at.0),
                time(step.finished_at),
            ];
            self.put(Slot::Step, row);
        }
        for attempt in &changes.attempts {
            let error = self.json_option(attempt.error.as_deref());
            let row = [
                text(attempt.task_exec_id.as_str()),
                integer(attempt.attempt),
                text(attempt.node.as_str()),
                integer(attempt.epoch),
                text(attempt.outcome.as_str()),
                error,
                integer(attempt.started_at.0),
                integer(attempt.finished_at.0),
            ];
            self.put(Slot::Attempt, row);
        }
        for timer in &changes.timers_set {
            let row = [
                exec.clone(),
                text(timer.timer_id.as_str()),
                text(timer.kind.as_str()),
                optional(timer.step_key.as_deref()),
                integer(timer.due_at.0),
            ];
            self.put(Slot::Timer, row);
        }
        for timer_id in &changes.timers_cleared {
            self.put(Slot::ClearedTimer, [exec.clone(), text(timer_id.as_str())]);
        }
        for usage in &changes.usage {
            let row = [
                exec.clone(),
                text(usage.step_key.as_str()),
                text(usage.provider.as_str()),
                text(usage.model.as_str()),
                integer(usage.prompt_tokens),
                integer(usage.completion_tokens),
            ];
            self.put(Slot::Usage, row);
        }
        for signal_id in &changes.noted {
            self.put(Slot::NotedSignal, [exec.clone(), text(signal_id.as_str())]);
        }
        for settled in &changes.settled {
            let row = [
                exec.clone(),
                text(settled.signal_id.as_str()),
                text(settled.state.as_str()),
                optional(settled.step_key.as_deref()),
                integer(changes.at.0),
            ];
            self.put(Slot::SettledSignal, row);
        }
    }
}

/// The rows of a commit.
///
/// # Errors
/// [`Error::Conflict`] when the events are not contiguous or an end is half said.
pub(in crate::storage) fn commit(
    exec_id: &ExecId,
    node: &NodeId,
    epoch: i64,
    changes: &Changes,
) -> Result<Encoded, Error> {
    let (before, after) = contiguous(exec_id, changes)?;
    let exec = text(exec_id.as_str());
    let mut builder = Builder { rows: Vec::with_capacity(4), exec: exec.clone(), at: changes.at };
    let run = changes.run.as_ref();
    let status: Option<Arc<str>> = run.map(|run| run.status.as_str().into());
    let ends = status.as_deref().is_some_and(|status| TERMINAL.contains(&status));
    if run.is_some_and(|run| run.finished_at.is_some() != ends) {
        return Err(Error::Conflict(format!("run {exec_id}: an end needs a terminal status and a time")));
    }
    let mut values = vec![
        exec.clone(),
        text(node.as_str()),
        integer(epoch),
        before.map_or(Value::Null, integer),
        after.map_or(Value::Null, integer),
        integer(changes.at.0),
        status.clone().map_or(Value::Null, Value::Text),
    ];
    match run {
        Some(RunUpdate { status: _, reason, output, error, state, started_at, finished_at }) => {
            values.push(optional(reason.as_deref()));
            values.push(builder.json_option(output.as_deref()));
            values.push(builder.json_option(error.as_deref()));
            values.push(text(state.as_str()));
            values.push(time(*started_at));
            values.push(time(*finished_at));
        }
        None => values.resize(Slot::Move.columns(), Value::Null),
    }
    if ends {
        builder.put(Slot::EndedReady, [exec.clone()]);
        builder.put(Slot::EndedTimer, [exec.clone()]);
        builder.put(Slot::EndedSignal, [exec.clone(), integer(changes.at.0)]);
    }
    builder.changes(changes);
    let update = Update { node: node.clone(), epoch, status, ends, at: changes.at, values };
    let outward = Outward::of(changes)?.map(Box::new);
    Ok(Encoded { exec_id: exec_id.clone(), update: Some(update), started: None, rows: builder.rows(), outward })
}

/// The seq before the first event and the last one.
fn contiguous(exec_id: &ExecId, changes: &Changes) -> Result<(Option<i64>, Option<i64>), Error> {
    let (Some(first), Some(last)) = (changes.journal.first(), changes.journal.last()) else { return Ok((None, None)) };
    let expected = first.seq..;
    if first.seq < 1 || !changes.journal.iter().zip(expected).all(|(event, seq)| event.seq == seq) {
        return Err(Error::Conflict(format!("run {exec_id}: events are not contiguous")));
    }
    Ok((Some(first.seq - 1), Some(last.seq)))
}

/// The rows of a start.
///
/// # Errors
/// [`Error::Conflict`] when the row and its first events do not fit together.
pub(in crate::storage) fn start(new: NewRun) -> Result<Encoded, Error> {
    let NewRun { run, queue, changes, definition, idempotency } = new;
    let exec_id = run.exec_id.clone();
    let (before, after) = contiguous(&exec_id, &changes)?;
    if before.unwrap_or(0) != 0 || after.unwrap_or(0) != run.last_seq {
        return Err(Error::Conflict(format!("run {exec_id}: its events do not end at last_seq")));
    }
    // A run inside another one is under way with it: waiting for the key that its parent holds would never end.
    let concurrency = run.concurrency.filter(|_| run.parent_exec_id.is_none());
    if concurrency.is_some() && !queue {
        return Err(Error::Conflict(format!("run {exec_id} has a concurrency key and must be queued")));
    }
    let (key, limit) = concurrency.map(|one| (Arc::<str>::from(one.key), i64::from(one.limit.max(1)))).unzip();
    let concurrency_key = || key.clone().map_or(Value::Null, Value::Text);
    let concurrency_limit = || limit.map_or(Value::Null, integer);
    let exec = text(exec_id.as_str());
    let mut builder = Builder { rows: Vec::with_capacity(6), exec: exec.clone(), at: run.created_at };
    let workflow_id: Arc<str> = run.workflow_id.as_str().into();
    let status: Arc<str> = run.status.as_str().into();
    let digest: Arc<str> = run.definition_digest.as_str().into();
    let [input, output, error] = [Some(&run.input), run.output.as_ref(), run.error.as_ref()]
        .map(|json| builder.json_option(json.map(String::as_str)));
    let row = [
        exec.clone(),
        text(run.component),
        Value::Text(Arc::clone(&workflow_id)),
        Value::Text(Arc::clone(&digest)),
        Value::Text(Arc::clone(&status)),
        optional(run.reason.as_deref()),
        input,
        output,
        error,
        text(run.trigger),
        text(run.tags),
        id(run.parent_exec_id.as_ref()),
        text(run.root_exec_id.as_str()),
        id(run.forked_from.as_ref()),
        text(durability_word(run.durability)),
        integer(run.priority),
        time(run.deadline),
        text(run.state),
        run.owner_node.as_ref().map_or(Value::Null, |node| text(node.as_str())),
        run.affinity_node.as_ref().map_or(Value::Null, |node| text(node.as_str())),
        integer(run.epoch),
        integer(run.last_seq),
        optional(run.cancel_request.as_deref()),
        optional(run.pause_request.as_deref()),
        integer(run.created_at.0),
        time(run.started_at),
        integer(run.updated_at.0),
        time(run.finished_at),
        concurrency_key(),
        concurrency_limit(),
    ];
    builder.put(Slot::Execution, row);
    if queue {
        let affinity = run.affinity_node.as_ref().map_or(Value::Null, |node| text(node.as_str()));
        let row = [
            exec.clone(),
            integer(run.created_at.0),
            integer(run.priority),
            affinity,
            Value::Text(Arc::clone(&workflow_id)),
            concurrency_key(),
            concurrency_limit(),
        ];
        builder.put(Slot::Ready, row);
    }
    let used = idempotency.map(|idempotency| {
        let key = Key {
            scope: idempotency.scope.into(),
            key: idempotency.key.into(),
            request_hash: idempotency.request_hash.into(),
        };
        let [scope, name, hash] = [&key.scope, &key.key, &key.request_hash].map(|part| Value::Text(Arc::clone(part)));
        builder.put(Slot::Idempotency, [scope, name, hash, exec.clone(), integer(idempotency.expires_at.0)]);
        key
    });
    builder.changes(&changes);
    let outward = Outward::of(&changes)?.map(Box::new);
    let definition = definition.map(|(kind, id, content)| Definition {
        digest,
        kind: kind.into(),
        id: id.into(),
        content: content.into(),
    });
    let started = Start {
        status,
        durability: run.durability,
        workflow_id,
        definition,
        idempotency: used,
        has_parent: run.parent_exec_id.is_some(),
        concurrency_key: key,
        at: run.created_at,
    };
    Ok(Encoded { exec_id, update: None, started: Some(started), rows: builder.rows(), outward })
}

/// The word of a durability level in the database.
pub(in crate::storage) fn durability_word(durability: Durability) -> &'static str {
    match durability {
        Durability::Memory => "memory",
        Durability::Normal => "normal",
        Durability::Full => "full",
    }
}

/// The durability level of a word in the database.
pub(in crate::storage) fn durability_of(word: &str) -> Option<Durability> {
    [Durability::Memory, Durability::Normal, Durability::Full].into_iter().find(|level| durability_word(*level) == word)
}

/// Lower-case hexadecimal digits.
pub(in crate::storage) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

pub(in crate::storage) fn text(text: impl Into<Arc<str>>) -> Value {
    Value::Text(text.into())
}

pub(in crate::storage) fn integer(number: i64) -> Value {
    Value::Integer(number)
}

fn optional(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| Value::Text(text.into()))
}

fn time(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| Value::Integer(time.0))
}

fn id(exec_id: Option<&ExecId>) -> Value {
    exec_id.map_or(Value::Null, |exec_id| text(exec_id.as_str()))
}
