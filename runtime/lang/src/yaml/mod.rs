//! YAML 1.2 text as a tree in which every value knows its place.
//!
//! Scalars keep their source text and style: environment variables are filled in first and types are decided after
//! ([`core`]). Collections are shared, so an alias costs nothing until its content is read.

pub mod core;
mod parse;
pub mod raw;

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::source::{Place, Source};

pub use parse::{Limits, parse};

/// A value with the text it was read from.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands.
    pub span: Span,
    /// The text it stands in.
    pub source: Arc<Source>,
}

/// A range of a source text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
    /// Line of the first byte, from 1; 0 when the source has no lines.
    pub line: u32,
    /// Column of the first byte in characters, from 1.
    pub column: u32,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Value {
    /// Text whose type is still open.
    Scalar(Scalar),
    /// Items in order.
    List(Arc<Vec<Node>>),
    /// Entries in order, keys unique.
    Map(Arc<Vec<Entry>>),
}

/// A scalar.
#[derive(Debug, Clone)]
pub struct Scalar {
    /// Decoded text: escapes and folding are done, variables are not filled in.
    pub text: Arc<str>,
    /// How it is written.
    pub style: Style,
    /// Its tag, if it has one.
    pub tag: Option<Tag>,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: its type follows from its text.
    Plain,
    /// In single quotes.
    Single,
    /// In double quotes.
    Double,
    /// A block, `|` or `>`.
    Block,
    /// Given by the environment or a flag: typed like a plain scalar, and variables in it are plain text.
    Given,
}

/// The tags of the core schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// `!!str`, or the non-specific `!`.
    Str,
    /// `!!int`.
    Int,
    /// `!!float`.
    Float,
    /// `!!bool`.
    Bool,
    /// `!!null`.
    Null,
}

/// An entry of a map.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Source text of the key.
    pub key: Arc<str>,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Where the value begins.
    pub fn place(&self) -> Place {
        self.place_of(self.span)
    }

    /// Where a span of the same source begins.
    pub fn place_of(&self, span: Span) -> Place {
        Place { file: self.source.name.clone(), line: span.line, column: span.column }
    }

    /// A scalar given by something else than a file.
    pub fn given(text: &str, source: Arc<Source>) -> Self {
        let scalar = Scalar { text: Arc::from(text), style: Style::Given, tag: None };
        Self { value: Value::Scalar(scalar), span: Span::default(), source }
    }

    /// An empty map.
    pub fn empty(source: Arc<Source>) -> Self {
        Self { value: Value::Map(Arc::new(Vec::new())), span: Span { line: 1, column: 1, ..Span::default() }, source }
    }

    /// Entries, if it is a map.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Items, if it is a list.
    pub fn items(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The scalar, if it is one.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The value of a key, if it is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|entry| &*entry.key == key).map(|entry| &entry.value)
    }

    /// Whether it is null as written.
    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| match scalar.tag {
            Some(Tag::Null) => true,
            None => scalar.style == Style::Plain && core::is_null(&scalar.text),
            Some(_) => false,
        })
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Scalar(_) if self.is_null() => "null".into(),
            Value::Scalar(scalar) => describe_text(&scalar.text),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
        }
    }

    /// Length in characters of its first line, at least 1.
    pub fn length(&self) -> u32 {
        span_length(&self.source.text, self.span)
    }

    /// A diagnostic at the start of this value.
    pub fn diagnostic(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, message, self.place()).length(self.length())
    }
}

/// Length in characters of the first line of a span, at least 1.
pub fn span_length(text: &str, span: Span) -> u32 {
    let text = text.get(span.start as usize..span.end as usize).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().trim_end();
    crate::source::narrow(line.chars().count().max(1))
}

/// A text in quotes, cut to a length that fits a message.
pub fn describe_text(text: &str) -> String {
    let mut shown: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("'{shown}'")
}
