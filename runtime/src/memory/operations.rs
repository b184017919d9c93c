//! The eight operations of memory tasks and of the API, with what they answer.

use std::time::Duration;

use compozy_lang::plan::{FlushingKind, MemoryOperation};
use serde_json::{Map, Value, json};

use super::keeper::{Asked, Decided, Keeper, Prepared, Question, Seen};
use super::message::{self, Message};
use super::options::{self, FLUSH};
use super::rule::{Draft, Goal, Rule, Summaries, word};
use super::{Error, Place};
use crate::provider::Answer;
use crate::storage;
use crate::storage::row::{MemoryAct, NewMessage};

/// How often a change is decided anew when another process changed the memory meanwhile.
const TRIES: u32 = 50;

/// How much longer each time the next try waits.
const REST: Duration = Duration::from_millis(1);

/// What follows the key of a memory in the key of its backup.
const BACKUP: &str = ":backup";

/// What is done with one key of a memory.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Tells what was said.
    Read,
    /// Puts messages in place of what is there.
    Write(Vec<Message>),
    /// Adds messages.
    Append(Vec<Message>),
    /// Removes the key.
    Delete,
    /// Removes what is under the key.
    Clear {
        /// A copy stays under the key with `:backup` behind it.
        backup: bool,
    },
    /// Makes room.
    Flush(Flush),
    /// Tells how much there is.
    Stats,
    /// Tells how much there is, and whether that is within the limits.
    Health,
}

/// How room is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flush {
    /// Another strategy than the memory's.
    pub strategy: Option<FlushingKind>,
    /// Only if the memory is filled to this share of some limit.
    pub threshold: Option<f64>,
    /// Only tell whether something would go.
    pub dry_run: bool,
}

/// An operation that is done but for what it writes.
#[derive(Debug)]
pub struct Ready {
    /// What it answers (dialect §13.1).
    pub output: Value,
    /// What it writes.
    pub prepared: Prepared,
    /// Models that were asked.
    pub answers: Vec<Answer>,
}

impl Ready {
    fn read(output: Value) -> Self {
        Self { output, prepared: Prepared::default(), answers: Vec::new() }
    }
}

impl Operation {
    /// The operation of a task, from its rendered payload and its settings.
    ///
    /// # Errors
    /// [`Error::Refused`] says what is wrong with them.
    pub fn of(
        operation: MemoryOperation,
        payload: Option<&Value>,
        settings: &Map<String, Value>,
    ) -> Result<Self, Error> {
        let empty = Map::new();
        options::check_told(settings)?;
        let flush = options::settings(settings, "flush_config", FLUSH, &empty).and_then(Flush::of)?;
        let clear = options::settings(settings, "clear_config", &["confirm", "backup"], &empty)?;
        let (is_confirmed, backup) = (clear.flag("confirm")?, clear.flag("backup")?);
        let messages = || message::read(payload.unwrap_or(&Value::Null));
        Ok(match operation {
            MemoryOperation::Read => Self::Read,
            MemoryOperation::Write => Self::Write(messages()?),
            MemoryOperation::Append => Self::Append(messages()?),
            MemoryOperation::Delete => Self::Delete,
            MemoryOperation::Clear if !is_confirmed => return Err(unconfirmed()),
            MemoryOperation::Clear => Self::Clear { backup },
            MemoryOperation::Flush => Self::Flush(flush),
            MemoryOperation::Stats => Self::Stats,
            MemoryOperation::Health => Self::Health,
        })
    }

    /// The word of it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write(_) => "write",
            Self::Append(_) => "append",
            Self::Delete => "delete",
            Self::Clear { .. } => "clear",
            Self::Flush(_) => "flush",
            Self::Stats => "stats",
            Self::Health => "health",
        }
    }

    /// The same with its messages changed.
    #[must_use]
    pub fn map_messages(self, change: impl Fn(String) -> String) -> Self {
        let change = |messages: Vec<Message>| {
            let changed =
                messages.into_iter().map(|Message { role, content }| Message { role, content: change(content) });
            changed.collect()
        };
        match self {
            Self::Write(messages) => Self::Write(change(messages)),
            Self::Append(messages) => Self::Append(change(messages)),
            other => other,
        }
    }
}

/// A clear that nobody has confirmed.
#[must_use]
pub fn unconfirmed() -> Error {
    Error::Refused("a clear needs confirm: true".into())
}

impl Keeper {
    /// Does `operation` but for what it writes.
    ///
    /// # Errors
    /// See [`Error`]; there is nothing to write then.
    pub async fn perform(&self, place: Place<'_>, operation: &Operation, asked: &Asked) -> Result<Ready, Error> {
        match operation {
            Operation::Read => self.read(place, asked).await,
            Operation::Write(messages) => self.put(place, messages, true, asked).await,
            Operation::Append(messages) => self.put(place, messages, false, asked).await,
            Operation::Delete => self.delete(place, asked).await,
            Operation::Clear { backup } => self.clear(place, *backup, asked).await,
            Operation::Flush(flush) => self.flush(place, *flush, asked).await,
            Operation::Stats => Ok(Ready::read(self.stats(place, &self.look(place, false).await?))),
            Operation::Health => Ok(Ready::read(self.health(place, &self.look(place, false).await?))),
        }
    }

    /// Does `operation` and writes at once, for whoever is not a run. Returns what it answers.
    ///
    /// # Errors
    /// See [`Error`]; nothing was written then.
    pub async fn perform_now(&self, place: Place<'_>, operation: &Operation) -> Result<Value, Error> {
        let asked = self.asked_by_nobody();
        for tried in 1..=TRIES {
            let ready = self.perform(place, operation, &asked).await?;
            match self.write(&ready.prepared).await {
                Err(Error::Storage(storage::Error::Conflict(_))) => {}
                written => return written.map(|()| ready.output),
            }
            drop(ready);
            self.rest(REST * tried).await;
        }
        Err(storage::Error::Busy("another process keeps changing the memory".into()).into())
    }

    async fn read(&self, place: Place<'_>, asked: &Asked) -> Result<Ready, Error> {
        let seen = self.look(place, true).await?;
        let messages: Vec<Message> =
            seen.state.messages.iter().map(|message| Message::new(&message.role, &message.content)).collect();
        let output = json!({"messages": messages, "count": messages.len(), "key": place.key});
        let used = self.used(place, &seen, &asked.writer);
        Ok(Ready { prepared: Self::prepared(place, used.into_iter().collect(), Vec::new()), ..Ready::read(output) })
    }

    async fn put(&self, place: Place<'_>, messages: &[Message], replace: bool, asked: &Asked) -> Result<Ready, Error> {
        let rule = self.rule(place);
        let messages = self.admit(place, &rule, messages.to_vec())?;
        let question = Question { rule: &rule, added: &messages, replace, goal: Goal::Keep };
        let Decided { outcome, prepared, answers } = self.decide(place, question, asked).await?;
        let output = if replace {
            json!({"success": true, "count": outcome.count, "key": place.key})
        } else {
            json!({"success": true, "appended": messages.len(), "total_count": outcome.count, "key": place.key})
        };
        Ok(Ready { output, prepared, answers })
    }

    /// What may be kept of `messages`.
    ///
    /// # Errors
    /// [`Error::Refused`] when some limit is exceeded, before or after something is struck out.
    pub fn admit(&self, place: Place<'_>, rule: &Rule, messages: Vec<Message>) -> Result<Vec<Message>, Error> {
        rule.check(&messages)?;
        let messages = self.patterns.apply(&place.memory.privacy, messages)?;
        rule.check(&messages)?;
        Ok(messages)
    }

    /// Adds messages that somebody has said already: what is too long is cut, not refused.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn remember(&self, place: Place<'_>, messages: Vec<Message>, asked: &Asked) -> Result<Ready, Error> {
        let rule = self.rule(place);
        // In this order: half of what is to be struck out would not be recognised.
        let kept = self.patterns.apply(&place.memory.privacy, messages)?;
        let kept: Vec<Message> =
            kept.into_iter().map(|message| Message { content: rule.cut(&message.content), ..message }).collect();
        let question = Question { rule: &rule, added: &kept, replace: false, goal: Goal::Keep };
        let Decided { prepared, answers, .. } = self.decide(place, question, asked).await?;
        Ok(Ready { output: Value::Null, prepared, answers })
    }

    async fn delete(&self, place: Place<'_>, asked: &Asked) -> Result<Ready, Error> {
        let holds = self.hold(&place.memory.id, &[place.key], asked).await?;
        let seen = self.look(place, false).await?;
        let version = seen.state.version;
        let change = (version != 0).then(|| self.change(place, &asked.writer, MemoryAct::Delete { version }));
        let prepared = Self::prepared(place, change.into_iter().collect(), holds);
        Ok(Ready { prepared, ..Ready::read(json!({"success": true, "key": place.key})) })
    }

    async fn clear(&self, place: Place<'_>, backup: bool, asked: &Asked) -> Result<Ready, Error> {
        let backup_key = format!("{}{BACKUP}", place.key);
        let keys = [place.key, backup_key.as_str()];
        let holds = self.hold(&place.memory.id, if backup { &keys } else { &keys[..1] }, asked).await?;
        let seen = self.look(place, backup).await?;
        let cleared = seen.state.messages.len();
        let mut changes = Vec::new();
        let backup_created = backup && cleared > 0;
        if backup_created {
            changes.push(self.back_up(place, &backup_key, &seen, asked).await?);
        }
        if seen.state.version != 0 {
            let (version, dropped, added) = (seen.state.version, Vec::new(), Vec::new());
            let act = MemoryAct::Write { version, cleared: true, dropped, added, backup: seen.state.backup };
            changes.push(self.change(place, &asked.writer, act));
        }
        let output = json!({
            "success": true, "key": place.key, "messages_cleared": cleared, "backup_created": backup_created,
        });
        Ok(Ready { prepared: Self::prepared(place, changes, holds), ..Ready::read(output) })
    }

    async fn back_up(
        &self,
        place: Place<'_>,
        key: &str,
        seen: &Seen,
        asked: &Asked,
    ) -> Result<storage::row::MemoryChange, Error> {
        let place = Place::new(place.memory, key)?;
        let there = self.look(place, false).await?;
        if there.state.version != 0 && !there.state.backup && !there.expired {
            return Err(Error::Refused(format!("'{key}' is in use and is no backup; delete it, or clear without one")));
        }
        let added = seen.state.messages.iter().map(|message| NewMessage {
            seq: None,
            role: message.role.clone(),
            content: message.content.clone(),
            tokens: message.tokens,
            summary: message.summary,
        });
        let (version, dropped, added) = (there.state.version, Vec::new(), added.collect());
        let act = MemoryAct::Write { version, cleared: true, dropped, added, backup: true };
        Ok(self.change(place, &asked.writer, act))
    }

    async fn flush(&self, place: Place<'_>, flush: Flush, asked: &Asked) -> Result<Ready, Error> {
        let rule = self.rule(place);
        let rule = match flush.strategy {
            Some(strategy) => rule.with_strategy(strategy),
            None => rule,
        };
        let goal = Goal::Flush(flush.threshold);
        let told = |count: u64, tokens: u64, summarised: bool| {
            json!({
                "success": true, "key": place.key, "summary_generated": summarised,
                "message_count": count, "token_count": tokens,
            })
        };
        if flush.dry_run {
            let seen = self.look(place, false).await?;
            let would_flush = match rule.draft(&seen.state.messages, &[], goal, Summaries::Ask) {
                Draft::Ready(outcome) => outcome.flushed,
                Draft::Summarise(_) => true,
            };
            let mut output = told(seen.state.messages.len() as u64, seen.tokens(), false);
            if let Some(members) = output.as_object_mut() {
                members.insert("would_flush".to_owned(), would_flush.into());
            }
            return Ok(Ready::read(output));
        }
        let question = Question { rule: &rule, added: &[], replace: false, goal };
        let Decided { outcome, prepared, answers } = self.decide(place, question, asked).await?;
        Ok(Ready { output: told(outcome.count, outcome.tokens, outcome.summarised), prepared, answers })
    }

    fn stats(&self, place: Place<'_>, seen: &Seen) -> Value {
        json!({
            "key": place.key, "message_count": seen.state.messages.len(), "token_count": seen.tokens(),
            "actual_strategy": word(self.actual_strategy(&self.rule(place))),
        })
    }

    fn health(&self, place: Place<'_>, seen: &Seen) -> Value {
        let mut told = self.stats(place, seen);
        if let Some(members) = told.as_object_mut() {
            members.insert("healthy".to_owned(), self.rule(place).holds(&seen.state.messages).into());
        }
        told
    }
}
