//! Anthropic's messages (<https://docs.anthropic.com/en/api/messages>).

use serde_json::{Value, json};

use super::{Asked, Protocol, Spoken, object, words};

pub(super) struct Messages;

impl Protocol for Messages {
    fn check(&self, asked: &Asked) -> Result<(), String> {
        let body = &asked.body;
        if asked.header("anthropic-version").is_none() {
            return Err("anthropic-version: header is required".to_owned());
        }
        if body["max_tokens"].as_u64().is_none_or(|tokens| tokens == 0) {
            return Err("max_tokens: Field required".to_owned());
        }
        let known = [
            "model",
            "messages",
            "max_tokens",
            "system",
            "temperature",
            "top_p",
            "top_k",
            "stop_sequences",
            "stream",
            "tools",
            "tool_choice",
            "metadata",
            "output_config",
        ];
        let keys = body.as_object().ok_or("no object")?.keys();
        if let Some(key) = keys.into_iter().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("{key}: Extra inputs are not permitted"));
        }
        turns(body["messages"].as_array().ok_or("messages: Field required")?)
    }

    fn prompt(&self, body: &Value) -> String {
        let last = body["messages"].as_array().and_then(|messages| messages.last());
        let blocks = last.and_then(|message| message["content"].as_array()).into_iter().flatten();
        blocks.filter_map(|block| block["text"].as_str()).last().unwrap_or_default().to_owned()
    }

    fn text(&self, asked: &Asked, text: &str) -> Spoken {
        // A tool that has to be called is called with what would have been said.
        if let (Some("tool"), Some(name)) =
            (asked.body["tool_choice"]["type"].as_str(), asked.body["tool_choice"]["name"].as_str())
        {
            return self.calls(asked, &[(name.to_owned(), text.to_owned())]);
        }
        if !asked.is_streamed() {
            return whole(asked, &[json!({"type": "text", "text": text})], "end_turn");
        }
        let deltas = words(text).map(|word| json!({"type": "text_delta", "text": word})).collect();
        streamed(asked, vec![(json!({"type": "text", "text": ""}), deltas)], "end_turn")
    }

    fn calls(&self, asked: &Asked, calls: &[(String, String)]) -> Spoken {
        let id = |at: usize| format!("toolu_{at}");
        let calls = calls.iter().enumerate();
        if !asked.is_streamed() {
            let blocks: Vec<Value> = calls
                .map(|(at, (name, input))| json!({"type": "tool_use", "id": id(at), "name": name, "input": object(input)}))
                .collect();
            return whole(asked, &blocks, "tool_use");
        }
        let blocks = calls.map(|(at, (name, input))| {
            let input = object(input).to_string();
            let (left, right) = input.split_at(input.len() / 2);
            let deltas = ["", left, right].map(|piece| json!({"type": "input_json_delta", "partial_json": piece}));
            (json!({"type": "tool_use", "id": id(at), "name": name, "input": {}}), deltas.to_vec())
        });
        streamed(asked, blocks.collect(), "tool_use")
    }

    fn error(&self, status: u16, message: &str) -> Value {
        let kind = match status {
            400 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            _ => "api_error",
        };
        json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
    }
}

/// The user's and the assistant's turns take turns, and each call has its result in the very next one.
fn turns(messages: &[Value]) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        if message["role"] != ["user", "assistant"][at % 2] {
            return Err(format!("messages.{at}: roles must alternate, beginning with user"));
        }
        let blocks = message["content"].as_array().ok_or("content: a list of blocks is expected")?;
        let of = |kind: &str, key: &str| {
            let blocks = blocks.iter().filter(|block| block["type"] == kind);
            blocks.map(|block| block[key].as_str().unwrap_or_default()).collect::<Vec<_>>()
        };
        if blocks.is_empty() || of("text", "text").iter().any(|text| text.trim().is_empty()) {
            return Err(format!("messages.{at}: text content blocks must be non-empty"));
        }
        let answered = of("tool_result", "tool_use_id");
        if answered != open {
            return Err(format!("messages.{at}: `tool_use` ids were found without `tool_result` blocks: {open:?}"));
        }
        open = of("tool_use", "id");
    }
    if messages.is_empty() || !open.is_empty() {
        Err("messages: the last is not the user's".to_owned())
    } else {
        Ok(())
    }
}

fn whole(asked: &Asked, content: &[Value], reason: &str) -> Spoken {
    Spoken::whole(&json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked.body["model"], "content": content,
        "stop_reason": reason, "stop_sequence": null, "usage": {"input_tokens": 7, "output_tokens": 3},
    }))
}

fn streamed(asked: &Asked, blocks: Vec<(Value, Vec<Value>)>, reason: &str) -> Spoken {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked.body["model"], "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 7, "output_tokens": 1},
    });
    let mut events = vec![json!({"type": "message_start", "message": message}), json!({"type": "ping"})];
    for (index, (block, deltas)) in blocks.into_iter().enumerate() {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        let deltas = deltas.into_iter();
        events.extend(deltas.map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    let delta = json!({"stop_reason": reason, "stop_sequence": null});
    events.push(json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}}));
    events.push(json!({"type": "message_stop"}));
    let pieces =
        events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("")));
    Spoken { content_type: "text/event-stream; charset=utf-8", pieces: pieces.collect() }
}
