//! An answer, which a whole body gives at once and a stream in pieces of the same shape.

use compozy_plugin::Result;
use compozy_plugin::llm::{Finish, Response, Usage};
use llm_wire::NO_USAGE;
use llm_wire::failure::{malformed, withheld};
use llm_wire::gathered::Gathered;
use llm_wire::stream::{self, Added, Ending, Partial as _};

use crate::answer::{self, Part};
use crate::calls;

/// What is known of the answer so far.
#[derive(Default)]
pub(crate) struct Partial {
    gathered: Gathered,
    finish_reason: Option<String>,
    block_reason: Option<String>,
    usage: Option<Usage>,
    model: String,
}

/// Reads the body of an answer of status 2xx.
pub(crate) fn whole(body: &[u8]) -> Result<Response> {
    let mut partial = Partial::default();
    partial.read(body)?;
    partial.finish(Ending::Closed)
}

impl Partial {
    fn read(&mut self, text: &[u8]) -> Result<Added> {
        let generated = answer::read(text)?;
        self.usage = generated.usage_metadata.map(Usage::from).or(self.usage.take());
        if self.model.is_empty() {
            self.model = generated.model_version;
        }
        if let Some(feedback) = generated.prompt_feedback {
            self.block_reason = feedback.block_reason.or(self.block_reason.take());
        }
        let mut added = Added::default();
        for candidate in generated.candidates.into_iter().filter(|candidate| candidate.index == 0) {
            self.finish_reason = candidate.finish_reason.or(self.finish_reason.take());
            let parts = candidate.content.map(|content| content.parts).unwrap_or_default();
            parts.into_iter().try_for_each(|part| self.part(part, &mut added.text))?;
        }
        self.gathered.push(&added.text);
        self.gathered.check(0)?;
        Ok(added)
    }

    fn part(&mut self, part: Part, text: &mut String) -> Result<()> {
        if !part.thought {
            text.push_str(&part.text);
        }
        if let Some(call) = part.function_call {
            let number = self.gathered.count();
            let new = self.gathered.call(number)?;
            new.id = calls::id(number, call.id.as_deref(), part.thought_signature.as_deref());
            new.name = call.name;
            new.arguments = if call.args.is_null() { String::new() } else { call.args.to_string() };
        }
        Ok(())
    }
}

impl stream::Partial for Partial {
    fn add(&mut self, frame: &str) -> Result<Added> {
        self.read(frame.as_bytes())
    }

    fn finish(self, _: Ending) -> Result<Response> {
        if let Some(reason) = &self.block_reason {
            return Err(withheld(&format!("the prompt was blocked ({reason})")));
        }
        // The last piece says why it is the last; there is no other sign of the end.
        let reason = self.finish_reason.ok_or_else(|| malformed("it ended before the answer did"))?;
        if reason.contains("FUNCTION_CALL") || reason.contains("TOOL_CALL") {
            return Err(malformed(format!("the model wrote a call that cannot be read ({reason})")));
        }
        let (text, tool_calls) = self.gathered.finish()?;
        let finish = answer::finish(&reason, !tool_calls.is_empty());
        if finish == Finish::ContentFilter && text.is_empty() && tool_calls.is_empty() {
            return Err(withheld(&reason));
        }
        Ok(Response { text, tool_calls, finish, usage: self.usage.unwrap_or(NO_USAGE), model: self.model })
    }
}

#[cfg(test)]
mod tests {
    use super::{Partial, whole};
    use compozy_plugin::http;
    use compozy_plugin::llm::Finish;
    use llm_wire::stream::Framing;
    use llm_wire::stream::testing::{self, Seen};

    fn check(exchange: &str) -> Seen {
        testing::check(exchange, Framing::Events, Partial::default)
    }

    #[test]
    fn a_plain_answer() {
        let response = whole(include_bytes!("../exchanges/generate.json")).expect("answer");
        assert_eq!((&*response.text, response.finish, &*response.model), ("Hello!", Finish::Stop, "gemini-2.5-flash"));
        let usage = response.usage;
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), (14, 30, 8));
    }

    #[test]
    fn an_answer_with_calls() {
        let response = whole(include_bytes!("../exchanges/function_calls.json")).expect("answer");
        let calls: Vec<_> = response.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(calls, [("call-1~c2ln", "get_weather", "{\"city\":\"Oslo\"}"), ("f2", "now", "{}")]);
        assert_eq!((&*response.text, response.finish), ("", Finish::ToolCalls));
    }

    #[test]
    fn a_streamed_text() {
        let (text, response) = check(include_str!("../exchanges/stream.sse"));
        let response = response.expect("answer");
        assert_eq!((&*text, &*response.text), ("Grüße, 世界!", "Grüße, 世界!"));
        assert_eq!((response.finish, &*response.model), (Finish::Stop, "gemini-2.5-flash"));
        assert_eq!((response.usage.prompt_tokens, response.usage.completion_tokens), (11, 9));
    }

    #[test]
    fn ends() {
        for (reason, finish) in [
            ("STOP", Finish::Stop),
            ("MAX_TOKENS", Finish::Length),
            ("SAFETY", Finish::ContentFilter),
            ("RECITATION", Finish::ContentFilter),
            ("OTHER", Finish::Other),
        ] {
            let body = format!(
                r#"{{"candidates": [{{"content": {{"parts": [{{"text": "a"}}]}}, "finishReason": "{reason}"}}]}}"#
            );
            assert_eq!(whole(body.as_bytes()).expect(reason).finish, finish, "{reason}");
        }
    }

    #[test]
    fn broken_and_withheld_answers() {
        for (body, code, retryable) in [
            ("", "provider_malformed", true),
            ("<html>", "provider_malformed", true),
            ("{}", "provider_malformed", true),
            (r#"{"candidates": 1}"#, "provider_malformed", true),
            (r#"{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}"#, "provider_malformed", true),
            (r#"{"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}"#, "provider_malformed", true),
            (r#"{"candidates": [{"finishReason": "SAFETY"}]}"#, "provider_error", false),
            (r#"{"promptFeedback": {"blockReason": "SAFETY"}}"#, "provider_error", false),
            (r#"{"error": {"code": 503, "message": "m"}}"#, "CZ0507", true),
        ] {
            let error = whole(body.as_bytes()).expect_err(body);
            assert_eq!((&*error.code, error.retryable), (code, retryable), "{body}");
        }
    }

    #[test]
    fn failures_inside() {
        let begun = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\r\n\r\n";
        for (next, code, retryable) in [
            ("", "provider_malformed", true),
            ("data: {\"error\":{\"code\":503}}\r\n\r\n", "CZ0507", true),
            ("data: {broken\r\n\r\n", "provider_malformed", true),
        ] {
            let (text, end) = check(&format!("{begun}{next}"));
            let error = end.expect_err(next);
            assert_eq!((&*text, &*error.code, error.retryable), ("a", code, retryable), "{next}");
        }
        let broken = vec![Ok(begun.as_bytes().to_vec()), Err(http::Error::Connection("reset".to_owned()))];
        let (text, end) = testing::read(broken, Framing::Events, Partial::default());
        assert_eq!((&*text, &*end.expect_err("broken").code), ("a", "CZ0507"));
    }
}
