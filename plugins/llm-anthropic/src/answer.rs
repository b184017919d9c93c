//! A whole answer, and the list of models.

use compozy_plugin::Result;
use compozy_plugin::llm::{Finish, Response, ToolCall, Usage};
use llm_wire::failure::{malformed, withheld};
use llm_wire::gathered;
use serde::Deserialize;
use serde_json::Value;

use crate::body::OUTPUT_TOOL;
use crate::failure;

#[derive(Deserialize)]
struct Message {
    content: Vec<Block>,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: UsageText,
    #[serde(default)]
    model: String,
}

/// A part of an answer. Thoughts, and what is new, have neither text nor name.
#[derive(Deserialize)]
pub(crate) struct Block {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) input: Value,
}

/// Token counts; those of a stream come in several parts.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct UsageText {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
}

impl UsageText {
    /// Takes over what a later part says: its counts are sums.
    pub(crate) fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
    }
}

impl From<UsageText> for Usage {
    fn from(usage: UsageText) -> Self {
        let cached = usage.cache_read_input_tokens.unwrap_or(0);
        // `input_tokens` are those behind the last place of the cache.
        let read = [usage.input_tokens, usage.cache_creation_input_tokens];
        let prompt_tokens = read.into_iter().flatten().fold(cached, u64::saturating_add);
        Self { prompt_tokens, completion_tokens: usage.output_tokens.unwrap_or(0), cached_tokens: cached }
    }
}

/// Reads the body of an answer of status 2xx. With `by_tool`, the arguments of [`OUTPUT_TOOL`] are its text.
pub(crate) fn parse(body: &[u8], by_tool: bool) -> Result<Response> {
    let body: Value = serde_json::from_slice(body).map_err(malformed)?;
    if let Some(error) = failure::from_body(&body) {
        return Err(error);
    }
    let message: Message = serde_json::from_value(body).map_err(malformed)?;
    let mut text = String::new();
    let mut tool_calls = Vec::new();
    for block in message.content {
        match block.kind.as_str() {
            "text" => text.push_str(&block.text),
            "tool_use" if by_tool && block.name == OUTPUT_TOOL => text = block.input.to_string(),
            "tool_use" => tool_calls.push(call(tool_calls.len(), block)?),
            _ => {}
        }
    }
    finished(Response {
        finish: finish(message.stop_reason.as_deref(), !tool_calls.is_empty()),
        text,
        tool_calls,
        usage: message.usage.into(),
        model: message.model,
    })
}

/// The answer, unless nothing of it was let through.
pub(crate) fn finished(response: Response) -> Result<Response> {
    let is_empty = response.text.is_empty() && response.tool_calls.is_empty();
    if response.finish == Finish::ContentFilter && is_empty { Err(withheld("refusal")) } else { Ok(response) }
}

fn call(number: usize, block: Block) -> Result<ToolCall> {
    if block.name.is_empty() {
        return Err(malformed("a tool call has no name"));
    }
    let arguments = if block.input.is_null() { String::new() } else { block.input.to_string() };
    Ok(gathered::complete(number, ToolCall { id: block.id, name: block.name, arguments }))
}

/// The reason by its name (<https://docs.anthropic.com/en/api/handling-stop-reasons>).
pub(crate) fn finish(reason: Option<&str>, has_calls: bool) -> Finish {
    match reason {
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("refusal") => Finish::ContentFilter,
        _ if has_calls => Finish::ToolCalls,
        // The forced call of the tool that gives the answer.
        Some("end_turn" | "stop_sequence" | "tool_use") => Finish::Stop,
        _ => Finish::Other,
    }
}

/// Names of the models.
pub(crate) fn models(body: &[u8]) -> Result<Vec<String>> {
    let body: Value = serde_json::from_slice(body).map_err(malformed)?;
    if let Some(error) = failure::from_body(&body) {
        return Err(error);
    }
    let list = body.get("data").and_then(Value::as_array).ok_or_else(|| malformed("it has no list of models"))?;
    Ok(list.iter().filter_map(|model| model.get("id").and_then(Value::as_str)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::{models, parse};
    use compozy_plugin::llm::Finish;

    #[test]
    fn a_plain_answer() {
        let response = parse(include_bytes!("../exchanges/message.json"), false).expect("answer");
        assert_eq!((&*response.text, response.finish), ("Hello! It is sunny.", Finish::Stop));
        assert_eq!(response.model, "claude-haiku-4-5-20251001");
        let usage = response.usage;
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), (2112, 12, 2000));
    }

    #[test]
    fn an_answer_with_calls() {
        let response = parse(include_bytes!("../exchanges/tool_use.json"), false).expect("answer");
        let calls: Vec<_> = response.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(calls, [("toolu_01A", "get_weather", "{\"city\":\"Oslo\"}"), ("toolu_01B", "now", "{}")]);
        assert_eq!((&*response.text, response.finish), ("I will look.", Finish::ToolCalls));
    }

    #[test]
    fn an_answer_by_tool_is_its_arguments() {
        let body = br#"{"type": "message", "content": [{"type": "text", "text": "Well: "},
            {"type": "tool_use", "id": "t", "name": "output", "input": {"b": 1, "a": [2]}}], "stop_reason": "tool_use"}"#;
        let response = parse(body, true).expect("answer");
        assert_eq!((&*response.text, response.finish), (r#"{"b":1,"a":[2]}"#, Finish::Stop));
        assert!(response.tool_calls.is_empty());
        // A tool of the task's own may have that name.
        assert_eq!(parse(body, false).expect("answer").finish, Finish::ToolCalls);
    }

    #[test]
    fn ends() {
        for (reason, finish) in [
            ("\"end_turn\"", Finish::Stop),
            ("\"stop_sequence\"", Finish::Stop),
            ("\"max_tokens\"", Finish::Length),
            ("\"model_context_window_exceeded\"", Finish::Length),
            ("\"refusal\"", Finish::ContentFilter),
            ("\"pause_turn\"", Finish::Other),
            ("null", Finish::Other),
        ] {
            let body = format!(r#"{{"content": [{{"type": "text", "text": "a"}}], "stop_reason": {reason}}}"#);
            assert_eq!(parse(body.as_bytes(), false).expect(reason).finish, finish, "{reason}");
        }
    }

    #[test]
    fn broken_answers() {
        for (body, code, retryable) in [
            ("", "provider_malformed", true),
            ("<html>", "provider_malformed", true),
            ("{}", "provider_malformed", true),
            (r#"{"content": "text"}"#, "provider_malformed", true),
            (r#"{"content": [{"type": "tool_use"}]}"#, "provider_malformed", true),
            (r#"{"content": [{"type": "text", "text": "a"#, "provider_malformed", true),
            (r#"{"content": [], "stop_reason": "refusal"}"#, "provider_error", false),
            (r#"{"type": "error", "error": {"type": "overloaded_error", "message": "m"}}"#, "CZ0507", true),
        ] {
            let error = parse(body.as_bytes(), false).expect_err(body);
            assert_eq!((error.code.as_str(), error.retryable), (code, retryable), "{body}");
        }
    }

    #[test]
    fn lists_of_models() {
        let body = br#"{"data": [{"type": "model", "id": "claude-a"}, {"id": "claude-b"}], "has_more": false}"#;
        assert_eq!(models(body).expect("list"), ["claude-a", "claude-b"]);
        assert_eq!(models(b"[]").expect_err("no list").code, "provider_malformed");
    }
}
