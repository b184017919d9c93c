//! An LLM provider that speaks the Anthropic messages protocol.
//!
//! Source of the protocol: <https://docs.anthropic.com/en/api/messages>. What it shares with others is in `llm-wire`.

mod answer;
mod body;
mod failure;
mod settings;
mod stream;

use compozy_plugin::llm::{Request, Response};
use compozy_plugin::{Result, http};
use llm_wire::stream::Framing;
use llm_wire::{Delivery, Protocol, Provider};

use crate::settings::Settings;
use crate::stream::Partial;

struct Messages;

impl Protocol for Messages {
    type Settings = Settings;
    type Partial = Partial;
    const FRAMING: Framing = Framing::Events;

    fn checked(settings: Settings) -> Result<Settings> {
        settings.checked()
    }

    fn question(settings: &Settings, request: &Request, delivery: Delivery) -> Result<http::Request> {
        let body = body::write(request, settings, delivery)?;
        Ok(settings.request("POST", "/messages").header("content-type", "application/json").body(body))
    }

    fn answer(settings: &Settings, request: &Request, body: &[u8]) -> Result<Response> {
        answer::parse(body, body::asks_by_tool(request, settings))
    }

    fn partial(settings: &Settings, request: &Request) -> Partial {
        Partial::new(body::asks_by_tool(request, settings))
    }

    fn list(settings: &Settings) -> http::Request {
        settings.request("GET", "/models?limit=1000")
    }

    fn models(body: &[u8]) -> Result<Vec<String>> {
        answer::models(body)
    }
}

type Anthropic = Provider<Messages>;

compozy_plugin::export_llm_provider!(Anthropic);
