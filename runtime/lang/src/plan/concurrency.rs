//! How many runs of one key may be under way at once.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `config.concurrency` of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// What the key is put together from.
    pub key: Vec<KeyPart>,
    /// Most runs of one key at once, at least 1.
    pub limit: u32,
}

/// A part of a concurrency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPart {
    /// Text as written.
    Text(String),
    /// A value of the run's input: `{{ .input.a.b }}`.
    Input(Vec<String>),
}

impl Concurrency {
    /// The key of a run with this input.
    ///
    /// # Errors
    /// JSON pointer of a value that the input does not have, or that is neither text nor number nor truth value.
    pub fn key_of(&self, input: &Value) -> Result<String, String> {
        let mut key = String::new();
        for part in &self.key {
            match part {
                KeyPart::Text(text) => key.push_str(text),
                KeyPart::Input(path) => {
                    let pointer: String =
                        path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
                    match input.pointer(&pointer) {
                        Some(Value::String(text)) => key.push_str(text),
                        Some(value @ (Value::Number(_) | Value::Bool(_))) => key.push_str(&value.to_string()),
                        _ => return Err(pointer),
                    }
                }
            }
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Concurrency, KeyPart};

    #[test]
    fn keys_are_put_together_from_the_input() {
        let input = |path: &[&str]| KeyPart::Input(path.iter().map(|name| (*name).to_owned()).collect());
        let key = vec![KeyPart::Text("of ".into()), input(&["customer", "id"]), input(&["n"])];
        let concurrency = Concurrency { key, limit: 1 };
        assert_eq!(concurrency.key_of(&json!({"customer": {"id": "ada/1"}, "n": 7})), Ok("of ada/17".into()));
        for input in [json!({"n": 7}), json!({"customer": {"id": null}}), json!({"customer": {"id": {}}})] {
            assert_eq!(concurrency.key_of(&input), Err("/customer/id".into()));
        }
    }
}
