//! Numbers and strings.

use super::{Kind, Lexer, is_word};
use crate::problem::{Problem, Span};

impl Lexer<'_> {
    pub(super) fn number(&mut self, start: usize) -> Result<(), Problem> {
        let rest = self.bytes.get(start..).unwrap_or_default();
        let mut length = 0;
        while let Some(&byte) = rest.get(length) {
            let previous = length.checked_sub(1).and_then(|at| rest.get(at));
            let hex = rest.get(1).is_some_and(|b| matches!(b, b'x' | b'X'));
            let sign = matches!(byte, b'+' | b'-') && (length == 0 || (!hex && matches!(previous, Some(b'e' | b'E'))));
            if !(sign || is_word(byte) || byte == b'.') {
                break;
            }
            length += 1;
        }
        self.at = start + length;
        self.no_inert(start)?;
        let text = self.slice(start, self.at);
        let Some(kind) = number(text) else {
            let span = Span::new(start, self.at);
            return Err(Problem::syntax(format!("'{text}' is not a number"), span));
        };
        self.push(kind, start);
        Ok(())
    }

    pub(super) fn raw(&mut self, start: usize) -> Result<(), Problem> {
        let mut end = start + 1;
        loop {
            match self.byte(end) {
                None => return Err(self.wrong("unterminated string", start)),
                _ if self.inert_end(end).is_some() => end = self.inert_end(end).unwrap_or(end + 1),
                Some(b'`') => break,
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        let text = self.slice(start + 1, end).into();
        self.push(Kind::String(text), start);
        Ok(())
    }

    pub(super) fn quoted(&mut self, quote: u8, start: usize) -> Result<(), Problem> {
        let mut text = String::new();
        self.at = start + 1;
        loop {
            if let Some(end) = self.inert_end(self.at) {
                let Some(content) = self.text.get(self.at..end) else {
                    return Err(self.wrong("interpolated range splits a character", start));
                };
                text.push_str(content);
                self.at = end;
                continue;
            }
            match self.byte(self.at) {
                None | Some(b'\n') => return Err(self.wrong("unterminated string", start)),
                Some(byte) if byte == quote => break,
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => {
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    let next = rest.chars().next().unwrap_or('"');
                    text.push(next);
                    self.at += next.len_utf8();
                }
            }
        }
        self.at += 1;
        self.push(Kind::String(text.into()), start);
        Ok(())
    }

    /// The escapes of Go's string literals (Go specification, "Rune literals").
    fn escape(&mut self) -> Result<char, Problem> {
        let start = self.at;
        let letter = self.byte(start + 1).unwrap_or(b' ');
        self.at += 2;
        let (radix, digits) = match letter {
            b'a' => return Ok('\u{7}'),
            b'b' => return Ok('\u{8}'),
            b'f' => return Ok('\u{c}'),
            b'n' => return Ok('\n'),
            b'r' => return Ok('\r'),
            b't' => return Ok('\t'),
            b'v' => return Ok('\u{b}'),
            b'\\' | b'"' | b'\'' => return Ok(char::from(letter)),
            b'x' => (16, 2),
            b'u' => (16, 4),
            b'U' => (16, 8),
            b'0'..=b'7' => {
                self.at -= 1;
                (8, 3)
            }
            _ => {
                return Err(self.wrong("unknown escape in a string", start).help("write \\\\ for a backslash"));
            }
        };
        let code = self.text.get(self.at..self.at + digits);
        let code = code.filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = code.and_then(|code| u32::from_str_radix(code, radix).ok());
        self.at += digits;
        code.and_then(char::from_u32).ok_or_else(|| self.wrong("invalid escape in a string", start))
    }
}

/// A number as Go writes them: `1_000`, `0x1F`, `0o17`, `017`, `0b1`, `1.5`, `.5`, `1e3`.
fn number(text: &str) -> Option<Kind> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let digits = digits.replace('_', "");
    let lower = digits.to_ascii_lowercase();
    let (radix, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', b'0'..=b'9', ..] if !lower.contains(['.', 'e']) => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    let sign = if negative { -1 } else { 1 };
    if let Ok(int) = i128::from_str_radix(rest, radix) {
        if rest.starts_with(['+', '-']) {
            return None;
        }
        return Some(match i64::try_from(int * sign) {
            Ok(int) => Kind::Int(int),
            Err(_) => Kind::Float((int * sign) as f64),
        });
    }
    if radix != 10 || !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let float: f64 = rest.parse().ok()?;
    float.is_finite().then_some(Kind::Float(float * sign as f64))
}
