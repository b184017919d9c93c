//! Lists, and `len`, `index`, `slice`.

use std::rc::Rc;

use super::{
    Function, Host, MANY,
    arguments::{self, any, int, list, text},
    compare::equal,
    strings::characters,
};
use crate::{
    problem::Fail,
    value::{Map, Value},
};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("append", 2, 2, append).nulls(),
    Function::new("chunk", 2, 2, chunk),
    Function::new("compact", 1, 1, compact),
    Function::new("concat", 0, MANY, concat),
    Function::new("first", 1, 1, |_, a| Ok(list(a, 0)?.first().cloned().unwrap_or_default())),
    Function::new("has", 2, 2, has).nulls(),
    Function::new("index", 1, MANY, index),
    Function::new("initial", 1, 1, |h, a| part(h, a, |l| l.split_last().map(|(_, rest)| rest))),
    Function::new("join", 2, 2, join),
    Function::new("last", 1, 1, |_, a| Ok(list(a, 0)?.last().cloned().unwrap_or_default())),
    Function::new("len", 1, 1, len),
    Function::new("list", 0, MANY, |h, a| h.list(a.to_vec())).nulls(),
    Function::new("mustAppend", 2, 2, append).nulls(),
    Function::new("mustChunk", 2, 2, chunk),
    Function::new("mustCompact", 1, 1, compact),
    Function::new("mustFirst", 1, 1, |_, a| list(a, 0)?.first().cloned().ok_or_else(none)),
    Function::new("mustHas", 2, 2, has).nulls(),
    Function::new("mustInitial", 1, 1, |h, a| {
        list(a, 0)?.first().ok_or_else(none)?;
        part(h, a, |l| l.split_last().map(|(_, rest)| rest))
    }),
    Function::new("mustLast", 1, 1, |_, a| list(a, 0)?.last().cloned().ok_or_else(none)),
    Function::new("mustPrepend", 2, 2, prepend).nulls(),
    Function::new("mustPush", 2, 2, append).nulls(),
    Function::new("mustRest", 1, 1, |h, a| {
        list(a, 0)?.first().ok_or_else(none)?;
        part(h, a, |l| l.split_first().map(|(_, rest)| rest))
    }),
    Function::new("mustReverse", 1, 1, reverse),
    Function::new("mustSlice", 1, 3, slice),
    Function::new("mustUniq", 1, 1, uniq),
    Function::new("mustWithout", 1, MANY, without).nulls(),
    Function::new("prepend", 2, 2, prepend).nulls(),
    Function::new("push", 2, 2, append).nulls(),
    Function::new("rest", 1, 1, |h, a| part(h, a, |l| l.split_first().map(|(_, rest)| rest))),
    Function::new("reverse", 1, 1, reverse),
    Function::new("slice", 1, 3, slice),
    Function::new("sortAlpha", 1, 1, sort_alpha),
    Function::new("split", 2, 2, |h, a| split_map(h, a, None)),
    Function::new("splitList", 2, 2, split_list),
    Function::new("splitn", 3, 3, |h, a| {
        let most = int(a, 1)?;
        let a = [any(a, 0).clone(), any(a, 2).clone()];
        split_map(h, &a, Some(most))
    }),
    Function::new("toStrings", 1, 1, to_strings),
    Function::new("tuple", 0, MANY, |h, a| h.list(a.to_vec())).nulls(),
    Function::new("uniq", 1, 1, uniq),
    Function::new("without", 1, MANY, without).nulls(),
];

fn none() -> Fail {
    Fail::reason("the list is empty")
}

fn len(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let length = match any(a, 0) {
        Value::String(text) => text.chars().count(),
        Value::Map(map) => map.len(),
        _ => list(a, 0)
            .map_err(|fail| match fail {
                Fail::Reason(_) => Fail::reason(format!("a {} has no length", any(a, 0).kind())),
                other => other,
            })?
            .len(),
    };
    Ok(Value::Int(length as i64))
}

fn index(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (first, keys) = a.split_first().ok_or(Fail::Null)?;
    let mut value = first;
    for key in keys {
        value = match value {
            Value::Map(map) => map.get(text(std::slice::from_ref(key), 0)?).unwrap_or(&Value::Null),
            Value::List(list) => {
                let at = int(std::slice::from_ref(key), 0)?;
                let found = usize::try_from(at).ok().and_then(|at| list.items().get(at));
                found.ok_or_else(|| {
                    Fail::reason(format!("index {at} is out of range for a list of {}", list.items().len()))
                })?
            }
            Value::Null => return Err(Fail::Null),
            other => return Err(Fail::reason(format!("cannot index a {}", other.kind()))),
        };
    }
    Ok(value.clone())
}

fn slice(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let length = match any(a, 0) {
        Value::String(text) => text.chars().count(),
        _ => list(a, 0)?.len(),
    };
    let start = if a.len() > 1 { arguments::count(a, 1)? } else { 0 };
    let end = if a.len() > 2 { arguments::count(a, 2)? } else { length };
    if start > end || end > length {
        return Err(Fail::reason(format!("{start} to {end} is out of range for a length of {length}")));
    }
    match any(a, 0) {
        Value::String(text) => host.string(characters(text, start, end).into()),
        _ => {
            let items = list(a, 0)?.get(start..end).unwrap_or_default().to_vec();
            host.list(items)
        }
    }
}

fn part(host: &mut Host, a: &[Value], rest: fn(&[Value]) -> Option<&[Value]>) -> Result<Value, Fail> {
    let items = rest(list(a, 0)?).unwrap_or_default().to_vec();
    host.list(items)
}

/// Appending to a list nobody else holds would need no copy, but every element made is a step all the same.
fn append(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let items = list(a, 0)?;
    host.budget.spend(items.len() + 1)?;
    Value::list(items.iter().chain(a.get(1)).cloned().collect())
}

fn prepend(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let items = list(a, 0)?;
    host.budget.spend(items.len() + 1)?;
    Value::list(a.get(1).into_iter().chain(items).cloned().collect())
}

fn chunk(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (size, items) = (arguments::count(a, 0)?, list(a, 1)?);
    if size == 0 {
        return Err(Fail::reason("the size must be at least 1"));
    }
    host.budget.spend(items.len())?;
    let chunks: Result<Vec<Value>, Fail> = items.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect();
    host.list(chunks?)
}

fn compact(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let items = list(a, 0)?.iter().filter(|item| item.truth()).cloned().collect();
    host.list(items)
}

fn concat(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut items = Vec::new();
    for at in 0..a.len() {
        let more = list(a, at)?;
        host.budget.spend(more.len())?;
        items.extend_from_slice(more);
    }
    Value::list(items)
}

fn contains(host: &mut Host, items: &[Value], wanted: &Value) -> Result<bool, Fail> {
    for item in items {
        if equal(host, item, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    if let Value::Null = any(a, 1) {
        return Ok(Value::Bool(false));
    }
    contains(host, list(a, 1)?, any(a, 0)).map(Value::Bool)
}

fn uniq(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut kept: Vec<Value> = Vec::new();
    for item in list(a, 0)? {
        if !contains(host, &kept, item)? {
            kept.push(item.clone());
        }
    }
    host.list(kept)
}

fn without(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut kept = Vec::new();
    for item in list(a, 0)? {
        if !contains(host, a.get(1..).unwrap_or_default(), item)? {
            kept.push(item.clone());
        }
    }
    host.list(kept)
}

fn reverse(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let items = list(a, 0)?.iter().rev().cloned().collect();
    host.list(items)
}

/// The elements as text; anything but a list is one element.
fn printed(host: &mut Host, value: &Value) -> Result<Vec<Rc<str>>, Fail> {
    match value {
        Value::List(list) => list.items().iter().map(|item| host.print(item)).collect(),
        other => Ok(vec![host.print(other)?]),
    }
}

fn join(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let separator = text(a, 0)?;
    let parts = printed(host, any(a, 1))?;
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    host.budget.allow(bytes.saturating_add(parts.len().saturating_mul(separator.len())))?;
    Ok(Value::string(parts.join(&**separator)))
}

fn sort_alpha(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut parts = printed(host, any(a, 0))?;
    parts.sort_unstable();
    host.list(parts.into_iter().map(Value::String).collect())
}

fn to_strings(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let parts = printed(host, any(a, 0))?;
    host.list(parts.into_iter().map(Value::String).collect())
}

/// Go's `strings.Split`: an empty separator splits into characters.
fn pieces(host: &mut Host, separator: &str, text: &str, most: usize) -> Result<Vec<Value>, Fail> {
    let pieces: Vec<Value> = if separator.is_empty() {
        let head = super::strings::byte_at(text, most.saturating_sub(1));
        let (head, tail) = text.split_at_checked(head).unwrap_or((text, ""));
        let tail = Some(tail).filter(|tail| !tail.is_empty());
        let letters = head.chars().map(|c| Value::string(c.to_string()));
        letters.chain(tail.map(Value::string)).collect()
    } else {
        text.splitn(most, separator).map(Value::string).collect()
    };
    host.budget.allow(text.len())?;
    host.budget.spend(pieces.len())?;
    Ok(pieces)
}

fn split_list(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let pieces = pieces(host, text(a, 0)?, text(a, 1)?, usize::MAX)?;
    Value::list(pieces)
}

/// The pieces as a map with the keys `_0`, `_1`, …
fn split_map(host: &mut Host, a: &[Value], most: Option<i64>) -> Result<Value, Fail> {
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let mut map = Map::default();
    if most > 0 {
        for (at, piece) in pieces(host, text(a, 0)?, text(a, 1)?, most)?.into_iter().enumerate() {
            map.insert(format!("_{at}").into(), piece)?;
        }
    }
    Ok(Value::map(map))
}
