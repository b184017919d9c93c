//! JSON Schemas: written in place, or the id of an entry of `schemas`.

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::schema::definitions::SCHEMA;
use crate::yaml::Node;

use super::fields::Fields;
use super::reader::Reader;
use super::scalar::one_or_many;
use super::{Name, item_path};

/// A schema as written.
#[derive(Debug, Clone)]
pub(crate) enum SchemaRef {
    /// In place, checked.
    Inline(Value),
    /// By id.
    Id(Name),
}

/// An entry of `schemas`.
#[derive(Debug)]
pub(crate) struct Schema {
    /// Id.
    pub(crate) id: Name,
    /// The schema without its `id`.
    pub(crate) value: Value,
}

impl Reader<'_> {
    /// The schema of a key.
    pub(crate) fn schema(&mut self, fields: &Fields<'_>, name: &str) -> Option<SchemaRef> {
        let node = fields.get(name)?;
        self.schema_of(node, &fields.at(name))
    }

    /// A schema of a node.
    pub(crate) fn schema_of(&mut self, node: &Node, path: &str) -> Option<SchemaRef> {
        if node.items().is_some() {
            self.expected(node, path, "a JSON Schema or the id of one");
            return None;
        }
        if node.scalar().is_some()
            && crate::yaml::core::boolean(node.scalar().map_or("", |scalar| &scalar.text)).is_none()
        {
            return self.name_of(node, path).map(SchemaRef::Id);
        }
        let value = self.schema_value(node, path);
        self.check_schema(node, path, &value).then_some(SchemaRef::Inline(value))
    }

    /// Entries of `schemas`.
    pub(crate) fn schemas(&mut self, fields: &Fields<'_>) -> Vec<Schema> {
        let path = fields.at("schemas");
        let nodes = fields.get("schemas").map(one_or_many).unwrap_or_default();
        nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| self.schema_entry(node, &item_path(&path, node, index)))
            .collect()
    }

    /// One entry of `schemas`, or a schema file.
    pub(crate) fn schema_entry(&mut self, node: &Node, path: &str) -> Option<Schema> {
        let entries = node.entries();
        if entries.is_none() {
            self.expected(node, path, "a map");
        }
        let id = entries?.iter().find(|entry| &*entry.key == "id");
        let Some(id) = id.and_then(|entry| self.name_of(&entry.value, path)) else {
            self.report(node.diagnostic("CZ0203", "a schema needs an id").path(path));
            return None;
        };
        debug_assert!(SCHEMA.key("id").is_some());
        let mut value = self.schema_value(node, path);
        if let Value::Object(members) = &mut value {
            members.shift_remove("id");
            members.shift_remove("resource");
        }
        self.check_schema(node, path, &value).then_some(Schema { id, value })
    }

    fn check_schema(&mut self, node: &Node, path: &str, value: &Value) -> bool {
        match crate::schema_check::compile(value) {
            Ok(_) => true,
            Err(reason) => {
                let problem =
                    Diagnostic::error("CZ0209", format!("schema '{path}' is not valid: {reason}"), node.place());
                self.report(problem.length(node.length()).path(path));
                false
            }
        }
    }
}
