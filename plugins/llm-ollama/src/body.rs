//! The request's body.

use compozy_plugin::Result;
use compozy_plugin::llm::{Message, Request, Role};
use llm_wire::Delivery;
use llm_wire::body::{arguments, extra, input_schema, insert_given, lay_over, output_schema, tool_name};
use llm_wire::endpoint::JsonMode;
use serde_json::{Map, Value, json};

use crate::settings::Settings;

/// Settings that this protocol has nothing for.
const UNKNOWN: [&str; 2] = ["n", "metadata"];

/// Settings that stand in `options`, with their names there.
const OPTIONS: [(&str, &str); 4] = [
    ("top_k", "top_k"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
    ("repetition_penalty", "repeat_penalty"),
];

/// The body as JSON text.
pub(crate) fn write(request: &Request, settings: &Settings, delivery: Delivery) -> Result<Vec<u8>> {
    let mut extra = extra(request, &UNKNOWN)?;
    let mut body = Map::new();
    body.insert("model".to_owned(), request.model.as_str().into());
    let messages = request.messages.iter().enumerate().map(|(index, one)| message(&request.messages, index, one));
    body.insert("messages".to_owned(), messages.collect());
    // Left out, it would be true.
    body.insert("stream".to_owned(), (delivery == Delivery::Streamed).into());
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), tools(request)?.into());
    }
    let options = options(request, settings, &mut extra);
    let values = [
        ("format", format(request, settings)?),
        ("options", (!options.is_empty()).then(|| options.into())),
        ("keep_alive", settings.keep_alive.clone()),
    ];
    insert_given(&mut body, values);
    lay_over(&mut body, settings.endpoint.body());
    lay_over(&mut body, &extra);
    Ok(serde_json::to_vec(&body)?)
}

fn message(messages: &[Message], index: usize, message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut written = json!({"role": role, "content": message.content});
    if !message.tool_calls.is_empty() {
        let call = |call: &compozy_plugin::llm::ToolCall| json!({"function": {"name": call.name, "arguments": arguments(&call.arguments)}});
        written["tool_calls"] = message.tool_calls.iter().map(call).collect();
    }
    if message.role == Role::Tool {
        // Calls have no ids here: the results stand in their order, under their names.
        written["tool_name"] = tool_name(messages, index).into();
    }
    written
}

fn tools(request: &Request) -> Result<Vec<Value>> {
    let declared = request.tools.iter().map(|tool| {
        let function = json!({"name": tool.name, "description": tool.description, "parameters": input_schema(tool)?});
        Ok(json!({"type": "function", "function": function}))
    });
    declared.collect()
}

/// The grammar of the answer. Beside tools there is none, since no call would fit it: the prompt asks.
fn format(request: &Request, settings: &Settings) -> Result<Option<Value>> {
    let schema = output_schema(request)?.filter(|_| request.tools.is_empty());
    Ok(match settings.json_mode {
        JsonMode::Schema => schema,
        JsonMode::Object => schema.map(|_| "json".into()),
        JsonMode::None => None,
    })
}

fn options(request: &Request, settings: &Settings, extra: &mut Map<String, Value>) -> Map<String, Value> {
    let parameters = &request.parameters;
    let mut options = settings.options.clone();
    let values = [
        ("temperature", parameters.temperature.map(Value::from)),
        ("top_p", parameters.top_p.map(Value::from)),
        ("num_predict", parameters.max_tokens.map(Value::from)),
        ("seed", parameters.seed.map(Value::from)),
        ("stop", (!parameters.stop.is_empty()).then(|| parameters.stop.clone().into())),
    ];
    insert_given(&mut options, values);
    insert_given(&mut options, OPTIONS.map(|(name, here)| (here, extra.shift_remove(name))));
    options
}

#[cfg(test)]
mod tests {
    use super::{Delivery, write};
    use crate::settings::Settings;
    use compozy_plugin::Result;
    use compozy_plugin::llm::{Message, Parameters, Request, Role, ToolCall, ToolDefinition};
    use llm_wire::testing::{self, message};
    use serde_json::{Value, json};

    fn request() -> Request {
        testing::hi("llama3.2")
    }

    fn check(request: &Request, settings: &str, delivery: Delivery) -> Result<Value> {
        let settings: Settings = serde_json::from_str(settings).expect("settings");
        Ok(serde_json::from_slice(&write(request, &settings, delivery)?)?)
    }

    #[test]
    fn the_smallest_body_has_only_what_was_asked() {
        let body = check(&request(), "{}", Delivery::Whole).expect("body");
        assert_eq!(
            body,
            json!({"model": "llama3.2", "messages": [{"role": "user", "content": "Hi"}], "stream": false})
        );
    }

    #[test]
    fn a_full_body_has_everything() {
        let mut request = request();
        let call = ToolCall { id: "call-1".into(), name: "f".into(), arguments: "{\"x\":1}".into() };
        request.messages.push(Message { tool_calls: vec![call], ..message(Role::Assistant, "") });
        request.messages.push(Message { tool_call_id: Some("call-1".into()), ..message(Role::Tool, "2") });
        let schema = r#"{"type":"object"}"#.to_owned();
        request.tools.push(ToolDefinition { name: "f".into(), description: "d".into(), input_schema: schema.clone() });
        request.output_schema = Some(schema);
        request.parameters = Parameters {
            temperature: Some(0.5),
            top_p: Some(1.0),
            max_tokens: Some(9),
            seed: Some(7),
            stop: vec!["END".to_owned()],
            extra: Some(r#"{"top_k": 3, "repetition_penalty": 1.5, "n": 2, "metadata": {"a": 1}}"#.to_owned()),
        };
        let config = r#"{"options": {"num_ctx": 8192, "seed": 1}, "keep_alive": "10m", "body": {"think": false}}"#;
        assert_eq!(
            check(&request, config, Delivery::Streamed).expect("body"),
            json!({
                "model": "llama3.2",
                "messages": [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
                    {"role": "tool", "content": "2", "tool_name": "f"},
                ],
                "stream": true,
                "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
                "options": {
                    "num_ctx": 8192, "seed": 7, "temperature": 0.5, "top_p": 1.0, "num_predict": 9, "stop": ["END"],
                    "top_k": 3, "repeat_penalty": 1.5,
                },
                "keep_alive": "10m",
                "think": false,
            })
        );
    }

    #[test]
    fn grammars_of_answers() {
        let request = Request { output_schema: Some(r#"{"type":"array"}"#.to_owned()), ..request() };
        for (config, expected) in [
            ("{}", json!({"type": "array"})),
            (r#"{"json_mode": "object"}"#, json!("json")),
            (r#"{"json_mode": "none"}"#, Value::Null),
        ] {
            assert_eq!(check(&request, config, Delivery::Whole).expect("body")["format"], expected, "{config}");
        }
        let broken = Request { output_schema: Some("{".to_owned()), ..request };
        assert_eq!(check(&broken, "{}", Delivery::Whole).expect_err("no JSON").code, "invalid_request");
    }
}
