//! Who looks after all memories of a process: reads them, decides with their rule and prepares what is to be written.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use compozy_engine::event::Attachment;
use compozy_engine::time::Timestamp;
use compozy_lang::plan::{FlushingKind, MemoryDefinition};
use compozy_lang::settings;

use super::holds::{Hold, Holds};
use super::message::Message;
use super::privacy::Patterns;
use super::process::Process;
use super::rule::{Draft, Goal, Origin, Outcome, Rule, Summaries, Summary};
use super::{Error, Place, summary};
use crate::clock::Clock;
use crate::plugin::CallContext;
use crate::provider::{Answer, Providers};
use crate::storage::row::{MemoryAct, MemoryChange, MemoryMessage, MemoryState, MemoryTotals};
use crate::storage::{self, Storage};

/// How often a model is asked for one change, should the memory go on changing meanwhile.
const SUMMARIES: usize = 3;

/// The project's limits of all memories (dialect §14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message.
    pub max_message_bytes: u64,
    /// Bytes of all messages under a key.
    pub max_memory_bytes: u64,
}

impl From<&settings::Limits> for Limits {
    fn from(limits: &settings::Limits) -> Self {
        Self { max_message_bytes: limits.max_message_bytes, max_memory_bytes: limits.max_memory_bytes }
    }
}

/// Who asks for a change.
#[derive(Debug)]
pub struct Asked {
    /// Unique for each change: one that is written twice counts once.
    pub writer: String,
    /// How a model is asked for a summary, and how it is called off.
    pub call: CallContext,
}

/// The memories of a process.
#[derive(Debug)]
pub struct Keeper {
    storage: Arc<dyn Storage>,
    clock: Clock,
    providers: Arc<Providers>,
    limits: RwLock<Limits>,
    /// Limit of one question to a model.
    prompt_timeout: Duration,
    pub(super) patterns: Patterns,
    holds: Holds,
    process: Process,
}

/// What is to be written to memories, and the right to: their keys are held until it is dropped.
#[derive(Debug, Default)]
pub struct Prepared {
    changes: Vec<MemoryChange>,
    in_process: bool,
    #[expect(dead_code, reason = "held, not read")]
    holds: Vec<Hold>,
}

impl Prepared {
    /// Nothing yet, for this place.
    #[must_use]
    pub fn of(place: Place<'_>) -> Self {
        Self { in_process: place.memory.in_memory, ..Self::default() }
    }

    /// What is to be written to the database; nothing for a memory that lives in this process.
    #[must_use]
    pub fn rows(&self) -> &[MemoryChange] {
        if self.in_process { &[] } else { &self.changes }
    }

    /// Whether there is anything to write.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.changes.is_empty()
    }

    /// Puts changes that were decided at the same time in front.
    pub fn after(&mut self, earlier: Vec<MemoryChange>) {
        self.changes.splice(0..0, earlier);
    }
}

/// What a memory holds now.
#[derive(Debug, Default)]
pub struct Seen {
    /// The state; empty when it has expired.
    pub state: MemoryState,
    /// There is something, and it has expired.
    pub expired: bool,
}

impl Seen {
    /// Tokens of all messages.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.state.messages.iter().map(|message| message.tokens).sum()
    }
}

/// A change that was decided.
pub(super) struct Decided {
    pub(super) outcome: Outcome,
    pub(super) prepared: Prepared,
    pub(super) answers: Vec<Answer>,
}

/// What is to be decided.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) rule: &'a Rule,
    pub(super) added: &'a [Message],
    /// What was there goes first.
    pub(super) replace: bool,
    pub(super) goal: Goal,
}

impl Keeper {
    /// A keeper over the project's database.
    #[must_use]
    pub fn new(
        storage: Arc<dyn Storage>,
        clock: Clock,
        providers: Arc<Providers>,
        prompt_timeout: Duration,
        limits: Limits,
    ) -> Self {
        Self {
            storage,
            clock,
            providers,
            limits: RwLock::new(limits),
            prompt_timeout,
            patterns: Patterns::default(),
            holds: Holds::default(),
            process: Process::default(),
        }
    }

    /// Limits that hold from now on.
    pub fn replace_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// How a change that belongs to no run is asked for.
    #[must_use]
    pub fn asked_by_nobody(&self) -> Asked {
        let call = CallContext::outside_runs(self.prompt_timeout);
        Asked { writer: format!("api:{}", self.clock.exec_id()), call }
    }

    /// What a memory holds under a key. With `contents` also what was said.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn look(&self, place: Place<'_>, contents: bool) -> Result<Seen, Error> {
        let state = if place.memory.in_memory {
            self.process.read(&place.memory.id, place.key)
        } else {
            self.storage.memory(&place.memory.id, place.key, contents).await?
        };
        let Some(state) = state else { return Ok(Seen::default()) };
        let expired = state.expires_at.is_some_and(|at| at <= self.clock.now());
        let state = if expired { MemoryState { messages: Vec::new(), ..state } } else { state };
        Ok(Seen { state, expired })
    }

    /// What the keys of each memory hold together.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn totals(&self) -> Result<Vec<MemoryTotals>, Error> {
        let now = self.clock.now();
        let mut all = self.storage.memory_totals(now).await?;
        all.extend(self.process.totals(now));
        Ok(all)
    }

    /// Writes what was prepared, at once.
    ///
    /// # Errors
    /// [`Error::Storage`]; nothing was written then.
    pub async fn write(&self, prepared: &Prepared) -> Result<(), Error> {
        let rows = prepared.rows();
        if !rows.is_empty() {
            self.storage.change_memory(rows.to_vec(), self.clock.now()).await?;
        }
        self.committed(prepared);
        Ok(())
    }

    /// What was prepared is recorded, as far as the database goes: now this process follows.
    pub fn committed(&self, prepared: &Prepared) {
        if prepared.in_process {
            self.process.write(&prepared.changes, self.clock.now());
        }
    }

    /// [`Keeper::committed`] for what was attached to results.
    pub fn committed_all(&self, attached: &[Attachment]) {
        attached.iter().filter_map(Attachment::get::<Prepared>).for_each(|prepared| self.committed(prepared));
    }

    /// The rule of a memory under the present limits.
    #[must_use]
    pub fn rule(&self, place: Place<'_>) -> Rule {
        Rule::of(place.memory, *self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The strategy that flushes `memory`.
    #[must_use]
    pub fn actual_strategy_of(&self, memory: &MemoryDefinition) -> FlushingKind {
        self.actual_strategy(&self.rule(Place { memory, key: "" }))
    }

    /// The strategy that flushes by `rule`: there is no summary without a model.
    pub(super) fn actual_strategy(&self, rule: &Rule) -> FlushingKind {
        match rule.strategy() {
            FlushingKind::HybridSummary if !self.providers.has_default() => FlushingKind::SimpleFifo,
            strategy => strategy,
        }
    }

    /// The change that says that a key was read, if that matters to anybody.
    #[must_use]
    pub fn used(&self, place: Place<'_>, seen: &Seen, writer: &str) -> Option<MemoryChange> {
        let matters = place.memory.ttl.is_some() || self.rule(place).minds_reading();
        (matters && seen.state.version != 0 && !seen.expired).then(|| self.change(place, writer, MemoryAct::Used))
    }

    pub(super) fn change(&self, place: Place<'_>, writer: &str, act: MemoryAct) -> MemoryChange {
        MemoryChange {
            memory: place.memory.id.clone(),
            key: place.key.to_owned(),
            writer: writer.to_owned(),
            expires_at: self.expiry(place),
            act,
        }
    }

    fn expiry(&self, place: Place<'_>) -> Option<Timestamp> {
        place.memory.ttl.map(|ttl| self.clock.now().after(ttl))
    }

    pub(super) fn prepared(place: Place<'_>, changes: Vec<MemoryChange>, holds: Vec<Hold>) -> Prepared {
        Prepared { changes, in_process: place.memory.in_memory, holds }
    }

    pub(super) async fn rest(&self, rest: Duration) {
        self.clock.sleep(rest).await;
    }

    /// Waits for keys, in an order that is the same for everybody.
    pub(super) async fn hold(&self, memory: &str, keys: &[&str], asked: &Asked) -> Result<Vec<Hold>, Error> {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let mut holds = Vec::with_capacity(keys.len());
        for key in keys {
            tokio::select! {
                hold = self.holds.take(memory, key) => holds.push(hold),
                () = asked.call.cancel.canceled() => return Err(Error::Canceled),
                () = self.clock.sleep(asked.call.timeout) => {
                    return Err(storage::Error::Busy(format!("others have been changing '{key}' all the time")).into());
                }
            }
        }
        Ok(holds)
    }

    /// Looks, decides and prepares. A model is asked without holding the key, the first time.
    pub(super) async fn decide(
        &self,
        place: Place<'_>,
        question: Question<'_>,
        asked: &Asked,
    ) -> Result<Decided, Error> {
        let is_summary = self.actual_strategy(question.rule) == FlushingKind::HybridSummary;
        let mut given: Option<Summary> = None;
        let mut answers = Vec::new();
        let mut without = !is_summary;
        let mut holds = self.hold(&place.memory.id, &[place.key], asked).await?;
        loop {
            let seen = self.look(place, is_summary).await?;
            let present: &[MemoryMessage] = if question.replace { &[] } else { &seen.state.messages };
            let summaries = match &given {
                _ if without => Summaries::Without,
                Some(given) => Summaries::Given(given),
                None => Summaries::Ask,
            };
            let of = match question.rule.draft(present, question.added, question.goal, summaries) {
                Draft::Ready(outcome) => {
                    let changes = self.changes_of(place, question, &seen, &outcome, asked);
                    return Ok(Decided { outcome, prepared: Self::prepared(place, changes, holds), answers });
                }
                Draft::Summarise(_) if answers.len() >= SUMMARIES => {
                    without = true;
                    continue;
                }
                Draft::Summarise(of) => of,
            };
            let said = said(&of, present, question.added);
            let is_first = answers.is_empty();
            if is_first {
                holds = Vec::new();
            }
            match summary::ask(&self.providers, &said, question.rule.summary_tokens(), &asked.call).await {
                Ok(answer) => {
                    given = Some(Summary { of, text: summary::text(&answer) });
                    answers.push(answer);
                }
                // Nothing is lost that would not have gone without a summary; what was to be kept is more important.
                Err(error) if question.goal == Goal::Keep => {
                    tracing::warn!(memory.id = place.memory.id, "messages go without a summary: {error}");
                    without = true;
                }
                Err(error) => return Err(Error::Summary(error)),
            }
            if holds.is_empty() {
                holds = self.hold(&place.memory.id, &[place.key], asked).await?;
            }
        }
    }

    fn changes_of(
        &self,
        place: Place<'_>,
        question: Question<'_>,
        seen: &Seen,
        outcome: &Outcome,
        asked: &Asked,
    ) -> Vec<MemoryChange> {
        if outcome.is_nothing() && !question.replace {
            return Vec::new();
        }
        let cleared = question.replace || seen.expired;
        let act = MemoryAct::Write {
            version: seen.state.version,
            cleared,
            dropped: if cleared { Vec::new() } else { outcome.dropped.clone() },
            added: outcome.added.clone(),
            backup: seen.state.backup && !question.replace,
        };
        vec![self.change(place, &asked.writer, act)]
    }
}

/// The messages a summary is to stand for.
fn said(of: &[Origin], present: &[MemoryMessage], added: &[Message]) -> Vec<Message> {
    let find = |origin: &Origin| match origin {
        Origin::Stored(seq) => {
            let place = present.binary_search_by_key(seq, |message| message.seq).ok()?;
            present.get(place).map(|message| Message::new(&message.role, &message.content))
        }
        Origin::Added(index) => added.get(*index).cloned(),
    };
    of.iter().filter_map(find).collect()
}
