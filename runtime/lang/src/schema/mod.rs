//! The keys of every map of the dialect, each in one table.
//!
//! A table says which keys a map has, how else they may be spelt, what their values are and what stands when they are
//! absent. Unknown keys, suggestions, alias folding, overrides by environment and flag, the defaults of the settings and
//! the published JSON Schema all come from here: a key is added by one line.

pub mod cases;
pub mod definitions;
pub mod json;
pub mod knowledge;
pub mod memory;
pub mod project;
pub mod settings;
pub mod task;
pub mod trigger;
pub mod workflow;

use crate::duration::Bare;

/// A map of the dialect.
#[derive(Debug)]
pub struct Table {
    /// What it is called in messages.
    pub name: &'static str,
    /// Its keys in the order they are documented.
    pub keys: &'static [Key],
    /// Unknown keys are always errors: it configures the process.
    pub is_settings: bool,
}

/// A key of a map.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The canonical spelling. A `*` stands for any text (idle keys only).
    pub name: &'static str,
    /// Further spellings.
    pub aliases: &'static [&'static str],
    /// What its value is.
    pub kind: Kind,
    /// What stands when it is absent, as it would be written.
    pub default: Option<&'static str>,
    /// Accepted without effect (CZ0109).
    pub idle: bool,
    /// Its value is masked wherever it is shown, and a literal is CZ0505.
    pub secret: bool,
    /// Task types that have it; empty: all.
    pub only: &'static [&'static str],
    /// What it means, for the JSON Schema.
    pub doc: &'static str,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text; numbers and booleans keep their source text.
    Text,
    /// An integer within a range.
    Int(i64, i64),
    /// A number.
    Float,
    /// A truth value.
    Bool,
    /// A duration.
    Duration(Bare),
    /// A number of bytes.
    Size,
    /// One of several words, in any case.
    Choice(&'static [&'static str]),
    /// Any value.
    Any,
    /// A JSON Schema or the id of one.
    Schema,
    /// Text that may hold template actions.
    Template,
    /// A value whose scalars may be templates.
    Templates,
    /// A fixed value or a template that gives one.
    Typed(&'static Kind),
    /// A map with known keys.
    Map(&'static Table),
    /// A list, or one item.
    List(&'static Kind),
    /// A map with free keys.
    MapOf(&'static Kind),
    /// One of several kinds, the first that fits the shape.
    Either(&'static [Kind]),
}

/// A key without aliases and default.
pub(crate) const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, aliases: &[], kind, default: None, idle: false, secret: false, only: &[], doc }
}

/// A key that is accepted without effect.
pub(crate) const fn idle(name: &'static str) -> Key {
    Key { idle: true, ..key(name, Kind::Any, "Accepted, without effect here.") }
}

impl Key {
    /// The same with further spellings.
    pub(crate) const fn alias(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    /// The same with a default.
    pub(crate) const fn default(self, text: &'static str) -> Self {
        Self { default: Some(text), ..self }
    }

    /// The same as a secret.
    pub(crate) const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// The same for some task types only.
    pub(crate) const fn only(self, types: &'static [&'static str]) -> Self {
        Self { only: types, ..self }
    }

    /// Whether the key is meant by a spelling.
    pub fn matches(&self, written: &str) -> bool {
        // Most spellings differ in their first letter, and hostile files have very many keys.
        let first = written.as_bytes().first();
        let near = |spelling: &str| spelling.as_bytes().first() == first || spelling.starts_with('*');
        if !near(self.name) && !self.aliases.iter().any(|alias| near(alias)) {
            return false;
        }
        match self.name.split_once('*') {
            Some((start, end)) => {
                written.len() >= start.len() + end.len() && written.starts_with(start) && written.ends_with(end)
            }
            None => self.name == written || self.aliases.contains(&written),
        }
    }
}

impl Table {
    /// The key meant by a spelling.
    pub fn key(&self, written: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.matches(written))
    }

    /// Canonical names of the keys that have an effect.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().filter(|key| !key.idle && !key.name.contains('*')).map(|key| key.name)
    }

    /// Every accepted spelling, for suggestions.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> {
        let keys = self.keys.iter().filter(|key| !key.name.contains('*'));
        keys.flat_map(|key| std::iter::once(key.name).chain(key.aliases.iter().copied()))
    }
}

/// Any integer from 0.
pub(crate) const COUNT: Kind = Kind::Int(0, i64::MAX);
/// A duration with a unit.
pub(crate) const SPAN: Kind = Kind::Duration(Bare::Refused);
/// A duration whose bare integers are milliseconds.
pub(crate) const MILLIS: Kind = Kind::Duration(Bare::Milliseconds);
/// A list of texts.
pub(crate) const TEXTS: Kind = Kind::List(&Kind::Text);
/// A map of texts that may be templates.
pub(crate) const TEMPLATE_MAP: Kind = Kind::MapOf(&Kind::Template);

#[cfg(test)]
mod tests {
    use super::*;

    /// Every table that can be reached from the published kinds.
    fn tables() -> Vec<&'static Table> {
        fn collect(kind: &Kind, found: &mut Vec<&'static Table>) {
            match kind {
                Kind::Map(table) if !found.iter().any(|known| std::ptr::eq(*known, *table)) => {
                    found.push(table);
                    table.keys.iter().for_each(|key| collect(&key.kind, found));
                }
                Kind::Typed(inner) | Kind::List(inner) | Kind::MapOf(inner) => collect(inner, found),
                Kind::Either(kinds) => kinds.iter().for_each(|kind| collect(kind, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        json::TABLES.iter().for_each(|(_, table)| collect(&Kind::Map(table), &mut found));
        found
    }

    #[test]
    fn no_spelling_means_two_keys() {
        for table in tables() {
            let mut seen = std::collections::BTreeSet::new();
            for spelling in table.spellings() {
                assert!(seen.insert(spelling), "'{spelling}' twice in {}", table.name);
            }
        }
    }

    #[test]
    fn every_key_is_documented() {
        for table in tables() {
            for key in table.keys {
                assert!(key.doc.ends_with('.'), "{}.{}: {:?}", table.name, key.name, key.doc);
            }
        }
    }
}
