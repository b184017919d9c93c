//! Scalars that may hold templates, and values made of them.

use serde_json::{Map, Value};

use crate::interpolate::{Parts, Resolved, Run};
use crate::plan::{Segment, Template, TemplateMode, Typed, ValueTemplate};
use crate::yaml::{self, Node, Scalar, Style, Tag, core};

use super::fields::join;
use super::reader::{Reader, Site};

/// A template for the plugin to check.
#[derive(Debug)]
pub(crate) struct Check {
    /// The scalar.
    pub(crate) node: Node,
    /// Its text with variables filled in; missing ones are empty.
    pub(crate) resolved: Resolved,
    /// From the resolved text back to the scalar.
    pub(crate) runs: Vec<Run>,
    /// How its result is read.
    pub(crate) mode: TemplateMode,
    /// Where it stands.
    pub(crate) site: Site,
    /// Key path.
    pub(crate) path: String,
}

/// Whether a text could hold a template action, or something that looks like one.
pub(crate) fn may_be_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

impl Reader<'_> {
    /// A scalar as a template. `None`: null, or no scalar (reported).
    pub(crate) fn template(&mut self, node: &Node, path: &str, mode: TemplateMode) -> Option<Template> {
        if node.is_null() {
            return None;
        }
        let Some(scalar) = node.scalar() else {
            self.expected(node, path, "text");
            return None;
        };
        let is_plain = matches!(scalar.style, Style::Plain | Style::Given) && scalar.tag.is_none();
        let parts = self.parts(node);
        Some(self.template_of_parts(node, &parts, path, mode, is_plain))
    }

    fn template_of_parts(
        &mut self,
        node: &Node,
        parts: &Parts,
        path: &str,
        mode: TemplateMode,
        plain: bool,
    ) -> Template {
        let segments = parts.segments();
        let needs_check =
            segments.iter().any(|segment| matches!(segment, Segment::Literal(text) if may_be_template(text)));
        let (resolved, runs) = self.fill_for_check(parts, path);
        let mut checks = Vec::new();
        if needs_check {
            checks.push(self.checks.len());
            let site = self.site.clone();
            self.checks.push(Check { node: node.clone(), resolved, runs, mode, site, path: path.to_owned() });
        }
        Template { segments, mode, plain, place: node.place(), checks, ..Template::default() }
    }

    /// A value whose scalars may be templates.
    pub(crate) fn templates(&mut self, node: &Node, path: &str, mode: TemplateMode) -> ValueTemplate {
        match &node.value {
            yaml::Value::Scalar(scalar) => self.scalar_template(node, scalar, path, mode),
            yaml::Value::List(items) => {
                let items: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.templates(item, &format!("{path}[{index}]"), mode))
                    .collect();
                if items.iter().all(is_fixed) {
                    return ValueTemplate::Fixed(Value::Array(items.into_iter().filter_map(fixed).collect()));
                }
                ValueTemplate::List(items)
            }
            yaml::Value::Map(entries) => {
                let mut members = Vec::with_capacity(entries.len());
                for entry in entries.iter() {
                    if !self.is_directive(entry, path) {
                        let value = self.templates(&entry.value, &join(path, &entry.key), mode);
                        members.push((entry.key.to_string(), value));
                    }
                }
                if members.iter().all(|(_, value)| is_fixed(value)) {
                    let members = members.into_iter().filter_map(|(key, value)| Some((key, fixed(value)?)));
                    return ValueTemplate::Fixed(Value::Object(members.collect()));
                }
                ValueTemplate::Map(members)
            }
        }
    }

    fn scalar_template(&mut self, node: &Node, scalar: &Scalar, path: &str, mode: TemplateMode) -> ValueTemplate {
        let parts = self.parts(node);
        if !parts.has_variable() && !may_be_template(&scalar.text) {
            let text: String = parts
                .segments()
                .iter()
                .map(|segment| if let Segment::Literal(text) = segment { text.as_str() } else { "" })
                .collect();
            return ValueTemplate::Fixed(self.typed_scalar(node, scalar, &text, false, path));
        }
        let is_plain = matches!(scalar.style, Style::Plain | Style::Given) && scalar.tag.is_none();
        ValueTemplate::Template(self.template_of_parts(node, &parts, path, mode, is_plain))
    }

    /// A value without templates; variables are filled in now.
    pub(crate) fn value(&mut self, node: &Node, path: &str) -> Value {
        self.value_of(node, path, true)
    }

    /// A value in which `$ref` and its kin are content (a JSON Schema).
    pub(crate) fn schema_value(&mut self, node: &Node, path: &str) -> Value {
        self.value_of(node, path, false)
    }

    fn value_of(&mut self, node: &Node, path: &str, refuse_directives: bool) -> Value {
        match &node.value {
            yaml::Value::Scalar(scalar) => match self.fill(node, path) {
                Some(filled) => self.typed_scalar(node, scalar, &filled.text, filled.has_variable, path),
                None => Value::Null,
            },
            yaml::Value::List(items) => {
                let items = items.iter().enumerate();
                Value::Array(
                    items
                        .map(|(index, item)| self.value_of(item, &format!("{path}[{index}]"), refuse_directives))
                        .collect(),
                )
            }
            yaml::Value::Map(entries) => {
                let mut members = Map::new();
                for entry in entries.iter() {
                    if !(refuse_directives && self.is_directive(entry, path)) {
                        let value = self.value_of(&entry.value, &join(path, &entry.key), refuse_directives);
                        members.insert(entry.key.to_string(), value);
                    }
                }
                Value::Object(members)
            }
        }
    }

    /// The value a filled-in scalar is, by its tag and style.
    pub(super) fn typed_scalar(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        text: &str,
        has_variable: bool,
        path: &str,
    ) -> Value {
        let value = match (scalar.tag, scalar.style) {
            (Some(Tag::Str), _) | (None, Style::Single | Style::Double | Style::Block) => Some(Value::from(text)),
            (None, Style::Plain | Style::Given) if has_variable => Some(core::filled_value(text)),
            (None, Style::Plain | Style::Given) => core::value(text).ok(),
            (Some(Tag::Null), _) => Some(Value::Null),
            (Some(Tag::Int), _) => core::integer(text).map(Value::from),
            (Some(Tag::Float), _) => core::float(text).map(Value::from),
            (Some(Tag::Bool), _) => core::boolean(text).map(Value::from),
        };
        value.unwrap_or_else(|| {
            self.expected_text(node, path, "a finite value of its type", text);
            Value::Null
        })
    }

    /// A fixed value read by `read`, or a template that gives it.
    pub(crate) fn typed<T>(
        &mut self,
        node: &Node,
        path: &str,
        mode: TemplateMode,
        read: impl FnOnce(&mut Self, &Node) -> Option<T>,
    ) -> Option<Typed<T>> {
        let is_template = node.scalar().is_some_and(|scalar| scalar.text.contains("{{"));
        if is_template {
            return self.template(node, path, mode).map(Typed::Template);
        }
        read(self, node).map(Typed::Fixed)
    }

    /// A map of texts that may be templates (`env`, `headers`).
    pub(crate) fn template_map(&mut self, node: &Node, path: &str) -> Vec<(String, Template)> {
        let Some(entries) = node.entries() else {
            self.expected(node, path, "a map");
            return Vec::new();
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = join(path, &entry.key);
            if self.is_directive(entry, &path) {
                continue;
            }
            if let Some(template) = self.template(&entry.value, &path, TemplateMode::Text) {
                found.push((entry.key.to_string(), template));
            }
        }
        found
    }
}

/// Whether a part holds neither templates nor variables.
fn is_fixed(value: &ValueTemplate) -> bool {
    matches!(value, ValueTemplate::Fixed(_))
}

/// The value of such a part.
fn fixed(value: ValueTemplate) -> Option<Value> {
    match value {
        ValueTemplate::Fixed(value) => Some(value),
        _ => None,
    }
}
