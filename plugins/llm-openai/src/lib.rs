//! An LLM provider that speaks the OpenAI chat completions protocol, as many servers do.
//!
//! Source of the protocol: <https://platform.openai.com/docs/api-reference/chat>. What it shares with others is in
//! `llm-wire`.

mod answer;
mod body;
mod settings;
mod stream;

use compozy_plugin::llm::{Request, Response};
use compozy_plugin::{Result, http, run};
use llm_wire::stream::Framing;
use llm_wire::{Delivery, Protocol, Provider};

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

type OpenAi = Provider<ChatCompletions>;

compozy_plugin::export_llm_provider!(OpenAi);
