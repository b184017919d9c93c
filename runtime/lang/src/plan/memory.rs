//! Memories: messages kept under keys (dialect §13.1).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Template;
use crate::source::Place;

/// An entry of `memories`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemoryDefinition {
    /// Id.
    pub id: String,
    /// What limits it.
    pub kind: MemoryKind,
    /// `description`, or empty.
    pub description: String,
    /// Most tokens.
    pub max_tokens: Option<u64>,
    /// Most messages.
    pub max_messages: Option<u64>,
    /// Share of the model's context, above 0 and at most 1.
    pub max_context_ratio: Option<f64>,
    /// `token_allocation` as written.
    pub token_allocation: serde_json::Value,
    /// How old messages go.
    pub flushing: Flushing,
    /// Kept in this process only, not in the database.
    pub in_memory: bool,
    /// How long a key that nobody uses is kept; `None`: always.
    pub ttl: Option<Duration>,
    /// What is not kept.
    pub privacy: Privacy,
    /// Key when a task gives none.
    pub default_key: Option<Template>,
    /// Where it is written.
    pub place: Place,
}

/// `type` of a memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// Tokens: `max_tokens` or `max_context_ratio` is there.
    TokenBased,
    /// Messages.
    MessageCountBased,
    /// Whatever limits are written.
    #[default]
    Buffer,
}

/// `flushing` of a memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Flushing {
    /// Which messages go.
    pub kind: FlushingKind,
    /// Share of the limit (0 to 1) at which it is flushed.
    pub summarize_threshold: Option<f64>,
    /// Most tokens of a summary.
    pub summary_tokens: Option<u64>,
    /// Share of the messages, in percent (0 to 100), that is summarised.
    pub summarize_oldest_percent: Option<f64>,
}

/// `flushing.type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlushingKind {
    /// The oldest.
    #[default]
    SimpleFifo,
    /// The longest unused.
    Lru,
    /// The oldest become a summary.
    HybridSummary,
    /// The longest unused, by tokens.
    TokenAwareLru,
}

/// `privacy_policy` of a memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Privacy {
    /// Regular expressions of what is replaced, checked.
    pub redact_patterns: Vec<String>,
    /// Roles whose messages are not kept.
    pub non_persistable_message_types: Vec<String>,
    /// What stands in its place.
    pub default_redaction_string: String,
}

/// A memory of a prompt or an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemoryBinding {
    /// Id of the memory resource.
    pub memory: String,
    /// The prompt and its answer are not added to it.
    pub read_only: bool,
    /// Key within it; absent: the resource's default.
    pub key: Option<Template>,
}

/// Whether a memory may have this key: 1 to 256 letters, digits and `_ : @ . * -`, without `__` at the start or end.
#[must_use]
pub fn is_memory_key(text: &str) -> bool {
    let length = text.chars().count();
    (1..=256).contains(&length)
        && text.chars().all(|letter| letter.is_alphanumeric() || "_:@.*-".contains(letter))
        && !text.starts_with("__")
        && !text.ends_with("__")
}

/// Most bytes of a compiled redaction pattern.
const PATTERN_BYTES: usize = 1 << 20;

/// Compiles a pattern of `redact_patterns`. It runs in time linear in the text, whatever the pattern is.
///
/// # Errors
/// What is wrong with the pattern, on one line.
pub fn redaction(pattern: &str) -> Result<regex::Regex, String> {
    let built = regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("it needs more than {PATTERN_BYTES} bytes once compiled"),
        other => other.to_string().lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_and_plain() {
        for key in ["a", "user:1@x.y-*", "_a_", "ä9", "a__b", &"k".repeat(256)] {
            assert!(is_memory_key(key), "{key}");
        }
        for key in ["", "__a", "a__", "a b", "a/b", "a\nb", "é\u{301}", &"k".repeat(257)] {
            assert!(!is_memory_key(key), "{key}");
        }
    }

    #[test]
    fn patterns_are_bounded() {
        assert!(redaction(r"(a+)+$").is_ok(), "linear here");
        assert_eq!(redaction("(").unwrap_err(), "unclosed group");
        assert!(redaction(r"(\w{1000}){1000}").unwrap_err().contains("bytes once compiled"));
        assert!(redaction(r"(a)\1").is_err(), "no back references");
    }
}
