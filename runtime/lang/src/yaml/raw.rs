//! From an offset inside a decoded scalar back to the bytes it was written as.
//!
//! Decoding drops indentation, folds lines and resolves escapes. The decoded text is known, so the written one is
//! walked beside it: white space may be skipped on either side, everything else must match.

use super::{Node, Span, Style};
use crate::source::{Place, narrow};

/// Source offset of every byte of a decoded scalar, and one more for its end; `None` when the texts do not match
/// (the value was not written in this source).
fn offsets(node: &Node) -> Option<Vec<u32>> {
    let scalar = node.scalar()?;
    let written = node.source.text.get(..node.span.end as usize)?;
    let mut at = node.span.start as usize;
    let rest = |at: usize| written.get(at..).unwrap_or_default();
    // The range of a block without anchor and tag begins behind its header.
    if scalar.style == Style::Block
        && let Some(map) = walk(node, at)
    {
        return Some(map);
    }
    while rest(at).starts_with(['&', '!']) {
        let word = rest(at).find(char::is_whitespace)?;
        at += rest(at).len() - rest(at + word).trim_start().len();
    }
    match scalar.style {
        Style::Given => None,
        Style::Block => walk(node, at + rest(at).find('\n')? + 1),
        Style::Single | Style::Double => walk(node, at + rest(at).starts_with(['\'', '"']).then_some(1)?),
        Style::Plain => walk(node, at),
    }
}

/// [`offsets`], for content that begins at byte `at`.
fn walk(node: &Node, mut at: usize) -> Option<Vec<u32>> {
    let scalar = node.scalar()?;
    let written = node.source.text.get(..node.span.end as usize)?;
    let rest = |at: usize| written.get(at..).unwrap_or_default();
    let mut map = Vec::with_capacity(scalar.text.len() + 1);
    for wanted in scalar.text.chars() {
        let length;
        loop {
            let found = rest(at).chars().next();
            length = match found {
                Some('\\') if scalar.style == Style::Double => match escape(rest(at)) {
                    Some(length) => length,
                    None => {
                        // A line break behind a backslash gives no character.
                        at += 1 + rest(at + 1).len() - rest(at + 1).trim_start().len();
                        continue;
                    }
                },
                Some('\'') if scalar.style == Style::Single && wanted == '\'' => 2,
                Some(found) if found == wanted => found.len_utf8(),
                // Folded into, or left out of, the decoded text.
                _ if wanted.is_whitespace() => 0,
                Some(space) if space.is_whitespace() => {
                    at += space.len_utf8();
                    continue;
                }
                _ => return None,
            };
            break;
        }
        map.extend(std::iter::repeat_n(narrow(at), wanted.len_utf8()));
        at += length;
    }
    map.push(narrow(at));
    Some(map)
}

/// Bytes of the escape sequence at the start of `text`; `None` for an escaped line break.
fn escape(text: &str) -> Option<usize> {
    match text.as_bytes().get(1)? {
        b'\n' | b'\r' => None,
        b'x' => Some(4),
        b'u' => Some(6),
        b'U' => Some(10),
        _ => text.chars().nth(1).map(|c| 1 + c.len_utf8()),
    }
}

/// Places inside a decoded scalar, worked out once for all the offsets asked for.
#[derive(Debug)]
pub struct Places<'n> {
    node: &'n Node,
    offsets: Option<Vec<u32>>,
}

impl<'n> Places<'n> {
    /// Prepares the places of a scalar.
    pub fn of(node: &'n Node) -> Self {
        Self { node, offsets: offsets(node) }
    }

    /// The place of a range of the decoded text and its length in characters on its first line; the whole scalar when
    /// the range cannot be found in the source.
    pub fn at(&self, start: usize, end: usize) -> (Place, u32) {
        let source = &self.node.source;
        let found = self.offsets.as_ref().and_then(|map| Some((*map.get(start)?, *map.get(end.max(start))?)));
        let Some((first, last)) = found else {
            return (self.node.place(), self.node.length());
        };
        let place = source.place(first as usize);
        let length = super::span_length(&source.text, Span { start: first, end: last, ..Span::default() });
        (place, length)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::{Origin, Source};
    use crate::yaml::{Limits, parse};

    /// The place of `@` in the value of `a`.
    fn place_of_mark(text: &str) -> String {
        let source = Arc::new(Source::new("f", Origin::File, text.into()));
        let (node, problems) = parse(source, &Limits::default());
        assert!(problems.is_empty(), "{problems:?}");
        let node = node.unwrap();
        let value = node.get("a").unwrap();
        let offset = value.scalar().unwrap().text.find('@').unwrap();
        Places::of(value).at(offset, offset + 1).0.to_string()
    }

    #[test]
    fn offsets_are_found_in_every_style() {
        for (text, place) in [
            ("a: x@y", "f:1:5"),
            ("a: one\n  two\n\n  x@y", "f:4:4"),
            ("a: 'it''s @'", "f:1:11"),
            ("a: \"é\\t\\u0041\\x41 @\"", "f:1:19"),
            ("a: &x !!str '@'", "f:1:14"),
            ("a: &x y@", "f:1:8"),
            ("a: &x |\n  & b\n  c @", "f:3:5"),
            ("a: |\n\n  b @", "f:3:5"),
            ("a: |\n  & c: d\n  b @", "f:3:5"),
            ("a: \"one \\\n   two @\"", "f:2:8"),
            ("a: \"one\n   two @\"", "f:2:8"),
            ("a: |\n  one\n    two @\n", "f:3:9"),
            ("a: |2-  # note\n  one\n    two @\n", "f:3:9"),
            ("a: >\n  one\n  two\n\n  three @\n", "f:5:9"),
            ("é: 1\na: é@", "f:2:5"),
        ] {
            assert_eq!(place_of_mark(text), place, "{text:?}");
        }
    }
}
