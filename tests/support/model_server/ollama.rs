//! Ollama's chat (<https://github.com/ollama/ollama/blob/main/docs/api.md>).

use serde_json::{Value, json};

use super::{Asked, Protocol, Spoken, object, words};

pub(super) struct Chat;

impl Protocol for Chat {
    fn check(&self, asked: &Asked) -> Result<(), String> {
        // Left out, the answer would be a stream.
        if !asked.body["stream"].is_boolean() {
            return Err("this server wants to be told whether to stream".to_owned());
        }
        let messages = asked.body["messages"].as_array().ok_or("messages are missing")?;
        let calls = messages.iter().filter_map(|message| message["tool_calls"].as_array()).flatten();
        if calls.into_iter().any(|call| !call["function"]["arguments"].is_object()) {
            return Err("json: cannot unmarshal string into api.ToolCallFunctionArguments".to_owned());
        }
        Ok(())
    }

    fn prompt(&self, body: &Value) -> String {
        let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let prompt = messages.iter().rev().find(|message| message["role"] == "user");
        prompt.and_then(|message| message["content"].as_str()).unwrap_or_default().to_owned()
    }

    fn text(&self, asked: &Asked, text: &str) -> Spoken {
        if !asked.is_streamed() {
            return Spoken::whole(&line(asked, json!({"role": "assistant", "content": text}), true));
        }
        lines(asked, words(text).map(|word| json!({"role": "assistant", "content": word})).collect())
    }

    fn calls(&self, asked: &Asked, calls: &[(String, String)]) -> Spoken {
        let calls =
            calls.iter().map(|(name, arguments)| json!({"function": {"name": name, "arguments": object(arguments)}}));
        if !asked.is_streamed() {
            let message = json!({"role": "assistant", "content": "", "tool_calls": calls.collect::<Vec<_>>()});
            return Spoken::whole(&line(asked, message, true));
        }
        lines(asked, calls.map(|call| json!({"role": "assistant", "content": "", "tool_calls": [call]})).collect())
    }

    fn error(&self, _: u16, message: &str) -> Value {
        json!({"error": message})
    }
}

fn line(asked: &Asked, message: Value, is_last: bool) -> Value {
    let mut line = json!({"model": asked.body["model"], "created_at": "2024-01-01T00:00:00Z", "message": message, "done": is_last});
    if is_last {
        line["done_reason"] = "stop".into();
        line["prompt_eval_count"] = 7.into();
        line["eval_count"] = 3.into();
    }
    line
}

fn lines(asked: &Asked, messages: Vec<Value>) -> Spoken {
    let mut lines: Vec<Value> = messages.into_iter().map(|message| line(asked, message, false)).collect();
    lines.push(line(asked, json!({"role": "assistant", "content": ""}), true));
    Spoken { content_type: "application/x-ndjson", pieces: lines.iter().map(|line| format!("{line}\n")).collect() }
}
