//! Parser events to a tree, with limits on size, depth and aliases.
//!
//! The tree is built without recursion. What an alias adds is counted before it is added: every finished node knows how
//! many nodes it stands for, how deep it is and how many aliases lie inside each other in it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput};

use super::{Entry, Node, Scalar, Span, Style, Tag, Value};
use crate::diagnostic::Diagnostic;
use crate::source::{Place, Source, narrow};

/// What one file may hold.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a file (CZ0103).
    pub file_bytes: u64,
    /// Levels of nesting (CZ0104).
    pub depth: usize,
    /// Nodes made by aliases (CZ0114).
    pub alias_nodes: u64,
    /// Aliases inside aliases (CZ0114).
    pub alias_levels: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 10 << 20, depth: 100, alias_nodes: 100_000, alias_levels: 20 }
    }
}

/// Reads one document. The tree is missing when the text is no YAML or goes over a limit; duplicate keys are reported
/// and the first one counts.
pub fn parse(source: Arc<Source>, limits: &Limits) -> (Option<Node>, Vec<Diagnostic>) {
    if let Some(offset) = source.text.find('\0') {
        let problem = Diagnostic::error("CZ0105", "invalid YAML: it holds a NUL byte", source.place(offset));
        return (None, vec![problem]);
    }
    let mut builder = Builder {
        source: source.clone(),
        limits,
        stack: Vec::new(),
        anchors: HashMap::new(),
        alias_nodes: 0,
        root: None,
        problems: Vec::new(),
    };
    let outcome = builder.run(&source.text);
    let mut problems = std::mem::take(&mut builder.problems);
    match outcome {
        Ok(()) => {
            let root = builder.root.take().filter(|node| !node.is_null());
            (Some(root.unwrap_or_else(|| Node::empty(source))), problems)
        }
        Err(problem) => {
            problems.push(*problem);
            (None, problems)
        }
    }
}

/// How much a node stands for.
#[derive(Debug, Clone, Copy)]
struct Weight {
    nodes: u64,
    height: usize,
    alias_levels: u32,
}

/// A scalar.
const LEAF: Weight = Weight { nodes: 1, height: 1, alias_levels: 0 };

/// A collection that is still open.
struct Frame {
    content: Content,
    span: Span,
    anchor: usize,
    weight: Weight,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<Arc<str>, Span>, merges: Vec<Node>, key: Option<Key> },
}

struct Key {
    text: Arc<str>,
    span: Span,
    is_merge: bool,
}

struct Builder<'l> {
    source: Arc<Source>,
    limits: &'l Limits,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, Weight)>,
    alias_nodes: u64,
    root: Option<Node>,
    problems: Vec<Diagnostic>,
}

/// Brackets inside each other that the scanner can count.
const SCANNED_DEPTH: usize = 255;

/// A problem that ends the reading. Boxed, because it is rare and large.
type Fatal = Box<Diagnostic>;

impl Builder<'_> {
    fn run(&mut self, text: &str) -> Result<(), Fatal> {
        let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.syntax(&error))?;
            let span = self.span(span);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let message = format!("more than one YAML document in {}", self.source.name);
                        return Err(self.fatal("CZ0117", message, span));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag, span)?,
                Event::SequenceStart(anchor, tag) => self.open(Content::List(Vec::new()), anchor, tag, span)?,
                Event::MappingStart(anchor, tag) => {
                    let content =
                        Content::Map { entries: Vec::new(), seen: HashMap::new(), merges: Vec::new(), key: None };
                    self.open(content, anchor, tag, span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        Span {
            start: narrow(self.source.byte_of_char(span.start.index())),
            end: narrow(self.source.byte_of_char(span.end.index())),
            line: narrow(span.start.line()),
            column: narrow(span.start.col() + 1),
        }
    }

    fn place(&self, span: Span) -> Place {
        Place { file: self.source.name.clone(), line: span.line, column: span.column }
    }

    fn fatal(&self, code: &'static str, message: String, span: Span) -> Fatal {
        Box::new(Diagnostic::error(code, message, self.place(span)))
    }

    fn syntax(&self, error: &ScanError) -> Fatal {
        let marker = error.marker();
        // The scanner counts brackets in a byte and looks ahead of the tree.
        if error.info() == "recursion limit exceeded" {
            let span = Span { line: narrow(marker.line()), column: narrow(marker.col() + 1), ..Span::default() };
            return self.too_deep(span);
        }
        let place =
            Place { file: self.source.name.clone(), line: narrow(marker.line()), column: narrow(marker.col() + 1) };
        let line = self.source.text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
        let indentation: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        let help = if indentation.contains('\t') || error.info().contains("tab") {
            Some("indent with spaces, not with tabs")
        } else if line.contains("${") && (line.contains(": $") || line.contains('[')) {
            Some("in flow style quote the variable: {key: \"${NAME}\"}")
        } else if line.contains("{{") {
            Some("quote the template: \"{{ … }}\"")
        } else {
            None
        };
        let mut problem = Diagnostic::error("CZ0105", format!("invalid YAML: {}", error.info()), place);
        if let Some(help) = help {
            problem = problem.help(help);
        }
        Box::new(problem)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<Cow<'_, saphyr_parser::Tag>>,
        span: Span,
    ) -> Result<(), Fatal> {
        let tag = match tag {
            None => None,
            Some(tag) => Some(self.scalar_tag(&tag, span)?),
        };
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        let scalar = Scalar { text: Arc::from(text), style, tag };
        let node = Node { value: Value::Scalar(scalar), span, source: self.source.clone() };
        self.finish(node, LEAF, anchor)
    }

    fn scalar_tag(&self, tag: &saphyr_parser::Tag, span: Span) -> Result<Tag, Fatal> {
        if tag.is_yaml_core_schema() {
            match tag.suffix.as_str() {
                "str" => return Ok(Tag::Str),
                "int" => return Ok(Tag::Int),
                "float" => return Ok(Tag::Float),
                "bool" => return Ok(Tag::Bool),
                "null" => return Ok(Tag::Null),
                _ => {}
            }
        } else if tag.handle.is_empty() && tag.suffix == "!" {
            return Ok(Tag::Str);
        }
        Err(self.bad_tag(tag, span))
    }

    fn bad_tag(&self, tag: &saphyr_parser::Tag, span: Span) -> Fatal {
        let problem =
            Diagnostic::error("CZ0105", format!("invalid YAML: the tag '{tag}' is not supported"), self.place(span));
        Box::new(problem.help("only !!str, !!int, !!float, !!bool, !!null, !!seq and !!map are known"))
    }

    fn open(
        &mut self,
        content: Content,
        anchor: usize,
        tag: Option<Cow<'_, saphyr_parser::Tag>>,
        span: Span,
    ) -> Result<(), Fatal> {
        if let Some(tag) = tag {
            let expected = if matches!(content, Content::List(_)) { "seq" } else { "map" };
            let plain = tag.handle.is_empty() && tag.suffix == "!";
            let known = tag.is_yaml_core_schema() && tag.suffix == expected;
            if !plain && !known {
                return Err(self.bad_tag(&tag, span));
            }
        }
        if let Some(Frame { content: Content::Map { key: None, .. }, .. }) = self.stack.last() {
            return Err(self.collection_key(span));
        }
        if self.stack.len() >= self.limits.depth {
            return Err(self.too_deep(span));
        }
        self.stack.push(Frame { content, span, anchor, weight: LEAF });
        Ok(())
    }

    /// `key: {{ .x }}` reads as a map whose key is a map.
    fn collection_key(&self, span: Span) -> Fatal {
        let text = self.source.text.get((span.start as usize).saturating_sub(1)..).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let template = line.find("}}").and_then(|end| line.get(..end + 2)).filter(|text| text.starts_with("{{"));
        let help = match template {
            Some(template) => format!("quote the template: \"{template}\""),
            None => "a key must be text; quote the value if it is meant to be text".to_owned(),
        };
        let problem = Diagnostic::error("CZ0105", "invalid YAML: a map or list cannot be a key", self.place(span));
        Box::new(problem.help(help))
    }

    fn too_deep(&self, span: Span) -> Fatal {
        self.fatal("CZ0104", format!("nesting deeper than {} levels", self.limits.depth.min(SCANNED_DEPTH)), span)
    }

    fn close(&mut self, end: Span) -> Result<(), Fatal> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let span = Span { end: end.end.max(frame.span.end), ..frame.span };
        let value = match frame.content {
            Content::List(items) => Value::List(Arc::new(items)),
            Content::Map { entries, seen, merges, .. } => Value::Map(Arc::new(self.merge(entries, &seen, merges))),
        };
        let node = Node { value, span, source: self.source.clone() };
        self.finish(node, frame.weight, frame.anchor)
    }

    /// Adds the entries of `<<` under those written in the map.
    fn merge(&mut self, mut entries: Vec<Entry>, seen: &HashMap<Arc<str>, Span>, merges: Vec<Node>) -> Vec<Entry> {
        if merges.is_empty() {
            return entries;
        }
        let mut known: std::collections::HashSet<Arc<str>> = seen.keys().cloned().collect();
        for node in merges {
            let maps: Vec<Node> = match &node.value {
                Value::List(items) => items.to_vec(),
                _ => vec![node],
            };
            for map in maps {
                let Some(merged) = map.entries() else {
                    let message = format!("invalid YAML: '<<' takes a map or a list of maps, not {}", map.describe());
                    crate::diagnostic::keep(&mut self.problems, Diagnostic::error("CZ0105", message, map.place()));
                    continue;
                };
                entries.extend(merged.iter().filter(|entry| known.insert(entry.key.clone())).cloned());
            }
        }
        entries
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Fatal> {
        let Some((node, mut weight)) = self.anchors.get(&anchor).cloned() else {
            return Err(self.fatal("CZ0105", "invalid YAML: an alias inside the value it stands for".into(), span));
        };
        self.alias_nodes = self.alias_nodes.saturating_add(weight.nodes);
        weight.alias_levels += 1;
        if self.alias_nodes > self.limits.alias_nodes {
            let message = format!("alias expansion exceeds {} nodes", self.limits.alias_nodes);
            return Err(self.fatal("CZ0114", message, span));
        }
        if weight.alias_levels > self.limits.alias_levels {
            let message = format!("alias expansion exceeds {} levels of alias in alias", self.limits.alias_levels);
            return Err(self.fatal("CZ0114", message, span));
        }
        if self.stack.len() + weight.height > self.limits.depth + 1 {
            return Err(self.too_deep(span));
        }
        self.finish(node, weight, 0)
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, node: Node, weight: Weight, anchor: usize) -> Result<(), Fatal> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        let span = node.span;
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.weight.nodes = frame.weight.nodes.saturating_add(weight.nodes);
        frame.weight.height = frame.weight.height.max(weight.height + 1);
        frame.weight.alias_levels = frame.weight.alias_levels.max(weight.alias_levels);
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, seen, merges, key } => match key.take() {
                None => match &node.value {
                    Value::Scalar(scalar) => {
                        let is_merge = &*scalar.text == "<<" && scalar.style == Style::Plain;
                        *key = Some(Key { text: scalar.text.clone(), span, is_merge });
                    }
                    _ => return Err(self.collection_key(span)),
                },
                Some(key) if key.is_merge => merges.push(node),
                Some(key) => match seen.get(&key.text) {
                    Some(first) => {
                        let message = format!("duplicate key '{}' (first at line {})", key.text, first.line);
                        let first = *first;
                        let problem = Diagnostic::error("CZ0106", message, self.place(key.span))
                            .length(super::span_length(&self.source.text, key.span))
                            .related(self.place(first), "first here");
                        crate::diagnostic::keep(&mut self.problems, problem);
                    }
                    None => {
                        seen.insert(key.text.clone(), key.span);
                        entries.push(Entry { key: key.text, key_span: key.span, value: node });
                    }
                },
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
