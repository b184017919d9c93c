//! JSON that is carried and not looked into.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Deepest nesting of a value that is recorded, so that whoever reads it can (cli-and-api §12, S14).
pub const MAX_DEPTH: usize = 64;

/// One JSON value as compact text. Cheap to clone; inputs and outputs travel in this form from the plugin to the
/// database and into template contexts without being parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// `null`.
    #[must_use]
    pub fn null() -> Self {
        Self("null".into())
    }

    /// Takes text that is known to be one JSON value (it was printed by serde_json or read from the database).
    #[must_use]
    pub fn from_valid(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Checks that `text` is one JSON value and keeps it, outer white space removed.
    ///
    /// # Errors
    /// What the parser said.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Self(raw.get().into()))
    }

    /// How deep lists and maps are nested; 0 for a value that is neither. Whoever parses into a tree needs a bound.
    #[must_use]
    pub fn depth(&self) -> usize {
        let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
        for byte in self.0.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'[' | b'{' if !in_string => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        deepest
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value, parsed.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Through `Value`: a raw value cannot be read from inside an internally tagged enum.
        let value = Value::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(Self::from(&value))
    }
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn depth_counts_what_is_nested() {
        for (text, depth) in
            [("1", 0), ("[]", 1), (r#"{"a": [1, {"b": 2}], "c": {}}"#, 3), (r#"{"[[\"[[": "]]\\", "x": []}"#, 2)]
        {
            assert_eq!(Json::parse(text).unwrap().depth(), depth, "{text}");
        }
    }
}
