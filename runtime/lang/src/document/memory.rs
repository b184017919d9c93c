//! Memory resources.

use crate::diagnostic::Severity;
use crate::plan::{Flushing, FlushingKind, MemoryDefinition, MemoryKind, Privacy, Template};
use crate::schema::memory::{BINDING, FLUSHING, MEMORY, PERSISTENCE, PRIVACY};
use crate::yaml::Node;

use super::fields::Fields;
use super::reader::{Reader, SiteKind};
use super::{Name, item_path};

/// A memory of a prompt or an agent, as written.
#[derive(Debug, Clone)]
pub(crate) struct MemoryUse {
    pub(crate) id: Name,
    pub(crate) read_only: bool,
    pub(crate) key: Option<Template>,
}

impl Reader<'_> {
    /// One entry of `memories`, or a file that defines one.
    pub(crate) fn memory(&mut self, node: &Node, path: &str) -> Option<(Name, MemoryDefinition)> {
        let fields = self.fields(node, &MEMORY, path)?;
        let Some(id) = self.name(&fields, "id") else {
            if fields.get("id").is_none() {
                self.report(node.diagnostic("CZ0203", "a memory needs an id").length(1).path(path).help("add it"));
            }
            return None;
        };
        let (in_memory, ttl) = self.persistence(&fields);
        let max_context_ratio = self.share(&fields, "max_context_ratio", 1.0);
        let definition = MemoryDefinition {
            id: id.text.clone(),
            kind: match self.choice(&fields, "type") {
                Some("token_based") => MemoryKind::TokenBased,
                Some("message_count_based") => MemoryKind::MessageCountBased,
                _ => MemoryKind::Buffer,
            },
            description: self.text(&fields, "description").unwrap_or_default(),
            max_tokens: self.count(&fields, "max_tokens"),
            max_messages: self.count(&fields, "max_messages"),
            max_context_ratio,
            token_allocation: self.token_allocation(&fields),
            flushing: self.flushing(&fields),
            in_memory,
            ttl,
            privacy: self.privacy(&fields),
            default_key: fields.get("default_key_template").and_then(|node| {
                self.at(SiteKind::Task, |reader| {
                    reader.anywhere(|reader| reader.memory_key(node, &fields.at("default_key_template")))
                })
            }),
            place: node.place(),
        };
        let has_limit = ["max_tokens", "max_context_ratio"].iter().any(|key| fields.get(key).is_some());
        if definition.kind == MemoryKind::TokenBased && !has_limit {
            let message = format!("{path}: expected max_tokens or max_context_ratio, got neither");
            self.report(fields.diagnostic("type", "CZ0110", message).help("a token_based memory needs a limit"));
        }
        Some((id, definition))
    }

    fn token_allocation(&mut self, fields: &Fields<'_>) -> serde_json::Value {
        let Some(node) = fields.get("token_allocation") else { return serde_json::Value::Null };
        let path = fields.at("token_allocation");
        if let Some(key) = fields.key("token_allocation") {
            self.check(node, &key.kind, &path);
        }
        self.value(node, &path)
    }

    fn flushing(&mut self, fields: &Fields<'_>) -> Flushing {
        let Some(node) = fields.get("flushing") else { return Flushing::default() };
        let path = fields.at("flushing");
        if node.entries().is_none() {
            let crate::schema::Kind::Choice(words) = crate::schema::memory::FLUSHING_TYPE else {
                return Flushing::default();
            };
            let kind = self.choice_of(node, &path, words).map(flushing_kind).unwrap_or_default();
            return Flushing { kind, ..Flushing::default() };
        }
        let Some(fields) = self.fields(node, &FLUSHING, &path) else { return Flushing::default() };
        Flushing {
            kind: self.choice(&fields, "type").map(flushing_kind).unwrap_or_default(),
            summarize_threshold: self.share(&fields, "summarize_threshold", 1.0),
            summary_tokens: self.count(&fields, "summary_tokens"),
            summarize_oldest_percent: self.share(&fields, "summarize_oldest_percent", 100.0),
        }
    }

    /// Whether it is kept in this process only, and how long an unused key is kept.
    fn persistence(&mut self, fields: &Fields<'_>) -> (bool, Option<std::time::Duration>) {
        let Some(node) = fields.get("persistence") else { return (false, None) };
        let path = fields.at("persistence");
        let (word, ttl) = if node.entries().is_some() {
            let Some(fields) = self.fields(node, &PERSISTENCE, &path) else { return (false, None) };
            (self.choice(&fields, "type"), self.duration(&fields, "ttl"))
        } else {
            let crate::schema::Kind::Choice(words) = crate::schema::memory::PERSISTENCE_TYPE else {
                return (false, None);
            };
            (self.choice_of(node, &path, words), None)
        };
        if word == Some("redis") {
            let message = format!("{path}: redis is read as database; memories are kept in the project's database");
            let problem = node.get("type").unwrap_or(node).diagnostic("CZ0109", message);
            self.report(problem.severity(Severity::Note).path(path));
        }
        (word == Some("in_memory"), ttl)
    }

    fn privacy(&mut self, fields: &Fields<'_>) -> Privacy {
        let written = fields.get("privacy_policy");
        let inner = written.and_then(|node| self.fields(node, &PRIVACY, &fields.at("privacy_policy")));
        let Some(fields) = inner else {
            return Privacy { default_redaction_string: "[REDACTED]".into(), ..Privacy::default() };
        };
        let path = fields.at("redact_patterns");
        let mut redact_patterns = Vec::new();
        for node in fields.get("redact_patterns").map(super::scalar::one_or_many).unwrap_or_default() {
            let Some(pattern) = self.text_of(node, &path) else { continue };
            match crate::plan::memory::redaction(&pattern) {
                Ok(_) => redact_patterns.push(pattern),
                Err(reason) => {
                    let what = format!("a regular expression ({reason})");
                    self.expected_text(node, &path, &what, &pattern);
                }
            }
        }
        Privacy {
            redact_patterns,
            non_persistable_message_types: self.texts(&fields, "non_persistable_message_types"),
            default_redaction_string: self.text(&fields, "default_redaction_string").unwrap_or_default(),
        }
    }

    /// `memory` of a prompt or an agent: ids, or maps with an id.
    pub(crate) fn memory_uses(&mut self, fields: &Fields<'_>) -> Vec<MemoryUse> {
        let path = fields.at("memory");
        let nodes = fields.get("memory").map(super::scalar::one_or_many).unwrap_or_default();
        let mut uses = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let path = item_path(&path, node, index);
            if node.entries().is_none() {
                uses.extend(self.name_of(node, &path).map(|id| MemoryUse { id, read_only: false, key: None }));
                continue;
            }
            let Some(fields) = self.fields(node, &BINDING, &path) else { continue };
            let Some(id) = self.name(&fields, "id") else {
                if fields.get("id").is_none() {
                    self.report(node.diagnostic("CZ0203", "a memory needs an id").length(1).path(&path).help("add it"));
                }
                continue;
            };
            let key = fields
                .get("key")
                .and_then(|node| self.at(SiteKind::Task, |reader| reader.memory_key(node, &fields.at("key"))));
            uses.push(MemoryUse { id, read_only: self.choice(&fields, "mode") == Some("read-only"), key });
        }
        uses
    }

    /// A number above 0 and at most `most`.
    fn share(&mut self, fields: &Fields<'_>, name: &str, most: f64) -> Option<f64> {
        let node = fields.get(name)?;
        let path = fields.at(name);
        let value = self.float_of(node, &path)?;
        if value > 0.0 && value <= most {
            return Some(value);
        }
        let message = format!("{path} must be within 0 and {most}, 0 itself left out, got {value}");
        self.report(node.diagnostic("CZ0608", message).path(path).help("fix the value"));
        None
    }
}

fn flushing_kind(word: &str) -> FlushingKind {
    match word {
        "lru" => FlushingKind::Lru,
        "hybrid_summary" => FlushingKind::HybridSummary,
        "token_aware_lru" => FlushingKind::TokenAwareLru,
        _ => FlushingKind::SimpleFifo,
    }
}
