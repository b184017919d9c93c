//! Strings: lengths and positions count characters.

use std::rc::Rc;

use super::{
    Function, Host, MANY,
    arguments::{self, int, text},
    casing, wrap,
};
use crate::{problem::Fail, value::Value};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("abbrev", 2, 2, abbrev),
    Function::new("abbrevboth", 3, 3, abbrevboth),
    Function::new("camelcase", 1, 1, |h, a| map_text(h, a, casing::camel)),
    Function::new("cat", 0, MANY, cat).nulls(),
    Function::new("contains", 2, 2, |_, a| test(a, |part, text| text.contains(part))),
    Function::new("hasPrefix", 2, 2, |_, a| test(a, |part, text| text.starts_with(part))),
    Function::new("hasSuffix", 2, 2, |_, a| test(a, |part, text| text.ends_with(part))),
    Function::new("hello", 0, 0, |_, _| Ok(Value::string("Hello!"))),
    Function::new("indent", 2, 2, |h, a| indent(h, a, "")),
    Function::new("initials", 1, 1, |h, a| map_text(h, a, casing::initials)),
    Function::new("kebabcase", 1, 1, |h, a| map_text(h, a, |text| casing::joined(text, '-'))),
    Function::new("lower", 1, 1, |h, a| map_text(h, a, str::to_lowercase)),
    Function::new("nindent", 2, 2, |h, a| indent(h, a, "\n")),
    Function::new("nospace", 1, 1, |h, a| map_text(h, a, |text| text.split_whitespace().collect())),
    Function::new("plural", 3, 3, plural),
    Function::new("repeat", 2, 2, repeat),
    Function::new("replace", 3, 3, replace),
    Function::new("snakecase", 1, 1, |h, a| map_text(h, a, |text| casing::joined(text, '_'))),
    Function::new("substr", 3, 3, substr),
    Function::new("swapcase", 1, 1, |h, a| map_text(h, a, casing::swap)),
    Function::new("title", 1, 1, |h, a| map_text(h, a, casing::title)),
    Function::new("trim", 1, 1, |h, a| map_text(h, a, |text| text.trim().into())),
    Function::new("trimAll", 2, 2, trim_all),
    Function::new("trimPrefix", 2, 2, |h, a| cut(h, a, |text, part| text.strip_prefix(part))),
    Function::new("trimSuffix", 2, 2, |h, a| cut(h, a, |text, part| text.strip_suffix(part))),
    Function::new("trimall", 2, 2, trim_all),
    Function::new("trunc", 2, 2, trunc),
    Function::new("untitle", 1, 1, |h, a| map_text(h, a, casing::untitle)),
    Function::new("upper", 1, 1, |h, a| map_text(h, a, str::to_uppercase)),
    Function::new("wrap", 2, 2, wrap_at),
    Function::new("wrapWith", 3, 3, wrap_with),
];

fn map_text(host: &mut Host, a: &[Value], change: fn(&str) -> String) -> Result<Value, Fail> {
    let text = text(a, 0)?;
    host.string(change(text))
}

fn test(a: &[Value], holds: fn(&str, &str) -> bool) -> Result<Value, Fail> {
    Ok(Value::Bool(holds(text(a, 0)?, text(a, 1)?)))
}

fn cut(host: &mut Host, a: &[Value], strip: for<'t> fn(&'t str, &str) -> Option<&'t str>) -> Result<Value, Fail> {
    let (part, text) = (text(a, 0)?, text(a, 1)?);
    match strip(text, part) {
        Some(rest) => host.string(rest.into()),
        None => Ok(Value::String(text.clone())),
    }
}

/// The byte where the character at `position` begins; the end of the text if there are fewer.
pub(crate) fn byte_at(text: &str, position: usize) -> usize {
    text.char_indices().nth(position).map_or(text.len(), |(at, _)| at)
}

/// The characters from `start` to `end`.
pub(crate) fn characters(text: &str, start: usize, end: usize) -> &str {
    let start = byte_at(text, start);
    let end = byte_at(text, end).max(start);
    text.get(start..end).unwrap_or_default()
}

fn cat(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut parts: Vec<Rc<str>> = Vec::new();
    for value in a.iter().filter(|value| !matches!(value, Value::Null)) {
        parts.push(host.print(value)?);
    }
    let text = parts.join(" ");
    host.string(text.trim().into())
}

fn indent(host: &mut Host, a: &[Value], before: &str) -> Result<Value, Fail> {
    let (width, text) = (arguments::count(a, 0)?, text(a, 1)?);
    let lines = text.matches('\n').count() + 1;
    host.budget.allow(width.saturating_mul(lines).saturating_add(text.len() + 1))?;
    let pad = " ".repeat(width);
    let body = text.replace('\n', &format!("\n{pad}"));
    Ok(Value::string(format!("{before}{pad}{body}")))
}

fn plural(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (one, many, count) = (text(a, 0)?, text(a, 1)?, int(a, 2)?);
    Ok(Value::String(if count == 1 { one.clone() } else { many.clone() }))
}

fn repeat(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (count, text) = (arguments::count(a, 0)?, text(a, 1)?);
    host.budget.allow(count.saturating_mul(text.len()))?;
    Ok(Value::string(if text.is_empty() { String::new() } else { text.repeat(count) }))
}

fn replace(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (old, new, text) = (text(a, 0)?, text(a, 1)?, text(a, 2)?);
    let found = text.matches(&**old).count();
    host.budget.allow(text.len().saturating_add(found.saturating_mul(new.len())))?;
    Ok(Value::string(text.replace(&**old, new)))
}

fn substr(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (start, end, text) = (int(a, 0)?, int(a, 1)?, text(a, 2)?);
    let last = usize::try_from(end).unwrap_or(usize::MAX);
    let first = usize::try_from(start).unwrap_or(0);
    host.string(characters(text, first, last).into())
}

fn trunc(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (count, text) = (int(a, 0)?, text(a, 1)?);
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let kept = if count >= 0 {
        characters(text, 0, wanted)
    } else {
        let length = text.chars().count();
        characters(text, length.saturating_sub(wanted), length)
    };
    host.string(kept.into())
}

fn trim_all(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (set, text) = (text(a, 0)?, text(a, 1)?);
    host.string(text.trim_matches(|c| set.contains(c)).into())
}

fn abbrev(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (width, text) = (int(a, 0)?, text(a, 1)?);
    let width = usize::try_from(width).unwrap_or(0);
    if width < 4 {
        return Ok(Value::String(text.clone()));
    }
    host.string(wrap::abbreviate(text, 0, width))
}

fn abbrevboth(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (left, right, text) = (int(a, 0)?, int(a, 1)?, text(a, 2)?);
    let offset = usize::try_from(left).unwrap_or(0);
    let width = usize::try_from(right).unwrap_or(0);
    if width < 4 || (offset > 0 && width < 7) {
        return Ok(Value::String(text.clone()));
    }
    host.string(wrap::abbreviate(text, offset, width))
}

fn wrap_at(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    wrapped(host, int(a, 0)?, "\n", text(a, 1)?, false)
}

fn wrap_with(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    wrapped(host, int(a, 0)?, text(a, 1)?, text(a, 2)?, true)
}

fn wrapped(host: &mut Host, width: i64, line_break: &str, text: &str, cut_words: bool) -> Result<Value, Fail> {
    let width = usize::try_from(width).unwrap_or(0).max(1);
    let line_break = if line_break.is_empty() { "\n" } else { line_break };
    let breaks = text.len() / width + 1;
    host.budget.allow(breaks.saturating_mul(line_break.len()).saturating_add(text.len()))?;
    Ok(Value::string(wrap::wrap(text, width, line_break, cut_words)))
}
