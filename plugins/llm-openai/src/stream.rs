//! A streamed answer: chunks by their index.

use compozy_plugin::Result;
use compozy_plugin::llm::{Response, Usage};
use llm_wire::gathered::Gathered;
use llm_wire::stream::{Added, Ending};
use llm_wire::{NO_USAGE, failure, stream};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::{self, UsageText};

/// What is known of the answer so far.
#[derive(Default)]
pub(crate) struct Partial {
    gathered: Gathered,
    refusal: String,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    model: String,
    has_choice: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<UsageText>,
    model: Option<String>,
    /// Groq's place for usage.
    x_groq: Option<Groq>,
}

#[derive(Deserialize)]
struct Groq {
    usage: Option<UsageText>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Value,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    #[serde(default)]
    arguments: Value,
}

impl stream::Partial for Partial {
    fn add(&mut self, frame: &str) -> Result<Added> {
        if frame == "[DONE]" {
            return Ok(Added { is_last: true, ..Added::default() });
        }
        let chunk: Value = serde_json::from_str(frame).map_err(failure::malformed)?;
        if let Some(error) = failure::from_body(&chunk) {
            return Err(error);
        }
        let chunk: Chunk = serde_json::from_value(chunk).map_err(failure::malformed)?;
        if let Some(usage) = chunk.usage.or(chunk.x_groq.and_then(|groq| groq.usage)) {
            self.usage = Some(usage.into());
        }
        if let Some(model) = chunk.model.filter(|_| self.model.is_empty()) {
            self.model = model;
        }
        let mut text = String::new();
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.has_choice = true;
            self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
            let Some(delta) = choice.delta else { continue };
            text.push_str(&answer::text(&delta.content));
            self.refusal.push_str(delta.refusal.as_deref().unwrap_or_default());
            delta.tool_calls.unwrap_or_default().into_iter().try_for_each(|call| self.add_call(call))?;
        }
        self.gathered.push(&text);
        self.gathered.check(self.refusal.len())?;
        Ok(Added { text, is_last: false })
    }

    fn finish(self, ending: Ending) -> Result<Response> {
        if !self.has_choice || (ending == Ending::Closed && self.finish_reason.is_none()) {
            return Err(failure::malformed("the stream ended before the answer did"));
        }
        let (text, tool_calls) = self.gathered.finish()?;
        let is_refusal = text.is_empty() && !self.refusal.is_empty();
        let reason = if is_refusal { Some("content_filter") } else { self.finish_reason.as_deref() };
        Ok(Response {
            finish: answer::finish(reason, !tool_calls.is_empty()),
            text: if is_refusal { self.refusal } else { text },
            tool_calls,
            usage: self.usage.unwrap_or(NO_USAGE),
            model: self.model,
        })
    }
}

impl Partial {
    fn add_call(&mut self, delta: CallDelta) -> Result<()> {
        // Without an index, a piece with an id begins the next call and one without goes on with the last.
        let count = self.gathered.count();
        let index = delta.index.unwrap_or(if delta.id.is_some() { count } else { count.saturating_sub(1) });
        let call = self.gathered.call(index)?;
        if let Some(id) = delta.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        if let Some(function) = delta.function {
            call.name.push_str(function.name.as_deref().unwrap_or_default());
            match function.arguments {
                Value::String(piece) => call.arguments.push_str(&piece),
                Value::Null => {}
                whole => call.arguments = whole.to_string(),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Partial;
    use compozy_plugin::http;
    use compozy_plugin::llm::Finish;
    use llm_wire::stream::Framing;
    use llm_wire::stream::testing::{self, Seen};

    fn check(exchange: &str) -> Seen {
        testing::check(exchange, Framing::Events, Partial::default)
    }

    #[test]
    fn a_streamed_text() {
        let (text, response) = check(include_str!("../exchanges/stream.sse"));
        let response = response.expect("answer");
        assert_eq!((text.as_str(), response.text.as_str()), ("Grüße, 世界!", "Grüße, 世界!"));
        assert_eq!((response.finish, response.model.as_str()), (Finish::Stop, "gpt-4o-mini-2024-07-18"));
        let usage = response.usage;
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), (12, 6, 4));
    }

    #[test]
    fn streamed_calls() {
        let (text, response) = check(include_str!("../exchanges/stream_tool_calls.sse"));
        let response = response.expect("answer");
        let calls: Vec<_> = response.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(calls, [("call_a", "get_weather", "{\"city\":\"Oslo\"}"), ("call_b", "now", "{}")]);
        assert_eq!((text.as_str(), response.finish), ("", Finish::ToolCalls));
    }

    #[test]
    fn ends() {
        let chunk = r#"data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
        let stop = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
        // Without [DONE], a finish reason is enough; without either, the answer is cut.
        assert!(check(&format!("{chunk}\n\n{stop}\n\n")).1.is_ok());
        assert!(check(&format!("{chunk}\n\ndata: [DONE]\n\n")).1.is_ok());
        for cut in [format!("{chunk}\n\n"), String::new(), "data: [DONE]\n\n".to_owned()] {
            let error = check(&cut).1.expect_err("cut");
            assert_eq!((error.code.as_str(), error.retryable), ("provider_malformed", true), "{cut}");
        }
    }

    #[test]
    fn failures_inside() {
        let chunk = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        for (next, code, retryable) in [
            ("data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n", "CZ0507", true),
            ("data: {\"error\":{\"message\":\"no\"}}\n\n", "provider_error", false),
            ("data: {broken\n\n", "provider_malformed", true),
            (
                "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n",
                "provider_malformed",
                true,
            ),
        ] {
            let (text, end) = check(&format!("{chunk}{next}"));
            let error = end.expect_err(next);
            assert_eq!((text.as_str(), error.code.as_str(), error.retryable), ("a", code, retryable), "{next}");
        }
        let broken = vec![Ok(chunk.as_bytes().to_vec()), Err(http::Error::Connection("reset".to_owned()))];
        let (text, end) = testing::read(broken, Framing::Events, Partial::default());
        assert_eq!((text.as_str(), end.expect_err("broken").code.as_str()), ("a", "CZ0507"));
    }

    #[test]
    fn a_call_without_index_goes_on() {
        let piece = |call: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{call}]}}}}]}}\n\n");
        let exchange = [
            piece(r#"{"id":"x","function":{"name":"f","arguments":"{\"a\":"}}"#),
            piece(r#"{"function":{"arguments":"1}"}}"#),
            piece(r#"{"id":"y","function":{"name":"g","arguments":{"b":2}}}"#),
            "data: [DONE]\n\n".to_owned(),
        ];
        let response = check(&exchange.concat()).1.expect("answer");
        let calls: Vec<_> = response.tool_calls.iter().map(|call| (&*call.id, &*call.arguments)).collect();
        assert_eq!(calls, [("x", "{\"a\":1}"), ("y", "{\"b\":2}")]);
    }
}
