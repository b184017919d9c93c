//! `toJson`, `fromJson` and kin.

use super::{Function, Host, arguments};
use crate::{
    json::{self, Style},
    problem::Fail,
    value::Value,
};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("fromJson", 1, 1, |h, a| Ok(from_json(h, a)?.unwrap_or_default())),
    Function::new("mustFromJson", 1, 1, |h, a| from_json(h, a)?.map_err(Fail::Reason)),
    Function::new("mustToJson", 1, 1, to_json).json(),
    Function::new("mustToPrettyJson", 1, 1, to_pretty_json).json(),
    Function::new("mustToRawJson", 1, 1, to_json).json(),
    Function::new("toJson", 1, 1, to_json).json(),
    Function::new("toPrettyJson", 1, 1, to_pretty_json).json(),
    Function::new("toRawJson", 1, 1, to_json).json(),
];

/// The value, or why the text is no JSON.
fn from_json(host: &mut Host, a: &[Value]) -> Result<Result<Value, String>, Fail> {
    let text = arguments::text(a, 0)?;
    // About one step per element of usual length.
    host.budget.spend(text.len() / 16)?;
    Ok(json::parse(text))
}

fn to_json(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut text = String::new();
    json::write(&mut text, arguments::any(a, 0), Style::Printed, host.budget.max_output())?;
    host.string(text)
}

fn to_pretty_json(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut text = String::new();
    json::write_pretty(&mut text, arguments::any(a, 0), 0, host.budget.max_output())?;
    host.string(text)
}
