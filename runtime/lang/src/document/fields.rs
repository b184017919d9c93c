//! A map read by its key table: spellings folded, unknown keys named.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity};
use crate::schema::{Key, Kind, Table};
use crate::source::Place;
use crate::suggest;
use crate::yaml::{Entry, Node, Value, span_length};

use super::reader::Reader;

/// Keys of other systems and what they are called here, where the letters are too different for a suggestion.
const OFTEN_MEANT: &[(&str, &str)] = &[("retry", "retries")];

/// The keys found in a map.
#[derive(Debug)]
pub(crate) struct Fields<'n> {
    /// Key path of the map.
    pub(crate) path: String,
    /// The map.
    pub(crate) node: &'n Node,
    table: &'static Table,
    found: Vec<(&'static Key, &'n Entry)>,
}

impl<'n> Fields<'n> {
    /// A map in which nothing is written.
    pub(crate) fn empty(node: &'n Node, table: &'static Table) -> Self {
        Self { path: String::new(), node, table, found: Vec::new() }
    }

    /// The value of a key by its canonical name; `None` when absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|entry| &entry.value)
    }

    /// The entry of a key by its canonical name.
    pub(crate) fn entry(&self, name: &str) -> Option<&'n Entry> {
        debug_assert!(self.table.keys.iter().any(|key| key.name == name), "{} has no key '{name}'", self.table.name);
        self.found.iter().find(|(key, _)| key.name == name).map(|(_, entry)| *entry)
    }

    /// A map that is not written, where it would stand: everything in it takes its default.
    fn absent(&self, name: &str, table: &'static Table) -> Fields<'n> {
        Fields { path: self.at(name), node: self.node, table, found: Vec::new() }
    }

    /// The table's line of a key.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.table.keys.iter().find(|key| key.name == name)
    }

    /// Key path of a key.
    pub(crate) fn at(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Keys with an effect that are written, in the order written.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&'static Key, &'n Entry)> + '_ {
        self.found.iter().copied()
    }

    /// Where a key is written, or the map itself.
    pub(crate) fn place(&self, name: &str) -> Place {
        self.entry(name).map_or_else(|| self.node.place(), key_place)
    }

    /// A diagnostic at a key, or at the map when it is absent.
    pub(crate) fn diagnostic(&self, name: &str, code: &'static str, message: impl Into<String>) -> Diagnostic {
        let length = self.entry(name).map_or(1, |entry| span_length(&entry.value.source.text, entry.key_span));
        Diagnostic::error(code, message, self.place(name)).length(length).path(self.at(name))
    }
}

/// Where the key of an entry is written.
pub(crate) fn key_place(entry: &Entry) -> Place {
    if entry.key_span.line == 0 { entry.value.source.whole() } else { entry.value.place_of(entry.key_span) }
}

/// `path.name`.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Path of an item of a list: by its id where it has one, else by its position.
pub(crate) fn item_path(path: &str, node: &Node, index: usize) -> String {
    match node.get("id").and_then(Node::scalar) {
        Some(scalar) if !scalar.text.is_empty() && !scalar.text.contains("${") => join(path, &scalar.text),
        _ => format!("{path}[{index}]"),
    }
}

impl Reader<'_> {
    /// Reads a map by its table. `None`: it is no map.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, table: &'static Table, path: &str) -> Option<Fields<'n>> {
        self.fields_of(node, table, path, None)
    }

    /// The map of a key, written or not.
    pub(crate) fn section<'n>(&mut self, fields: &Fields<'n>, name: &str) -> Fields<'n> {
        let Some(Kind::Map(table)) = fields.key(name).map(|key| key.kind) else {
            debug_assert!(false, "'{name}' is no map");
            return fields.absent(name, fields.table);
        };
        let written = fields.get(name).and_then(|node| self.fields(node, table, &fields.at(name)));
        written.unwrap_or_else(|| fields.absent(name, table))
    }

    /// [`Reader::fields`] for a map of which one type is known, so that keys of other types can be named (CZ0304).
    pub(crate) fn fields_of<'n>(
        &mut self,
        node: &'n Node,
        table: &'static Table,
        path: &str,
        of_type: Option<&str>,
    ) -> Option<Fields<'n>> {
        let Some(entries) = node.entries() else {
            self.expected(node, path, "a map");
            return None;
        };
        let mut fields = Fields { path: path.to_owned(), node, table, found: Vec::new() };
        for entry in entries {
            let name = &*entry.key;
            if name.starts_with("x-") || self.is_directive(entry, path) {
                continue;
            }
            let Some(key) = table.key(name) else {
                self.unknown_key(entry, table, path);
                continue;
            };
            if entry.value.is_null() {
                continue;
            }
            if key.idle {
                let message = format!("'{}' is accepted and has no effect here", join(path, name));
                self.report(self.at_key(entry, "CZ0109", message).severity(Severity::Note));
                continue;
            }
            if let Some(of_type) = of_type
                && !key.only.is_empty()
                && !key.only.contains(&of_type)
            {
                let types = key.only.join(", ");
                let problem = self.at_key(entry, "CZ0304", format!("'{name}' belongs to {types} {}s", table.name));
                let help = match key.only {
                    [only] => format!("remove it, or write type: {only}"),
                    _ => "remove it, or change the type".to_owned(),
                };
                self.report_loose(problem.help(help));
                continue;
            }
            match fields.found.iter().find(|(known, _)| known.name == key.name) {
                Some((_, first)) => self.second_spelling(first, entry),
                None => {
                    self.look_at(entry, key, table, path);
                    fields.found.push((key, entry));
                }
            }
        }
        Some(fields)
    }

    /// What can be said of a value by its key alone.
    fn look_at(&mut self, entry: &Entry, key: &Key, table: &Table, path: &str) {
        let Some(scalar) = entry.value.scalar() else { return };
        if table.is_settings && scalar.text.contains("{{") {
            self.unsupported("templates in settings", entry.value.place());
        }
        if !key.secret || scalar.text.is_empty() {
            return;
        }
        self.secret(&entry.value, &join(path, key.name));
    }

    /// Remembers the variables of a secret value, and names a literal one.
    pub(crate) fn secret(&mut self, node: &Node, path: &str) {
        let Some(scalar) = node.scalar() else { return };
        let parts = self.parts(node);
        for (segment, _, _) in &parts.pieces {
            if let crate::plan::Segment::Variable { name, .. } = segment {
                self.secret_names.insert(name.clone());
            }
        }
        let is_file = node.source.origin == crate::source::Origin::File;
        if is_file && !parts.has_variable() && !scalar.text.is_empty() && !scalar.text.contains("{{") {
            let problem =
                node.diagnostic("CZ0505", format!("'{path}' holds a literal secret")).severity(Severity::Warning);
            self.report(problem.path(path).help("use ${VAR} and keep the value in the environment or in .env"));
        }
    }

    /// A diagnostic at the key of an entry.
    fn at_key(&self, entry: &Entry, code: &'static str, message: String) -> Diagnostic {
        let length = span_length(&entry.value.source.text, entry.key_span);
        Diagnostic::error(code, message, key_place(entry)).length(length)
    }

    /// Reports `$ref`, `$use`, `$merge`, `$ptr`; whether it was one.
    pub(crate) fn is_directive(&mut self, entry: &Entry, path: &str) -> bool {
        let is_one = matches!(&*entry.key, "$ref" | "$use" | "$merge" | "$ptr");
        if is_one {
            let message = format!("directive key '{}' is not supported; refer to things by id", entry.key);
            self.report(self.at_key(entry, "CZ0112", message).path(path));
        }
        is_one
    }

    fn unknown_key(&mut self, entry: &Entry, table: &'static Table, path: &str) {
        let is_error = self.strict || table.is_settings;
        let severity = if is_error { Severity::Error } else { Severity::Warning };
        if !crate::diagnostic::is_kept(&self.diagnostics, severity) {
            return;
        }
        let shown = crate::yaml::describe_text(&entry.key);
        let meant = OFTEN_MEANT.iter().find(|(written, meant)| *written == &*entry.key && table.key(meant).is_some());
        let near = meant.map(|(_, meant)| *meant).or_else(|| suggest::nearest(&entry.key, table.spellings()));
        let message = match near {
            Some(near) => format!("unknown key {shown}. Did you mean '{near}'?"),
            None => format!("unknown key {shown}"),
        };
        let mut problem = self.at_key(entry, "CZ0108", message).path(join(path, &entry.key));
        problem = if problem.message.ends_with('?') {
            problem.help("rename it, or begin it with x- to have it ignored")
        } else {
            let names: Vec<_> = table.names().collect();
            problem.help(format!("keys of {}: {}", table.name, names.join(", ")))
        };
        self.report(problem.severity(severity));
    }

    /// Two spellings of one key.
    pub(crate) fn second_spelling(&mut self, first: &Entry, second: &Entry) {
        let equal = same(&first.value, &second.value);
        let message = if equal {
            format!("'{}' and '{}' are the same setting", first.key, second.key)
        } else {
            format!("'{}' and '{}' are the same setting with different values", first.key, second.key)
        };
        let severity = if equal { Severity::Warning } else { Severity::Error };
        let problem = self.at_key(second, "CZ0107", message).severity(severity);
        self.report(problem.related(key_place(first), format!("'{}' is here", first.key)).help("keep one"));
    }
}

/// Whether two values are written alike.
pub(crate) fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar(a), Value::Scalar(b)) => a.text == b.text,
        (Value::List(a), Value::List(b)) => {
            Arc::ptr_eq(a, b) || (a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b)))
        }
        (Value::Map(a), Value::Map(b)) => {
            Arc::ptr_eq(a, b)
                || (a.len() == b.len()
                    && a.iter().zip(b.iter()).all(|(a, b)| a.key == b.key && same(&a.value, &b.value)))
        }
        _ => false,
    }
}
