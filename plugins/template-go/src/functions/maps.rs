//! Maps. `set` and its kin return a changed map; the evaluator puts it back into a variable it came from.

use std::rc::Rc;

use super::{
    Form, Function, Host, MANY,
    arguments::{any, map, map_or_empty, text},
};
use crate::{
    problem::Fail,
    value::{Map, Value},
};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("dict", 0, MANY, dict).nulls(),
    Function::new("dig", 3, MANY, dig).guard(),
    Function::new("get", 2, 2, get).guard(),
    Function::new("hasKey", 2, 2, has_key).guard(),
    Function::new("keys", 0, MANY, keys),
    Function::new("merge", 1, MANY, |h, a| merge(h, a, false)).form(Form::Changing),
    Function::new("mergeOverwrite", 1, MANY, |h, a| merge(h, a, true)).form(Form::Changing),
    Function::new("mustMerge", 1, MANY, |h, a| merge(h, a, false)).form(Form::Changing),
    Function::new("mustMergeOverwrite", 1, MANY, |h, a| merge(h, a, true)).form(Form::Changing),
    Function::new("omit", 1, MANY, omit),
    Function::new("pick", 1, MANY, pick),
    Function::new("pluck", 1, MANY, pluck).guard(),
    Function::new("set", 3, 3, set).nulls().form(Form::Changing),
    Function::new("unset", 2, 2, unset).form(Form::Changing),
    Function::new("values", 1, 1, values),
];

/// Takes the map out of the first argument, to be changed; copying one that is shared costs a step per entry.
fn take(host: &mut Host, a: &mut [Value]) -> Result<Rc<Map>, Fail> {
    let map = map(a, 0)?.clone();
    if let Some(first) = a.first_mut() {
        *first = Value::Null;
    }
    if Rc::strong_count(&map) > 1 {
        host.budget.spend(map.len())?;
    }
    Ok(map)
}

fn dict(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    host.budget.spend(a.len())?;
    let mut map = Map::default();
    for pair in a.chunks(2) {
        let key = host.print(any(pair, 0))?;
        map.insert(key, pair.get(1).cloned().unwrap_or_else(|| Value::string("")))?;
    }
    Ok(Value::map(map))
}

fn set(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (key, value) = (text(a, 1)?.clone(), any(a, 2).clone());
    let mut map = take(host, a)?;
    Rc::make_mut(&mut map).insert(key, value)?;
    Ok(Value::Map(map))
}

fn unset(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let key = text(a, 1)?.clone();
    let mut map = take(host, a)?;
    host.budget.spend(map.len())?;
    Rc::make_mut(&mut map).remove(&key);
    Ok(Value::Map(map))
}

fn get(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let found = map_or_empty(a, 0)?.get(text(a, 1)?).cloned();
    Ok(found.unwrap_or_else(|| Value::string("")))
}

fn has_key(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let found = map_or_empty(a, 0)?.get(text(a, 1)?).is_some();
    Ok(Value::Bool(found))
}

/// `dig "a" "b" default map`
fn dig(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let Some((last, rest)) = a.split_last() else {
        return Err(Fail::Null);
    };
    let Some((default, keys)) = rest.split_last() else {
        return Err(Fail::Null);
    };
    let mut value = last;
    for key in keys {
        let key = text(std::slice::from_ref(key), 0)?;
        let next = match value {
            Value::Map(map) => map.get(key),
            Value::Null => None,
            other => {
                return Err(Fail::reason(format!("a {} has no key '{key}'", other.kind())));
            }
        };
        match next {
            Some(next) => value = next,
            None => return Ok(default.clone()),
        }
    }
    Ok(value.clone())
}

fn pluck(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let key = text(a, 0)?;
    let mut found = Vec::new();
    for at in 1..a.len() {
        found.extend(map_or_empty(a, at)?.get(key).cloned());
    }
    host.list(found)
}

fn chosen(host: &mut Host, a: &[Value], keep: fn(&[Rc<str>], &str) -> bool) -> Result<Value, Fail> {
    let names: Result<Vec<Rc<str>>, Fail> = (1..a.len()).map(|at| text(a, at).cloned()).collect();
    let mut names = names?;
    names.sort_unstable();
    let from = map(a, 0)?;
    host.budget.spend(from.len())?;
    let mut result = Map::default();
    for (key, value) in from.iter().filter(|(key, _)| keep(&names, key)) {
        result.insert(key.clone(), value.clone())?;
    }
    Ok(Value::map(result))
}

fn listed(names: &[Rc<str>], key: &str) -> bool {
    names.binary_search_by(|name| (**name).cmp(key)).is_ok()
}

fn pick(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    chosen(host, a, listed)
}

fn omit(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    chosen(host, a, |names, key| !listed(names, key))
}

fn keys(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut all = Vec::new();
    for at in 0..a.len() {
        all.extend(map(a, at)?.sorted().into_iter().map(|(key, _)| Value::String(key.clone())));
    }
    host.list(all)
}

fn values(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let all = map(a, 0)?.sorted().into_iter().map(|(_, value)| value.clone()).collect();
    host.list(all)
}

fn merge(host: &mut Host, a: &mut [Value], overwrite: bool) -> Result<Value, Fail> {
    let others: Result<Vec<Rc<Map>>, Fail> = (1..a.len()).map(|at| map(a, at).cloned()).collect();
    let others = others?;
    let mut result = take(host, a)?;
    for other in &others {
        merge_into(host, Rc::make_mut(&mut result), other, overwrite)?;
    }
    Ok(Value::Map(result))
}

/// Puts the entries of `from` into `into`, maps into maps; of two other values the one of `into` stays, or goes.
fn merge_into(host: &mut Host, into: &mut Map, from: &Map, overwrite: bool) -> Result<(), Fail> {
    host.budget.spend(from.len())?;
    for (key, new) in from.iter() {
        match (into.get(key), new) {
            (Some(Value::Map(old)), Value::Map(new)) => {
                host.budget.spend(old.len())?;
                let mut both = (**old).clone();
                merge_into(host, &mut both, new, overwrite)?;
                into.insert(key.clone(), Value::map(both))?;
            }
            (Some(old), _) if !overwrite && !matches!(old, Value::Null) => {}
            _ => into.insert(key.clone(), new.clone())?,
        }
    }
    Ok(())
}
