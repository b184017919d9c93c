//! The request's body.

use compozy_plugin::Result;
use compozy_plugin::llm::{Message, Request, Role, ToolDefinition};
use llm_wire::Delivery;
use llm_wire::body::{extra, input_schema, insert_given, lay_over, output_schema};
use llm_wire::endpoint::JsonMode;
use serde_json::{Map, Value, json};

use crate::settings::Settings;

/// The body as JSON text.
pub(crate) fn write(request: &Request, settings: &Settings, delivery: Delivery) -> Result<Vec<u8>> {
    let mut body = Map::new();
    body.insert("model".to_owned(), request.model.as_str().into());
    body.insert("messages".to_owned(), request.messages.iter().map(message).collect());
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(tool).collect::<Result<Vec<_>>>()?;
        body.insert("tools".to_owned(), tools.into());
    }
    if let Some(format) = response_format(request, settings.json_mode)? {
        body.insert("response_format".to_owned(), format);
    }
    add_parameters(&mut body, request);
    if delivery == Delivery::Streamed {
        body.insert("stream".to_owned(), true.into());
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    lay_over(&mut body, settings.endpoint.body());
    lay_over(&mut body, &extra(request, &[])?);
    Ok(serde_json::to_vec(&body)?)
}

fn message(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut written = json!({"role": role, "content": message.content});
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
        });
        written["tool_calls"] = calls.collect();
        if message.content.is_empty() {
            written["content"] = Value::Null;
        }
    }
    if let Some(id) = &message.tool_call_id {
        written["tool_call_id"] = id.as_str().into();
    }
    written
}

fn tool(tool: &ToolDefinition) -> Result<Value> {
    let parameters = input_schema(tool)?;
    Ok(json!({
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
    }))
}

fn response_format(request: &Request, mode: JsonMode) -> Result<Option<Value>> {
    let Some(schema) = output_schema(request)?.filter(|_| mode != JsonMode::None) else {
        return Ok(None);
    };
    // JSON mode is for objects only; the caller checks other answers itself.
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Ok(None);
    }
    Ok(Some(match mode {
        JsonMode::Object => json!({"type": "json_object"}),
        _ => json!({"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}),
    }))
}

fn add_parameters(body: &mut Map<String, Value>, request: &Request) {
    let parameters = &request.parameters;
    let limit = if is_reasoning(&request.model) { "max_completion_tokens" } else { "max_tokens" };
    let settings = [
        ("temperature", parameters.temperature.map(Value::from)),
        ("top_p", parameters.top_p.map(Value::from)),
        (limit, parameters.max_tokens.map(Value::from)),
        ("seed", parameters.seed.map(Value::from)),
        ("stop", (!parameters.stop.is_empty()).then(|| parameters.stop.clone().into())),
    ];
    insert_given(body, settings);
}

/// OpenAI's reasoning models (`o1`, `o3-mini`, `gpt-5…`) refuse `max_tokens`; other servers know nothing else.
fn is_reasoning(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let is_o =
        name.strip_prefix('o').is_some_and(|rest| rest.starts_with(|character: char| character.is_ascii_digit()));
    is_o || name.starts_with("gpt-5")
}

#[cfg(test)]
mod tests {
    use super::{Delivery, JsonMode, write};
    use crate::settings::Settings;
    use compozy_plugin::Result;
    use compozy_plugin::llm::{Message, Parameters, Request, Role, ToolCall, ToolDefinition};
    use llm_wire::testing::{self, message, tool};
    use serde_json::{Value, json};

    fn request() -> Request {
        testing::hi("m")
    }

    fn check(request: &Request, json_mode: JsonMode, delivery: Delivery) -> Result<Value> {
        let mut settings = Settings::default();
        settings.json_mode = json_mode;
        Ok(serde_json::from_slice(&write(request, &settings, delivery)?)?)
    }

    #[test]
    fn the_smallest_body_has_only_what_was_asked() {
        let body = check(&request(), JsonMode::Schema, Delivery::Whole).expect("body");
        assert_eq!(body, json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}));
    }

    #[test]
    fn a_full_body_has_everything() {
        let mut request = request();
        let call = ToolCall { id: "c1".to_owned(), name: "f".to_owned(), arguments: "{\"x\":1}".to_owned() };
        request.messages.push(Message { tool_calls: vec![call], ..message(Role::Assistant, "") });
        request.messages.push(Message { tool_call_id: Some("c1".to_owned()), ..message(Role::Tool, "2") });
        request.tools.push(tool());
        request.output_schema = Some(r#"{"type":"object","required":["a"]}"#.to_owned());
        request.parameters = Parameters {
            temperature: Some(0.5),
            top_p: Some(1.0),
            max_tokens: Some(9),
            seed: Some(-1),
            stop: vec!["END".to_owned()],
            extra: Some(r#"{"top_k": 3, "seed": 7, "stop": null}"#.to_owned()),
        };
        let body = check(&request, JsonMode::Schema, Delivery::Streamed).expect("body");
        assert_eq!(
            body,
            json!({
                "model": "m",
                "messages": [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
                    {"role": "tool", "content": "2", "tool_call_id": "c1"},
                ],
                "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
                "response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": {"type": "object", "required": ["a"]}}},
                "temperature": 0.5, "top_p": 1.0, "max_tokens": 9, "seed": 7,
                "stream": true, "stream_options": {"include_usage": true},
                "top_k": 3,
            })
        );
    }

    #[test]
    fn json_modes() {
        let mut request = request();
        let format =
            |request: &Request, mode| check(request, mode, Delivery::Whole).expect("body")["response_format"].clone();
        request.output_schema = Some(r#"{"type":"object"}"#.to_owned());
        assert_eq!(format(&request, JsonMode::Object), json!({"type": "json_object"}));
        assert_eq!(format(&request, JsonMode::None), Value::Null);
        request.output_schema = Some(r#"{"type":"array"}"#.to_owned());
        assert_eq!(format(&request, JsonMode::Schema), Value::Null);
    }

    #[test]
    fn reasoning_models_have_their_own_limit() {
        for (model, name) in [
            ("gpt-4o-mini", "max_tokens"),
            ("o3-mini", "max_completion_tokens"),
            ("openai/gpt-5-nano", "max_completion_tokens"),
            ("olmo-2", "max_tokens"),
        ] {
            let mut request = request();
            request.model = model.to_owned();
            request.parameters.max_tokens = Some(5);
            assert_eq!(check(&request, JsonMode::Schema, Delivery::Whole).expect("body")[name], 5, "{model}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let mut broken = request();
        broken.parameters.extra = Some("[]".to_owned());
        assert_eq!(check(&broken, JsonMode::Schema, Delivery::Whole).expect_err("list").code, "invalid_request");
        broken = request();
        broken.output_schema = Some("{".to_owned());
        assert_eq!(check(&broken, JsonMode::Schema, Delivery::Whole).expect_err("no JSON").code, "invalid_request");
    }
}
