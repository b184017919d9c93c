//! Waiting for signals and sending them.

use crate::plan::{Expression, Signal, Template, TemplateMode};
use crate::schema::task::SIGNAL;
use crate::yaml::Node;

use crate::document::Name;
use crate::document::fields::Fields;
use crate::document::reader::Reader;

use super::{Naming, NextRef, Task};

/// `type: wait`.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) wait_for: Template,
    pub(crate) condition: Option<Expression>,
    /// The processor; behind it tasks written in its routes, which have no place here.
    pub(crate) processor: Vec<Task>,
    pub(crate) on_timeout: Option<NextRef>,
}

impl Reader<'_> {
    pub(super) fn wait(&mut self, fields: &Fields<'_>, id: &Name) -> Option<Wait> {
        if let (Some(first), Some(second)) = (fields.entry("wait_for"), fields.entry("signal")) {
            self.second_spelling(first, second);
        }
        let key = if fields.get("wait_for").is_some() { "wait_for" } else { "signal" };
        let wait_for = fields.get(key).and_then(|node| self.signal_name(node, &fields.at(key)));
        let processor = fields.get("processor").map(|node| {
            let default_id = format!("{}-processor", id.text);
            self.with_names(&["signal", "parent"], |reader| {
                reader.task(node, &fields.at("processor"), Naming::Or(&default_id))
            })
        });
        let condition = fields.get("condition").and_then(|node| {
            self.with_names(&["signal", "processor"], |reader| {
                reader.expression(node, &fields.at("condition"), TemplateMode::Guard)
            })
        });
        let on_timeout = self.on_timeout(fields);
        if fields.get(key).is_none() {
            self.needs("wait", id, "wait_for", "add it: the name of the signal");
        }
        Some(Wait {
            wait_for: wait_for?,
            condition: condition.map(|(condition, _)| condition),
            processor: processor.unwrap_or_default(),
            on_timeout,
        })
    }

    /// The name of a signal, also written as `{id: …}`.
    fn signal_name(&mut self, node: &Node, path: &str) -> Option<Template> {
        if node.entries().is_none() {
            return self.template(node, path, TemplateMode::Text);
        }
        let inner = self.fields(node, &SIGNAL, path)?;
        match inner.get("id") {
            Some(id) => self.template(id, &inner.at("id"), TemplateMode::Text),
            None => {
                self.expected(node, path, "the name of a signal");
                None
            }
        }
    }

    pub(super) fn signal(&mut self, fields: &Fields<'_>, id: &Name) -> Option<Signal> {
        let outer = self.field_templates(fields, "payload");
        let Some(node) = fields.get("signal") else {
            self.needs("signal", id, "signal", "add signal: {id: …}");
            return None;
        };
        let path = fields.at("signal");
        if node.entries().is_none() {
            let name = self.template(node, &path, TemplateMode::Text)?;
            return Some(Signal { name, payload: outer, target: None });
        }
        let inner = self.fields(node, &SIGNAL, &path)?;
        let payload = self.field_templates(&inner, "payload");
        if let (Some(first), Some(second)) = (inner.entry("payload"), fields.entry("payload")) {
            let first = crate::yaml::Entry { key: "signal.payload".into(), ..first.clone() };
            self.second_spelling(&first, second);
        }
        let target = inner.get("target").and_then(|node| self.template(node, &inner.at("target"), TemplateMode::Text));
        let Some(name) = inner.get("id") else {
            self.needs("signal", id, "signal.id", "add the name of the signal");
            return None;
        };
        let name = self.template(name, &inner.at("id"), TemplateMode::Text)?;
        Some(Signal { name, payload: payload.or(outer), target })
    }
}
