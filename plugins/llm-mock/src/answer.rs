//! From a request and the scripted entry that applies to the answer.

use compozy_plugin::llm::{Finish, Request, Response, Role, ToolCall, Usage};
use compozy_plugin::{Error, Result};
use serde_json::Value;

use crate::sample;
use crate::script::Entry;

/// The only model, and the one that every answer names.
pub(crate) const MODEL: &str = "mock";

/// The scripted answer, else the smallest value of the schema, else the prompt after `[mock]`.
pub(crate) fn respond(request: &Request, entry: Option<&Entry>) -> Result<Response> {
    if let Some(failure) = entry.and_then(|entry| entry.error.as_ref()) {
        return Err(failure.to_error());
    }
    let tool_calls = entry.map(tool_calls).unwrap_or_default();
    let text = match entry {
        Some(Entry { text: Some(text), .. }) => text.clone(),
        Some(Entry { json: Some(value), .. }) => value.to_string(),
        Some(_) if !tool_calls.is_empty() => String::new(),
        _ => usual(request)?,
    };
    Ok(Response {
        finish: if tool_calls.is_empty() { Finish::Stop } else { Finish::ToolCalls },
        usage: Usage {
            prompt_tokens: request.messages.iter().map(|message| tokens(&message.content)).sum(),
            completion_tokens: tokens(&text),
            cached_tokens: 0,
        },
        text,
        tool_calls,
        model: MODEL.to_owned(),
    })
}

/// The text in pieces that end after each run of white space; together they are the text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let space = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (_, after) = rest.split_at(space);
        let end = rest.len() - after.trim_start().len();
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

fn usual(request: &Request) -> Result<String> {
    if let Some(schema) = &request.output_schema {
        let schema: Value = serde_json::from_str(schema)
            .map_err(|error| Error::new("invalid_schema", format!("the output schema is no JSON: {error}")))?;
        return Ok(sample::smallest(&schema).to_string());
    }
    let prompt = request.messages.iter().rev().find(|message| message.role == Role::User);
    Ok(format!("[mock] {}", prompt.map_or("", |message| message.content.as_str())))
}

fn tool_calls(entry: &Entry) -> Vec<ToolCall> {
    let call = |(number, call): (usize, &crate::script::ScriptedCall)| ToolCall {
        id: format!("mock-call-{}", number + 1),
        name: call.name.clone(),
        arguments: match &call.arguments {
            Value::String(text) => text.clone(),
            Value::Null => "{}".to_owned(),
            value => value.to_string(),
        },
    };
    entry.tool_calls.iter().enumerate().map(call).collect()
}

fn tokens(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{respond, words};
    use crate::script::{Call, Script};
    use compozy_plugin::Result;
    use compozy_plugin::llm::{Finish, Message, Parameters, Request, Response, Role};

    pub(crate) fn message(role: Role, content: &str) -> Message {
        Message { role, content: content.to_owned(), tool_calls: vec![], tool_call_id: None }
    }

    pub(crate) fn request(messages: &[Message]) -> Request {
        let parameters =
            Parameters { temperature: None, top_p: None, max_tokens: None, seed: None, stop: vec![], extra: None };
        Request { model: "m".to_owned(), messages: messages.to_vec(), tools: vec![], output_schema: None, parameters }
    }

    fn check(script: &str, output_schema: Option<&str>) -> Result<Response> {
        let script: Script = serde_json::from_str(script).expect("script");
        let mut request = request(&[
            message(Role::System, "be brief"),
            message(Role::User, "first"),
            message(Role::Assistant, "yes"),
            message(Role::User, "second  one"),
        ]);
        request.output_schema = output_schema.map(str::to_owned);
        let entry = script.entry(&request, &Call::default());
        respond(&request, entry)
    }

    #[test]
    fn answers_the_last_prompt() {
        let response = check("{}", None).expect("answer");
        assert_eq!(response.text, "[mock] second  one");
        assert_eq!((response.finish, response.model.as_str()), (Finish::Stop, "mock"));
        assert_eq!((response.usage.prompt_tokens, response.usage.completion_tokens), (6, 3));
    }

    #[test]
    fn answers_the_schema() {
        let response = check(
            "{}",
            Some(r#"{"type": "object", "required": ["n"], "properties": {"n": {"minimum": 2, "type": "integer"}}}"#),
        );
        assert_eq!(response.expect("answer").text, r#"{"n":2}"#);
        assert_eq!(check("{}", Some("{")).expect_err("no JSON").code, "invalid_schema");
    }

    #[test]
    fn follows_the_script() {
        let text = |script| check(script, None).expect("answer").text;
        assert_eq!(text(r#"{"answers": [{"text": "t"}]}"#), "t");
        assert_eq!(text(r#"{"answers": [{"json": {"b": 1, "a": [2]}}]}"#), r#"{"b":1,"a":[2]}"#);
        assert_eq!(text(r#"{"answers": [{"delay_ms": 5}]}"#), "[mock] second  one");
        let calls = check(r#"{"answers": [{"tool_calls": [{"name": "f", "arguments": {"x": 1}}, {"name": "g"}, {"name": "h", "arguments": "{"}]}]}"#, None)
            .expect("answer");
        let seen: Vec<_> = calls.tool_calls.iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
        assert_eq!(seen, [("mock-call-1", r#"{"x":1}"#), ("mock-call-2", "{}"), ("mock-call-3", "{")]);
        assert_eq!((calls.text.as_str(), calls.finish), ("", Finish::ToolCalls));
        let error = check(r#"{"answers": [{"error": {"code": "CZ0507", "message": "down", "retryable": true, "retry_after_ms": 9}}]}"#, None)
            .expect_err("scripted");
        assert_eq!((error.code.as_str(), error.message.as_str()), ("CZ0507", "[mock] down"));
        assert_eq!((error.retryable, error.retry_after_ms), (true, Some(9)));
    }

    #[test]
    fn words_together_are_the_text() {
        for (text, expected) in [
            ("", vec![]),
            ("one", vec!["one"]),
            ("[mock] a  b\n", vec!["[mock] ", "a  ", "b\n"]),
            (" a", vec![" ", "a"]),
            ("é\u{2003}ü", vec!["é\u{2003}", "ü"]),
        ] {
            assert_eq!(words(text).collect::<Vec<_>>(), expected);
        }
    }
}
