//! An LLM provider without a model, for keyless runs and tests; its answers say so.
//!
//! It answers `[mock] <last user prompt>`, or the smallest value valid for the output schema, unless the `answers` of its
//! configuration say otherwise (see `script`). Equal requests of equal attempts get equal answers: it keeps no state.

mod answer;
mod embed;
mod sample;
mod script;

use std::cell::RefCell;
use std::time::Duration;

use compozy_plugin::llm::{ChatStream, Event, Guest, GuestChatStream, Request, Response};
use compozy_plugin::{Result, clock, config, embedder, log, run};

use crate::script::Script;

struct Mock;

impl Guest for Mock {
    type ChatStream = Words;

    fn chat(request: Request) -> Result<Response> {
        respond(&request)
    }

    fn stream(request: Request) -> Result<ChatStream> {
        let response = respond(&request)?;
        let mut events: Vec<Event> = answer::words(&response.text).map(|word| Event::Text(word.to_owned())).collect();
        events.push(Event::Done(response));
        Ok(ChatStream::new(Words(RefCell::new(events.into_iter()))))
    }

    fn models() -> Result<Vec<String>> {
        Ok(vec![answer::MODEL.to_owned()])
    }
}

/// A streamed answer, word by word.
struct Words(RefCell<std::vec::IntoIter<Event>>);

impl GuestChatStream for Words {
    fn next(&self) -> Result<Option<Event>> {
        Ok(self.0.borrow_mut().next())
    }
}

fn respond(request: &Request) -> Result<Response> {
    log::panics();
    let script: Script = config::get()?;
    let call = run::current().map_or_else(script::Call::default, |context| script::Call {
        attempt: context.attempt,
        step_path: context.step_path,
    });
    let entry = script.entry(request, &call);
    if let Some(milliseconds) = entry.and_then(|entry| entry.delay_ms) {
        clock::sleep(Duration::from_millis(milliseconds));
    }
    answer::respond(request, entry)
}

impl embedder::Guest for Mock {
    fn embed(_model: String, texts: Vec<String>, dimension: Option<u32>) -> Result<embedder::Embeddings> {
        embed::embed(&texts, dimension)
    }
}

compozy_plugin::export_llm_provider!(Mock);
compozy_plugin::export_embedder!(Mock);
