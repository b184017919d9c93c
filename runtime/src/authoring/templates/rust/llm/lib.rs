//! An LLM provider plugin: what a model behind some API looks like to compozy. This one only repeats the question.
//!
//! A real one reads its settings with `compozy_plugin::config::get`, and asks its API with `compozy_plugin::http`, where
//! `compozy_plugin::secrets::get` gives a placeholder of the key that the host exchanges on the way out.

use std::cell::RefCell;

use compozy_plugin::llm::{ChatStream, Event, Finish, Guest, GuestChatStream, Request, Response, Role, Usage};
use compozy_plugin::{Error, Result, log};

struct Provider;

impl Guest for Provider {
    type ChatStream = Pieces;

    fn chat(request: Request) -> Result<Response> {
        log::panics();
        answer(&request)
    }

    fn stream(request: Request) -> Result<ChatStream> {
        log::panics();
        let response = answer(&request)?;
        let mut events: Vec<Event> =
            response.text.split_inclusive(' ').map(|word| Event::Text(word.to_owned())).collect();
        events.push(Event::Done(response));
        Ok(ChatStream::new(Pieces(RefCell::new(events.into_iter()))))
    }

    fn models() -> Result<Vec<String>> {
        Ok(vec!["echo".to_owned()])
    }
}

/// An answer in progress, word by word.
struct Pieces(RefCell<std::vec::IntoIter<Event>>);

impl GuestChatStream for Pieces {
    fn next(&self) -> Result<Option<Event>> {
        Ok(self.0.borrow_mut().next())
    }
}

fn answer(request: &Request) -> Result<Response> {
    let question = request.messages.iter().rfind(|message| message.role == Role::User);
    let Some(question) = question else {
        return Err(Error::new("no_question", "the conversation holds no message of the user"));
    };
    let text = format!("You said: {}", question.content);
    let words = |text: &str| text.split_whitespace().count() as u64;
    Ok(Response {
        usage: Usage { prompt_tokens: words(&question.content), completion_tokens: words(&text), cached_tokens: 0 },
        text,
        tool_calls: Vec::new(),
        finish: Finish::Stop,
        model: request.model.clone(),
    })
}

compozy_plugin::export_llm_provider!(Provider);
