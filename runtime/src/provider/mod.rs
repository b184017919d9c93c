//! Calls llm plugins for the provider entries of a project: choice of the entry, its settings, concurrency, retries and
//! answers that must match a schema.
//!
//! A provider entry becomes a [`Binding`] at each call, since its texts may refer to environment variables that matter
//! only when they are used, and since the placeholder of its key is random per run. The key itself never enters the
//! guest: the host puts it into the request, towards the origin of the base URL and nowhere else.

mod bind;
pub mod embed;
pub mod error;
pub mod kinds;
pub mod lend;
mod request;
mod retry;
pub mod settings;
mod structured;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use compozy_lang::plan;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use crate::plugin::llm_provider::{Finish, Message, Role, ToolCall, ToolDefinition, Usage};
pub use error::Error;
pub use settings::Settings;

use crate::clock::Clock;
use crate::plugin::llm_provider::{self, Response};
use crate::plugin::{Binding, CallContext, CallError, CancelToken, Environment, Host, Services, Source};

/// The llm components that come with compozy, by name.
#[derive(Debug, Clone, Default)]
pub struct Bundle(BTreeMap<&'static str, Source>);

impl Bundle {
    /// Those of the provider types that `find` knows.
    pub fn new(find: impl Fn(&str) -> Option<Source>) -> Self {
        Self(kinds::plugins().filter_map(|name| Some((name, find(name)?))).collect())
    }

    fn get(&self, name: &str) -> Option<&Source> {
        self.0.get(name)
    }
}

/// What providers are built on.
#[derive(Clone)]
pub struct Parts {
    /// Loads and runs the plugins.
    pub host: Arc<Host>,
    /// The bundled plugins.
    pub bundle: Bundle,
    /// Plugin entries of kind `llm`, for providers of type `plugin`.
    pub plugins: BTreeMap<String, Binding>,
    /// Variables that settings refer to.
    pub environment: Arc<dyn Environment>,
    /// What host interfaces are built on.
    pub services: Arc<Services>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Parts").field("bundle", &self.bundle).finish_non_exhaustive()
    }
}

/// A question to a model.
#[derive(Debug, Clone, Default)]
pub struct PromptRequest {
    /// The system message.
    pub system: Option<String>,
    /// What was said before, oldest first.
    pub history: Vec<(Role, String)>,
    /// The user message.
    pub prompt: String,
    /// What was said after it: answers that asked for calls of tools, and what came of them.
    pub exchange: Vec<Message>,
    /// Tools the model may call.
    pub tools: Vec<ToolDefinition>,
    /// Model, where the task or agent names one.
    pub model: Option<String>,
    /// Sampling settings over the entry's own.
    pub params: Map<String, Value>,
    /// JSON Schema the answer must match.
    pub output_schema: Option<Value>,
}

/// What a model answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The value in it that matches the schema, where one was asked for.
    pub value: Option<Value>,
    /// Calls of tools it asks for, where it was told of any.
    pub tool_calls: Vec<ToolCall>,
    /// Tokens of all questions this answer took.
    pub usage: Usage,
    /// The model, as the provider names it.
    pub model: String,
    /// Id of the entry that answered.
    pub provider_id: String,
    /// Why the answer ended.
    pub finish: Finish,
    /// Requests made, at least 1.
    pub requests: u32,
}

/// A piece of a streamed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Further text.
    Text(&'a str),
    /// What came so far is void: the question is asked again.
    Restart,
}

/// Receives pieces of a streamed answer.
pub type OnPiece<'a> = &'a mut (dyn FnMut(Piece<'_>) + Send);

/// The provider entries of a project. Reloading replaces them; calls under way keep theirs.
#[derive(Debug)]
pub struct Providers(Mutex<Arc<Revision>>);

/// The entries of one revision of the project.
#[derive(Debug)]
struct Revision {
    parts: Parts,
    settings: Settings,
    lanes: Mutex<BTreeMap<String, Arc<Lane>>>,
    clock: Clock,
}

/// Calls of one entry that run or wait.
#[derive(Debug)]
struct Lane {
    running: Semaphore,
    waiting: AtomicUsize,
    queue: usize,
}

impl Providers {
    /// The providers of `settings`.
    #[must_use]
    pub fn new(parts: Parts, settings: Settings) -> Self {
        Self(Mutex::new(Arc::new(Revision::new(parts, settings))))
    }

    /// Calls made from now on use these.
    pub fn replace(&self, parts: Parts, settings: Settings) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Revision::new(parts, settings));
    }

    /// Whether there is an entry to ask when none is named.
    #[must_use]
    pub fn has_default(&self) -> bool {
        self.present().settings.choose(None).is_ok()
    }

    fn present(&self) -> Arc<Revision> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One vector per text by the entry `provider`, else the default one, with `model`, else the default embedding model
    /// of its type.
    ///
    /// # Errors
    /// As [`Self::chat`]; [`Error::Type`] where the type makes no embeddings.
    pub async fn embed(
        &self,
        provider: Option<&str>,
        texts: &[String],
        model: Option<&str>,
        dimension: Option<u32>,
        ctx: &CallContext,
    ) -> Result<embed::Embedded, Error> {
        self.present().embed(provider, texts, model, dimension, ctx).await
    }

    /// Asks the entry `provider`, else the default one, and waits for the whole answer. With `on_piece` it is streamed.
    ///
    /// `ctx.timeout` covers everything: waiting for a free lane, retries and questions asked again.
    ///
    /// # Errors
    /// See [`Error`]. Rate limits, failures of the server and broken connections were tried again before.
    pub async fn chat(
        &self,
        provider: Option<&str>,
        request: &PromptRequest,
        ctx: &CallContext,
        on_piece: Option<OnPiece<'_>>,
    ) -> Result<Answer, Error> {
        self.present().chat(provider, request, ctx, on_piece).await
    }
}

impl Revision {
    fn new(parts: Parts, settings: Settings) -> Self {
        let clock = parts.services.clock.clone();
        Self { parts, settings, lanes: Mutex::default(), clock }
    }

    async fn chat(
        &self,
        provider: Option<&str>,
        request: &PromptRequest,
        ctx: &CallContext,
        mut on_piece: Option<OnPiece<'_>>,
    ) -> Result<Answer, Error> {
        let entry = self.settings.choose(provider)?;
        let kind = kinds::find(&entry.kind).ok_or_else(|| Error::unsupported(&entry.kind))?;
        // Before a place is taken: an entry that waits for itself may hold the only one.
        let models = ctx.models.through(&entry.id).map_err(Error::Circle)?;
        let ctx = &CallContext { models, ..ctx.clone() };
        let lane = self.lane(&entry);
        let mut asking = Asking {
            providers: self,
            entry: &entry,
            lane: &lane,
            binding: self.bind(&entry, kind, ctx).await?,
            ctx,
            deadline: Instant::now() + ctx.timeout,
            requests: 0,
        };
        let model = self.model(&entry, kind, request)?;
        let mut question = request::build(&model, &entry.params, request)?;
        let before = question.messages.len();
        let mut usage = Usage { prompt_tokens: 0, completion_tokens: 0, cached_tokens: 0 };
        let schema = request.output_schema.as_ref().map(structured::Checker::new).transpose().map_err(Error::Schema)?;
        loop {
            let response = asking.ask(&question, &mut on_piece).await?;
            add(&mut usage, &response.usage);
            let checked = schema.as_ref().map(|schema| schema.value_of(&response.text)).transpose();
            let violations = match checked {
                Ok(value) => return Ok(asking.answer(response, value, usage)),
                Err(violations) => violations,
            };
            // Each time two messages come to what was there: the answer and what is wrong with it.
            let asked = 1 + (question.messages.len() - before) / 2;
            if asked > self.settings.structured_output_retries as usize {
                return Err(Error::Structured { id: entry.id.clone(), attempts: asked, violations });
            }
            if let Some(on_piece) = on_piece.as_deref_mut() {
                on_piece(Piece::Restart);
            }
            question.messages.push(message(Role::Assistant, response.text));
            question.messages.push(message(Role::User, structured::ask_again(&violations)));
        }
    }

    fn model(&self, entry: &plan::Provider, kind: &kinds::Kind, request: &PromptRequest) -> Result<String, Error> {
        if let Some(model) = &request.model {
            return Ok(model.clone());
        }
        match &entry.model {
            Some(model) => bind::resolve(model, &*self.parts.environment, &entry.id, "model"),
            None => kind.model.map(str::to_owned).ok_or_else(|| Error::Setting {
                id: entry.id.clone(),
                key: "model",
                reason: format!("a provider of type '{}' needs one", entry.kind),
            }),
        }
    }

    fn lane(&self, entry: &plan::Provider) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(entry.id.clone()).or_insert_with(|| {
            let limit = entry.concurrency.or(self.settings.default_concurrency);
            let limit = limit.map_or(Semaphore::MAX_PERMITS, |limit| limit.max(1) as usize);
            Arc::new(Lane {
                running: Semaphore::new(limit),
                waiting: AtomicUsize::new(0),
                queue: self.settings.default_queue_size as usize,
            })
        });
        Arc::clone(lane)
    }
}

impl Lane {
    /// Waits for a free place, first come, first served; refuses when too many wait already.
    async fn enter(&self, id: &str, cancel: &CancelToken, deadline: Instant) -> Result<SemaphorePermit<'_>, Error> {
        if let Ok(permit) = self.running.try_acquire() {
            return Ok(permit);
        }
        let waiting = Waiting::enter(&self.waiting);
        if waiting.before >= self.queue {
            return Err(Error::Queue { id: id.to_owned(), waiting: waiting.before });
        }
        tokio::select! {
            permit = self.running.acquire() => permit.map_err(|_| Error::canceled(id)),
            () = cancel.canceled() => Err(Error::canceled(id)),
            () = tokio::time::sleep_until(deadline.into()) => Err(Error::Queue { id: id.to_owned(), waiting: waiting.before }),
        }
    }
}

/// One call that waits, counted as long as it does.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One question on its way to one entry.
struct Asking<'a> {
    providers: &'a Revision,
    entry: &'a plan::Provider,
    lane: &'a Lane,
    binding: Binding,
    ctx: &'a CallContext,
    deadline: Instant,
    requests: u32,
}

impl Asking<'_> {
    /// Asks until there is an answer or the failure is final.
    async fn ask(
        &mut self,
        question: &llm_provider::Request,
        on_piece: &mut Option<OnPiece<'_>>,
    ) -> Result<Response, Error> {
        let settings = &self.providers.settings;
        for attempt in 1.. {
            let error = match self.ask_once(question, on_piece).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let wait = retry::wait(settings, &error, attempt).filter(|wait| *wait < self.left());
            let Some(wait) = wait else { return Err(error.after(attempt)) };
            if let Some(on_piece) = on_piece.as_deref_mut() {
                on_piece(Piece::Restart);
            }
            tracing::debug!(provider.id = self.entry.id, attempt, "asking again after: {error}");
            tokio::select! {
                () = self.providers.clock.sleep(wait) => {}
                () = self.ctx.cancel.canceled() => return Err(Error::canceled(&self.entry.id)),
            }
        }
        Err(Error::canceled(&self.entry.id))
    }

    async fn ask_once(
        &mut self,
        question: &llm_provider::Request,
        on_piece: &mut Option<OnPiece<'_>>,
    ) -> Result<Response, Error> {
        let _place = self.lane.enter(&self.entry.id, &self.ctx.cancel, self.deadline).await?;
        self.requests += 1;
        let ctx = CallContext { timeout: self.left(), ..self.ctx.clone() };
        let answered = match on_piece.as_deref_mut() {
            Some(on_piece) => {
                let mut on_text = |text: &str| on_piece(Piece::Text(text));
                llm_provider::chat(&self.binding, &ctx, question, Some(&mut on_text)).await
            }
            None => llm_provider::chat(&self.binding, &ctx, question, None).await,
        };
        // A server may send the key back, in an error or in an answer.
        let mask = self.binding.grants.mask();
        match answered {
            Ok(response) => Ok(Response { text: mask.apply(&response.text).into_owned(), ..response }),
            Err(error) => {
                let error = CallError { message: mask.apply(&error.message).into_owned(), ..error };
                Err(Error::from_call(&self.entry.id, error))
            }
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn answer(&self, response: Response, value: Option<Value>, usage: Usage) -> Answer {
        Answer {
            text: response.text,
            value,
            tool_calls: response.tool_calls,
            usage,
            model: response.model,
            provider_id: self.entry.id.clone(),
            finish: response.finish,
            requests: self.requests,
        }
    }
}

/// The value in `reply` that matches `schema`, if there is one.
///
/// # Errors
/// [`Error::Schema`].
pub fn matching(schema: &Value, reply: &str) -> Result<Option<Value>, Error> {
    let schema = structured::Checker::new(schema).map_err(Error::Schema)?;
    Ok(schema.value_of(reply).ok())
}

/// A message that neither asks for calls nor answers one.
#[must_use]
pub fn message(role: Role, content: String) -> Message {
    Message { role, content, tool_calls: Vec::new(), tool_call_id: None }
}

fn add(sum: &mut Usage, more: &Usage) {
    sum.prompt_tokens = sum.prompt_tokens.saturating_add(more.prompt_tokens);
    sum.completion_tokens = sum.completion_tokens.saturating_add(more.completion_tokens);
    sum.cached_tokens = sum.cached_tokens.saturating_add(more.cached_tokens);
}

#[cfg(test)]
mod lend_tests;
#[cfg(test)]
mod tests;
