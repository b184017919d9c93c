//! Typed access to the arguments of a function.

use std::rc::Rc;

use crate::{
    problem::Fail,
    value::{Map, Value, float_to_int},
};

fn mismatch(value: &Value, wanted: &str) -> Fail {
    match value {
        Value::Null => Fail::Null,
        _ => Fail::reason(format!("needs {wanted}, got {}", value.kind())),
    }
}

/// The argument at `at`; null if it was left out.
pub(crate) fn any(arguments: &[Value], at: usize) -> &Value {
    arguments.get(at).unwrap_or(&Value::Null)
}

/// A string.
pub(crate) fn text(arguments: &[Value], at: usize) -> Result<&Rc<str>, Fail> {
    match any(arguments, at) {
        Value::String(text) => Ok(text),
        other => Err(mismatch(other, "a string")),
    }
}

/// An integer, also an integral float.
pub(crate) fn int(arguments: &[Value], at: usize) -> Result<i64, Fail> {
    match any(arguments, at) {
        Value::Int(int) => Ok(*int),
        Value::Float(float) if float.fract() == 0.0 => {
            float_to_int(*float).ok_or_else(|| Fail::reason("the number is out of range"))
        }
        other => Err(mismatch(other, "an integer")),
    }
}

/// A count or position; negative ones are refused.
pub(crate) fn count(arguments: &[Value], at: usize) -> Result<usize, Fail> {
    let int = int(arguments, at)?;
    usize::try_from(int).map_err(|_| Fail::reason(format!("{int} is no valid count")))
}

/// The elements of a list.
pub(crate) fn list(arguments: &[Value], at: usize) -> Result<&[Value], Fail> {
    match any(arguments, at) {
        Value::List(list) => Ok(list.items()),
        other => Err(mismatch(other, "a list")),
    }
}

/// A map.
pub(crate) fn map(arguments: &[Value], at: usize) -> Result<&Rc<Map>, Fail> {
    match any(arguments, at) {
        Value::Map(map) => Ok(map),
        other => Err(mismatch(other, "a map")),
    }
}

/// A map; null counts as an empty one.
pub(crate) fn map_or_empty(arguments: &[Value], at: usize) -> Result<Rc<Map>, Fail> {
    match any(arguments, at) {
        Value::Null => Ok(Rc::default()),
        _ => map(arguments, at).cloned(),
    }
}
