//! Comparison and truth: `eq`, `lt`, `and`, `not` and kin (dialect §6.6).

use std::{cmp::Ordering, rc::Rc};

use super::{Form, Function, Host, MANY, arguments};
use crate::{
    problem::Fail,
    value::{Value, compare_numbers},
};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("and", 1, MANY, |_, _| Ok(Value::Null)).guard().form(Form::And),
    Function::new("deepEqual", 2, 2, eq).nulls(),
    Function::new("eq", 2, MANY, eq).nulls(),
    Function::new("ge", 2, 2, |_, a| order(a).map(|o| Value::Bool(o.is_ge()))),
    Function::new("gt", 2, 2, |_, a| order(a).map(|o| Value::Bool(o.is_gt()))),
    Function::new("le", 2, 2, |_, a| order(a).map(|o| Value::Bool(o.is_le()))),
    Function::new("lt", 2, 2, |_, a| order(a).map(|o| Value::Bool(o.is_lt()))),
    Function::new("ne", 2, 2, ne).nulls(),
    Function::new("not", 1, 1, |_, a| Ok(Value::Bool(!arguments::any(a, 0).truth()))).guard(),
    Function::new("or", 1, MANY, |_, _| Ok(Value::Null)).guard().form(Form::Or),
];

/// Whether two values are equal: numbers by value, others deeply, different kinds never.
///
/// # Errors
/// `Fail::Limit` when comparing takes too many steps.
pub(crate) fn equal(host: &mut Host, a: &Value, b: &Value) -> Result<bool, Fail> {
    host.budget.spend(1)?;
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a.unix_ns == b.unix_ns,
        (Value::List(a), Value::List(b)) if Rc::ptr_eq(a, b) => true,
        (Value::Map(a), Value::Map(b)) if Rc::ptr_eq(a, b) => true,
        (Value::List(a), Value::List(b)) => {
            if a.items().len() != b.items().len() {
                return Ok(false);
            }
            for (a, b) in a.items().iter().zip(b.items()) {
                if !equal(host, a, b)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (key, value) in a.iter() {
                match b.get(key) {
                    Some(other) if equal(host, value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        _ => compare_numbers(a, b) == Some(Ordering::Equal),
    })
}

fn eq(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (first, others) = a.split_first().ok_or(Fail::Null)?;
    for other in others {
        if equal(host, first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn ne(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let equal = equal(host, arguments::any(a, 0), arguments::any(a, 1))?;
    Ok(Value::Bool(!equal))
}

fn order(a: &[Value]) -> Result<Ordering, Fail> {
    let (a, b) = (arguments::any(a, 0), arguments::any(a, 1));
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Time(a), Value::Time(b)) => Ok(a.unix_ns.cmp(&b.unix_ns)),
        _ => {
            compare_numbers(a, b).ok_or_else(|| Fail::reason(format!("cannot compare {} with {}", a.kind(), b.kind())))
        }
    }
}
