//! Answers that must match a schema: finding the JSON value in a reply, and checking it.

use compozy_lang::schema_check::{self, Schema};
use serde_json::Value;

/// A schema ready to check answers.
#[derive(Debug)]
pub(crate) struct Checker(Schema);

impl Checker {
    /// Reads the schema; nothing is ever fetched for it.
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        schema_check::compile(schema).map(Self)
    }

    /// The value in `reply` that matches the schema, else what is wrong, for people and models.
    pub(crate) fn value_of(&self, reply: &str) -> Result<Value, String> {
        let mut first = None;
        for value in candidates(reply) {
            match self.0.check(&value) {
                Ok(()) => return Ok(value),
                Err(violations) => {
                    first.get_or_insert(schema_check::describe(&violations));
                }
            }
        }
        Err(first.unwrap_or_else(|| "the reply holds no JSON value".into()))
    }
}

/// What the model is told about the shape of its answer.
pub(crate) fn instruction(schema: &Value) -> String {
    format!("Answer with one JSON value that matches this JSON Schema, and with nothing else:\n{schema}")
}

/// What the model is told about an answer that does not match.
pub(crate) fn ask_again(violations: &str) -> String {
    format!("That answer does not match the JSON Schema: {violations}\nAnswer again, with the JSON value alone.")
}

/// JSON values in a reply: the whole of it, else those in fenced blocks, else the first balanced `{…}` or `[…]`.
fn candidates(reply: &str) -> Vec<Value> {
    let whole = serde_json::from_str(reply.trim()).ok();
    if let Some(value) = whole {
        return vec![value];
    }
    let fenced: Vec<Value> = fences(reply).filter_map(|block| serde_json::from_str(block.trim()).ok()).collect();
    if !fenced.is_empty() {
        return fenced;
    }
    balanced(reply).into_iter().collect()
}

/// Contents of blocks between lines of three backticks, without the language's name.
fn fences(reply: &str) -> impl Iterator<Item = &str> {
    reply.split("```").skip(1).step_by(2).map(|block| match block.split_once('\n') {
        Some((language, content)) if !language.trim().starts_with(['{', '[', '"']) => content,
        _ => block,
    })
}

/// Openings that are tried; each try reads on to the end at most.
const OPENINGS: usize = 64;

/// The first object or list that can be read from somewhere in the reply.
fn balanced(reply: &str) -> Option<Value> {
    let openings = reply.char_indices().filter(|(_, character)| matches!(character, '{' | '[')).take(OPENINGS);
    openings.map(|(at, _)| at).find_map(|at| {
        let mut values = serde_json::Deserializer::from_str(reply.get(at..)?).into_iter::<Value>();
        values.next()?.ok()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Checker;

    #[test]
    fn the_value_is_found_where_models_put_it() {
        let checker =
            Checker::new(&json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}))
                .unwrap();
        for reply in [
            r#"{"a": 1}"#,
            " \n{\"a\":1}\n",
            "Here you are:\n```json\n{\"a\": 1}\n```\nEnjoy!",
            "```\n{\"a\": 1}\n```",
            "```{\"a\": 1}```",
            "```json\n{\"b\": 1}\n```\nor\n```json\n{\"a\": 1}\n```",
            r#"The answer is {"a": 1}, or so I think."#,
            r#"In set notation {x}: {"a": 1}"#,
        ] {
            assert_eq!(checker.value_of(reply), Ok(json!({"a": 1})), "{reply}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let checker =
            Checker::new(&json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}))
                .unwrap();
        for (reply, violations) in [
            ("no value at all", "the reply holds no JSON value"),
            ("", "the reply holds no JSON value"),
            (r#"{"a": "x"}"#, "/a: \"x\" is not of type \"integer\""),
            ("{}", "\"a\" is a required property"),
            ("7", "7 is not of type \"object\""),
            (&"[".repeat(100_000), "the reply holds no JSON value"),
        ] {
            assert_eq!(checker.value_of(reply), Err(violations.to_owned()));
        }
    }

    #[test]
    fn schemas_are_not_fetched() {
        assert!(Checker::new(&json!({"$ref": "https://example.com/schema.json"})).is_err());
        assert!(Checker::new(&json!({"type": 7})).is_err());
        assert_eq!(Checker::new(&Value::Bool(true)).unwrap().value_of("1"), Ok(json!(1)));
    }
}
