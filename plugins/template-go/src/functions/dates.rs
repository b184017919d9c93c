//! Dates. Times are UTC unless a zone is asked for; zones are UTC and fixed offsets, as there is no zone database here.

use std::rc::Rc;

use super::{
    Function, Host,
    arguments::{any, text},
    layout,
};
use crate::{
    problem::Fail,
    value::{Time, Value, float_to_int},
};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("ago", 1, 1, ago),
    Function::new("date", 2, 2, |h, a| formatted(h, text(a, 0)?, any(a, 1), 0)),
    Function::new("dateInZone", 3, 3, date_in_zone),
    Function::new("dateModify", 2, 2, |h, a| Ok(modified(h, a)?.unwrap_or_else(|_| any(a, 1).clone()))),
    Function::new("date_in_zone", 3, 3, date_in_zone),
    Function::new("date_modify", 2, 2, |h, a| Ok(modified(h, a)?.unwrap_or_else(|_| any(a, 1).clone()))),
    Function::new("duration", 1, 1, duration),
    Function::new("durationRound", 1, 1, duration_round),
    Function::new("htmlDate", 1, 1, |h, a| formatted(h, "2006-01-02", any(a, 0), 0)),
    Function::new("htmlDateInZone", 2, 2, |h, a| formatted(h, "2006-01-02", any(a, 0), zone(text(a, 1)?)?)),
    Function::new("mustDateModify", 2, 2, |h, a| modified(h, a)?),
    Function::new("mustToDate", 2, 2, |_, a| to_date(a)?),
    Function::new("must_date_modify", 2, 2, |h, a| modified(h, a)?),
    Function::new("now", 0, 0, |h, _| Ok(now(h))),
    Function::new("toDate", 2, 2, |_, a| Ok(to_date(a)?.unwrap_or_default())),
    Function::new("unixEpoch", 1, 1, unix_epoch),
];

const US: i128 = 1_000;
const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
const HOUR: i128 = 60 * MINUTE;

/// Times beyond these years are refused; Go's layouts have four digits for a year.
const FURTHEST_NS: i128 = 8_000 * 366 * 24 * HOUR;

const RFC3339: &str = "2006-01-02T15:04:05Z07:00";

/// RFC 3339 in UTC, with a fraction only if there is one.
pub(crate) fn rfc3339_utc(time: &Time) -> String {
    let utc = Time { offset_s: 0, ..*time };
    layout::format(&utc, "2006-01-02T15:04:05.999999999Z07:00")
}

fn time(unix_ns: i128, offset_s: i32) -> Result<Time, Fail> {
    if unix_ns.abs() > FURTHEST_NS {
        return Err(Fail::reason("the time is out of range"));
    }
    Ok(Time { unix_ns, offset_s })
}

fn value(time: Time) -> Value {
    Value::Time(Rc::new(time))
}

fn now(host: &Host) -> Value {
    value(Time { unix_ns: i128::from(host.now_unix_us) * US, offset_s: 0 })
}

/// A time, seconds since 1970, or text in RFC 3339 or as a date.
fn moment(value: &Value) -> Result<Time, Fail> {
    match value {
        Value::Time(time) => Ok(**time),
        Value::Int(seconds) => time(i128::from(*seconds) * SECOND, 0),
        Value::Float(seconds) => match float_to_int(*seconds) {
            Some(whole) => time(i128::from(whole) * SECOND + (seconds.fract() * 1e9) as i128, 0),
            None => Err(Fail::reason("the time is out of range")),
        },
        Value::String(text) => {
            let read = layout::parse(RFC3339, text).or_else(|| layout::parse("2006-01-02", text));
            read.ok_or_else(|| Fail::reason(format!("'{text}' is no time")))
        }
        Value::Null => Err(Fail::Null),
        other => Err(Fail::reason(format!("needs a time, got {}", other.kind()))),
    }
}

fn formatted(host: &mut Host, layout: &str, value: &Value, offset_s: i32) -> Result<Value, Fail> {
    let time = Time { offset_s, ..moment(value)? };
    host.budget.allow(layout.len().saturating_mul(4))?;
    host.string(layout::format(&time, layout))
}

fn date_in_zone(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    formatted(host, text(a, 0)?, any(a, 1), zone(text(a, 2)?)?)
}

/// Seconds east of UTC.
fn zone(name: &str) -> Result<i32, Fail> {
    if matches!(name, "" | "UTC" | "Local" | "GMT" | "Z" | "Etc/UTC" | "Etc/GMT") {
        return Ok(0);
    }
    let offset = name.strip_prefix("UTC").or_else(|| name.strip_prefix("GMT")).unwrap_or(name);
    let read = ["-07:00", "-0700", "-07"].into_iter().find_map(|form| layout::parse(form, offset));
    read.map(|time| time.offset_s).ok_or_else(|| {
        Fail::reason(format!("time zone '{name}' is not known here; use UTC or an offset such as +02:00"))
    })
}

/// The moved time, or why the duration cannot be read.
fn modified(_: &mut Host, a: &[Value]) -> Result<Result<Value, Fail>, Fail> {
    let from = moment(any(a, 1))?;
    let Some(by) = parse_duration(text(a, 0)?) else {
        return Ok(Err(no_duration(text(a, 0)?)));
    };
    Ok(Ok(value(time(from.unix_ns + by, from.offset_s)?)))
}

fn to_date(a: &[Value]) -> Result<Result<Value, Fail>, Fail> {
    let (layout, written) = (text(a, 0)?, text(a, 1)?);
    let wrong = || Fail::reason(format!("'{written}' does not look like '{layout}'"));
    Ok(layout::parse(layout, written).map(value).ok_or_else(wrong))
}

fn unix_epoch(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let seconds = moment(any(a, 0))?.unix_ns.div_euclid(SECOND);
    Ok(Value::string(seconds.to_string()))
}

fn ago(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let since = i128::from(host.now_unix_us) * US - moment(any(a, 0))?.unix_ns;
    let half = if since < 0 { -SECOND / 2 } else { SECOND / 2 };
    Ok(Value::string(print_duration((since + half) / SECOND * SECOND)))
}

/// Seconds as a duration.
fn duration(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let seconds = match any(a, 0) {
        Value::String(text) => text.trim().parse().unwrap_or(0),
        _ => super::arguments::int(a, 0)?,
    };
    Ok(Value::string(print_duration(i128::from(seconds) * SECOND)))
}

/// The largest unit of a duration, of nanoseconds, or of the time since a moment.
fn duration_round(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let length = match any(a, 0) {
        Value::String(text) => parse_duration(text).ok_or_else(|| no_duration(text))?,
        Value::Time(time) => i128::from(host.now_unix_us) * US - time.unix_ns,
        _ => i128::from(super::arguments::int(a, 0)?),
    };
    let size = length.abs();
    let units =
        [(365 * 24 * HOUR, "y"), (30 * 24 * HOUR, "mo"), (24 * HOUR, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")];
    let largest = units.into_iter().find(|(unit, _)| size >= *unit);
    Ok(Value::string(largest.map_or("0s".into(), |(unit, name)| format!("{}{name}", size / unit))))
}

fn no_duration(text: &str) -> Fail {
    Fail::reason(format!("'{text}' is no duration; write for example 1h30m"))
}

/// Nanoseconds of Go's `time.ParseDuration`: `-1.5h`, `1h30m`, `300ms`.
fn parse_duration(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(end)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction = fraction.get(..fraction.len().min(15))?;
        let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        total += whole * unit + part * unit / 10_i128.pow(fraction.len() as u32);
        rest = after;
    }
    Some(sign * total)
}

/// Go's `Duration.String`: `1h35m0s`, `1m35s`, `1.5s`, `250ms`.
fn print_duration(ns: i128) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let size = ns.abs();
    if size == 0 {
        return "0s".into();
    }
    if size < SECOND {
        let (unit, name) = [(1_000_000, "ms"), (1_000, "µs"), (1, "ns")]
            .into_iter()
            .find(|(unit, _)| size >= *unit)
            .unwrap_or((1, "ns"));
        return format!("{sign}{}{name}", decimal(size, unit));
    }
    let (hours, minutes) = (size / HOUR, size / MINUTE % 60);
    let seconds = decimal(size % MINUTE, SECOND);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `size / unit` with as many digits behind the point as it takes.
fn decimal(size: i128, unit: i128) -> String {
    let digits = unit.ilog10() as usize;
    let fraction = format!("{:0digits$}", size % unit);
    let fraction = fraction.trim_end_matches('0');
    match (digits, fraction) {
        (0, _) | (_, "") => (size / unit).to_string(),
        _ => format!("{}.{fraction}", size / unit),
    }
}
