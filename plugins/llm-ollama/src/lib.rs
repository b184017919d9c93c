//! An LLM provider that speaks Ollama's own chat protocol, which knows more than its imitation of OpenAI's: any JSON
//! Schema as the grammar of an answer, and the options of the model, such as the length of its context.
//!
//! Source of the protocol: <https://github.com/ollama/ollama/blob/main/docs/api.md>. What it shares with others is in
//! `llm-wire`.

mod answer;
mod body;
mod embed;
mod settings;

use compozy_plugin::llm::{Request, Response};
use compozy_plugin::{Result, embedder, http};
use llm_wire::stream::Framing;
use llm_wire::{Delivery, Embedding, Protocol, Provider};

use crate::answer::Partial;
use crate::settings::Settings;

struct Chat;

impl Protocol for Chat {
    type Settings = Settings;
    type Partial = Partial;
    const FRAMING: Framing = Framing::Lines;

    fn checked(settings: Settings) -> Result<Settings> {
        settings.checked()
    }

    fn question(settings: &Settings, request: &Request, delivery: Delivery) -> Result<http::Request> {
        let body = body::write(request, settings, delivery)?;
        Ok(settings.request("POST", "/api/chat").header("content-type", "application/json").body(body))
    }

    fn answer(_: &Settings, _: &Request, body: &[u8]) -> Result<Response> {
        answer::whole(body)
    }

    fn partial(_: &Settings, _: &Request) -> Partial {
        Partial::default()
    }

    fn list(settings: &Settings) -> http::Request {
        settings.request("GET", "/api/tags")
    }

    fn models(body: &[u8]) -> Result<Vec<String>> {
        answer::models(body)
    }
}

impl Embedding for Chat {
    fn texts(settings: &Settings, model: &str, texts: &[String], dimension: Option<u32>) -> Result<http::Request> {
        let request = settings.request("POST", "/api/embed").header("content-type", "application/json");
        Ok(request.body(embed::write(model, texts, dimension)?))
    }

    fn vectors(body: &[u8], count: usize) -> Result<embedder::Embeddings> {
        embed::parse(body, count)
    }
}

type Ollama = Provider<Chat>;

compozy_plugin::export_llm_provider!(Ollama);
compozy_plugin::export_embedder!(Ollama);
