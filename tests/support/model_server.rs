//! A server of the OpenAI protocol (`POST /v1/chat/completions`), streaming and not, that answers as it is told.
//!
//! Without being told it greets: `Say hello to Ada` gets `Hello, Ada!`, anything else `You said: …`.

use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::http;
use super::listener::{self, Listener, Request};

/// One answer.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A completion.
    Text(String),
    /// The same after a pause.
    Slow(Duration, String),
    /// Calls of tools: name and arguments, as the model writes them.
    Calls(Vec<(String, String)>),
    /// A status with headers and an error object, as providers send it.
    Refuse(u16, Vec<(String, String)>, String),
    /// A body that is not what it should be, with status 200; as an event when a stream was asked for.
    Raw(String),
    /// Closes the connection in the middle of the answer.
    Cut,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn is_streamed(&self) -> bool {
        self.body["stream"] == json!(true)
    }
}

/// The server.
#[derive(Debug)]
pub(crate) struct ModelServer {
    listener: Listener,
    script: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl ModelServer {
    /// Listens on a free port.
    pub(crate) fn listen() -> Self {
        let script: Arc<Mutex<VecDeque<Answer>>> = Arc::default();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (answers, questions) = (Arc::clone(&script), Arc::clone(&asked));
        let listener = Listener::serve(move |request, stream| {
            let question = question(request);
            questions.lock().unwrap().push(question.clone());
            if question.path != "/v1/chat/completions" {
                return refuse(stream, 404, &[], "no such route");
            }
            let next = answers.lock().unwrap().pop_front();
            respond(stream, &question, next.unwrap_or_else(|| Answer::Text(usual(&question.body))));
        });
        Self { listener, script, asked }
    }

    /// Answers the next questions so, one each.
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().extend(answers);
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.listener.address)
    }

    /// Everything asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn question(request: &Request) -> Asked {
    Asked {
        path: request.path.clone(),
        authorization: http::header(&request.headers, "authorization").map(str::to_owned),
        body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
    }
}

fn usual(body: &Value) -> String {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let prompt = messages.iter().rev().find(|message| message["role"] == "user");
    let prompt = prompt.and_then(|message| message["content"].as_str()).unwrap_or_default();
    match prompt.strip_prefix("Say hello to ") {
        Some(name) => format!("Hello, {name}!"),
        None => format!("You said: {prompt}"),
    }
}

fn respond(stream: &mut TcpStream, question: &Asked, answer: Answer) {
    match answer {
        Answer::Text(text) => complete(stream, question, &text),
        Answer::Slow(pause, text) => {
            std::thread::sleep(pause);
            complete(stream, question, &text);
        }
        Answer::Calls(calls) => call(stream, question, &calls),
        Answer::Refuse(status, headers, message) => {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            refuse(stream, status, &headers, &message);
        }
        Answer::Raw(body) if question.is_streamed() => {
            let body = format!("data: {body}\n\n");
            listener::answer(stream, 200, &[("content-type", "text/event-stream")], body.as_bytes());
        }
        Answer::Raw(body) => listener::answer(stream, 200, &[("content-type", "application/json")], body.as_bytes()),
        Answer::Cut => {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"id\": \"chat";
            let _ = stream.write_all(head.as_bytes());
        }
    }
}

fn refuse(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)], message: &str) {
    let body = json!({"error": {"message": message, "type": "test_error", "code": null}}).to_string();
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/json"));
    listener::answer(stream, status, &headers, body.as_bytes());
}

/// Asks for calls, streamed in two pieces each.
fn call(stream: &mut TcpStream, question: &Asked, calls: &[(String, String)]) {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10});
    let model = question.body["model"].clone();
    if !question.is_streamed() {
        let calls: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(at, (name, arguments))| {
                json!({"id": format!("call_{at}"), "type": "function", "function": {"name": name, "arguments": arguments}})
            })
            .collect();
        let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
        let body = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": usage,
        });
        return listener::answer(stream, 200, &[("content-type", "application/json")], body.to_string().as_bytes());
    }
    let mut deltas = Vec::new();
    for (at, (name, arguments)) in calls.iter().enumerate() {
        let function = json!({"name": name, "arguments": ""});
        deltas.push(json!({"tool_calls": [{"index": at, "id": format!("call_{at}"), "type": "function", "function": function}]}));
        deltas.push(json!({"tool_calls": [{"index": at, "function": {"arguments": arguments}}]}));
    }
    let chunk = |delta: &Value, finish: Value, usage: &Value| {
        json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": usage,
        })
    };
    let mut events: Vec<Value> = deltas.iter().map(|delta| chunk(delta, Value::Null, &Value::Null)).collect();
    events.push(chunk(&json!({}), json!("tool_calls"), &usage));
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n");
    for event in events {
        let _ = stream.write_all(format!("data: {event}\n\n").as_bytes());
    }
    let _ = stream.write_all(b"data: [DONE]\n\n");
}

fn complete(stream: &mut TcpStream, question: &Asked, text: &str) {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10});
    let model = question.body["model"].clone();
    if !question.is_streamed() {
        let body = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": usage,
        });
        return listener::answer(stream, 200, &[("content-type", "application/json")], body.to_string().as_bytes());
    }
    let chunk = |delta: Value, finish: Value| {
        json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    };
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    events.extend(text.split_inclusive(' ').map(|word| chunk(json!({"content": word}), Value::Null)));
    events.push(chunk(json!({}), json!("stop")));
    if question.body["stream_options"]["include_usage"] == json!(true) {
        events.push(json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [],
            "usage": usage,
        }));
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n");
    for event in events {
        let _ = stream.write_all(format!("data: {event}\n\n").as_bytes());
    }
    let _ = stream.write_all(b"data: [DONE]\n\n");
}
