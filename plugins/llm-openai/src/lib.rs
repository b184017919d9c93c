//! An LLM provider that speaks the OpenAI chat completions protocol, as many servers do.
//!
//! Source of the protocol: <https://platform.openai.com/docs/api-reference/chat>. What it shares with others is in
//! `llm-wire`.

mod answer;
mod body;
mod embed;
mod settings;
mod stream;

use compozy_plugin::llm::{Request, Response};
use compozy_plugin::{Result, embedder, http, run};
use llm_wire::stream::Framing;
use llm_wire::{Delivery, Embedding, Protocol, Provider};

use crate::settings::Settings;
use crate::stream::Partial;

struct ChatCompletions;

impl Protocol for ChatCompletions {
    type Settings = Settings;
    type Partial = Partial;
    const FRAMING: Framing = Framing::Events;

    fn checked(settings: Settings) -> Result<Settings> {
        settings.checked()
    }

    fn question(settings: &Settings, request: &Request, delivery: Delivery) -> Result<http::Request> {
        let body = body::write(request, settings, delivery)?;
        let mut question = settings.request("POST", "/chat/completions").header("content-type", "application/json");
        if let Some(key) = run::idempotency_key() {
            question = question.header("idempotency-key", llm_wire::body::idempotency_key(&key, &body));
        }
        Ok(question.body(body))
    }

    fn answer(_: &Settings, _: &Request, body: &[u8]) -> Result<Response> {
        answer::parse(body)
    }

    fn partial(_: &Settings, _: &Request) -> Partial {
        Partial::default()
    }

    fn list(settings: &Settings) -> http::Request {
        settings.request("GET", "/models")
    }

    fn models(body: &[u8]) -> Result<Vec<String>> {
        answer::models(body)
    }
}

impl Embedding for ChatCompletions {
    fn texts(settings: &Settings, model: &str, texts: &[String], dimension: Option<u32>) -> Result<http::Request> {
        let request = settings.request("POST", "/embeddings").header("content-type", "application/json");
        Ok(request.body(embed::write(model, texts, dimension)?))
    }

    fn vectors(body: &[u8], count: usize) -> Result<embedder::Embeddings> {
        embed::parse(body, count)
    }
}

type OpenAi = Provider<ChatCompletions>;

compozy_plugin::export_llm_provider!(OpenAi);
compozy_plugin::export_embedder!(OpenAi);
