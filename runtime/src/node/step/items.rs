//! What a collection iterates over (dialect §5.5).

use serde_json::{Value, json};

/// Reads a rendered `items` as a list of at most `limit` items.
///
/// # Errors
/// Why it is no list.
pub(super) fn read(value: Value, limit: u64) -> Result<Vec<Value>, String> {
    let items = match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            members.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
        }
        Value::String(text) => return read_text(&text, limit),
        scalar @ (Value::Bool(_) | Value::Number(_)) => vec![scalar],
    };
    bounded(items.len() as u64, limit)?;
    Ok(items)
}

fn read_text(text: &str, limit: u64) -> Result<Vec<Value>, String> {
    let trimmed = unfenced(text.trim());
    if trimmed.is_empty() {
        return Ok(Vec::new());
    }
    if trimmed.starts_with(['[', '{']) {
        return match serde_json::from_str(trimmed) {
            Ok(value @ (Value::Array(_) | Value::Object(_))) => read(value, limit),
            Ok(_) => Err("the text is no JSON list or map".to_owned()),
            Err(error) => Err(format!("the text is no JSON list or map: {error}")),
        };
    }
    match range(trimmed, limit)? {
        Some(items) => Ok(items),
        None => Ok(vec![text.into()]),
    }
}

/// The content of a single Markdown code fence, or the text itself.
fn unfenced(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) else { return text };
    match inner.split_once('\n') {
        // The first line may name the language.
        Some((language, content)) if !inner.contains("```") && language.trim().chars().all(char::is_alphanumeric) => {
            content.trim()
        }
        _ => text,
    }
}

/// `1..5`, `5..1`, `a..e`, both ends included; `None` when the text is no range.
fn range(text: &str, limit: u64) -> Result<Option<Vec<Value>>, String> {
    let Some((from, to)) = text.split_once("..") else { return Ok(None) };
    if let (Ok(from), Ok(to)) = (from.trim().parse::<i64>(), to.trim().parse::<i64>()) {
        bounded(from.abs_diff(to).saturating_add(1), limit)?;
        let numbers: Vec<Value> = if from <= to {
            (from..=to).map(Value::from).collect()
        } else {
            (to..=from).rev().map(Value::from).collect()
        };
        return Ok(Some(numbers));
    }
    let letter = |text: &str| match text.trim().as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(*letter),
        _ => None,
    };
    let Some((from, to)) = letter(from).zip(letter(to)) else { return Ok(None) };
    if from.is_ascii_lowercase() != to.is_ascii_lowercase() {
        return Err(format!("the range {text} mixes capital and small letters"));
    }
    let letters: Vec<u8> = if from <= to { (from..=to).collect() } else { (to..=from).rev().collect() };
    bounded(letters.len() as u64, limit)?;
    Ok(Some(letters.into_iter().map(|letter| char::from(letter).to_string().into()).collect()))
}

fn bounded(count: u64, limit: u64) -> Result<(), String> {
    if count <= limit { Ok(()) } else { Err(format!("{count} items; limits.max_collection_items is {limit}")) }
}

/// Whether `id` may name a task (dialect §1.6).
pub(super) fn is_id(id: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    let first = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first && id.len() <= 128 && id.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::read;

    #[test]
    fn items_of_every_form() {
        for (value, expected) in [
            (json!(null), json!([])),
            (json!(""), json!([])),
            (json!("  "), json!([])),
            (json!([1, null, "x"]), json!([1, null, "x"])),
            (json!({"b": 1, "a": 2}), json!([{"key": "a", "value": 2}, {"key": "b", "value": 1}])),
            (json!("[1, \"2\"]"), json!([1, "2"])),
            (json!("```json\n[1, 2]\n```"), json!([1, 2])),
            (json!("```\n{\"k\": true}\n```"), json!([{"key": "k", "value": true}])),
            (json!("1..3"), json!([1, 2, 3])),
            (json!("3..1"), json!([3, 2, 1])),
            (json!("-1..1"), json!([-1, 0, 1])),
            (json!("a..c"), json!(["a", "b", "c"])),
            (json!("c..a"), json!(["c", "b", "a"])),
            (json!("plain text"), json!(["plain text"])),
            (json!("1.5..x"), json!(["1.5..x"])),
            (json!("42"), json!(["42"])),
            (json!(7), json!([7])),
            (json!(false), json!([false])),
        ] {
            assert_eq!(read(value.clone(), 10).map(Value::Array), Ok(expected), "{value}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for value in [
            json!("[1, 2"),
            json!("{oops}"),
            json!("1..100"),
            json!("a..E"),
            json!((0..11).collect::<Vec<_>>()),
            json!("0..9223372036854775807"),
        ] {
            assert!(read(value.clone(), 10).is_err(), "{value}");
        }
    }
}
