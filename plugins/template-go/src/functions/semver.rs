//! Versions (semver.org 2.0.0) and constraints on them, in the grammar of Go's Masterminds/semver 3.

use std::cmp::Ordering;

use super::{Function, Host, arguments::text};
use crate::{
    problem::Fail,
    value::{Map, Value},
};

pub(crate) const FUNCTIONS: &[Function] =
    &[Function::new("semver", 1, 1, semver), Function::new("semverCompare", 2, 2, semver_compare)];

#[derive(Debug, Clone, PartialEq)]
struct Version<'a> {
    numbers: [u64; 3],
    /// How many of the numbers were written; the others are wildcards in a constraint.
    given: usize,
    pre: &'a str,
    metadata: &'a str,
}

/// Reads `v1.2.3-pre+meta`; minor and patch may be left out.
fn version(text: &str) -> Option<Version<'_>> {
    let body = text.strip_prefix('v').unwrap_or(text);
    let (body, metadata) = body.split_once('+').unwrap_or((body, ""));
    let (body, pre) = body.split_once('-').unwrap_or((body, ""));
    let mut numbers = [0; 3];
    let mut given = 0;
    for part in body.split('.') {
        if matches!(part, "x" | "X" | "*") {
            break;
        }
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        *numbers.get_mut(given)? = part.parse().ok().filter(|_| digits)?;
        given += 1;
    }
    let fine = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    (fine(pre) && fine(metadata)).then_some(Version { numbers, given, pre, metadata })
}

/// Precedence (semver.org, item 11).
fn compare(a: &Version, b: &Version) -> Ordering {
    a.numbers.cmp(&b.numbers).then_with(|| match (a.pre, b.pre) {
        ("", "") => Ordering::Equal,
        ("", _) => Ordering::Greater,
        (_, "") => Ordering::Less,
        (a, b) => compare_pre(a, b),
    })
}

fn compare_pre(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn semver(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let written = text(a, 0)?;
    let version = version(written).filter(|version| version.given > 0);
    let version = version.ok_or_else(|| Fail::reason(format!("'{written}' is no version")))?;
    let mut map = Map::default();
    for (key, number) in ["Major", "Minor", "Patch"].into_iter().zip(version.numbers) {
        map.insert(key.into(), Value::Int(i64::try_from(number).unwrap_or(i64::MAX)))?;
    }
    map.insert("Prerelease".into(), Value::string(version.pre))?;
    map.insert("Metadata".into(), Value::string(version.metadata))?;
    map.insert("Original".into(), Value::String(written.clone()))?;
    Ok(Value::map(map))
}

fn semver_compare(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (constraint, written) = (text(a, 0)?, text(a, 1)?);
    host.budget.spend(constraint.len())?;
    let version = version(written).filter(|version| version.given > 0);
    let version = version.ok_or_else(|| Fail::reason(format!("'{written}' is no version")))?;
    let wrong = || Fail::reason(format!("'{constraint}' is no constraint"));
    let mut met = false;
    for alternative in constraint.split("||") {
        met |= meets_all(alternative, &version).ok_or_else(wrong)?;
    }
    Ok(Value::Bool(met))
}

/// Whether `version` meets constraints joined by commas or spaces; `None` if they cannot be read.
fn meets_all(constraints: &str, version: &Version) -> Option<bool> {
    if let Some((low, high)) = constraints.split_once(" - ") {
        return Some(meets(">=", low.trim(), version)? && meets("<=", high.trim(), version)?);
    }
    let mut met = true;
    let mut operator = "";
    let mut any = false;
    for word in constraints.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()) {
        let start = word.find(|c: char| !"=!<>~^".contains(c)).unwrap_or(word.len());
        let (sign, operand) = word.split_at_checked(start)?;
        if !sign.is_empty() {
            if !operator.is_empty() {
                return None;
            }
            operator = sign;
        }
        if !operand.is_empty() {
            met &= meets(std::mem::take(&mut operator), operand, version)?;
            any = true;
        }
    }
    (any && operator.is_empty()).then_some(met)
}

fn meets(operator: &str, operand: &str, version: &Version) -> Option<bool> {
    let bound = self::version(operand)?;
    // A pre-release is wanted only by those who name one.
    if !version.pre.is_empty() && bound.pre.is_empty() && operator != "!=" {
        return Some(false);
    }
    let order = compare(version, &bound);
    let same = |count: usize| version.numbers.iter().zip(&bound.numbers).take(count).all(|(a, b)| a == b);
    Some(match operator {
        "" | "=" if bound.given < 3 => same(bound.given),
        "" | "=" => order.is_eq(),
        "!=" if bound.given < 3 => !same(bound.given),
        "!=" => order.is_ne(),
        ">" if bound.given < 3 => order.is_gt() && !same(bound.given),
        ">" => order.is_gt(),
        ">=" | "=>" => order.is_ge(),
        "<" => order.is_lt(),
        "<=" | "=<" if bound.given < 3 => order.is_lt() || same(bound.given),
        "<=" | "=<" => order.is_le(),
        "~" | "~>" => order.is_ge() && same(bound.given.min(2)),
        "^" => order.is_ge() && same(caret_width(&bound)),
        _ => return None,
    })
}

/// How many numbers `^` keeps: up to the first that is not zero.
fn caret_width(bound: &Version) -> usize {
    let first = bound.numbers.iter().position(|number| *number != 0);
    first.map_or(bound.given, |first| (first + 1).min(bound.given))
}
