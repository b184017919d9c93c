//! A server of models that answers as it is told, in the protocol of the path that is asked: OpenAI's
//! (`/v1/chat/completions`), Anthropic's (`/v1/messages`), Google's (`/v1beta/models/…`) or Ollama's (`/api/chat`),
//! streaming and not. What the provider would refuse, it refuses too.
//!
//! Without being told it greets: `Say hello to Ada` gets `Hello, Ada!`, anything else `You said: …`.

mod anthropic;
mod google;
mod ollama;
mod openai;

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
    /// The same with a status and a content type.
    Typed(u16, &'static str, String),
    /// A completion of which only the first half arrives.
    Half(String),
    /// Closes the connection in the middle of the answer.
    Cut,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// With the query.
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) headers: http::Headers,
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn is_streamed(&self) -> bool {
        self.body["stream"] == json!(true) || self.path.contains(":streamGenerateContent")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }
}

/// An answer as it goes over the wire.
struct Spoken {
    content_type: &'static str,
    /// Written one after the other; of a stream each is a frame.
    pieces: Vec<String>,
}

impl Spoken {
    fn whole(body: &Value) -> Self {
        Self { content_type: "application/json", pieces: vec![body.to_string()] }
    }

    fn events(events: &[Value]) -> Self {
        let pieces = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        Self { content_type: "text/event-stream", pieces }
    }
}

/// One provider's protocol.
trait Protocol {
    /// What the provider would refuse the question for.
    fn check(&self, asked: &Asked) -> Result<(), String>;
    /// The last text of the user.
    fn prompt(&self, body: &Value) -> String;
    fn text(&self, asked: &Asked, text: &str) -> Spoken;
    fn calls(&self, asked: &Asked, calls: &[(String, String)]) -> Spoken;
    fn error(&self, status: u16, message: &str) -> Value;
}

fn protocol(path: &str) -> Option<&'static dyn Protocol> {
    match path {
        "/v1/chat/completions" => Some(&openai::ChatCompletions),
        "/v1/messages" => Some(&anthropic::Messages),
        "/api/chat" => Some(&ollama::Chat),
        path if path.starts_with("/v1beta/models/") => Some(&google::GenerateContent),
        _ => None,
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
            let Some(protocol) = protocol(&question.path) else {
                return refuse(stream, &openai::ChatCompletions, 404, &[], "no such route");
            };
            if let Err(reason) = protocol.check(&question) {
                return refuse(stream, protocol, 400, &[], &reason);
            }
            let next = answers.lock().unwrap().pop_front();
            let usual = || Answer::Text(usual(&protocol.prompt(&question.body)));
            respond(stream, protocol, &question, next.unwrap_or_else(usual));
        });
        Self { listener, script, asked }
    }

    /// Answers the next questions so, one each.
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().extend(answers);
    }

    pub(crate) fn base_url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.listener.address)
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
        headers: request.headers.clone(),
        body: serde_json::from_slice(&request.body).unwrap_or(Value::Null),
    }
}

fn usual(prompt: &str) -> String {
    match prompt.strip_prefix("Say hello to ") {
        Some(name) => format!("Hello, {name}!"),
        None => format!("You said: {prompt}"),
    }
}

fn respond(stream: &mut TcpStream, protocol: &dyn Protocol, question: &Asked, answer: Answer) {
    match answer {
        Answer::Text(text) => speak(stream, question, &protocol.text(question, &text)),
        Answer::Slow(pause, text) => {
            std::thread::sleep(pause);
            speak(stream, question, &protocol.text(question, &text));
        }
        Answer::Calls(calls) => speak(stream, question, &protocol.calls(question, &calls)),
        Answer::Refuse(status, headers, message) => {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            refuse(stream, protocol, status, &headers, &message);
        }
        Answer::Raw(body) if question.is_streamed() => {
            let body = format!("data: {body}\n\n");
            listener::answer(stream, 200, &[("content-type", "text/event-stream")], body.as_bytes());
        }
        Answer::Raw(body) => listener::answer(stream, 200, &[("content-type", "application/json")], body.as_bytes()),
        Answer::Typed(status, content_type, body) => {
            listener::answer(stream, status, &[("content-type", content_type)], body.as_bytes());
        }
        Answer::Half(text) => {
            let mut spoken = protocol.text(question, &text);
            if question.is_streamed() {
                spoken.pieces.truncate(spoken.pieces.len() / 2);
            }
            let body = spoken.pieces.concat();
            let length = if question.is_streamed() { body.len() } else { body.len() / 2 };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {}\r\nconnection: close\r\n\r\n", spoken.content_type);
            let _ = stream.write_all(&[head.as_bytes(), &body.as_bytes()[..length]].concat());
        }
        Answer::Cut => {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"id\": \"chat";
            let _ = stream.write_all(head.as_bytes());
        }
    }
}

fn refuse(stream: &mut TcpStream, protocol: &dyn Protocol, status: u16, headers: &[(&str, &str)], message: &str) {
    let body = protocol.error(status, message).to_string();
    let mut headers = headers.to_vec();
    headers.push(("content-type", "application/json"));
    listener::answer(stream, status, &headers, body.as_bytes());
}

fn speak(stream: &mut TcpStream, question: &Asked, spoken: &Spoken) {
    if !question.is_streamed() {
        return listener::answer(
            stream,
            200,
            &[("content-type", spoken.content_type)],
            spoken.pieces.concat().as_bytes(),
        );
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {}\r\nconnection: close\r\n\r\n", spoken.content_type);
    let _ = stream.write_all(head.as_bytes());
    for piece in &spoken.pieces {
        let _ = stream.write_all(piece.as_bytes());
    }
}

/// The words of a text, each with the space behind it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

/// Arguments of a call, as protocols send them that know objects only.
fn object(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_else(|_| json!({}))
}
