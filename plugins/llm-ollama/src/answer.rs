//! An answer, which a whole body gives at once and a stream in lines of the same shape, and the list of models.

use compozy_plugin::Result;
use compozy_plugin::llm::{Finish, Response, Usage};
use llm_wire::failure::{self, malformed};
use llm_wire::gathered::Gathered;
use llm_wire::stream::{self, Added, Ending, Partial as _};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    model: String,
    message: Option<Message>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: String,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Value,
}

/// What is known of the answer so far.
#[derive(Default)]
pub(crate) struct Partial {
    gathered: Gathered,
    done: bool,
    reason: Option<String>,
    prompt_tokens: u64,
    completion_tokens: u64,
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
        let line: Value = serde_json::from_slice(text).map_err(malformed)?;
        if let Some(error) = failure::from_body(&line) {
            return Err(error);
        }
        let line: Line = serde_json::from_value(line).map_err(malformed)?;
        if self.model.is_empty() {
            self.model = line.model;
        }
        self.done |= line.done;
        self.reason = line.done_reason.or(self.reason.take());
        self.prompt_tokens = line.prompt_eval_count.unwrap_or(self.prompt_tokens);
        self.completion_tokens = line.eval_count.unwrap_or(self.completion_tokens);
        let mut added = Added { is_last: line.done, ..Added::default() };
        if let Some(message) = line.message {
            added.text = message.content;
            message.tool_calls.unwrap_or_default().into_iter().try_for_each(|call| self.call(call))?;
        }
        self.gathered.push(&added.text);
        self.gathered.check(0)?;
        Ok(added)
    }

    /// A call comes in one piece.
    fn call(&mut self, call: Call) -> Result<()> {
        let new = self.gathered.call(self.gathered.count())?;
        (new.id, new.name) = (call.id, call.function.name);
        new.arguments = match call.function.arguments {
            Value::Null => String::new(),
            Value::String(text) => text,
            arguments => arguments.to_string(),
        };
        Ok(())
    }
}

impl stream::Partial for Partial {
    fn add(&mut self, frame: &str) -> Result<Added> {
        self.read(frame.as_bytes())
    }

    fn finish(self, _: Ending) -> Result<Response> {
        if !self.done {
            return Err(malformed("it ended before the answer did"));
        }
        let (text, tool_calls) = self.gathered.finish()?;
        let finish = match self.reason.as_deref() {
            Some("length") => Finish::Length,
            _ if !tool_calls.is_empty() => Finish::ToolCalls,
            // Older servers give no reason.
            Some("stop") | None => Finish::Stop,
            Some(_) => Finish::Other,
        };
        // What it has read before is left out of its count: it never tells what was cached.
        let usage =
            Usage { prompt_tokens: self.prompt_tokens, completion_tokens: self.completion_tokens, cached_tokens: 0 };
        Ok(Response { text, tool_calls, finish, usage, model: self.model })
    }
}

/// Names of the models that are there.
pub(crate) fn models(body: &[u8]) -> Result<Vec<String>> {
    let body: Value = serde_json::from_slice(body).map_err(malformed)?;
    if let Some(error) = failure::from_body(&body) {
        return Err(error);
    }
    let list = body.get("models").and_then(Value::as_array).ok_or_else(|| malformed("it has no list of models"))?;
    let name =
        |model: &Value| model.get("name").or_else(|| model.get("model")).and_then(Value::as_str).map(str::to_owned);
    Ok(list.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::{Partial, models, whole};
    use compozy_plugin::http;
    use compozy_plugin::llm::Finish;
    use llm_wire::stream::Framing;
    use llm_wire::stream::testing::{self, Seen};

    fn check(exchange: &str) -> Seen {
        testing::check(exchange, Framing::Lines, Partial::default)
    }

    #[test]
    fn a_plain_answer() {
        let response = whole(include_bytes!("../exchanges/chat.json")).expect("answer");
        assert_eq!((&*response.text, response.finish, &*response.model), ("Hello!", Finish::Stop, "llama3.2"));
        assert_eq!((response.usage.prompt_tokens, response.usage.completion_tokens), (26, 298));
    }

    #[test]
    fn an_answer_with_calls() {
        let response = whole(include_bytes!("../exchanges/tool_calls.json")).expect("answer");
        let calls: Vec<_> = response.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(calls, [("call-1", "get_weather", "{\"city\":\"Oslo\"}"), ("x2", "now", "{}")]);
        assert_eq!((&*response.text, response.finish), ("", Finish::ToolCalls));
    }

    #[test]
    fn a_streamed_text() {
        let (text, response) = check(include_str!("../exchanges/stream.ndjson"));
        let response = response.expect("answer");
        assert_eq!((&*text, &*response.text), ("Grüße, 世界!", "Grüße, 世界!"));
        assert_eq!((response.finish, response.usage.completion_tokens), (Finish::Stop, 9));
    }

    #[test]
    fn streamed_calls() {
        let (text, response) = check(include_str!("../exchanges/stream_tool_calls.ndjson"));
        let response = response.expect("answer");
        let names: Vec<_> = response.tool_calls.iter().map(|call| (&*call.id, &*call.name)).collect();
        assert_eq!((&*text, names), ("", vec![("call-1", "get_weather"), ("call-2", "now")]));
        assert_eq!(response.finish, Finish::ToolCalls);
    }

    #[test]
    fn ends() {
        for (reason, finish) in [
            (r#","done_reason":"stop""#, Finish::Stop),
            (r#","done_reason":"length""#, Finish::Length),
            (r#","done_reason":"load""#, Finish::Other),
            ("", Finish::Stop),
        ] {
            let body = format!(r#"{{"message":{{"content":"a"}},"done":true{reason}}}"#);
            assert_eq!(whole(body.as_bytes()).expect(reason).finish, finish, "{reason}");
        }
    }

    #[test]
    fn broken_answers() {
        for (body, code, retryable) in [
            ("", "provider_malformed", true),
            ("<html>", "provider_malformed", true),
            ("{}", "provider_malformed", true),
            (r#"{"message": "a", "done": true}"#, "provider_malformed", true),
            (r#"{"message": {"tool_calls": [{"function": {"name": ""}}]}, "done": true}"#, "provider_malformed", true),
            (r#"{"error": "an error was met"}"#, "provider_error", false),
        ] {
            let error = whole(body.as_bytes()).expect_err(body);
            assert_eq!((&*error.code, error.retryable), (code, retryable), "{body}");
        }
        let begun = "{\"message\":{\"content\":\"a\"},\"done\":false}\n";
        for (next, code) in
            [("", "provider_malformed"), ("{\"error\":\"m\"}\n", "provider_error"), ("{x\n", "provider_malformed")]
        {
            let (text, end) = check(&format!("{begun}{next}"));
            assert_eq!((&*text, &*end.expect_err(next).code), ("a", code), "{next}");
        }
        let broken = vec![Ok(begun.as_bytes().to_vec()), Err(http::Error::Connection("reset".to_owned()))];
        let (text, end) = testing::read(broken, Framing::Lines, Partial::default());
        assert_eq!((&*text, &*end.expect_err("broken").code), ("a", "CZ0507"));
    }

    #[test]
    fn lists_of_models() {
        let body = br#"{"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest"}, {"model": "qwen3:4b"}]}"#;
        assert_eq!(models(body).expect("list"), ["llama3.2:latest", "qwen3:4b"]);
        assert_eq!(models(b"{}").expect_err("no list").code, "provider_malformed");
    }
}
