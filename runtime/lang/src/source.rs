//! Source texts and places in them.
//!
//! A [`Source`] is one file, or one value given by the environment or a flag: every scalar of a document knows the
//! source it came from, so a diagnostic can point there and `config show --origin` can say where a value was set.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A position in a source file: 1-based line and column, the column in characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// File as the user knows it (relative to the project folder).
    pub file: Arc<str>,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => f.write_str(&self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

/// What set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file of the project.
    File,
    /// A variable of the process environment.
    Environment(String),
    /// A line of the `.env` file.
    DotEnv(u32),
    /// `--set`.
    Flag,
    /// Derived from `mode`.
    Mode,
}

/// One text that values were read from.
#[derive(Debug)]
pub struct Source {
    /// File relative to the project folder, or the name of the variable or flag.
    pub name: Arc<str>,
    /// What kind of source it is.
    pub origin: Origin,
    /// The whole text, without a byte order mark.
    pub text: String,
    /// Byte offset of every 256th character; empty for ASCII texts, where characters are bytes.
    checkpoints: Vec<u32>,
    /// Byte offset of the first byte of each line.
    lines: Vec<u32>,
}

/// Characters between two checkpoints of [`Source::byte_of_char`].
const CHECKPOINT: usize = 256;

impl Source {
    /// A text under a name. Offsets are 32 bits wide: callers refuse larger files before.
    pub fn new(name: &str, origin: Origin, text: String) -> Self {
        let lines = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| narrow(offset + 1)))
            .collect();
        let checkpoints = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().step_by(CHECKPOINT).map(|(offset, _)| narrow(offset)).collect()
        };
        Self { name: Arc::from(name), origin, text, checkpoints, lines }
    }

    /// Byte offset of the character number `index`, at most the length of the text.
    pub fn byte_of_char(&self, index: usize) -> usize {
        let Some(checkpoint) = self.checkpoints.get(index / CHECKPOINT) else {
            return if self.checkpoints.is_empty() { index.min(self.text.len()) } else { self.text.len() };
        };
        let start = *checkpoint as usize;
        let rest = self.text.get(start..).unwrap_or_default();
        rest.char_indices().nth(index % CHECKPOINT).map_or(self.text.len(), |(offset, _)| start + offset)
    }

    /// How many characters lie before a byte offset.
    fn char_of_byte(&self, offset: usize) -> usize {
        let Some(index) = self.checkpoints.partition_point(|start| *start as usize <= offset).checked_sub(1) else {
            return offset;
        };
        let start = self.checkpoints.get(index).copied().unwrap_or_default() as usize;
        index * CHECKPOINT + self.text.get(start..offset).map_or(0, |text| text.chars().count())
    }

    /// The place of a byte offset.
    pub fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start as usize <= offset);
        let start = line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or_default() as usize;
        let column = self.char_of_byte(offset).saturating_sub(self.char_of_byte(start));
        Place { file: self.name.clone(), line: narrow(line), column: narrow(column + 1) }
    }

    /// The place of the source as a whole.
    pub fn whole(&self) -> Place {
        Place { file: self.name.clone(), line: 0, column: 0 }
    }
}

/// A length or offset of a text no larger than 4 GiB.
pub(crate) fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let source = Source::new("a.yaml", Origin::File, "äb\nc: é d".into());
        assert_eq!(source.place(0).to_string(), "a.yaml:1:1");
        assert_eq!(source.place(2).to_string(), "a.yaml:1:2");
        assert_eq!(source.place(4).to_string(), "a.yaml:2:1");
        assert_eq!(source.place(10).to_string(), "a.yaml:2:6");
    }

    #[test]
    fn characters_map_to_bytes_across_checkpoints() {
        let text = "é".repeat(1000);
        let source = Source::new("a.yaml", Origin::File, text);
        assert_eq!(source.byte_of_char(0), 0);
        assert_eq!(source.byte_of_char(255), 510);
        assert_eq!(source.byte_of_char(256), 512);
        assert_eq!(source.byte_of_char(999), 1998);
        assert_eq!(source.byte_of_char(5000), 2000);
    }
}
