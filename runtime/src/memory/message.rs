//! Messages, and how a payload is read as such.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Error;

/// Roles a message may have.
pub const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

/// Characters that count as one token, as in the chunking of knowledge bases (dialect §11).
const CHARACTERS_PER_TOKEN: usize = 4;

/// Something somebody said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A message.
    #[must_use]
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into() }
    }
}

/// Tokens of a text: a quarter of its characters, rounded up. Every model counts in its own way; this one is the same
/// for all of them and near enough for a limit.
#[must_use]
pub fn tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(CHARACTERS_PER_TOKEN) as u64
}

/// Reads a payload: a message, a list of messages, or a text, which the user says.
///
/// # Errors
/// [`Error::Refused`] says what is wrong and where.
pub fn read(payload: &Value) -> Result<Vec<Message>, Error> {
    match payload {
        Value::Array(items) => {
            let read = |(index, item): (usize, &Value)| match item {
                Value::Object(members) => message(members, &format!("message {}", index + 1)),
                other => Err(wrong(&format!("message {}", index + 1), "{role, content}", other)),
            };
            items.iter().enumerate().map(read).collect()
        }
        Value::Object(members) => Ok(vec![message(members, "the payload")?]),
        other => match plain(other) {
            Some(text) => Ok(vec![Message::new("user", text)]),
            None => Err(wrong("the payload", "a message, a list of messages or a text", other)),
        },
    }
}

fn message(members: &Map<String, Value>, what: &str) -> Result<Message, Error> {
    if let Some(unknown) = members.keys().find(|key| !["role", "content"].contains(&key.as_str())) {
        let shown: String = unknown.chars().take(64).flat_map(char::escape_debug).collect();
        return Err(Error::Refused(format!("{what} has the unknown key '{shown}'; a message is {{role, content}}")));
    }
    let member = |name: &str| members.get(name).ok_or_else(|| Error::Refused(format!("{what} has no {name}")));
    let role = member("role")?;
    let known = ROLES.iter().find(|known| role.as_str() == Some(known));
    let Some(role) = known else {
        return Err(wrong(&format!("the role of {what}"), &format!("one of {}", ROLES.join(", ")), role));
    };
    let content = member("content")?;
    match plain(content) {
        Some(content) => Ok(Message::new(role, content)),
        None => Err(wrong(&format!("the content of {what}"), "a text", content)),
    }
}

/// A scalar as the text a template prints for it.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn wrong(what: &str, expected: &str, got: &Value) -> Error {
    let got = match got {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) => {
            let shown: String = text.chars().take(32).flat_map(char::escape_debug).collect();
            format!("'{shown}'")
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    };
    Error::Refused(format!("{what}: expected {expected}, got {got}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_four_characters() {
        for (text, count) in [("", 0), ("a", 1), ("four", 1), ("fives", 2), ("ääää", 1), ("🦀🦀🦀🦀🦀", 2)]
        {
            assert_eq!(tokens(text), count, "{text}");
        }
    }

    #[test]
    fn payloads_are_messages_or_say_why_not() {
        let one = || vec![Message::new("user", "hi")];
        for (payload, read_as) in [
            (json!("hi"), one()),
            (json!({"role": "user", "content": "hi"}), one()),
            (json!([{"role": "user", "content": "hi"}]), one()),
            (json!([]), vec![]),
            (json!(""), vec![Message::new("user", "")]),
            (json!(4.5), vec![Message::new("user", "4.5")]),
            (json!({"role": "tool", "content": true}), vec![Message::new("tool", "true")]),
        ] {
            assert_eq!(read(&payload).unwrap(), read_as, "{payload}");
        }
        for (payload, reason) in [
            (json!(null), "the payload: expected a message, a list of messages or a text, got null"),
            (json!({}), "the payload has no role"),
            (json!({"role": "user"}), "the payload has no content"),
            (
                json!({"role": "robot", "content": "x"}),
                "the role of the payload: expected one of system, user, assistant, tool, got 'robot'",
            ),
            (
                json!({"role": ["user"], "content": "x"}),
                "the role of the payload: expected one of system, user, assistant, tool, got a list",
            ),
            (json!({"role": "user", "content": {}}), "the content of the payload: expected a text, got a map"),
            (
                json!({"role": "user", "content": "x", "na\nme": 1}),
                "the payload has the unknown key 'na\\nme'; a message is {role, content}",
            ),
            (json!([{"role": "user", "content": "x"}, "y"]), "message 2: expected {role, content}, got 'y'"),
            (json!([{"role": "user", "content": null}]), "the content of message 1: expected a text, got null"),
        ] {
            assert_eq!(read(&payload).unwrap_err().to_string(), reason, "{payload}");
        }
    }
}
