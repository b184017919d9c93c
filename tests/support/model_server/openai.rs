//! OpenAI's chat completions (<https://platform.openai.com/docs/api-reference/chat>).

use serde_json::{Value, json};

use super::{Asked, Protocol, Spoken, words};

pub(super) struct ChatCompletions;

impl Protocol for ChatCompletions {
    fn check(&self, _: &Asked) -> Result<(), String> {
        Ok(())
    }

    fn prompt(&self, body: &Value) -> String {
        let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let prompt = messages.iter().rev().find(|message| message["role"] == "user");
        prompt.and_then(|message| message["content"].as_str()).unwrap_or_default().to_owned()
    }

    fn text(&self, asked: &Asked, text: &str) -> Spoken {
        if !asked.is_streamed() {
            return whole(asked, &json!({"role": "assistant", "content": text}), "stop");
        }
        let mut events = vec![chunk(asked, json!({"role": "assistant", "content": ""}), Value::Null)];
        events.extend(words(text).map(|word| chunk(asked, json!({"content": word}), Value::Null)));
        events.push(chunk(asked, json!({}), json!("stop")));
        streamed(asked, events)
    }

    /// Streamed in two pieces each.
    fn calls(&self, asked: &Asked, calls: &[(String, String)]) -> Spoken {
        let calls = calls.iter().enumerate();
        if !asked.is_streamed() {
            let calls: Vec<Value> = calls
                .map(|(at, (name, arguments))| {
                    json!({"id": format!("call_{at}"), "type": "function", "function": {"name": name, "arguments": arguments}})
                })
                .collect();
            return whole(asked, &json!({"role": "assistant", "content": null, "tool_calls": calls}), "tool_calls");
        }
        let mut events = Vec::new();
        for (at, (name, arguments)) in calls {
            let function = json!({"name": name, "arguments": ""});
            let begun = json!({"index": at, "id": format!("call_{at}"), "type": "function", "function": function});
            let rest = json!({"index": at, "function": {"arguments": arguments}});
            events.extend([begun, rest].map(|call| chunk(asked, json!({"tool_calls": [call]}), Value::Null)));
        }
        events.push(chunk(asked, json!({}), json!("tool_calls")));
        streamed(asked, events)
    }

    fn error(&self, _: u16, message: &str) -> Value {
        json!({"error": {"message": message, "type": "test_error", "code": null}})
    }
}

fn usage() -> Value {
    json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
}

fn whole(asked: &Asked, message: &Value, reason: &str) -> Spoken {
    Spoken::whole(&json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage(),
    }))
}

fn chunk(asked: &Asked, delta: Value, finish: Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": asked.body["model"],
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    })
}

fn streamed(asked: &Asked, mut events: Vec<Value>) -> Spoken {
    if asked.body["stream_options"]["include_usage"] == json!(true) {
        events.push(json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": asked.body["model"],
            "choices": [], "usage": usage(),
        }));
    }
    let mut spoken = Spoken::events(&events);
    spoken.pieces.push("data: [DONE]\n\n".to_owned());
    spoken
}
