//! The request's body.

use compozy_plugin::Result;
use compozy_plugin::llm::{Message, Request, Role};
use llm_wire::body::{arguments, extra, input_schema, insert_given, lay_over, output_schema, tool_name};
use llm_wire::endpoint::JsonMode;
use serde_json::{Map, Value, json};

use crate::calls;
use crate::settings::Settings;

/// Settings that this protocol has nothing for; it refuses what it does not know.
const UNKNOWN: [&str; 2] = ["repetition_penalty", "metadata"];

/// Settings that have another name here, and stand in `generationConfig`.
const RENAMED: [(&str, &str); 4] = [
    ("top_k", "topK"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
    ("n", "candidateCount"),
];

/// The body as JSON text.
pub(crate) fn write(request: &Request, settings: &Settings) -> Result<Vec<u8>> {
    let mut extra = extra(request, &UNKNOWN)?;
    let mut body = Map::new();
    let system: Vec<Value> = request
        .messages
        .iter()
        .filter(|message| message.role == Role::System)
        .map(|message| json!({"text": message.content}))
        .collect();
    if !system.is_empty() {
        body.insert("systemInstruction".to_owned(), json!({"parts": system}));
    }
    body.insert("contents".to_owned(), contents(&request.messages));
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), json!([{"functionDeclarations": declarations(request)?}]));
    }
    let generation = generation(request, settings, &mut extra)?;
    if !generation.is_empty() {
        body.insert("generationConfig".to_owned(), generation.into());
    }
    lay_over(&mut body, settings.endpoint.body());
    lay_over(&mut body, &extra);
    Ok(serde_json::to_vec(&body)?)
}

/// Messages of one role that follow each other are one: the results of all calls have to stand together.
fn contents(messages: &[Message]) -> Value {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for (index, message) in messages.iter().enumerate().filter(|(_, message)| message.role != Role::System) {
        let role = if message.role == Role::Assistant { "model" } else { "user" };
        let parts = parts(messages, index, message);
        match turns.last_mut() {
            _ if parts.is_empty() => {}
            Some((last, present)) if *last == role => present.extend(parts),
            _ => turns.push((role, parts)),
        }
    }
    turns.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts})).collect()
}

fn parts(messages: &[Message], index: usize, message: &Message) -> Vec<Value> {
    if let (Role::Tool, Some(id)) = (message.role, &message.tool_call_id) {
        let mut response = json!({"name": tool_name(messages, index), "response": result(&message.content)});
        if let (Some(id), _) = calls::parts(id) {
            response["id"] = id.into();
        }
        return vec![json!({"functionResponse": response})];
    }
    let text = (!message.content.is_empty()).then(|| json!({"text": message.content}));
    let calls = message.tool_calls.iter().map(|call| {
        let (id, signature) = calls::parts(&call.id);
        let mut part = json!({"functionCall": {"name": call.name, "args": arguments(&call.arguments)}});
        if let Some(id) = id {
            part["functionCall"]["id"] = id.into();
        }
        if let Some(signature) = signature {
            part["thoughtSignature"] = signature.into();
        }
        part
    });
    text.into_iter().chain(calls).collect()
}

/// What a tool answered, which has to be an object.
fn result(content: &str) -> Value {
    match serde_json::from_str(content) {
        Ok(Value::Object(members)) => Value::Object(members),
        Ok(value) => json!({"result": value}),
        Err(_) => json!({"result": content}),
    }
}

fn declarations(request: &Request) -> Result<Vec<Value>> {
    let declared = request.tools.iter().map(|tool| {
        let schema = input_schema(tool)?;
        Ok(json!({"name": tool.name, "description": tool.description, "parametersJsonSchema": schema}))
    });
    declared.collect()
}

fn generation(request: &Request, settings: &Settings, extra: &mut Map<String, Value>) -> Result<Map<String, Value>> {
    let parameters = &request.parameters;
    // Models take no JSON mode beside tools; then the prompt asks.
    let schema = output_schema(request)?.filter(|_| settings.json_mode != JsonMode::None && request.tools.is_empty());
    let mut generation = Map::new();
    let values = [
        ("temperature", parameters.temperature.map(Value::from)),
        ("topP", parameters.top_p.map(Value::from)),
        ("maxOutputTokens", parameters.max_tokens.map(Value::from)),
        ("seed", parameters.seed.map(Value::from)),
        ("stopSequences", (!parameters.stop.is_empty()).then(|| parameters.stop.clone().into())),
        ("responseMimeType", schema.is_some().then(|| "application/json".into())),
        ("responseJsonSchema", schema.filter(|_| settings.json_mode == JsonMode::Schema)),
    ];
    insert_given(&mut generation, values);
    insert_given(&mut generation, RENAMED.map(|(name, here)| (here, extra.shift_remove(name))));
    Ok(generation)
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::settings::Settings;
    use compozy_plugin::Result;
    use compozy_plugin::llm::{Message, Parameters, Request, Role, ToolCall, ToolDefinition};
    use llm_wire::testing::{self, message, tool};
    use serde_json::{Value, json};

    fn request(messages: Vec<Message>) -> Request {
        testing::request("gemini-2.5-flash", messages)
    }

    fn check(request: &Request, settings: &str) -> Result<Value> {
        let settings: Settings = serde_json::from_str(settings).expect("settings");
        Ok(serde_json::from_slice(&write(request, &settings)?)?)
    }

    #[test]
    fn the_smallest_body_has_only_what_was_asked() {
        let body = check(&request(vec![message(Role::User, "Hi")]), "{}").expect("body");
        assert_eq!(body, json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}));
    }

    #[test]
    fn a_conversation_with_calls() {
        let call = |id: &str, name: &str, arguments: &str| ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        };
        let result = |id: &str, text| Message { tool_call_id: Some(id.into()), ..message(Role::Tool, text) };
        let mut request = request(vec![
            message(Role::System, "Be kind"),
            message(Role::User, "Hi"),
            Message {
                tool_calls: vec![call("call-1~c2ln", "f", "{\"x\":1}"), call("id2", "g", "oops")],
                ..message(Role::Assistant, "")
            },
            result("call-1~c2ln", "{\"a\":1}"),
            result("id2", "text"),
            result("id3", "[1]"),
        ]);
        request.tools.push(tool());
        request.output_schema = Some(r#"{"type":"object"}"#.to_owned());
        request.parameters = Parameters {
            temperature: Some(0.5),
            top_p: Some(1.0),
            max_tokens: Some(9),
            seed: Some(-1),
            stop: vec!["END".to_owned()],
            extra: Some(
                r#"{"top_k": 3, "n": 2, "repetition_penalty": 1, "metadata": {}, "presence_penalty": 0.5}"#.to_owned(),
            ),
        };
        let config = r#"{"body": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}, "topP": null}, "safetySettings": []}}"#;
        assert_eq!(
            check(&request, config).expect("body"),
            json!({
                "systemInstruction": {"parts": [{"text": "Be kind"}]},
                "contents": [
                    {"role": "user", "parts": [{"text": "Hi"}]},
                    {"role": "model", "parts": [
                        {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
                        {"functionCall": {"name": "g", "args": {}, "id": "id2"}},
                    ]},
                    {"role": "user", "parts": [
                        {"functionResponse": {"name": "f", "response": {"a": 1}}},
                        {"functionResponse": {"name": "g", "response": {"result": "text"}, "id": "id2"}},
                        {"functionResponse": {"name": "unknown", "response": {"result": [1]}, "id": "id3"}},
                    ]},
                ],
                "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}]}],
                "generationConfig": {
                    "temperature": 0.5, "maxOutputTokens": 9, "seed": -1, "stopSequences": ["END"],
                    "topK": 3, "presencePenalty": 0.5, "candidateCount": 2,
                    "thinkingConfig": {"thinkingBudget": 0},
                },
                "safetySettings": [],
            })
        );
    }

    #[test]
    fn shapes_of_answers() {
        let mut request = request(vec![message(Role::User, "Hi")]);
        request.output_schema = Some(r#"{"type":"array"}"#.to_owned());
        let asked = |config| check(&request, config).expect("body")["generationConfig"].clone();
        assert_eq!(
            asked("{}"),
            json!({"responseMimeType": "application/json", "responseJsonSchema": {"type": "array"}})
        );
        assert_eq!(asked(r#"{"json_mode": "object"}"#), json!({"responseMimeType": "application/json"}));
        assert_eq!(asked(r#"{"json_mode": "none"}"#), Value::Null);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let mut request = request(vec![]);
        request.output_schema = Some("{".to_owned());
        assert_eq!(check(&request, "{}").expect_err("no JSON").code, "invalid_request");
    }
}
