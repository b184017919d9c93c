//! What LLM provider plugins that speak HTTP share.
//!
//! A plugin says what is special about its protocol ([`Protocol`]); [`Provider`] makes a whole plugin of it. The way of a
//! call: [`endpoint`] (configuration) and [`body`] (what is asked) make an HTTP request; the answer goes through
//! [`failure`] (statuses and error bodies), then to the protocol: whole, or in the pieces that [`stream`] cuts. All but
//! this file is plain data and tested natively.

pub mod body;
pub mod endpoint;
pub mod failure;
pub mod gathered;
mod lines;
mod sse;
pub mod stream;
#[doc(hidden)]
pub mod testing;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::time::Duration;

use compozy_plugin::llm::{ChatStream, Event, Guest, GuestChatStream, Request, Response, Usage};
use compozy_plugin::{Error, Result, config, embedder, http, log};
use serde::de::DeserializeOwned;

use crate::stream::{Framing, Partial, Stream};

/// Bytes of a whole answer, or of the text of a streamed one.
pub const ANSWER_LIMIT: usize = 16 << 20;
/// Bytes of an error's body, of which one message is shown.
const ERROR_LIMIT: usize = 64 << 10;

/// No tokens counted.
pub const NO_USAGE: Usage = Usage { prompt_tokens: 0, completion_tokens: 0, cached_tokens: 0 };

/// How an answer is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// At once.
    Whole,
    /// In pieces.
    Streamed,
}

/// What is special about a provider's protocol.
pub trait Protocol: 'static {
    /// The entry's configuration.
    type Settings: DeserializeOwned;
    /// What is known of an answer that comes in pieces.
    type Partial: Partial + 'static;
    /// How a stream is cut.
    const FRAMING: Framing;

    /// Completes the configuration, once for each call.
    ///
    /// # Errors
    /// It cannot be used.
    fn checked(settings: Self::Settings) -> Result<Self::Settings>;

    /// The HTTP request of a question.
    ///
    /// # Errors
    /// The question cannot be written.
    fn question(settings: &Self::Settings, request: &Request, delivery: Delivery) -> Result<http::Request>;

    /// Reads a whole answer, the body of a status 2xx.
    ///
    /// # Errors
    /// It is an error, or does not keep to the protocol.
    fn answer(settings: &Self::Settings, request: &Request, body: &[u8]) -> Result<Response>;

    /// The beginning of an answer in pieces.
    fn partial(settings: &Self::Settings, request: &Request) -> Self::Partial;

    /// The HTTP request for the list of models.
    fn list(settings: &Self::Settings) -> http::Request;

    /// Reads the list of models.
    ///
    /// # Errors
    /// It is an error, or no such list.
    fn models(body: &[u8]) -> Result<Vec<String>>;

    /// The error of a status other than 2xx.
    fn failure(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Error {
        failure::from_status(status, retry_after, body)
    }
}

/// A protocol that also makes vectors of texts.
pub trait Embedding: Protocol {
    /// The HTTP request for one vector per text.
    ///
    /// # Errors
    /// The texts cannot be written.
    fn texts(settings: &Self::Settings, model: &str, texts: &[String], dimension: Option<u32>)
    -> Result<http::Request>;

    /// Reads the vectors of `count` texts, in their order.
    ///
    /// # Errors
    /// It is an error, or does not keep to the protocol.
    fn vectors(body: &[u8], count: usize) -> Result<embedder::Embeddings>;
}

/// A provider plugin that speaks `P`.
#[derive(Debug)]
pub struct Provider<P>(PhantomData<P>);

impl<P: Protocol> Guest for Provider<P> {
    type ChatStream = Pieces<P>;

    fn chat(request: Request) -> Result<Response> {
        let settings = settings::<P>()?;
        let response = send::<P>(P::question(&settings, &request, Delivery::Whole)?)?;
        P::answer(&settings, &request, &response.bytes(ANSWER_LIMIT).map_err(failure::from_http)?)
    }

    fn stream(request: Request) -> Result<ChatStream> {
        let settings = settings::<P>()?;
        let response = send::<P>(P::question(&settings, &request, Delivery::Streamed)?)?;
        let is_whole = response.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        let stream = if is_whole {
            // Some servers do not stream and answer as if they had not been asked to.
            let body = response.bytes(ANSWER_LIMIT).map_err(failure::from_http)?;
            Stream::of_whole(P::answer(&settings, &request, &body)?)
        } else {
            Stream::new(response.body, P::FRAMING, P::partial(&settings, &request))
        };
        Ok(ChatStream::new(Pieces::<P>(RefCell::new(stream))))
    }

    fn models() -> Result<Vec<String>> {
        let response = send::<P>(P::list(&settings::<P>()?))?;
        P::models(&response.bytes(ANSWER_LIMIT).map_err(failure::from_http)?)
    }
}

impl<P: Embedding> embedder::Guest for Provider<P> {
    fn embed(model: String, texts: Vec<String>, dimension: Option<u32>) -> Result<embedder::Embeddings> {
        let response = send::<P>(P::texts(&settings::<P>()?, &model, &texts, dimension)?)?;
        P::vectors(&response.bytes(ANSWER_LIMIT).map_err(failure::from_http)?, texts.len())
    }
}

/// A streamed answer; dropping it drops the connection.
#[derive(Debug)]
pub struct Pieces<P: Protocol>(RefCell<Stream<http::Body, P::Partial>>);

impl<P: Protocol> GuestChatStream for Pieces<P> {
    fn next(&self) -> Result<Option<Event>> {
        self.0.borrow_mut().next()
    }
}

fn settings<P: Protocol>() -> Result<P::Settings> {
    log::panics();
    P::checked(config::get::<P::Settings>()?)
}

/// Sends and turns every status but 2xx into an error.
fn send<P: Protocol>(request: http::Request) -> Result<http::Response> {
    let response = request.send().map_err(failure::from_http)?;
    if (200..300).contains(&response.status) {
        return Ok(response);
    }
    let status = response.status;
    let retry_after = failure::retry_after(|name| response.header(name));
    // The status alone says enough when its body cannot be read.
    let body = response.bytes(ERROR_LIMIT).unwrap_or_default();
    Err(P::failure(status, retry_after, &body))
}
