//! Values that are recognised and kept, but not yet read into a type: their keys and types are checked by the tables.

use crate::schema::Kind;
use crate::yaml::{Node, Value};

use super::fields::item_path;
use super::reader::Reader;
use super::scalar::one_or_many;

impl Reader<'_> {
    /// Checks a value against a kind. Missing variables are kept for later; templates are not sent to the plugin.
    pub(crate) fn check(&mut self, node: &Node, kind: &Kind, path: &str) {
        self.lazily(|reader| reader.check_kind(node, kind, path));
    }

    fn check_kind(&mut self, node: &Node, kind: &Kind, path: &str) {
        if node.is_null() {
            return;
        }
        match kind {
            Kind::Map(table) => {
                let Some(fields) = self.fields(node, table, path) else { return };
                for (key, entry) in fields.written().collect::<Vec<_>>() {
                    self.check_kind(&entry.value, &key.kind, &fields.at(key.name));
                }
            }
            Kind::List(inner) => {
                for (index, item) in one_or_many(node).iter().enumerate() {
                    self.check_kind(item, inner, &item_path(path, item, index));
                }
            }
            Kind::MapOf(inner) => match node.entries() {
                Some(entries) => {
                    for entry in entries {
                        self.check_kind(&entry.value, inner, &format!("{path}.{}", entry.key));
                    }
                }
                None => self.expected(node, path, "a map"),
            },
            Kind::Either(kinds) => {
                if let Some(kind) = kinds.iter().find(|kind| fits(node, kind)).or(kinds.first()) {
                    self.check_kind(node, kind, path);
                }
            }
            Kind::Typed(inner) => {
                let is_template = node.scalar().is_some_and(|scalar| scalar.text.contains("{{"));
                if !is_template {
                    self.check_kind(node, inner, path);
                }
            }
            Kind::Int(least, most) => {
                self.int_of(node, path, *least, *most);
            }
            Kind::Float => {
                self.float_of(node, path);
            }
            Kind::Bool => {
                self.bool_of(node, path);
            }
            Kind::Duration(bare) => {
                self.duration_of(node, path, *bare);
            }
            Kind::Size => {
                self.size_of(node, path);
            }
            Kind::Choice(words) => {
                self.choice_of(node, path, words);
            }
            Kind::Text | Kind::Template => {
                self.text_of(node, path);
            }
            Kind::Schema => {
                self.schema_value(node, path);
            }
            Kind::Any | Kind::Templates => {
                self.value(node, path);
            }
        }
    }
}

/// Whether a value has the shape of a kind.
fn fits(node: &Node, kind: &Kind) -> bool {
    match (&node.value, kind) {
        (_, Kind::Any | Kind::Templates | Kind::Schema) => true,
        (Value::Map(_), Kind::Map(_) | Kind::MapOf(_)) => true,
        (Value::List(_), Kind::List(_)) => true,
        (_, Kind::List(inner)) => fits(node, inner),
        (_, Kind::Either(kinds)) => kinds.iter().any(|kind| fits(node, kind)),
        (Value::Scalar(_), kind) => !matches!(kind, Kind::Map(_) | Kind::MapOf(_)),
        _ => false,
    }
}
