//! The request's body.

use compozy_plugin::Result;
use compozy_plugin::llm::{Message, Request, Role};
use llm_wire::Delivery;
use llm_wire::body::{arguments, extra, input_schema, insert_given, lay_over, output_schema};
use serde_json::{Map, Value, json};

use crate::settings::{JsonMode, Settings};

/// The tool by which an answer of some shape is asked for.
pub(crate) const OUTPUT_TOOL: &str = "output";

/// Settings that this protocol has nothing for; it refuses what it does not know.
const UNKNOWN: [&str; 4] = ["presence_penalty", "frequency_penalty", "repetition_penalty", "n"];

/// Stands before a conversation whose beginning was cut off, since the first message has to be the user's.
const CUT: &str = "(Earlier messages are left out.)";

/// The body as JSON text.
pub(crate) fn write(request: &Request, settings: &Settings, delivery: Delivery) -> Result<Vec<u8>> {
    let mut body = Map::new();
    body.insert("model".to_owned(), request.model.as_str().into());
    let parameters = &request.parameters;
    let max_tokens = parameters.max_tokens.unwrap_or_else(|| most_tokens(&request.model));
    body.insert("max_tokens".to_owned(), max_tokens.into());
    let system: Vec<&str> = request.messages.iter().filter(|message| message.role == Role::System).map(text).collect();
    let system = system.join("\n\n");
    let is_streamed = delivery == Delivery::Streamed;
    let values = [
        ("system", (!system.is_empty()).then(|| system.into())),
        ("messages", Some(messages(&request.messages))),
        ("temperature", parameters.temperature.map(Value::from)),
        ("top_p", parameters.top_p.map(Value::from)),
        ("stop_sequences", (!parameters.stop.is_empty()).then(|| parameters.stop.clone().into())),
        ("stream", is_streamed.then_some(Value::Bool(true))),
    ];
    insert_given(&mut body, values);
    add_tools(&mut body, request, settings)?;
    lay_over(&mut body, settings.endpoint.body());
    lay_over(&mut body, &extra(request, &UNKNOWN)?);
    Ok(serde_json::to_vec(&body)?)
}

/// Whether the answer is asked for by [`OUTPUT_TOOL`]. Beside tools of the task nothing is forced: the prompt asks.
pub(crate) fn asks_by_tool(request: &Request, settings: &Settings) -> bool {
    settings.json_mode == JsonMode::Tool && request.tools.is_empty() && has_object_schema(request)
}

fn has_object_schema(request: &Request) -> bool {
    let schema = output_schema(request).ok().flatten();
    schema.is_some_and(|schema| schema.get("type").and_then(Value::as_str) == Some("object"))
}

/// The protocol demands a limit. Models of the third generation write 4096 tokens at most.
fn most_tokens(model: &str) -> u32 {
    let is_third =
        model.starts_with("claude-3-") && !["claude-3-5", "claude-3-7"].iter().any(|of| model.starts_with(of));
    if is_third { 4096 } else { 8192 }
}

fn text(message: &Message) -> &str {
    &message.content
}

/// Messages of one role that follow each other are one: the results of all calls have to stand together.
fn messages(all: &[Message]) -> Value {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in all.iter().filter(|message| message.role != Role::System) {
        let role = if message.role == Role::Assistant { "assistant" } else { "user" };
        let blocks = blocks(message);
        match turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some((last, present)) if *last == role => present.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    if turns.first().is_none_or(|(role, _)| *role != "user") {
        turns.insert(0, ("user", vec![json!({"type": "text", "text": CUT})]));
    }
    turns.into_iter().map(|(role, blocks)| json!({"role": role, "content": blocks})).collect()
}

/// The parts of a message; empty texts are refused.
fn blocks(message: &Message) -> Vec<Value> {
    if let (Role::Tool, Some(id)) = (message.role, &message.tool_call_id) {
        return vec![json!({"type": "tool_result", "tool_use_id": id, "content": message.content})];
    }
    let text = (!message.content.trim().is_empty()).then(|| json!({"type": "text", "text": message.content}));
    let calls = message
        .tool_calls
        .iter()
        .map(|call| json!({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments(&call.arguments)}));
    text.into_iter().chain(calls).collect()
}

fn add_tools(body: &mut Map<String, Value>, request: &Request, settings: &Settings) -> Result<()> {
    let mut tools = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        let schema = input_schema(tool)?;
        tools.push(json!({"name": tool.name, "description": tool.description, "input_schema": schema}));
    }
    if let Some(schema) = output_schema(request)? {
        if asks_by_tool(request, settings) {
            tools.push(json!({"name": OUTPUT_TOOL, "description": "Gives the answer.", "input_schema": schema}));
            body.insert("tool_choice".to_owned(), json!({"type": "tool", "name": OUTPUT_TOOL}));
        } else if settings.json_mode == JsonMode::Schema {
            body.insert("output_config".to_owned(), json!({"format": {"type": "json_schema", "schema": schema}}));
        }
    }
    if !tools.is_empty() {
        body.insert("tools".to_owned(), tools.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Delivery, write};
    use crate::settings::{JsonMode, Settings};
    use compozy_plugin::Result;
    use compozy_plugin::llm::{Message, Parameters, Request, Role, ToolCall, ToolDefinition};
    use llm_wire::testing::{self, message, tool};
    use serde_json::{Value, json};

    fn request(messages: Vec<Message>) -> Request {
        testing::request("claude-haiku-4-5", messages)
    }

    fn hi() -> Request {
        request(vec![message(Role::User, "Hi")])
    }

    fn check(request: &Request, settings: &str, delivery: Delivery) -> Result<Value> {
        let settings: Settings = serde_json::from_str(settings).expect("settings");
        Ok(serde_json::from_slice(&write(request, &settings, delivery)?)?)
    }

    #[test]
    fn the_smallest_body_has_what_the_protocol_demands() {
        let body = check(&hi(), "{}", Delivery::Whole).expect("body");
        let messages = json!([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]);
        assert_eq!(body, json!({"model": "claude-haiku-4-5", "max_tokens": 8192, "messages": messages}));
    }

    #[test]
    fn a_conversation_with_calls() {
        let call =
            |id: &str, arguments: &str| ToolCall { id: id.into(), name: "f".into(), arguments: arguments.into() };
        let result = |id: &str| Message { tool_call_id: Some(id.into()), ..message(Role::Tool, "2") };
        let calls = vec![call("a", "{\"x\":1}"), call("b", "oops")];
        let mut request = request(vec![
            message(Role::System, "Be kind"),
            message(Role::User, "Hi"),
            Message { tool_calls: calls, ..message(Role::Assistant, "") },
            result("a"),
            result("b"),
            message(Role::User, "go on"),
            message(Role::System, "and brief"),
        ]);
        request.tools.push(tool());
        request.parameters = Parameters {
            temperature: Some(0.5),
            top_p: Some(1.0),
            max_tokens: Some(9),
            seed: Some(-1),
            stop: vec!["END".to_owned()],
            extra: Some(r#"{"top_k": 3, "n": 2, "presence_penalty": 1, "metadata": {"user_id": "u"}}"#.to_owned()),
        };
        let config = r#"{"body": {"thinking": {"type": "disabled"}, "top_k": 9}}"#;
        assert_eq!(
            check(&request, config, Delivery::Streamed).expect("body"),
            json!({
                "model": "claude-haiku-4-5", "max_tokens": 9, "system": "Be kind\n\nand brief",
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                    {"role": "assistant", "content": [
                        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                        {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                    ]},
                    {"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": "a", "content": "2"},
                        {"type": "tool_result", "tool_use_id": "b", "content": "2"},
                        {"type": "text", "text": "go on"},
                    ]},
                ],
                "temperature": 0.5, "top_p": 1.0, "stop_sequences": ["END"], "stream": true,
                "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
                "thinking": {"type": "disabled"}, "top_k": 3, "metadata": {"user_id": "u"},
            })
        );
    }

    #[test]
    fn the_first_message_is_the_users() {
        let first = |messages| check(&request(messages), "{}", Delivery::Whole).expect("body")["messages"][0].clone();
        let cut = json!({"role": "user", "content": [{"type": "text", "text": "(Earlier messages are left out.)"}]});
        assert_eq!(first(vec![message(Role::Assistant, "a"), message(Role::User, "b")]), cut);
        assert_eq!(first(vec![message(Role::User, " ")]), cut);
    }

    #[test]
    fn shapes_of_answers() {
        let schema = r#"{"type":"object","required":["a"]}"#;
        let asked = |tools: Vec<ToolDefinition>, schema: &str, config: &str| {
            let request = Request { tools, output_schema: Some(schema.to_owned()), ..hi() };
            let body = check(&request, config, Delivery::Whole).expect("body");
            let names: Vec<String> =
                body["tools"].as_array().into_iter().flatten().map(|tool| tool["name"].to_string()).collect();
            (names.join(" "), body["tool_choice"]["name"].clone(), body["output_config"]["format"]["type"].clone())
        };
        let none = Value::Null;
        assert_eq!(asked(vec![], schema, "{}"), ("\"output\"".into(), json!("output"), none.clone()));
        assert_eq!(asked(vec![tool()], schema, "{}"), ("\"f\"".into(), none.clone(), none.clone()));
        assert_eq!(asked(vec![], r#"{"type":"array"}"#, "{}"), (String::new(), none.clone(), none.clone()));
        let by_schema = r#"{"json_mode": "schema"}"#;
        assert_eq!(asked(vec![tool()], schema, by_schema), ("\"f\"".into(), none.clone(), json!("json_schema")));
        assert_eq!(asked(vec![], schema, r#"{"json_mode": "none"}"#), (String::new(), none.clone(), none));
        let settings: Settings = serde_json::from_str(by_schema).expect("settings");
        assert_eq!(settings.json_mode, JsonMode::Schema);
    }

    #[test]
    fn limits_of_models() {
        for (model, limit) in [("claude-3-haiku-20240307", 4096), ("claude-3-5-haiku-latest", 8192), ("claude-x", 8192)]
        {
            let request = Request { model: model.to_owned(), ..hi() };
            assert_eq!(check(&request, "{}", Delivery::Whole).expect("body")["max_tokens"], limit, "{model}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let request = Request { output_schema: Some("{".to_owned()), ..hi() };
        assert_eq!(check(&request, "{}", Delivery::Whole).expect_err("no JSON").code, "invalid_request");
        let tool = ToolDefinition { input_schema: "x".to_owned(), ..tool() };
        let request = Request { tools: vec![tool], ..hi() };
        assert_eq!(check(&request, "{}", Delivery::Whole).expect_err("no JSON").code, "invalid_request");
    }
}
