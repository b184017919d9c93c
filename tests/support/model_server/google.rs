//! Google's Gemini (<https://ai.google.dev/api/generate-content>).

use serde_json::{Value, json};

use super::{Asked, Protocol, Spoken, object, words};

pub(super) struct GenerateContent;

impl Protocol for GenerateContent {
    fn check(&self, asked: &Asked) -> Result<(), String> {
        let method = asked.path.rsplit_once(':').map_or("", |(_, method)| method);
        if !["generateContent", "streamGenerateContent?alt=sse"].contains(&method) {
            return Err(format!("method {method} not found"));
        }
        let known = ["contents", "systemInstruction", "tools", "generationConfig"];
        let keys = asked.body.as_object().ok_or("no object")?.keys();
        if let Some(key) = keys.into_iter().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("Invalid JSON payload received. Unknown name \"{key}\": Cannot find field."));
        }
        turns(asked.body["contents"].as_array().ok_or("contents is not specified")?)
    }

    fn prompt(&self, body: &Value) -> String {
        let last = body["contents"].as_array().and_then(|contents| contents.last());
        let parts = last.and_then(|content| content["parts"].as_array()).into_iter().flatten();
        parts.filter_map(|part| part["text"].as_str()).last().unwrap_or_default().to_owned()
    }

    fn text(&self, asked: &Asked, text: &str) -> Spoken {
        let mut pieces: Vec<Value> = vec![json!([{"text": "Let me think.", "thought": true}])];
        pieces.extend(words(text).map(|word| json!([{"text": word}])));
        spoken(asked, pieces)
    }

    /// The first call carries the signature of the thoughts behind it, as the third generation sends it.
    fn calls(&self, asked: &Asked, calls: &[(String, String)]) -> Spoken {
        let parts = calls.iter().enumerate().map(|(at, (name, args))| {
            let mut part = json!({"functionCall": {"name": name, "args": object(args)}});
            if at == 0 {
                part["thoughtSignature"] = SIGNATURE.into();
            }
            json!([part])
        });
        spoken(asked, parts.collect())
    }

    fn error(&self, status: u16, message: &str) -> Value {
        let details = match status {
            400 | 401 => json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]),
            429 => json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.05s"}]),
            _ => json!([]),
        };
        json!({"error": {"code": status, "message": message, "status": "TEST", "details": details}})
    }
}

const SIGNATURE: &str = "c2lnbmF0dXJl";

/// Each content has parts, and each call its response in the next content, signed as it came.
fn turns(contents: &[Value]) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for content in contents {
        let parts = content["parts"].as_array().filter(|parts| !parts.is_empty()).ok_or("parts is not specified")?;
        let of = |kind: &str| {
            let names = parts.iter().filter_map(|part| part[kind]["name"].as_str());
            names.collect::<Vec<_>>()
        };
        if of("functionResponse") != open {
            return Err("the number of function response parts is not equal to that of function call parts".to_owned());
        }
        open = of("functionCall");
        if !open.is_empty() && !parts.iter().any(|part| part["thoughtSignature"] == SIGNATURE) {
            return Err("Function call is missing a thought_signature".to_owned());
        }
    }
    if contents.is_empty() { Err("contents is not specified".to_owned()) } else { Ok(()) }
}

fn spoken(asked: &Asked, pieces: Vec<Value>) -> Spoken {
    let generated = |parts: &Value, is_last: bool| {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        let mut usage = json!({"promptTokenCount": 7, "totalTokenCount": 7});
        if is_last {
            candidate["finishReason"] = "STOP".into();
            usage["candidatesTokenCount"] = 3.into();
        }
        json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "served-model", "responseId": "r"})
    };
    if !asked.is_streamed() {
        let parts: Vec<Value> =
            pieces.into_iter().flat_map(|parts| parts.as_array().cloned().unwrap_or_default()).collect();
        return Spoken::whole(&generated(&parts.into(), true));
    }
    let count = pieces.len();
    let events: Vec<Value> = pieces.iter().enumerate().map(|(at, parts)| generated(parts, at + 1 == count)).collect();
    Spoken::events(&events)
}
