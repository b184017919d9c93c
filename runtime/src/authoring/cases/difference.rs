//! Where two JSON values differ, by pointer (RFC 6901).

use serde_json::Value;

/// Most differences that are told.
const TOLD: usize = 20;

/// Characters of a value that is shown.
const SHOWN: usize = 200;

/// One place in which a value is not the expected one.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where: `/items/0/name`; empty for the whole.
    pub pointer: String,
    /// What was expected; `None`: nothing.
    pub expected: Option<Value>,
    /// What is there; `None`: nothing.
    pub found: Option<Value>,
}

impl Difference {
    /// `/count: expected 3, got 4`.
    #[must_use]
    pub fn text(&self) -> String {
        let place = if self.pointer.is_empty() { "the answer" } else { &self.pointer };
        let side = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), shown);
        format!("{place}: expected {}, got {}", side(&self.expected), side(&self.found))
    }
}

/// How far two values must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// In everything.
    Whole,
    /// Objects may have more members, texts may be longer.
    Part,
}

/// Every difference, at most 20. Numbers are equal by value: 3 is 3.0.
#[must_use]
pub fn between(expected: &Value, found: &Value, how: Match) -> Vec<Difference> {
    let mut differences = Vec::new();
    walk(expected, found, how, &mut String::new(), &mut differences);
    differences
}

/// A value on one line, cut to a length that can be read.
#[must_use]
pub fn shown(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn walk(expected: &Value, found: &Value, how: Match, pointer: &mut String, differences: &mut Vec<Difference>) {
    if differences.len() >= TOLD {
        return;
    }
    match (expected, found) {
        (Value::Object(wanted), Value::Object(there)) => {
            for (name, value) in wanted {
                within(pointer, name, |pointer| match there.get(name) {
                    Some(found) => walk(value, found, how, pointer, differences),
                    None => note(pointer, Some(value), None, differences),
                });
            }
            let extra = there.iter().filter(|(name, _)| how == Match::Whole && !wanted.contains_key(*name));
            for (name, value) in extra {
                within(pointer, name, |pointer| note(pointer, None, Some(value), differences));
            }
        }
        (Value::Array(wanted), Value::Array(there)) => {
            for index in 0..wanted.len().max(there.len()) {
                within(pointer, &index.to_string(), |pointer| match (wanted.get(index), there.get(index)) {
                    (Some(value), Some(found)) => walk(value, found, how, pointer, differences),
                    (value, found) => note(pointer, value, found, differences),
                });
            }
        }
        (Value::Number(wanted), Value::Number(there)) if wanted == there || equal(wanted, there) => {}
        (Value::String(piece), Value::String(text)) if how == Match::Part && text.contains(piece.as_str()) => {}
        (wanted, there) if wanted == there => {}
        (wanted, there) => note(pointer, Some(wanted), Some(there), differences),
    }
}

fn within(pointer: &mut String, name: &str, look: impl FnOnce(&mut String)) {
    let before = pointer.len();
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
    look(pointer);
    pointer.truncate(before);
}

fn note(pointer: &str, expected: Option<&Value>, found: Option<&Value>, differences: &mut Vec<Difference>) {
    if differences.len() < TOLD {
        differences.push(Difference {
            pointer: pointer.to_owned(),
            expected: expected.cloned(),
            found: found.cloned(),
        });
    }
}

/// Integers beyond 2^53 are equal only digit by digit, which was looked at before.
fn equal(one: &serde_json::Number, other: &serde_json::Number) -> bool {
    let is_integer = |number: &serde_json::Number| number.is_i64() || number.is_u64();
    !(is_integer(one) && is_integer(other)) && one.as_f64() == other.as_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(expected: &Value, found: &Value, how: Match) -> Vec<String> {
        between(expected, found, how).iter().map(Difference::text).collect()
    }

    #[test]
    fn differences_are_told_with_their_pointer() {
        for (expected, found, how, told) in [
            (json!({"a": 1, "b": [1, 2]}), json!({"b": [1.0, 2], "a": 1}), Match::Whole, vec![]),
            (
                json!(9_007_199_254_740_993_i64),
                json!(9_007_199_254_740_992_i64),
                Match::Whole,
                vec!["the answer: expected 9007199254740993, got 9007199254740992"],
            ),
            (json!({"a": {"b/c": 1}}), json!({"a": {"b/c": 2}}), Match::Whole, vec!["/a/b~1c: expected 1, got 2"]),
            (
                json!({"a": 1}),
                json!({"b": 1}),
                Match::Whole,
                vec!["/a: expected 1, got nothing", "/b: expected nothing, got 1"],
            ),
            (json!([1]), json!([1, 2]), Match::Whole, vec!["/1: expected nothing, got 2"]),
            (json!([1, 2]), json!([1]), Match::Part, vec!["/1: expected 2, got nothing"]),
            (json!({"a": "b"}), json!({"a": "abc", "d": 1}), Match::Part, vec![]),
            (json!({"a": "b"}), json!({"a": "abc"}), Match::Whole, vec!["/a: expected \"b\", got \"abc\""]),
            (json!(null), json!({}), Match::Part, vec!["the answer: expected null, got {}"]),
            (json!("1"), json!(1), Match::Part, vec!["the answer: expected \"1\", got 1"]),
        ] {
            assert_eq!(texts(&expected, &found, how), told, "{expected} {found}");
        }
    }

    #[test]
    fn only_so_many_are_told() {
        let (expected, found) = (json!(vec![1; 100]), json!(vec![2; 100]));
        assert_eq!(between(&expected, &found, Match::Whole).len(), TOLD);
        assert!(shown(&json!("x".repeat(5_000))).chars().count() < 250);
    }
}
