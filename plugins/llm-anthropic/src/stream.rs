//! A streamed answer: blocks by their index.
//! Source: <https://docs.anthropic.com/en/docs/build-with-claude/streaming>.

use compozy_plugin::Result;
use compozy_plugin::llm::Response;
use llm_wire::failure::malformed;
use llm_wire::gathered::Gathered;
use llm_wire::stream::{self, Added, Ending};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::{self, Block, UsageText};
use crate::body::OUTPUT_TOOL;
use crate::failure;

/// What is known of the answer so far.
#[derive(Default)]
pub(crate) struct Partial {
    by_tool: bool,
    /// The block whose arguments are the text.
    output: Option<u64>,
    gathered: Gathered,
    stop_reason: Option<String>,
    usage: UsageText,
    model: String,
}

/// An event; `type` is in its data too, so the line with its name is not needed.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Happened {
    MessageStart {
        message: Start,
    },
    ContentBlockStart {
        index: u64,
        content_block: Block,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    MessageDelta {
        delta: End,
        #[serde(default)]
        usage: UsageText,
    },
    MessageStop,
    /// `ping`, the end of a block, and what is new.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Start {
    #[serde(default)]
    model: String,
    #[serde(default)]
    usage: UsageText,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    partial_json: String,
}

#[derive(Deserialize)]
struct End {
    stop_reason: Option<String>,
}

impl Partial {
    pub(crate) fn new(by_tool: bool) -> Self {
        Self { by_tool, ..Self::default() }
    }

    /// Begins a block and returns its text.
    fn begin(&mut self, index: u64, block: Block) -> Result<String> {
        match block.kind.as_str() {
            "text" => return Ok(block.text),
            "tool_use" if self.by_tool && block.name == OUTPUT_TOOL => self.output = Some(index),
            "tool_use" => {
                let call = self.gathered.call(index)?;
                (call.id, call.name) = (block.id, block.name);
                // Usually empty here, the arguments follow in pieces.
                if block.input.as_object().is_some_and(|input| !input.is_empty()) {
                    call.arguments = block.input.to_string();
                }
            }
            _ => {}
        }
        Ok(String::new())
    }

    /// Goes on with a block and returns its text.
    fn go_on(&mut self, index: u64, delta: Delta) -> Result<String> {
        match delta.kind.as_str() {
            "text_delta" => Ok(delta.text),
            "input_json_delta" if self.output == Some(index) => Ok(delta.partial_json),
            "input_json_delta" => {
                self.gathered.call(index)?.arguments.push_str(&delta.partial_json);
                Ok(String::new())
            }
            _ => Ok(String::new()),
        }
    }
}

impl stream::Partial for Partial {
    fn add(&mut self, frame: &str) -> Result<Added> {
        let event: Value = serde_json::from_str(frame).map_err(malformed)?;
        if let Some(error) = failure::from_body(&event) {
            return Err(error);
        }
        let mut added = Added::default();
        match serde_json::from_value(event).map_err(malformed)? {
            Happened::MessageStart { message } => {
                self.model = message.model;
                self.usage.update(message.usage);
            }
            Happened::ContentBlockStart { index, content_block } => added.text = self.begin(index, content_block)?,
            Happened::ContentBlockDelta { index, delta } => added.text = self.go_on(index, delta)?,
            Happened::MessageDelta { delta, usage } => {
                self.stop_reason = delta.stop_reason.or(self.stop_reason.take());
                self.usage.update(usage);
            }
            Happened::MessageStop => added.is_last = true,
            Happened::Other => {}
        }
        self.gathered.push(&added.text);
        self.gathered.check(0)?;
        Ok(added)
    }

    fn finish(self, ending: Ending) -> Result<Response> {
        if ending == Ending::Closed && self.stop_reason.is_none() {
            return Err(malformed("the stream ended before the answer did"));
        }
        let (text, tool_calls) = self.gathered.finish()?;
        answer::finished(Response {
            finish: answer::finish(self.stop_reason.as_deref(), !tool_calls.is_empty()),
            text,
            tool_calls,
            usage: self.usage.into(),
            model: self.model,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Partial;
    use compozy_plugin::http;
    use compozy_plugin::llm::Finish;
    use llm_wire::stream::Framing;
    use llm_wire::stream::testing::{self, Seen};

    fn check(exchange: &str, by_tool: bool) -> Seen {
        testing::check(exchange, Framing::Events, || Partial::new(by_tool))
    }

    #[test]
    fn a_streamed_text() {
        let (text, response) = check(include_str!("../exchanges/stream.sse"), false);
        let response = response.expect("answer");
        assert_eq!((&*text, &*response.text), ("Grüße, 世界!", "Grüße, 世界!"));
        assert_eq!((response.finish, &*response.model), (Finish::Stop, "claude-haiku-4-5-20251001"));
        let usage = response.usage;
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), (35, 15, 10));
    }

    #[test]
    fn streamed_calls() {
        let (text, response) = check(include_str!("../exchanges/stream_tool_use.sse"), false);
        let response = response.expect("answer");
        let calls: Vec<_> = response.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(calls, [("toolu_01A", "get_weather", "{\"city\": \"Oslo\"}"), ("toolu_01B", "now", "{}")]);
        assert_eq!((&*text, response.finish), ("I will look.", Finish::ToolCalls));
    }

    #[test]
    fn an_answer_by_tool_streams_as_text() {
        let exchange = include_str!("../exchanges/stream_tool_use.sse").replace("get_weather", "output");
        let (text, response) = check(&exchange, true);
        let response = response.expect("answer");
        assert_eq!((&*text, &*response.text), ("I will look.{\"city\": \"Oslo\"}", &*text));
        assert_eq!(response.tool_calls.len(), 1);
    }

    #[test]
    fn ends_and_failures_inside() {
        let begun = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"a\"}}\n\n";
        for (next, code, retryable) in [
            ("", "provider_malformed", true),
            ("event: ping\ndata: {\"type\":\"ping\"}\n\n", "provider_malformed", true),
            (
                "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n",
                "CZ0507",
                true,
            ),
            ("data: {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\"}}\n\n", "provider_error", false),
            ("data: {broken\n\n", "provider_malformed", true),
            ("data: {\"type\":\"content_block_delta\"}\n\n", "provider_malformed", true),
            (
                "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
                "provider_malformed",
                true,
            ),
        ] {
            let (text, end) = check(&format!("{begun}{next}"), false);
            let error = end.expect_err(next);
            assert_eq!((&*text, &*error.code, error.retryable), ("a", code, retryable), "{next}");
        }
        let broken = vec![Ok(begun.as_bytes().to_vec()), Err(http::Error::Connection("reset".to_owned()))];
        let (text, end) = testing::read(broken, Framing::Events, Partial::default());
        assert_eq!((&*text, &*end.expect_err("broken").code), ("a", "CZ0507"));
        // A stop reason is enough where the last event is missing.
        let stopped =
            format!("{begun}data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"max_tokens\"}}}}\n\n");
        assert_eq!(check(&stopped, false).1.expect("answer").finish, Finish::Length);
        assert!(check(&format!("{begun}data: {{\"type\":\"message_stop\"}}\n\n"), false).1.is_ok());
    }
}
