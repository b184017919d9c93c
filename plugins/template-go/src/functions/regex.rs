//! Regular expressions in Go's syntax (RE2, <https://golang.org/s/re2syntax>), in linear time.

use std::{cell::RefCell, collections::VecDeque};

use regex::{Regex, RegexBuilder};

use super::{
    Function, Host,
    arguments::{int, text},
};
use crate::{problem::Fail, value::Value};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("mustRegexFind", 2, 2, find),
    Function::new("mustRegexFindAll", 3, 3, find_all),
    Function::new("mustRegexMatch", 2, 2, matches),
    Function::new("mustRegexReplaceAll", 3, 3, replace_all),
    Function::new("mustRegexReplaceAllLiteral", 3, 3, replace_all_literal),
    Function::new("mustRegexSplit", 3, 3, split),
    Function::new("regexFind", 2, 2, find),
    Function::new("regexFindAll", 3, 3, find_all),
    Function::new("regexMatch", 2, 2, matches),
    Function::new("regexQuoteMeta", 1, 1, quote_meta),
    Function::new("regexReplaceAll", 3, 3, replace_all),
    Function::new("regexReplaceAllLiteral", 3, 3, replace_all_literal),
    Function::new("regexSplit", 3, 3, split),
];

/// Compiled expressions kept for the next use.
const KEPT: usize = 32;
/// Bytes one compiled expression may take.
const COMPILED_BYTES: usize = 1 << 20;

thread_local! {
    static COMPILED: RefCell<VecDeque<(String, Regex)>> = const { RefCell::new(VecDeque::new()) };
}

fn compile(pattern: &str) -> Result<Regex, Fail> {
    let kept = COMPILED.with_borrow(|kept| {
        let found = kept.iter().find(|(known, _)| known == pattern);
        found.map(|(_, regex)| regex.clone())
    });
    if let Some(regex) = kept {
        return Ok(regex);
    }
    let regex = RegexBuilder::new(&translate(pattern))
        .size_limit(COMPILED_BYTES)
        .nest_limit(100)
        .build()
        .map_err(|error| Fail::reason(reason(pattern, &error)))?;
    COMPILED.with_borrow_mut(|kept| {
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((pattern.into(), regex.clone()));
    });
    Ok(regex)
}

fn reason(pattern: &str, error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => {
            format!("the regular expression '{pattern}' is too large")
        }
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            format!("bad regular expression '{pattern}': {}", last.trim_start_matches("error: "))
        }
    }
}

/// Go's syntax in the words of the `regex` crate: `\w`, `\d`, `\s`, `\b` are ASCII, `\Q…\E` quotes, and inside brackets
/// `[`, `&`, `~` and `-` after the first place mean nothing beyond themselves.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = after;
        match c {
            '\\' => rest = escape(&mut out, after),
            '[' if in_class && after.starts_with(':') && after.contains(":]") => {
                let end = after.find(":]").map_or(0, |end| end + 2);
                let (name, tail) = after.split_at_checked(end).unwrap_or((after, ""));
                out.push('[');
                out.push_str(name);
                rest = tail;
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                let negated = after.strip_prefix('^');
                out.push_str(negated.map_or("", |_| "^"));
                rest = negated.unwrap_or(after);
                // A bracket in the first place is a member.
                if let Some(tail) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = tail;
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '[' | '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// Translates the escape whose `\` has been read; returns what comes after it.
fn escape<'p>(out: &mut String, after: &'p str) -> &'p str {
    let Some(letter) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = after.get(letter.len_utf8()..).unwrap_or_default();
    match letter {
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str("[\\t\\n\\x0C\\r ]"),
        'S' => out.push_str("[^\\t\\n\\x0C\\r ]"),
        'b' => out.push_str("(?-u:\\b)"),
        'B' => out.push_str("(?-u:\\B)"),
        'Q' => {
            let (quoted, tail) = rest.split_once("\\E").unwrap_or((rest, ""));
            out.push_str(&regex::escape(quoted));
            return tail;
        }
        'E' => {}
        _ => {
            out.push('\\');
            out.push(letter);
        }
    }
    rest
}

/// Searching costs steps by the length of the text.
fn prepare(host: &mut Host, pattern: &str, text: &str) -> Result<Regex, Fail> {
    host.budget.spend(text.len() / 256)?;
    compile(pattern)
}

fn matches(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let regex = prepare(host, text(a, 0)?, text(a, 1)?)?;
    Ok(Value::Bool(regex.is_match(text(a, 1)?)))
}

fn find(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let regex = prepare(host, text(a, 0)?, text(a, 1)?)?;
    let found = regex.find(text(a, 1)?).map_or("", |found| found.as_str());
    host.string(found.into())
}

/// A negative limit means all.
fn limit(count: i64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn find_all(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let regex = prepare(host, text(a, 0)?, text(a, 1)?)?;
    let mut found = Vec::new();
    for part in regex.find_iter(text(a, 1)?).take(limit(int(a, 2)?)) {
        host.budget.spend(1)?;
        found.push(Value::string(part.as_str()));
    }
    Value::list(found)
}

fn replace(host: &mut Host, a: &[Value], literal: bool) -> Result<Value, Fail> {
    let (subject, replacement) = (text(a, 1)?, text(a, 2)?);
    let regex = prepare(host, text(a, 0)?, subject)?;
    let groups_used = if literal { 0 } else { replacement.matches('$').count() };
    let mut out = String::new();
    let mut done = 0;
    for groups in regex.captures_iter(subject) {
        let Some(found) = groups.get(0) else { continue };
        host.budget.spend(1)?;
        out.push_str(subject.get(done..found.start()).unwrap_or_default());
        // No group is longer than the match, so this is the most it can grow by.
        let growth = groups_used.saturating_mul(found.len()).saturating_add(replacement.len());
        let limit = host.budget.max_output();
        if out.len().saturating_add(growth) as u64 > limit {
            return Err(Fail::Limit { what: "output", limit });
        }
        if literal {
            out.push_str(replacement);
        } else {
            groups.expand(replacement, &mut out);
        }
        done = found.end();
    }
    out.push_str(subject.get(done..).unwrap_or_default());
    host.string(out)
}

fn replace_all(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    replace(host, a, false)
}

fn replace_all_literal(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    replace(host, a, true)
}

/// Go's `Regexp.Split`: an empty match at the very start separates nothing, and at most `n` pieces are made.
fn split(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (subject, most) = (text(a, 1)?, limit(int(a, 2)?));
    let regex = prepare(host, text(a, 0)?, subject)?;
    let mut pieces = Vec::new();
    if most == 0 {
        return Value::list(pieces);
    }
    let mut done = 0;
    for found in regex.find_iter(subject) {
        if pieces.len() + 1 >= most {
            break;
        }
        let at_edge = found.is_empty() && (found.start() == 0 || found.start() == subject.len());
        if at_edge && !subject.is_empty() {
            continue;
        }
        host.budget.spend(1)?;
        pieces.push(Value::string(subject.get(done..found.start()).unwrap_or_default()));
        done = found.end();
    }
    pieces.push(Value::string(subject.get(done..).unwrap_or_default()));
    Value::list(pieces)
}

/// Go's `regexp.QuoteMeta`.
fn quote_meta(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut out = String::new();
    for c in text(a, 0)?.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    host.string(out)
}
