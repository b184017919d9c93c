//! An LLM provider that speaks the Gemini protocol of Google.
//!
//! Source of the protocol: <https://ai.google.dev/api/generate-content>. What it shares with others is in `llm-wire`.

mod answer;
mod body;
mod calls;
mod failure;
mod settings;
mod stream;

use std::time::Duration;

use compozy_plugin::llm::{Request, Response};
use compozy_plugin::{Error, Result, http};
use llm_wire::stream::Framing;
use llm_wire::{Delivery, Protocol, Provider};

use crate::settings::Settings;
use crate::stream::Partial;

struct GenerateContent;

impl Protocol for GenerateContent {
    type Settings = Settings;
    type Partial = Partial;
    const FRAMING: Framing = Framing::Events;

    fn checked(settings: Settings) -> Result<Settings> {
        settings.checked()
    }

    fn question(settings: &Settings, request: &Request, delivery: Delivery) -> Result<http::Request> {
        let path = settings::path(&request.model, delivery)?;
        let body = body::write(request, settings)?;
        Ok(settings.request("POST", &path).header("content-type", "application/json").body(body))
    }

    fn answer(_: &Settings, _: &Request, body: &[u8]) -> Result<Response> {
        stream::whole(body)
    }

    fn partial(_: &Settings, _: &Request) -> Partial {
        Partial::default()
    }

    fn list(settings: &Settings) -> http::Request {
        settings.request("GET", "/models?pageSize=1000")
    }

    fn models(body: &[u8]) -> Result<Vec<String>> {
        answer::models(body)
    }

    fn failure(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Error {
        failure::from_status(status, retry_after, body)
    }
}

type Google = Provider<GenerateContent>;

compozy_plugin::export_llm_provider!(Google);
