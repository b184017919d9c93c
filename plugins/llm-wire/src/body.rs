//! Bodies of questions: what is laid over them, and their idempotency key.

use compozy_plugin::llm::{Message, Request};
use compozy_plugin::{Error, Result};
use serde_json::{Map, Value};

/// JSON text that came with a question; `what` names it in the message.
///
/// # Errors
/// It is no JSON.
pub fn parse(text: &str, what: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::new("invalid_request", format!("{what} is no JSON: {error}")))
}

/// The input schema of a tool.
///
/// # Errors
/// It is no JSON.
pub fn input_schema(tool: &compozy_plugin::llm::ToolDefinition) -> Result<Value> {
    parse(&tool.input_schema, &format!("the input schema of tool '{}'", tool.name))
}

/// The schema the answer must match, if there is one.
///
/// # Errors
/// It is no JSON.
pub fn output_schema(request: &Request) -> Result<Option<Value>> {
    request.output_schema.as_deref().map(|schema| parse(schema, "the output schema")).transpose()
}

/// The further settings of a question, without those in `unknown`, which this protocol has nothing for.
///
/// # Errors
/// They are no JSON object.
pub fn extra(request: &Request, unknown: &[&str]) -> Result<Map<String, Value>> {
    let Some(extra) = &request.parameters.extra else { return Ok(Map::new()) };
    let Value::Object(mut extra) = parse(extra, "the extra parameters")? else {
        return Err(Error::new("invalid_request", "the extra parameters are no JSON object"));
    };
    extra.retain(|name, _| !unknown.contains(&name.as_str()));
    Ok(extra)
}

/// Lays settings over a body: objects are merged, anything else replaces what is there. A `null` takes a setting out,
/// for servers that refuse one they do not know.
pub fn lay_over(body: &mut Map<String, Value>, above: &Map<String, Value>) {
    for (name, value) in above {
        match (body.get_mut(name), value) {
            (_, Value::Null) => drop(body.shift_remove(name)),
            (Some(Value::Object(present)), Value::Object(more)) => lay_over(present, more),
            (Some(present), value) => *present = value.clone(),
            (None, value) => drop(body.insert(name.clone(), value.clone())),
        }
    }
}

/// Puts the values that are there under their names.
pub fn insert_given<const N: usize>(body: &mut Map<String, Value>, values: [(&str, Option<Value>); N]) {
    body.extend(values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
}

/// Equal for equal bodies of one step, and different for the different questions of one step's tool loop.
#[must_use]
pub fn idempotency_key(step: &str, body: &[u8]) -> String {
    // FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/
    let hash = body
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{step}:{hash:016x}")
}

/// The arguments of a call, as an object; models write nothing for none.
#[must_use]
pub fn arguments(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Value::Object(arguments),
        // The tool's answer tells the model what was wrong with them.
        _ => Value::Object(Map::new()),
    }
}

/// The name of the tool whose call the message at `index` answers.
#[must_use]
pub fn tool_name(messages: &[Message], index: usize) -> &str {
    let id = messages.get(index).and_then(|message| message.tool_call_id.as_deref()).unwrap_or_default();
    let before = messages.iter().take(index).rev();
    let found = before.flat_map(|message| &message.tool_calls).find(|call| call.id == id);
    found.map_or("unknown", |call| &call.name)
}

#[cfg(test)]
mod tests {
    use super::{arguments, idempotency_key, lay_over};
    use serde_json::json;

    #[test]
    fn idempotency_keys_tell_questions_apart() {
        assert_eq!(idempotency_key("r:s:1", b""), "r:s:1:cbf29ce484222325");
        assert_eq!(idempotency_key("r:s:1", b"a"), "r:s:1:af63dc4c8601ec8c");
    }

    #[test]
    fn settings_lie_over_a_body() {
        let mut body = json!({"a": 1, "b": {"c": 1, "d": [1]}, "e": 2});
        let above = json!({"a": {"x": 1}, "b": {"d": [2], "f": null, "c": null}, "e": null, "g": 3});
        let (Some(body), Some(above)) = (body.as_object_mut(), above.as_object()) else { panic!("objects") };
        lay_over(body, above);
        assert_eq!(json!(body), json!({"a": {"x": 1}, "b": {"d": [2]}, "g": 3}));
    }

    #[test]
    fn arguments_are_objects() {
        for (text, expected) in
            [("", json!({})), ("{\"a\":1}", json!({"a": 1})), ("[1]", json!({})), ("{broken", json!({}))]
        {
            assert_eq!(arguments(text), expected, "{text}");
        }
    }
}
