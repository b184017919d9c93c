//! Digests of definitions: SHA-256 over canonical JSON (keys sorted at every depth, no white space).

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// SHA-256 in hex of the canonical JSON of a value.
pub fn of(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    hex(&Sha256::digest(text.as_bytes()))
}

/// Writes canonical JSON.
pub fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(members.get(key).unwrap_or(&Value::Null), out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tree of a file as JSON, scalars as written, for digests over whole files.
pub(crate) fn written(node: &crate::yaml::Node) -> Value {
    match &node.value {
        crate::yaml::Value::Scalar(scalar) => {
            let is_plain = scalar.style == crate::yaml::Style::Plain && scalar.tag.is_none();
            if is_plain {
                crate::yaml::core::value(&scalar.text).unwrap_or_else(|_| Value::from(&*scalar.text))
            } else {
                Value::from(&*scalar.text)
            }
        }
        crate::yaml::Value::List(items) => Value::Array(items.iter().map(written).collect()),
        crate::yaml::Value::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.to_string(), written(&entry.value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_matter() {
        assert_eq!(of(&json!({"a": 1, "b": [true, null]})), of(&json!({"b": [true, null], "a": 1})));
        assert_ne!(of(&json!({"a": 1})), of(&json!({"a": "1"})));
        let mut text = String::new();
        canonical(&json!({"b": "é\n", "a": {}}), &mut text);
        assert_eq!(text, "{\"a\":{},\"b\":\"é\\n\"}");
    }
}
