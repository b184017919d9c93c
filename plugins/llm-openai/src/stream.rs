//! A streamed answer: chunks become pieces of text, and the whole answer at the end.

use std::collections::VecDeque;

use compozy_plugin::llm::{Event, Response, ToolCall, Usage};
use compozy_plugin::{Result, http};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::{self, NO_USAGE, UsageText};
use crate::sse::Splitter;
use crate::{ANSWER_LIMIT, failure};

/// Different tool calls of one answer.
const CALL_LIMIT: usize = 128;

/// Turns the pieces of a body into events.
pub(crate) struct Stream<I> {
    /// `None` once all was read.
    body: Option<I>,
    splitter: Splitter,
    answer: Partial,
    /// Events read and not yet handed out; an error is the last.
    ready: VecDeque<Result<Event>>,
}

impl<I: Iterator<Item = std::result::Result<Vec<u8>, http::Error>>> Stream<I> {
    pub(crate) fn new(body: I) -> Self {
        Self { body: Some(body), splitter: Splitter::default(), answer: Partial::default(), ready: VecDeque::new() }
    }

    /// The stream of an answer that came at once.
    pub(crate) fn of_whole(response: Response) -> Self {
        let text = (!response.text.is_empty()).then(|| Event::Text(response.text.clone()));
        Self {
            body: None,
            splitter: Splitter::default(),
            answer: Partial::default(),
            ready: text.into_iter().chain([Event::Done(response)]).map(Ok).collect(),
        }
    }

    /// The next event; `None` after the end, and after an error.
    pub(crate) fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event.map(Some);
            }
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            let piece = body.next();
            if let Err(error) = self.read(piece) {
                // What came before the error is handed out first.
                self.body = None;
                self.ready.push_back(Err(error));
            }
        }
    }

    fn read(&mut self, piece: Option<std::result::Result<Vec<u8>, http::Error>>) -> Result<()> {
        let Some(piece) = piece else {
            let last = self.splitter.end();
            last.map_or(Ok(()), |data| self.take(&data))?;
            return self.end(Ending::Closed);
        };
        for data in self.splitter.feed(&piece.map_err(failure::from_http)?)? {
            self.take(&data)?;
        }
        Ok(())
    }

    fn take(&mut self, data: &str) -> Result<()> {
        if self.body.is_none() || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            return self.end(Ending::Said);
        }
        let text = self.answer.add(data)?;
        self.ready.extend(text.map(Event::Text).map(Ok));
        Ok(())
    }

    fn end(&mut self, ending: Ending) -> Result<()> {
        // `[DONE]` may have been read in the same piece.
        if self.body.take().is_none() {
            return Ok(());
        }
        let response = std::mem::take(&mut self.answer).finish(ending)?;
        self.ready.push_back(Ok(Event::Done(response)));
        Ok(())
    }
}

/// How a stream came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// By `[DONE]`.
    Said,
    /// By the connection.
    Closed,
}

/// What is known of the answer so far.
#[derive(Default)]
struct Partial {
    text: String,
    refusal: String,
    /// By the index that the server gives them.
    calls: Vec<(u64, ToolCall)>,
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

impl Partial {
    /// Adds a chunk and returns its text.
    fn add(&mut self, data: &str) -> Result<Option<String>> {
        let chunk: Value = serde_json::from_str(data).map_err(failure::malformed)?;
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
        let mut added = String::new();
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.has_choice = true;
            self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
            let Some(delta) = choice.delta else { continue };
            added.push_str(&answer::text(&delta.content));
            self.refusal.push_str(delta.refusal.as_deref().unwrap_or_default());
            delta.tool_calls.unwrap_or_default().into_iter().try_for_each(|call| self.add_call(call))?;
        }
        self.text.push_str(&added);
        let arguments: usize = self.calls.iter().map(|(_, call)| call.arguments.len()).sum();
        if self.text.len() + self.refusal.len() + arguments > ANSWER_LIMIT {
            return Err(failure::from_http(http::Error::TooLong(ANSWER_LIMIT)));
        }
        Ok((!added.is_empty()).then_some(added))
    }

    fn add_call(&mut self, delta: CallDelta) -> Result<()> {
        // Without an index, a piece with an id begins the next call and one without goes on with the last.
        let count = self.calls.len() as u64;
        let index = delta.index.unwrap_or(if delta.id.is_some() { count } else { count.saturating_sub(1) });
        let position = match self.calls.iter().position(|(present, _)| *present == index) {
            Some(position) => position,
            None if self.calls.len() < CALL_LIMIT => {
                let empty = ToolCall { id: String::new(), name: String::new(), arguments: String::new() };
                self.calls.push((index, empty));
                self.calls.len() - 1
            }
            None => {
                return Err(failure::malformed(format!("more than {CALL_LIMIT} tool calls")));
            }
        };
        let Some((_, call)) = self.calls.get_mut(position) else {
            return Ok(());
        };
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

    /// The whole answer, unless the connection ended before it did.
    fn finish(mut self, ending: Ending) -> Result<Response> {
        if !self.has_choice || (ending == Ending::Closed && self.finish_reason.is_none()) {
            return Err(failure::malformed("the stream ended before the answer did"));
        }
        self.calls.sort_by_key(|(index, _)| *index);
        let complete = |(number, (_, mut call)): (usize, (u64, ToolCall))| {
            if call.id.is_empty() {
                call.id = format!("call-{}", number + 1);
            }
            if call.arguments.is_empty() {
                call.arguments = "{}".to_owned();
            }
            call
        };
        let tool_calls: Vec<ToolCall> = self.calls.into_iter().enumerate().map(complete).collect();
        if tool_calls.iter().any(|call| call.name.is_empty()) {
            return Err(failure::malformed("a tool call has no name"));
        }
        let is_refusal = self.text.is_empty() && !self.refusal.is_empty();
        let reason = if is_refusal { Some("content_filter") } else { self.finish_reason.as_deref() };
        Ok(Response {
            finish: answer::finish(reason, !tool_calls.is_empty()),
            text: if is_refusal { self.refusal } else { self.text },
            tool_calls,
            usage: self.usage.unwrap_or(NO_USAGE),
            model: self.model,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;
    use compozy_plugin::llm::{Event, Finish, Response};
    use compozy_plugin::{Error, http};

    type Seen = (String, Result<Response, Error>);

    /// Reads all events: the text of the pieces, and how it ended.
    fn read(pieces: Vec<Result<Vec<u8>, http::Error>>) -> Seen {
        let mut stream = Stream::new(pieces.into_iter());
        let mut text = String::new();
        loop {
            match stream.next() {
                Ok(Some(Event::Text(piece))) => text.push_str(&piece),
                Ok(Some(Event::Done(response))) => {
                    assert!(matches!(stream.next(), Ok(None)));
                    return (text, Ok(response));
                }
                Ok(None) => return (text, Err(Error::new("test", "ended without done"))),
                Err(error) => {
                    assert!(matches!(stream.next(), Ok(None)));
                    return (text, Err(error));
                }
            }
        }
    }

    /// Reads the exchange in pieces of every small size; all must agree.
    fn check(exchange: &str) -> Seen {
        let whole = read(vec![Ok(exchange.as_bytes().to_vec())]);
        for size in [1, 2, 3, 7, 64, 100] {
            let pieces = exchange.as_bytes().chunks(size).map(|piece| Ok(piece.to_vec())).collect();
            assert_eq!(format!("{:?}", read(pieces)), format!("{whole:?}"), "pieces of {size}");
        }
        whole
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
        let (text, end) = read(broken);
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
