//! Typed values (dialect §2): read from a node, or from the default of the key's table.

use std::time::Duration;

use crate::diagnostic::Severity;
use crate::duration::{self, Bare};
use crate::schema::Kind;
use crate::size;
use crate::yaml::{Node, core};

use super::fields::Fields;
use super::reader::Reader;

impl Reader<'_> {
    /// Text; numbers and booleans keep their source text.
    pub(crate) fn text(&mut self, fields: &Fields<'_>, name: &str) -> Option<String> {
        match fields.get(name) {
            Some(node) => self.text_of(node, &fields.at(name)).or_else(|| default_text(fields, name)),
            None => default_text(fields, name),
        }
    }

    /// Text of a node.
    pub(crate) fn text_of(&mut self, node: &Node, path: &str) -> Option<String> {
        if node.scalar().is_none() {
            self.expected(node, path, "text");
            return None;
        }
        self.fill(node, path).map(|filled| filled.text)
    }

    /// Text with the place it is written at.
    pub(crate) fn name(&mut self, fields: &Fields<'_>, name: &str) -> Option<super::Name> {
        let node = fields.get(name)?;
        self.name_of(node, &fields.at(name))
    }

    /// [`Reader::name`] of a node.
    pub(crate) fn name_of(&mut self, node: &Node, path: &str) -> Option<super::Name> {
        let text = self.text_of(node, path)?;
        Some(super::Name { text, place: node.place(), length: node.length() })
    }

    /// An integer in the range of the key's table.
    pub(crate) fn int(&mut self, fields: &Fields<'_>, name: &str) -> Option<i64> {
        let (least, most) = match fields.key(name).map(|key| key.kind) {
            Some(Kind::Int(least, most)) => (least, most),
            _ => (i64::MIN, i64::MAX),
        };
        let read = fields.get(name).and_then(|node| self.int_of(node, &fields.at(name), least, most));
        read.or_else(|| default_text(fields, name).and_then(|text| text.parse().ok()))
    }

    /// An integer of a node.
    pub(crate) fn int_of(&mut self, node: &Node, path: &str, least: i64, most: i64) -> Option<i64> {
        if node.scalar().is_none() {
            self.expected(node, path, "an integer");
            return None;
        }
        let filled = self.fill(node, path)?;
        let found = core::integer(filled.text.trim());
        let Some(value) = found else {
            self.expected_text(node, path, "an integer", &filled.text);
            return None;
        };
        if (least..=most).contains(&value) {
            return Some(value);
        }
        let range = if most == i64::MAX {
            format!("an integer of at least {least}")
        } else {
            format!("an integer from {least} to {most}")
        };
        self.expected_text(node, path, &range, &filled.text);
        None
    }

    /// A number that fits 32 bits by the range of its table.
    pub(crate) fn number(&mut self, fields: &Fields<'_>, name: &str) -> Option<u32> {
        self.int(fields, name).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
    }

    /// A count.
    pub(crate) fn count(&mut self, fields: &Fields<'_>, name: &str) -> Option<u64> {
        self.int(fields, name).map(|value| u64::try_from(value).unwrap_or_default())
    }

    /// A finite number.
    pub(crate) fn float_of(&mut self, node: &Node, path: &str) -> Option<f64> {
        if node.scalar().is_none() {
            self.expected(node, path, "a number");
            return None;
        }
        let filled = self.fill(node, path)?;
        let value = core::float(filled.text.trim());
        if value.is_none() {
            self.expected_text(node, path, "a number", &filled.text);
        }
        value
    }

    /// A truth value.
    pub(crate) fn bool(&mut self, fields: &Fields<'_>, name: &str) -> Option<bool> {
        let read = fields.get(name).and_then(|node| self.bool_of(node, &fields.at(name)));
        read.or_else(|| default_text(fields, name).map(|text| text == "true"))
    }

    /// A truth value of a node.
    pub(crate) fn bool_of(&mut self, node: &Node, path: &str) -> Option<bool> {
        if node.scalar().is_none() {
            self.expected(node, path, "true or false");
            return None;
        }
        let filled = self.fill(node, path)?;
        let (value, is_usual) = match filled.text.trim().to_ascii_lowercase().as_str() {
            "true" => (true, true),
            "false" => (false, true),
            "yes" | "on" | "1" => (true, false),
            "no" | "off" | "0" => (false, false),
            _ => {
                self.expected_text(node, path, "true or false", &filled.text);
                return None;
            }
        };
        if !is_usual {
            let message = format!("{path}: '{}' is read as {value}; write true or false", filled.text.trim());
            self.report(node.diagnostic("CZ0110", message).severity(Severity::Warning).path(path));
        }
        Some(value)
    }

    /// A duration.
    pub(crate) fn duration(&mut self, fields: &Fields<'_>, name: &str) -> Option<Duration> {
        let bare = match fields.key(name).map(|key| key.kind) {
            Some(Kind::Duration(bare)) => bare,
            _ => Bare::Refused,
        };
        let read = fields.get(name).and_then(|node| self.duration_of(node, &fields.at(name), bare));
        read.or_else(|| default_text(fields, name).and_then(|text| duration::parse(&text, bare)))
    }

    /// A duration of a node.
    pub(crate) fn duration_of(&mut self, node: &Node, path: &str, bare: Bare) -> Option<Duration> {
        if node.scalar().is_none() {
            self.expected(node, path, "a duration");
            return None;
        }
        let filled = self.fill(node, path)?;
        let value = duration::parse(&filled.text, bare);
        if value.is_none() {
            let shown = crate::yaml::describe_text(&filled.text);
            let message = format!("{path}: {shown} is not a duration; write a unit, for example 5s or 2m");
            self.report(node.diagnostic("CZ0111", message).path(path));
        }
        value
    }

    /// A number of bytes.
    pub(crate) fn size(&mut self, fields: &Fields<'_>, name: &str) -> Option<u64> {
        let read = fields.get(name).and_then(|node| self.size_of(node, &fields.at(name)));
        read.or_else(|| default_text(fields, name).and_then(|text| size::parse(&text)))
    }

    /// A number of bytes of a node.
    pub(crate) fn size_of(&mut self, node: &Node, path: &str) -> Option<u64> {
        if node.scalar().is_none() {
            self.expected(node, path, "a size");
            return None;
        }
        let filled = self.fill(node, path)?;
        let value = size::parse(&filled.text);
        if value.is_none() {
            self.expected_text(node, path, "a size such as 64KiB or 10MiB", &filled.text);
        }
        value
    }

    /// One of the words of the key's table, in lower case as the table writes it.
    pub(crate) fn choice(&mut self, fields: &Fields<'_>, name: &str) -> Option<&'static str> {
        let Some(Kind::Choice(words)) = fields.key(name).map(|key| key.kind) else {
            debug_assert!(false, "'{name}' is no choice");
            return None;
        };
        let default = fields.key(name).and_then(|key| key.default);
        let fallback = words.iter().copied().find(|word| Some(*word) == default);
        let Some(node) = fields.get(name) else { return fallback };
        self.choice_of(node, &fields.at(name), words).or(fallback)
    }

    /// One of several words of a node.
    pub(crate) fn choice_of(
        &mut self,
        node: &Node,
        path: &str,
        words: &'static [&'static str],
    ) -> Option<&'static str> {
        let text = self.text_of(node, path)?;
        let found = words.iter().copied().find(|word| word.eq_ignore_ascii_case(text.trim()));
        if found.is_none() {
            let message = match crate::suggest::nearest(&text, words.iter().copied()) {
                Some(near) => {
                    format!("{path}: expected one of {}, got '{text}'. Did you mean '{near}'?", words.join(", "))
                }
                None => {
                    format!("{path}: expected one of {}, got {}", words.join(", "), crate::yaml::describe_text(&text))
                }
            };
            self.report(node.diagnostic("CZ0110", message).path(path));
        }
        found
    }

    /// A list of texts, or one text.
    pub(crate) fn texts(&mut self, fields: &Fields<'_>, name: &str) -> Vec<String> {
        let path = fields.at(name);
        let nodes = fields.get(name).map(one_or_many).unwrap_or_default();
        nodes.iter().filter_map(|node| self.text_of(node, &path)).collect()
    }
}

/// The items of a list, or the one value that stands for a list of it.
pub(crate) fn one_or_many(node: &Node) -> &[Node] {
    node.items().unwrap_or(std::slice::from_ref(node))
}

fn default_text(fields: &Fields<'_>, name: &str) -> Option<String> {
    fields.key(name).and_then(|key| key.default).map(str::to_owned)
}
