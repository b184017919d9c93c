//! An LLM provider that speaks the OpenAI chat completions protocol, as many servers do.
//!
//! The way of a call: `settings` (configuration) and `body` (what is asked) make an HTTP request; the answer goes through
//! `failure` (statuses and error bodies), then `answer` (whole) or `sse` and `stream` (pieces). All but this file is plain
//! data and tested natively. `embed` is the same for embeddings. Source of the protocol: <https://platform.openai.com/docs/api-reference/chat>.

mod answer;
mod body;
mod embed;
mod failure;
mod settings;
mod sse;
mod stream;

use std::cell::RefCell;

use compozy_plugin::llm::{ChatStream, Event, Guest, GuestChatStream, Request, Response};
use compozy_plugin::{Result, config, embedder, http, log, run};

use crate::settings::Settings;
use crate::stream::Stream;

/// Bytes of a whole answer, or of the text of a streamed one.
const ANSWER_LIMIT: usize = 16 << 20;
/// Bytes of an error's body, of which one message is shown.
const ERROR_LIMIT: usize = 64 << 10;

struct OpenAi;

impl Guest for OpenAi {
    type ChatStream = Pieces;

    fn chat(request: Request) -> Result<Response> {
        let settings = settings()?;
        let response = ask(&settings, &request, body::Delivery::Whole)?;
        answer::parse(&response.bytes(ANSWER_LIMIT).map_err(failure::from_http)?)
    }

    fn stream(request: Request) -> Result<ChatStream> {
        let settings = settings()?;
        let response = ask(&settings, &request, body::Delivery::Streamed)?;
        let is_whole = response.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        let stream = if is_whole {
            // Some servers do not stream and answer as if they had not been asked to.
            Stream::of_whole(answer::parse(&response.bytes(ANSWER_LIMIT).map_err(failure::from_http)?)?)
        } else {
            Stream::new(response.body)
        };
        Ok(ChatStream::new(Pieces(RefCell::new(stream))))
    }

    fn models() -> Result<Vec<String>> {
        let settings = settings()?;
        let response = send(settings.request("GET", "/models"))?;
        answer::models(&response.bytes(ANSWER_LIMIT).map_err(failure::from_http)?)
    }
}

impl embedder::Guest for OpenAi {
    fn embed(model: String, texts: Vec<String>, dimension: Option<u32>) -> Result<embedder::Embeddings> {
        let settings = settings()?;
        let request = settings.request("POST", "/embeddings").header("content-type", "application/json");
        let response = send(request.body(embed::write(&model, &texts, dimension)?))?;
        embed::parse(&response.bytes(ANSWER_LIMIT).map_err(failure::from_http)?, texts.len())
    }
}

/// A streamed answer; dropping it drops the connection.
struct Pieces(RefCell<Stream<http::Body>>);

impl GuestChatStream for Pieces {
    fn next(&self) -> Result<Option<Event>> {
        self.0.borrow_mut().next()
    }
}

fn settings() -> Result<Settings> {
    log::panics();
    config::get::<Settings>()?.checked()
}

fn ask(settings: &Settings, request: &Request, delivery: body::Delivery) -> Result<http::Response> {
    let body = body::write(request, settings, delivery)?;
    let mut call = settings.request("POST", "/chat/completions").header("content-type", "application/json");
    if let Some(key) = run::idempotency_key() {
        call = call.header("idempotency-key", body::idempotency_key(&key, &body));
    }
    send(call.body(body))
}

/// Sends and turns every status but 2xx into an error.
fn send(request: http::Request) -> Result<http::Response> {
    let response = request.send().map_err(failure::from_http)?;
    if (200..300).contains(&response.status) {
        return Ok(response);
    }
    let status = response.status;
    let retry_after = failure::retry_after(|name| response.header(name));
    // The status alone says enough when its body cannot be read.
    let body = response.bytes(ERROR_LIMIT).unwrap_or_default();
    Err(failure::from_status(status, retry_after, &body))
}

compozy_plugin::export_llm_provider!(OpenAi);
compozy_plugin::export_embedder!(OpenAi);
