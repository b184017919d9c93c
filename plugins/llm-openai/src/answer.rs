//! A whole answer, and the list of models.

use compozy_plugin::Result;
use compozy_plugin::llm::{Finish, Response, ToolCall, Usage};
use llm_wire::{NO_USAGE, failure, gathered};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<UsageText>,
    #[serde(default)]
    model: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Value,
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Value,
}

/// Token counts, as servers write them.
#[derive(Deserialize)]
pub(crate) struct UsageText {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    /// DeepSeek's place for cached tokens.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

impl From<UsageText> for Usage {
    fn from(usage: UsageText) -> Self {
        let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
        Self {
            prompt_tokens: usage.prompt_tokens.unwrap_or(0),
            completion_tokens: usage.completion_tokens.unwrap_or(0),
            cached_tokens: cached.or(usage.prompt_cache_hit_tokens).unwrap_or(0),
        }
    }
}

/// Reads the body of an answer of status 2xx.
pub(crate) fn parse(body: &[u8]) -> Result<Response> {
    let body: Value = serde_json::from_slice(body).map_err(failure::malformed)?;
    if let Some(error) = failure::from_body(&body) {
        return Err(error);
    }
    let completion: Completion = serde_json::from_value(body).map_err(failure::malformed)?;
    let choice = completion.choices.into_iter().next().ok_or_else(|| failure::malformed("it has no choices"))?;
    let calls = choice.message.tool_calls.unwrap_or_default();
    let tool_calls: Vec<ToolCall> = calls.into_iter().enumerate().map(|(index, call)| tool_call(index, call)).collect();
    let text = text(&choice.message.content);
    let refused = choice.message.refusal.filter(|_| text.is_empty());
    Ok(Response {
        finish: if refused.is_some() {
            Finish::ContentFilter
        } else {
            finish(choice.finish_reason.as_deref(), !tool_calls.is_empty())
        },
        text: refused.unwrap_or(text),
        tool_calls,
        usage: completion.usage.map_or(NO_USAGE, Usage::from),
        model: completion.model.unwrap_or_default(),
    })
}

/// The reason by its name; servers that call everything `stop` are set right.
pub(crate) fn finish(reason: Option<&str>, has_calls: bool) -> Finish {
    match reason {
        Some("length" | "max_tokens") => Finish::Length,
        Some("content_filter") => Finish::ContentFilter,
        _ if has_calls => Finish::ToolCalls,
        Some("stop" | "eos" | "end_turn") => Finish::Stop,
        _ => Finish::Other,
    }
}

/// A string, or the text of a list of parts.
pub(crate) fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect(),
        _ => String::new(),
    }
}

/// Names of the models in a list of OpenAI's shape (`data[].id`) or Ollama's (`models[].name`).
pub(crate) fn models(body: &[u8]) -> Result<Vec<String>> {
    let body: Value = serde_json::from_slice(body).map_err(failure::malformed)?;
    if let Some(error) = failure::from_body(&body) {
        return Err(error);
    }
    let list = body.get("data").or_else(|| body.get("models")).unwrap_or(&body);
    let list = list.as_array().ok_or_else(|| failure::malformed("it has no list of models"))?;
    let name = |model: &Value| model.get("id").or_else(|| model.get("name")).and_then(Value::as_str).map(str::to_owned);
    Ok(list.iter().filter_map(name).collect())
}

fn tool_call(index: usize, call: Call) -> ToolCall {
    let arguments = arguments(call.function.arguments);
    gathered::complete(index, ToolCall { id: call.id.unwrap_or_default(), name: call.function.name, arguments })
}

/// JSON text by the protocol; some servers send the object itself, or nothing.
fn arguments(arguments: Value) -> String {
    match arguments {
        Value::String(text) => text,
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{models, parse};
    use compozy_plugin::llm::Finish;

    #[test]
    fn a_plain_answer() {
        let response = parse(include_bytes!("../exchanges/chat.json")).expect("answer");
        assert_eq!(response.text, "Hello! How can I assist you today?");
        assert_eq!((response.finish, response.model.as_str()), (Finish::Stop, "gpt-4o-mini-2024-07-18"));
        let usage = response.usage;
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), (1117, 10, 1024));
    }

    #[test]
    fn an_answer_with_calls() {
        let response = parse(include_bytes!("../exchanges/tool_calls.json")).expect("answer");
        let calls: Vec<_> = response.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(
            calls,
            [
                ("call_a1", "get_weather", "{\"city\": \"Oslo\"}"),
                ("call-2", "get_time", "{\"zone\":\"UTC\"}"),
                ("call_a3", "now", "{}")
            ]
        );
        assert_eq!((response.text.as_str(), response.finish), ("", Finish::ToolCalls));
    }

    #[test]
    fn odd_answers() {
        for (body, text, finish) in [
            (
                r#"{"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "finish_reason": "length"}]}"#,
                "ab",
                Finish::Length,
            ),
            (
                r#"{"choices": [{"message": {"content": null, "refusal": "I cannot"}, "finish_reason": "stop"}]}"#,
                "I cannot",
                Finish::ContentFilter,
            ),
            (r#"{"choices": [{"message": {"content": ""}, "finish_reason": null}], "usage": null}"#, "", Finish::Other),
            (
                r#"{"choices": [{"message": {"tool_calls": null}, "finish_reason": "stop"}], "model": null}"#,
                "",
                Finish::Stop,
            ),
        ] {
            let response = parse(body.as_bytes()).expect(body);
            assert_eq!((response.text.as_str(), response.finish), (text, finish), "{body}");
        }
    }

    #[test]
    fn broken_answers() {
        for (body, code, retryable) in [
            ("", "provider_malformed", true),
            ("<html>", "provider_malformed", true),
            (r#"{"choices": []}"#, "provider_malformed", true),
            (r#"{"choices": [{}]}"#, "provider_malformed", true),
            (r#"{"choices": [{"message": {"content": "a"#, "provider_malformed", true),
            ("[1]", "provider_malformed", true),
            (r#"{"error": {"message": "no"}}"#, "provider_error", false),
        ] {
            let error = parse(body.as_bytes()).expect_err(body);
            assert_eq!((error.code.as_str(), error.retryable), (code, retryable), "{body}");
        }
    }

    #[test]
    fn lists_of_models() {
        for (body, expected) in [
            (r#"{"object": "list", "data": [{"id": "a", "object": "model"}, {"id": "b"}]}"#, vec!["a", "b"]),
            (r#"{"models": [{"name": "c"}]}"#, vec!["c"]),
            (r#"[{"id": "d"}]"#, vec!["d"]),
        ] {
            assert_eq!(models(body.as_bytes()).expect(body), expected);
        }
        assert_eq!(models(b"{}").expect_err("no list").code, "provider_malformed");
    }
}
