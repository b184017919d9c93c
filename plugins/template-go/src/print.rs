//! How values look in text (dialect §6.5).

use std::fmt::Write;

use crate::{
    functions::dates,
    json::{self, Style},
    problem::Fail,
    value::Value,
};

/// Appends `value` as text, as long as `out` stays within `limit` bytes.
///
/// # Errors
/// `Fail::Limit` beyond `limit`.
pub(crate) fn text(out: &mut String, value: &Value, limit: u64) -> Result<(), Fail> {
    match value {
        Value::String(s) => {
            if (out.len() + s.len()) as u64 > limit {
                return Err(Fail::Limit { what: "output", limit });
            }
            out.push_str(s);
            Ok(())
        }
        Value::List(_) | Value::Map(_) => json::write(out, value, Style::Printed, limit),
        _ => {
            scalar(out, value);
            Ok(())
        }
    }
}

/// Appends a value that is no list and no map; null is nothing.
pub(crate) fn scalar(out: &mut String, value: &Value) {
    match value {
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => {
            let _ = write!(out, "{i}");
        }
        Value::Float(f) => float(out, *f),
        Value::String(s) => out.push_str(s),
        Value::Time(time) => out.push_str(&dates::rfc3339_utc(time)),
        Value::Null | Value::List(_) | Value::Map(_) => {}
    }
}

/// The shortest digits that read back the same, never an exponent, no `.0`; Rust's `Display` is just that.
fn float(out: &mut String, float: f64) {
    if float == 0.0 {
        out.push('0');
        return;
    }
    let _ = write!(out, "{float}");
}

/// `value` as text.
///
/// # Errors
/// `Fail::Limit` beyond `limit`.
pub(crate) fn to_string(value: &Value, limit: u64) -> Result<std::rc::Rc<str>, Fail> {
    if let Value::String(s) = value {
        return Ok(s.clone());
    }
    let mut out = String::new();
    text(&mut out, value, limit)?;
    Ok(out.into())
}
