//! An LLM provider without a model of its own: it asks the provider entry `to` of its configuration, else the default one.

use compozy_plugin::llm::{ChatStream, Finish, Guest, GuestChatStream, Request, Response, Usage};
use compozy_plugin::{Error, Result, config, models};

struct Relay;

impl Guest for Relay {
    type ChatStream = Never;

    fn chat(request: Request) -> Result<Response> {
        let mut question = models::Question::new();
        if let Some(to) = config::get::<serde_json::Value>()?["to"].as_str() {
            question = question.provider(to);
        }
        let asked = request.messages.last().map(|message| message.content.clone()).unwrap_or_default();
        let answer = question.user(asked).ask()?;
        Ok(Response {
            text: format!("relayed: {}", answer.text),
            tool_calls: Vec::new(),
            finish: Finish::Stop,
            usage: Usage { prompt_tokens: 1, completion_tokens: 1, cached_tokens: 0 },
            model: "relay".to_owned(),
        })
    }

    fn stream(_: Request) -> Result<ChatStream> {
        Err(Error::new("unsupported", "a relay does not stream"))
    }

    fn models() -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

struct Never;

impl GuestChatStream for Never {
    fn next(&self) -> Result<Option<compozy_plugin::llm::Event>> {
        Ok(None)
    }
}

compozy_plugin::export_llm_provider!(Relay);
