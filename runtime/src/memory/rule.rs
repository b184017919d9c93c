//! What a memory holds after a change: pure code over the sizes of its messages.
//!
//! A memory is kept within its limits by letting messages go ([`Goal::Keep`]), or is made room in when somebody asks for
//! it ([`Goal::Flush`]). Which messages go is the strategy's business. `hybrid_summary` needs a text for what goes: the
//! draft then asks for it and is made again with it.

use std::cmp::Reverse;

use compozy_lang::plan::{FlushingKind, MemoryDefinition};
use serde_json::Value;

use super::message::{Message, tokens};
use super::{Error, Limits};
use crate::storage::row::{MemoryMessage, NewMessage};

/// Most messages under one key, whatever the memory says.
pub const MOST_MESSAGES: u64 = 10_000;

/// Tokens that `max_context_ratio` is a share of. What a model can read is known only to its provider; this is what
/// current models read at least.
pub const CONTEXT_TOKENS: u64 = 128_000;

/// Share of the messages, in percent, that one summary stands for, where the memory says nothing.
const OLDEST_PERCENT: f64 = 50.0;

/// Most tokens of a summary, where the memory says nothing; never more than half of what the memory holds.
const SUMMARY_TOKENS: u64 = 500;

/// Share of each limit that a memory keeps when it is flushed on demand.
const ROOM: f64 = 0.5;

/// The limits of a memory and what goes first.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    strategy: FlushingKind,
    max_messages: Option<u64>,
    max_tokens: Option<u64>,
    max_bytes: u64,
    max_message_bytes: u64,
    threshold: f64,
    oldest_percent: f64,
    summary_tokens: u64,
    /// Tokens that messages of a kind may take, by `token_allocation`.
    shares: Vec<(String, u64)>,
}

/// What a draft is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// The memory stays within its limits.
    Keep,
    /// Room is made, if the memory is filled to this share of some limit; `None`: however little it holds.
    Flush(Option<f64>),
}

/// How a summary is come by.
#[derive(Debug, Clone, Copy)]
pub enum Summaries<'a> {
    /// It is asked for.
    Ask,
    /// Here it is.
    Given(&'a Summary),
    /// There is none to be had: messages just go.
    Without,
}

/// A text that stands for the oldest messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The messages.
    pub of: Vec<Origin>,
    /// The text.
    pub text: String,
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It is stored with this seq.
    Stored(i64),
    /// It is the added one of this index.
    Added(usize),
}

/// What a draft came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Draft {
    /// This is what happens.
    Ready(Outcome),
    /// A summary of these messages, the oldest, is needed first.
    Summarise(Vec<Origin>),
}

/// What happens to a memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Seqs of stored messages that go.
    pub dropped: Vec<i64>,
    /// Messages that come, in order.
    pub added: Vec<NewMessage>,
    /// Messages after it.
    pub count: u64,
    /// Tokens after it.
    pub tokens: u64,
    /// Something went, or would go.
    pub flushed: bool,
    /// A summary stands for what went.
    pub summarised: bool,
}

impl Outcome {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.dropped.is_empty() && self.added.is_empty()
    }
}

/// The word of a strategy.
#[must_use]
pub fn word(strategy: FlushingKind) -> &'static str {
    match strategy {
        FlushingKind::SimpleFifo => "simple_fifo",
        FlushingKind::Lru => "lru",
        FlushingKind::HybridSummary => "hybrid_summary",
        FlushingKind::TokenAwareLru => "token_aware_lru",
    }
}

/// The strategy of a word.
#[must_use]
pub fn strategy(text: &str) -> Option<FlushingKind> {
    use FlushingKind::{HybridSummary, Lru, SimpleFifo, TokenAwareLru};
    [SimpleFifo, Lru, HybridSummary, TokenAwareLru].into_iter().find(|strategy| word(*strategy) == text)
}

/// A message as far as the rule looks at it.
#[derive(Debug, Clone, Copy)]
struct Item<'a> {
    origin: Origin,
    role: &'a str,
    bytes: u64,
    tokens: u64,
    summary: bool,
    used_at: i64,
}

/// How much there is, or may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Load {
    messages: u64,
    tokens: u64,
    bytes: u64,
}

impl Load {
    fn of<'a>(items: impl Iterator<Item = &'a Item<'a>>) -> Self {
        items.fold(Self::default(), |load, item| Self {
            messages: load.messages + 1,
            tokens: load.tokens.saturating_add(item.tokens),
            bytes: load.bytes.saturating_add(item.bytes),
        })
    }

    fn without(self, item: &Item<'_>) -> Self {
        Self {
            messages: self.messages.saturating_sub(1),
            tokens: self.tokens.saturating_sub(item.tokens),
            bytes: self.bytes.saturating_sub(item.bytes),
        }
    }

    fn fits(self, bounds: Self) -> bool {
        self.messages <= bounds.messages && self.tokens <= bounds.tokens && self.bytes <= bounds.bytes
    }
}

/// A share of a limit, rounded down, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share between 0 and 1 of a limit: both ends are within range"
)]
fn part(limit: u64, share: f64) -> u64 {
    ((limit as f64 * share) as u64).max(1)
}

impl Rule {
    /// The rule of a memory under the project's `limits`.
    #[must_use]
    pub fn of(memory: &MemoryDefinition, limits: Limits) -> Self {
        let of_context = memory.max_context_ratio.map(|ratio| part(CONTEXT_TOKENS, ratio));
        // As elsewhere, a limit of 0 is none.
        let max_tokens = [memory.max_tokens.filter(|most| *most > 0), of_context].into_iter().flatten().min();
        let flushing = &memory.flushing;
        let summary = flushing.summary_tokens.filter(|most| *most > 0).unwrap_or(SUMMARY_TOKENS);
        Self {
            strategy: flushing.kind,
            max_messages: memory.max_messages.filter(|most| *most > 0),
            max_tokens,
            max_bytes: limits.max_memory_bytes,
            max_message_bytes: limits.max_message_bytes,
            threshold: flushing.summarize_threshold.unwrap_or(1.0),
            oldest_percent: flushing.summarize_oldest_percent.unwrap_or(OLDEST_PERCENT),
            summary_tokens: max_tokens.map_or(summary, |most| summary.min(most / 2).max(1)),
            shares: max_tokens.map(|most| shares(&memory.token_allocation, most)).unwrap_or_default(),
        }
    }

    /// The same with another strategy.
    #[must_use]
    pub fn with_strategy(self, strategy: FlushingKind) -> Self {
        Self { strategy, ..self }
    }

    /// What goes first.
    #[must_use]
    pub fn strategy(&self) -> FlushingKind {
        self.strategy
    }

    /// Most tokens of a summary.
    #[must_use]
    pub fn summary_tokens(&self) -> u64 {
        self.summary_tokens
    }

    /// Whether these messages are within the limits.
    #[must_use]
    pub fn holds(&self, present: &[MemoryMessage]) -> bool {
        Load::of(items(present, &[]).iter()).fits(self.bounds(1.0))
    }

    /// Whether which messages go depends on when they were read.
    #[must_use]
    pub fn minds_reading(&self) -> bool {
        matches!(self.strategy, FlushingKind::Lru | FlushingKind::TokenAwareLru)
    }

    /// Checks what somebody wants to keep: each message, and all of them together.
    ///
    /// # Errors
    /// [`Error::Refused`] names the first limit that is exceeded.
    pub fn check(&self, messages: &[Message]) -> Result<(), Error> {
        if messages.len() as u64 > MOST_MESSAGES {
            return Err(Error::Refused(format!("{} messages at once; a key holds {MOST_MESSAGES}", messages.len())));
        }
        let mut total = 0_u64;
        for (index, message) in messages.iter().enumerate() {
            let bytes = message.content.len() as u64;
            total = total.saturating_add(bytes);
            if bytes > self.max_message_bytes {
                let most = self.max_message_bytes;
                let text = format!("message {} is {bytes} bytes; limits.max_message_content is {most}", index + 1);
                return Err(Error::Refused(text));
            }
            let count = tokens(&message.content);
            if let Some(most) = self.max_tokens.filter(|most| count > *most) {
                let text = format!("message {} is {count} tokens; the memory holds {most}", index + 1);
                return Err(Error::Refused(text));
            }
        }
        if total > self.max_bytes {
            let text = format!("the messages are {total} bytes; limits.max_total_content_size is {}", self.max_bytes);
            return Err(Error::Refused(text));
        }
        Ok(())
    }

    /// A text cut to what one message may be.
    #[must_use]
    pub fn cut(&self, text: &str) -> String {
        let bytes = usize::try_from(self.max_message_bytes.min(self.max_bytes)).unwrap_or(usize::MAX);
        let end = text.floor_char_boundary(bytes.min(text.len()));
        let text = text.get(..end).unwrap_or_default();
        self.max_tokens.map_or_else(|| text.to_owned(), |most| cut_to_tokens(text, most))
    }

    /// Decides what happens when `added` comes to what is `present`.
    #[must_use]
    pub fn draft(&self, present: &[MemoryMessage], added: &[Message], goal: Goal, summaries: Summaries<'_>) -> Draft {
        let mut items = items(present, added);
        let load = Load::of(items.iter());
        let (is_due, target) = match goal {
            Goal::Keep => {
                let target = self.bounds(self.threshold);
                (!load.fits(target) || self.overflows(&items), target)
            }
            Goal::Flush(threshold) => {
                let is_due = !items.is_empty() && threshold.is_none_or(|share| self.reaches(load, share));
                (is_due, self.room(load))
            }
        };
        if !is_due {
            return Draft::Ready(finish(&items, added, present, None));
        }
        let mut summary = None;
        if self.strategy == FlushingKind::HybridSummary {
            match summaries {
                Summaries::Given(given) if stands_for_oldest(given, &items) => {
                    items.drain(..given.of.len());
                    summary = Some(self.summary_of(given));
                }
                Summaries::Given(_) | Summaries::Ask => return Draft::Summarise(self.oldest(&items)),
                Summaries::Without => {}
            }
        }
        let (tokens, bytes) = summary.as_ref().map_or((0, 0), |new| (new.tokens, new.content.len() as u64));
        let messages = u64::from(summary.is_some());
        // A summary has made the room; what is left need only be within the limits.
        let bounds = if summary.is_some() { self.bounds(1.0) } else { target };
        let bounds = Load {
            messages: bounds.messages.saturating_sub(messages),
            tokens: bounds.tokens.saturating_sub(tokens),
            bytes: bounds.bytes.saturating_sub(bytes),
        };
        self.drop_until(&mut items, bounds);
        Draft::Ready(finish(&items, added, present, summary))
    }

    /// Lets messages go until the rest fits.
    fn drop_until(&self, items: &mut Vec<Item<'_>>, bounds: Load) {
        let mut order: Vec<usize> = (0..items.len()).collect();
        match self.strategy {
            FlushingKind::SimpleFifo => {}
            FlushingKind::HybridSummary => order.sort_by_key(|index| items.get(*index).map(|item| item.summary)),
            FlushingKind::Lru => order.sort_by_key(|index| items.get(*index).map(|item| item.used_at)),
            FlushingKind::TokenAwareLru => {
                order.sort_by_key(|index| items.get(*index).map(|item| (item.used_at, Reverse(item.tokens))));
            }
        }
        let mut gone = vec![false; items.len()];
        let mut load = Load::of(items.iter());
        for (kind, most) in &self.shares {
            let of_kind = |index: &usize| items.get(*index).is_some_and(|item| self.kind_of(item) == kind);
            let mut used: u64 =
                order.iter().filter(|index| of_kind(index)).filter_map(|index| Some(items.get(*index)?.tokens)).sum();
            for index in order.iter().filter(|index| of_kind(index)) {
                let (Some(item), Some(gone)) = (items.get(*index), gone.get_mut(*index)) else { continue };
                if used <= *most {
                    break;
                }
                (*gone, load, used) = (true, load.without(item), used.saturating_sub(item.tokens));
            }
        }
        for index in &order {
            if load.fits(bounds) {
                break;
            }
            let (Some(item), Some(gone)) = (items.get(*index), gone.get_mut(*index)) else { continue };
            if !*gone {
                (*gone, load) = (true, load.without(item));
            }
        }
        let mut gone = gone.into_iter();
        items.retain(|_| !gone.next().unwrap_or_default());
    }

    fn bounds(&self, share: f64) -> Load {
        Load {
            messages: self.max_messages.map_or(MOST_MESSAGES, |most| part(most, share).min(MOST_MESSAGES)),
            tokens: self.max_tokens.map_or(u64::MAX, |most| part(most, share)),
            bytes: self.max_bytes,
        }
    }

    /// What is left after a flush on demand: half of each limit; without one three quarters of the messages.
    fn room(&self, load: Load) -> Load {
        if self.max_messages.is_some() || self.max_tokens.is_some() {
            return self.bounds(ROOM);
        }
        Load { messages: load.messages - load.messages.div_ceil(4), ..self.bounds(1.0) }
    }

    /// Whether some limit is used to this share of it.
    fn reaches(&self, load: Load, share: f64) -> bool {
        let written =
            [self.max_messages.map(|most| (load.messages, most)), self.max_tokens.map(|most| (load.tokens, most))];
        let bytes = (load.bytes, self.max_bytes);
        written.into_iter().flatten().chain([bytes]).any(|(used, most)| used >= part(most, share))
    }

    fn kind_of<'i>(&self, item: &Item<'i>) -> &'i str {
        if item.summary {
            return "long_term";
        }
        let is_named = self.shares.iter().any(|(kind, _)| kind == item.role);
        if is_named || item.role == "system" { item.role } else { "short_term" }
    }

    fn overflows(&self, items: &[Item<'_>]) -> bool {
        self.shares.iter().any(|(kind, most)| {
            items.iter().filter(|item| self.kind_of(item) == kind).map(|item| item.tokens).sum::<u64>() > *most
        })
    }

    /// The messages that a summary is to stand for. One that stands for a former summary alone would say nothing new.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a percentage of a small count"
    )]
    fn oldest(&self, items: &[Item<'_>]) -> Vec<Origin> {
        let least = if items.first().is_some_and(|item| item.summary) { 2 } else { 1 };
        let count = (items.len() as f64 * self.oldest_percent / 100.0).ceil() as usize;
        items.iter().take(count.max(least)).map(|item| item.origin).collect()
    }

    fn summary_of(&self, summary: &Summary) -> NewMessage {
        let content = cut_to_tokens(&self.cut(&summary.text), self.summary_tokens);
        let stored = summary.of.iter().filter_map(|origin| match origin {
            Origin::Stored(seq) => Some(*seq),
            Origin::Added(_) => None,
        });
        let tokens = tokens(&content);
        NewMessage { seq: stored.max(), role: "system".into(), tokens, content, summary: true }
    }
}

/// The shares of `token_allocation` in tokens.
fn shares(allocation: &Value, most: u64) -> Vec<(String, u64)> {
    let Value::Object(members) = allocation else { return Vec::new() };
    let further = members.get("user_defined").and_then(Value::as_object);
    let all = members.iter().chain(further.into_iter().flatten());
    all.filter_map(|(kind, share)| Some((kind.clone(), part(most, share.as_f64()?.clamp(0.0, 1.0))))).collect()
}

fn cut_to_tokens(text: &str, most: u64) -> String {
    let characters = usize::try_from(most.saturating_mul(4)).unwrap_or(usize::MAX);
    text.chars().take(characters).collect()
}

fn items<'a>(present: &'a [MemoryMessage], added: &'a [Message]) -> Vec<Item<'a>> {
    let stored = present.iter().map(|message| Item {
        origin: Origin::Stored(message.seq),
        role: &message.role,
        bytes: message.bytes,
        tokens: message.tokens,
        summary: message.summary,
        used_at: message.used_at,
    });
    let new = added.iter().enumerate().map(|(index, message)| Item {
        origin: Origin::Added(index),
        role: &message.role,
        bytes: message.content.len() as u64,
        tokens: tokens(&message.content),
        summary: false,
        used_at: i64::MAX,
    });
    stored.chain(new).collect()
}

fn stands_for_oldest(summary: &Summary, items: &[Item<'_>]) -> bool {
    !summary.of.is_empty()
        && summary.of.len() <= items.len()
        && summary.of.iter().zip(items).all(|(origin, item)| *origin == item.origin)
}

/// What follows from what is left.
fn finish(left: &[Item<'_>], added: &[Message], present: &[MemoryMessage], summary: Option<NewMessage>) -> Outcome {
    // What is left keeps its order, so one walk along both finds what went.
    let mut rest = left.iter().peekable();
    let mut dropped = Vec::new();
    for message in present {
        if rest.next_if(|item| item.origin == Origin::Stored(message.seq)).is_none() {
            dropped.push(message.seq);
        }
    }
    let load = Load::of(left.iter());
    let summarised = summary.is_some();
    let summary_tokens = summary.as_ref().map_or(0, |summary| summary.tokens);
    let mut coming: Vec<NewMessage> = summary.into_iter().collect();
    for (index, message) in added.iter().enumerate() {
        if rest.next_if(|item| item.origin == Origin::Added(index)).is_some() {
            coming.push(NewMessage {
                seq: None,
                role: message.role.clone(),
                tokens: tokens(&message.content),
                content: message.content.clone(),
                summary: false,
            });
        }
    }
    Outcome {
        flushed: left.len() < present.len() + added.len(),
        dropped,
        added: coming,
        count: load.messages + u64::from(summarised),
        tokens: load.tokens.saturating_add(summary_tokens),
        summarised,
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
