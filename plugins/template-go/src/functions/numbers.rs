//! Numbers: 64-bit integers and floats (dialect §6.6).

use super::{
    Function, Host, MANY,
    arguments::{any, int},
};
use crate::{
    problem::Fail,
    value::{Value, float_to_int},
};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("add", 1, MANY, |_, a| fold(a, i64::checked_add)),
    Function::new("add1", 1, 1, |_, a| checked(whole(any(a, 0))?.checked_add(1))),
    Function::new("add1f", 1, 1, |_, a| Ok(Value::Float(float(any(a, 0))? + 1.0))),
    Function::new("addf", 1, MANY, |_, a| fold_float(a, |a, b| a + b)),
    Function::new("atoi", 1, 1, atoi),
    Function::new("biggest", 1, MANY, |_, a| fold(a, |a, b| Some(a.max(b)))),
    Function::new("ceil", 1, 1, |_, a| Ok(Value::Float(float(any(a, 0))?.ceil()))),
    Function::new("div", 2, 2, |_, a| fold(divisible(a)?, i64::checked_div)),
    Function::new("divf", 2, MANY, |_, a| fold_float(divisible(a)?, |a, b| a / b)),
    Function::new("float64", 1, 1, |_, a| Ok(Value::Float(float(any(a, 0))?))),
    Function::new("floor", 1, 1, |_, a| Ok(Value::Float(float(any(a, 0))?.floor()))),
    Function::new("int", 1, 1, |_, a| Ok(Value::Int(whole(any(a, 0))?))),
    Function::new("int64", 1, 1, |_, a| Ok(Value::Int(whole(any(a, 0))?))),
    Function::new("max", 1, MANY, |_, a| fold(a, |a, b| Some(a.max(b)))),
    Function::new("maxf", 1, MANY, |_, a| fold_float(a, f64::max)),
    Function::new("min", 1, MANY, |_, a| fold(a, |a, b| Some(a.min(b)))),
    Function::new("minf", 1, MANY, |_, a| fold_float(a, f64::min)),
    Function::new("mod", 2, 2, |_, a| fold(divisible(a)?, i64::checked_rem)),
    Function::new("mul", 1, MANY, |_, a| fold(a, i64::checked_mul)),
    Function::new("mulf", 1, MANY, |_, a| fold_float(a, |a, b| a * b)),
    Function::new("round", 2, 3, round),
    Function::new("seq", 0, 3, seq),
    Function::new("sub", 2, 2, |_, a| fold(a, i64::checked_sub)),
    Function::new("subf", 2, MANY, |_, a| fold_float(a, |a, b| a - b)),
    Function::new("toDecimal", 1, 1, to_decimal),
    Function::new("until", 1, 1, until),
    Function::new("untilStep", 3, 3, until_step),
];

/// The integer a value stands for: floats are cut towards zero, text that is no number is 0.
fn whole(value: &Value) -> Result<i64, Fail> {
    let out_of_range = || Fail::reason("the number is outside 64 bits");
    match value {
        Value::Int(int) => Ok(*int),
        Value::Float(float) => float_to_int(*float).ok_or_else(out_of_range),
        Value::Bool(b) => Ok((*b).into()),
        Value::String(text) => match text.trim().parse() {
            Ok(int) => Ok(int),
            Err(_) => float_to_int(parse_float(text)).ok_or_else(out_of_range),
        },
        other => Err(no_number(other)),
    }
}

fn float(value: &Value) -> Result<f64, Fail> {
    match value {
        Value::Int(int) => Ok(*int as f64),
        Value::Float(float) => Ok(*float),
        Value::Bool(b) => Ok(f64::from(u8::from(*b))),
        Value::String(text) => Ok(parse_float(text)),
        other => Err(no_number(other)),
    }
}

fn parse_float(text: &str) -> f64 {
    text.trim().parse().ok().filter(|float: &f64| float.is_finite()).unwrap_or(0.0)
}

fn no_number(value: &Value) -> Fail {
    match value {
        Value::Null => Fail::Null,
        other => Fail::reason(format!("needs a number, got {}", other.kind())),
    }
}

fn checked(result: Option<i64>) -> Result<Value, Fail> {
    result.map(Value::Int).ok_or_else(|| Fail::reason("the result is outside 64 bits"))
}

fn fold(a: &[Value], combine: fn(i64, i64) -> Option<i64>) -> Result<Value, Fail> {
    let (first, rest) = a.split_first().ok_or(Fail::Null)?;
    let mut result = Some(whole(first)?);
    for value in rest {
        let value = whole(value)?;
        result = result.and_then(|result| combine(result, value));
    }
    checked(result)
}

fn fold_float(a: &[Value], combine: fn(f64, f64) -> f64) -> Result<Value, Fail> {
    let (first, rest) = a.split_first().ok_or(Fail::Null)?;
    let mut result = float(first)?;
    for value in rest {
        result = combine(result, float(value)?);
    }
    Ok(Value::Float(result))
}

/// The same arguments, if none but the first is zero.
fn divisible(a: &[Value]) -> Result<&[Value], Fail> {
    for divisor in a.get(1..).unwrap_or_default() {
        if float(divisor)? == 0.0 {
            return Err(Fail::reason("division by zero"));
        }
    }
    Ok(a)
}

fn atoi(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let text = super::arguments::text(a, 0)?;
    Ok(Value::Int(text.parse().unwrap_or(0)))
}

/// `round x places [roundOn]`; halves go away from zero.
fn round(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (value, places) = (float(any(a, 0))?, int(a, 1)?);
    let round_on = if a.len() > 2 { float(any(a, 2))? } else { 0.5 };
    let places = i32::try_from(places.clamp(-400, 400)).unwrap_or(0);
    let scale = 10_f64.powi(places);
    let scaled = value.abs() * scale;
    if !scaled.is_finite() || scale == 0.0 {
        return Ok(Value::Float(if places > 0 { value } else { 0.0 }));
    }
    let up = scaled.fract() >= round_on;
    let rounded = if up { scaled.ceil() } else { scaled.floor() };
    Ok(Value::Float((rounded / scale).copysign(value)))
}

/// Text read as an octal number, as sprig does; 0 if it is none.
fn to_decimal(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let text = host.print(any(a, 0))?;
    Ok(Value::Int(i64::from_str_radix(&text, 8).unwrap_or(0)))
}

/// The numbers from `start` towards `stop`, each paid for before it is made.
fn steps(host: &mut Host, start: i64, stop: i64, step: i64, inclusive: bool) -> Result<Vec<i64>, Fail> {
    if step == 0 || (start < stop) != (step > 0) && start != stop {
        return Ok(Vec::new());
    }
    let distance = stop.abs_diff(start);
    let size = step.unsigned_abs();
    let count = if inclusive { distance / size + 1 } else { distance.div_ceil(size) };
    host.budget.spend(usize::try_from(count).unwrap_or(usize::MAX))?;
    Ok((0..count).map(|turn| start.wrapping_add(step.wrapping_mul(turn as i64))).collect())
}

fn until(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let count = int(a, 0)?;
    let steps = steps(host, 0, count, if count < 0 { -1 } else { 1 }, false)?;
    Value::list(steps.into_iter().map(Value::Int).collect())
}

fn until_step(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let steps = steps(host, int(a, 0)?, int(a, 1)?, int(a, 2)?, false)?;
    Value::list(steps.into_iter().map(Value::Int).collect())
}

/// As the shell's `seq`: last, first last, or first step last, joined by spaces.
fn seq(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (start, step, stop) = match a.len() {
        0 => return Ok(Value::string("")),
        1 => (1, None, int(a, 0)?),
        2 => (int(a, 0)?, None, int(a, 1)?),
        _ => (int(a, 0)?, Some(int(a, 1)?), int(a, 2)?),
    };
    let step = step.unwrap_or(if stop < start { -1 } else { 1 });
    let steps = steps(host, start, stop, step, true)?;
    let text: Vec<String> = steps.iter().map(i64::to_string).collect();
    host.string(text.join(" "))
}
