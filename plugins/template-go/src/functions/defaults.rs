//! What to use when there is nothing, and the types of things: `default`, `coalesce`, `ternary`, `kindOf` and kin.

use std::rc::Rc;

use super::{Function, Host, MANY, arguments};
use crate::{problem::Fail, value::Value};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("all", 0, MANY, |_, a| Ok(Value::Bool(a.iter().all(Value::truth)))).guard(),
    Function::new("any", 0, MANY, |_, a| Ok(Value::Bool(a.iter().any(Value::truth)))).guard(),
    Function::new("coalesce", 0, MANY, coalesce).guard(),
    Function::new("deepCopy", 1, 1, |_, a| Ok(arguments::any(a, 0).clone())).nulls(),
    Function::new("default", 1, 2, default).guard(),
    Function::new("empty", 1, 1, |_, a| Ok(Value::Bool(!arguments::any(a, 0).truth()))).guard(),
    Function::new("fail", 1, 1, |_, a| Err(Fail::User(arguments::text(a, 0)?.clone()))),
    Function::new("kindIs", 2, 2, |_, a| is(a, kind_of)).guard(),
    Function::new("kindOf", 1, 1, |_, a| Ok(Value::string(kind_of(arguments::any(a, 0))))).guard(),
    Function::new("mustDeepCopy", 1, 1, |_, a| Ok(arguments::any(a, 0).clone())).nulls(),
    Function::new("ternary", 3, 3, ternary).guard(),
    Function::new("toString", 1, 1, |h, a| h.print(arguments::any(a, 0)).map(Value::String)).nulls(),
    Function::new("typeIs", 2, 2, |_, a| is(a, type_of)).guard(),
    Function::new("typeIsLike", 2, 2, |_, a| is(a, type_of)).guard(),
    Function::new("typeOf", 1, 1, |_, a| Ok(Value::string(type_of(arguments::any(a, 0))))).guard(),
];

fn coalesce(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let found = a.iter_mut().find(|value| value.truth());
    Ok(found.map(std::mem::take).unwrap_or_default())
}

fn default(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let at = usize::from(arguments::any(a, 1).truth());
    Ok(a.get_mut(at).map(std::mem::take).unwrap_or_default())
}

fn ternary(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let at = usize::from(!arguments::any(a, 2).truth());
    Ok(a.get_mut(at).map(std::mem::take).unwrap_or_default())
}

fn is(a: &[Value], of: fn(&Value) -> &'static str) -> Result<Value, Fail> {
    let wanted: &Rc<str> = arguments::text(a, 0)?;
    Ok(Value::Bool(&**wanted == of(arguments::any(a, 1))))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
        Value::Time(_) => "struct",
    }
}

/// The types Go prints for what JSON holds.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
        Value::Time(_) => "time.Time",
        _ => kind_of(value),
    }
}
