//! Text made safe for HTML, JavaScript and URLs, as Go's `text/template` does it.

use std::fmt::Write;

use super::{Function, Host, MANY, format};
use crate::{problem::Fail, value::Value};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("html", 1, MANY, |h, a| escaped(h, a, html)).nulls(),
    Function::new("htmlAttrEscape", 1, MANY, |h, a| escaped(h, a, html)).nulls(),
    Function::new("htmlEscape", 1, MANY, |h, a| escaped(h, a, html)).nulls(),
    Function::new("js", 1, MANY, |h, a| escaped(h, a, javascript)).nulls(),
    Function::new("jsEscape", 1, MANY, |h, a| escaped(h, a, javascript)).nulls(),
    Function::new("urlquery", 1, MANY, |h, a| escaped(h, a, query)).nulls(),
];

/// The longest escape is six bytes for one.
fn escaped(host: &mut Host, a: &[Value], escape: fn(&mut String, &str)) -> Result<Value, Fail> {
    let text = format::sprint(host, a)?;
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    escape(&mut out, &text);
    host.string(out)
}

fn html(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{FFFD}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(c),
        }
    }
}

fn javascript(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' | '\0'..' ' => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            _ => out.push(c),
        }
    }
}

/// Go's `url.QueryEscape`: all but letters, digits and `-_.~`, with `+` for a space.
fn query(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}
