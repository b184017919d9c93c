//! JSON text to values (RFC 8259) and back.

use std::rc::Rc;

use crate::{
    problem::Fail,
    value::{MAX_NESTING, Map, Value},
};

/// Reads one JSON value; integers outside 64 bits become floats.
///
/// # Errors
/// A sentence with the byte where it stopped, also for nesting deeper than [`MAX_NESTING`] and numbers outside the floats.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0 };
    reader.space();
    let value = reader.value(0)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.wrong("more text after the value"));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &str) -> String {
        format!("invalid JSON at byte {}: {what}", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let blank = |b: &&u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        self.at += self.rest().iter().take_while(blank).count();
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, String> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.wrong("expected a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: u16) -> Result<Value, String> {
        if depth > MAX_NESTING {
            return Err(self.wrong("nested too deep"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.wrong("expected a value")),
        }
    }

    fn object(&mut self, depth: u16) -> Result<Value, String> {
        let mut map = Map::default();
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::map(map));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.wrong("expected a key in quotes"));
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.wrong("expected ':'"));
            }
            self.at += 1;
            self.space();
            let value = self.value(depth + 1)?;
            if map.insert(key, value).is_err() {
                return Err(self.wrong("nested too deep"));
            }
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.wrong("expected ',' or '}'")),
            }
            self.space();
        }
        self.at += 1;
        Ok(Value::map(map))
    }

    fn array(&mut self, depth: u16) -> Result<Value, String> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.peek() != Some(b']') {
            loop {
                items.push(self.value(depth + 1)?);
                self.space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => break,
                    _ => return Err(self.wrong("expected ',' or ']'")),
                }
                self.space();
            }
        }
        self.at += 1;
        Value::list(items).map_err(|_| self.wrong("nested too deep"))
    }

    fn digits(&mut self) -> Result<(), String> {
        let count = self.rest().iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.wrong("expected a digit"));
        }
        self.at += count;
        Ok(())
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        let mut float = false;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            float = true;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            float = true;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if !float && let Ok(int) = text.parse() {
            return Ok(Value::Int(int));
        }
        match text.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Value::Float(float)),
            _ => Err(self.wrong("number out of range")),
        }
    }

    fn string(&mut self) -> Result<Rc<str>, String> {
        self.at += 1;
        let start = self.at;
        let plain = |b: &&u8| !matches!(b, b'"' | b'\\' | 0..0x20);
        self.at += self.rest().iter().take_while(plain).count();
        let head = self.text.get(start..self.at).unwrap_or_default();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(head.into());
        }
        let mut text = String::from(head);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text.into());
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                Some(0x20..) => {
                    let start = self.at;
                    self.at += self.rest().iter().take_while(plain).count();
                    text.push_str(self.text.get(start..self.at).unwrap_or_default());
                }
                _ => return Err(self.wrong("unterminated string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => self.unicode()?,
            _ => return Err(self.wrong("unknown escape")),
        })
    }

    /// A `\u` escape, also a pair of surrogates; a lone surrogate becomes U+FFFD as in Go.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex4()?;
        if (0xD800..0xDC00).contains(&first) && self.rest().starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
        if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(self.wrong("expected four hexadecimal digits"));
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| self.wrong("expected four hexadecimal digits"))
    }
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Maps in their own order, floats recognisable as such: what a render returns.
    Faithful,
    /// Maps by key, floats by the shortest digits: what templates print.
    Printed,
}

/// Appends `value` as compact JSON, as long as `out` stays within `limit` bytes.
///
/// # Errors
/// `Fail::Limit` beyond `limit`; at most one scalar longer has been written by then.
pub fn write(out: &mut String, value: &Value, style: Style, limit: u64) -> Result<(), Fail> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(_) => crate::print::scalar(out, value),
        Value::Float(f) if style == Style::Faithful => {
            use std::fmt::Write;
            let _ = write!(out, "{f:?}");
        }
        Value::Float(_) => crate::print::scalar(out, value),
        Value::String(s) => write_string(out, s),
        Value::Time(_) => {
            out.push('"');
            crate::print::scalar(out, value);
            out.push('"');
        }
        Value::List(list) => {
            out.push('[');
            for (i, item) in list.items().iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(out, item, style, limit)?;
            }
            out.push(']');
        }
        Value::Map(map) if style == Style::Faithful => {
            write_entries(out, map.iter(), style, limit)?;
        }
        Value::Map(map) => write_entries(out, map.sorted().into_iter(), style, limit)?,
    }
    within(out, limit)
}

fn write_entries<'a>(
    out: &mut String,
    entries: impl Iterator<Item = (&'a Rc<str>, &'a Value)>,
    style: Style,
    limit: u64,
) -> Result<(), Fail> {
    out.push('{');
    for (i, (key, value)) in entries.enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_string(out, key);
        out.push(':');
        write(out, value, style, limit)?;
    }
    out.push('}');
    Ok(())
}

/// Appends `value` as JSON over several lines, indented by two spaces, keys sorted.
///
/// # Errors
/// `Fail::Limit` beyond `limit`.
pub fn write_pretty(out: &mut String, value: &Value, indent: usize, limit: u64) -> Result<(), Fail> {
    let line = |out: &mut String, indent: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", indent));
    };
    match value {
        Value::List(list) if !list.items().is_empty() => {
            out.push('[');
            for (i, item) in list.items().iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                line(out, indent + 1);
                write_pretty(out, item, indent + 1, limit)?;
            }
            line(out, indent);
            out.push(']');
        }
        Value::Map(map) if !map.is_empty() => {
            out.push('{');
            for (i, (key, item)) in map.sorted().into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                line(out, indent + 1);
                write_string(out, key);
                out.push_str(": ");
                write_pretty(out, item, indent + 1, limit)?;
            }
            line(out, indent);
            out.push('}');
        }
        _ => write(out, value, Style::Printed, limit)?,
    }
    within(out, limit)
}

fn within(out: &str, limit: u64) -> Result<(), Fail> {
    if out.len() as u64 > limit {
        return Err(Fail::Limit { what: "output", limit });
    }
    Ok(())
}

/// Appends `text` as a JSON string; `<`, `>` and `&` stay as they are.
pub fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut done = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(text.get(done..at).unwrap_or_default());
        done = at + 1;
        if escape.is_empty() {
            use std::fmt::Write;
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out.push('"');
}
