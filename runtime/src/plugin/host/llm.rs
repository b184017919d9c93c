//! `compozy:host/llm`: the project's models, within the grant and budget of one call of the plugin.
//!
//! [`Models`] is what the provider layer offers; this file adds grants, caps and the budget. Placeholders in messages are
//! left as they are: only `wasi:http` exchanges them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

pub use crate::plugin::bindings::lent::compozy::host::llm::{
    Answer, EmbedOptions, Embeddings, Message, Parameters, Role, Usage,
};
pub use crate::plugin::bindings::lent::compozy::host::types::Error;

use super::{invalid, over_limit, unavailable};
use crate::plugin::bindings::lent::compozy::host::llm;
use crate::plugin::call::CallContext;
use crate::plugin::grants::ModelGrant;
use crate::plugin::state::State;

/// Messages of one question.
const MESSAGES: usize = 1_000;

/// Texts of one embedding.
const TEXTS: usize = 2_048;

/// Bytes of the schema and of the further settings of a question.
const SETTING_BYTES: usize = 256 << 10;

/// Settings of a request that are said otherwise, or that the budget depends on.
const OWN_SETTINGS: [&str; 8] =
    ["model", "messages", "temperature", "max_tokens", "max_completion_tokens", "n", "stream", "tools"];

/// Plugins that may wait for each other in one chain of questions: a tool that asks a model whose plugin asks another.
pub const DEPTH: usize = 3;

/// Bytes of text that count as one token where a provider does not say.
const BYTES_PER_TOKEN: usize = 4;

/// The models of the project, by provider entry. Bound into [`Services`](super::Services); tests put fakes there.
///
/// Called once per question of a plugin, after grant, caps and budget were checked. `ctx` is that of the plugin's own
/// call with the time it has left: its run, its cancel token, and in [`CallContext::models`] the entries that wait for
/// this answer. An implementation that calls further plugins hands these on with [`ModelCalls::through`], so that models
/// asking each other in a circle end. What an answer says it used is noted by the caller.
#[async_trait]
pub trait Models: Send + Sync + fmt::Debug {
    /// Asks the entry `provider`, else the default one. The last message is the user's.
    ///
    /// # Errors
    /// What the plugin is told: a `CZ05xx` code, whether it may be tried again and after how long.
    async fn chat(
        &self,
        provider: Option<&str>,
        messages: Vec<Message>,
        parameters: Parameters,
        ctx: &CallContext,
    ) -> Result<Answer, Error>;

    /// One vector per text by the entry `provider`, else the default one.
    ///
    /// # Errors
    /// As [`Self::chat`]; `unavailable` where the entry does not embed.
    async fn embed(
        &self,
        provider: Option<&str>,
        texts: Vec<String>,
        options: EmbedOptions,
        ctx: &CallContext,
    ) -> Result<Embeddings, Error>;
}

/// Questions to models below one call: who waits for whom, and what they took.
#[derive(Debug, Clone, Default)]
pub struct ModelCalls {
    /// Entries that wait for an answer, outermost first.
    through: Arc<[String]>,
    /// Plugins that wait; 0 for a call that a step makes.
    depth: usize,
    used: Arc<Mutex<Vec<Used>>>,
}

/// What one question took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The provider entry.
    pub provider: String,
    /// The model, as the provider names it.
    pub model: String,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// Most questions of one step that are told one by one; further ones are added to the last.
const USED: usize = 100;

impl ModelCalls {
    /// For calls made while the entry `id` answers.
    ///
    /// # Errors
    /// `CZ0704`: the entry waits for itself.
    pub fn through(&self, id: &str) -> Result<Self, Error> {
        let chain: Vec<&str> = self.through.iter().map(String::as_str).chain([id]).collect();
        if self.through.iter().any(|waiting| waiting == id) {
            return Err(over_limit(format!("provider '{id}' waits for its own answer: {}", chain.join(" > "))));
        }
        Ok(Self { through: chain.into_iter().map(str::to_owned).collect(), ..self.clone() })
    }

    /// For calls made while one more plugin waits.
    fn below(&self) -> Result<Self, Error> {
        if self.depth >= DEPTH {
            return Err(over_limit(format!(
                "more than {DEPTH} plugins wait for each other: {}",
                self.through.join(" > ")
            )));
        }
        Ok(Self { depth: self.depth + 1, ..self.clone() })
    }

    /// How many plugins wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Notes what a question took.
    fn used(&self, used: Used) {
        let mut all = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < USED {
            return all.push(used);
        }
        if let Some(last) = all.last_mut() {
            last.prompt_tokens = last.prompt_tokens.saturating_add(used.prompt_tokens);
            last.completion_tokens = last.completion_tokens.saturating_add(used.completion_tokens);
        }
    }

    /// What was used so far, which is then forgotten.
    #[must_use]
    pub fn take(&self) -> Vec<Used> {
        std::mem::take(&mut self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a call has used of its budget.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    calls: u32,
    tokens: u64,
}

impl Spent {
    /// Counts one more question and says how many tokens are left for it.
    fn admit(&mut self, grant: &ModelGrant) -> Result<u64, Error> {
        let used_up = |what: String| over_limit(format!("the budget of {what} per call of the plugin is used up"));
        if self.calls >= grant.calls {
            return Err(used_up(format!("{} questions to models", grant.calls)));
        }
        let left = grant.tokens.saturating_sub(self.tokens);
        if left == 0 {
            return Err(used_up(format!("{} tokens of models", grant.tokens)));
        }
        self.calls += 1;
        Ok(left)
    }

    fn add(&mut self, prompt_tokens: u64, completion_tokens: u64, bytes: usize) {
        let counted = prompt_tokens.saturating_add(completion_tokens);
        let counted = if counted == 0 { (bytes / BYTES_PER_TOKEN) as u64 } else { counted };
        self.tokens = self.tokens.saturating_add(counted);
    }
}

/// An admitted question.
struct Question {
    models: Arc<dyn Models>,
    provider: Option<String>,
    ctx: CallContext,
    /// Tokens the budget has left.
    left: u64,
}

impl State {
    /// Decides whether the plugin may ask `provider` now. `check` looks at the arguments once it may ask at all.
    fn ask(
        &mut self,
        provider: Option<String>,
        check: impl FnOnce() -> Result<(), Error>,
    ) -> wasmtime::Result<Result<Question, Error>> {
        let (timeout, cancel) = (self.remaining(), self.cancel.clone());
        let call = self.enter()?;
        let binding = &call.binding;
        let grant = match binding.grants.llm(&binding.plugin_id, provider.as_deref()) {
            Ok(grant) => grant,
            Err(refusal) => return Ok(Err(call.refused(refusal))),
        };
        let Some(models) = binding.services.models.clone() else {
            return Ok(Err(unavailable("no models are configured", false)));
        };
        let provider = provider.or_else(|| grant.providers.first().cloned());
        let admitted = check().and_then(|()| Ok((call.models.below()?, call.spent.admit(&grant)?)));
        Ok(admitted.map(|(below, left)| {
            let ctx = CallContext { run: call.run.clone(), timeout, cancel, models: below };
            Question { models, provider, ctx, left }
        }))
    }

    /// Notes what a question took; `bytes` of text went there and back.
    fn heard(&mut self, used: Used, bytes: usize) {
        if let Some(call) = &mut self.call {
            call.spent.add(used.prompt_tokens, used.completion_tokens, bytes);
            call.models.used(used);
        }
    }

    /// `text` without the values of the plugin's secrets.
    fn masked(&self, text: String) -> String {
        match &self.call {
            Some(call) => call.binding.grants.mask().apply(&text).into_owned(),
            None => text,
        }
    }
}

impl llm::Host for State {
    async fn chat(
        &mut self,
        provider: Option<String>,
        messages: Vec<Message>,
        mut parameters: Parameters,
    ) -> wasmtime::Result<Result<Answer, Error>> {
        let question = match self.ask(provider, || check_question(&messages, &parameters))? {
            Ok(question) => question,
            Err(error) => return Ok(Err(error)),
        };
        let left = u32::try_from(question.left).unwrap_or(u32::MAX);
        parameters.max_tokens = parameters.max_tokens.map(|most| most.min(left));
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let answered = question.models.chat(question.provider.as_deref(), messages, parameters, &question.ctx).await;
        Ok(match answered {
            Ok(answer) => {
                let used = Used {
                    provider: answer.provider.clone(),
                    model: answer.model.clone(),
                    prompt_tokens: answer.usage.prompt_tokens,
                    completion_tokens: answer.usage.completion_tokens,
                };
                self.heard(used, bytes + answer.text.len());
                Ok(Answer { text: self.masked(answer.text), ..answer })
            }
            Err(error) => Err(Error { message: self.masked(error.message), ..error }),
        })
    }

    async fn embed(
        &mut self,
        provider: Option<String>,
        texts: Vec<String>,
        options: EmbedOptions,
    ) -> wasmtime::Result<Result<Embeddings, Error>> {
        let question = match self.ask(provider, || check_texts(&texts, &options))? {
            Ok(question) => question,
            Err(error) => return Ok(Err(error)),
        };
        let bytes: usize = texts.iter().map(String::len).sum();
        let embedded = question.models.embed(question.provider.as_deref(), texts, options, &question.ctx).await;
        Ok(match embedded {
            Ok(embeddings) => {
                let used = Used {
                    provider: embeddings.provider.clone(),
                    model: embeddings.model.clone(),
                    prompt_tokens: embeddings.prompt_tokens,
                    completion_tokens: 0,
                };
                self.heard(used, bytes);
                Ok(embeddings)
            }
            Err(error) => Err(Error { message: self.masked(error.message), ..error }),
        })
    }
}

fn check_question(messages: &[Message], parameters: &Parameters) -> Result<(), Error> {
    if messages.len() > MESSAGES {
        return Err(over_limit(format!("a question has at most {MESSAGES} messages")));
    }
    if messages.last().is_none_or(|message| message.role != Role::User) {
        return Err(invalid("the last message is the user's"));
    }
    if parameters.temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
        return Err(invalid("temperature is a number from 0 to 2"));
    }
    if parameters.max_tokens == Some(0) {
        return Err(invalid("max-tokens is at least 1"));
    }
    for (name, text) in [("output-schema", &parameters.output_schema), ("extra", &parameters.extra)] {
        let Some(text) = text else { continue };
        if text.len() > SETTING_BYTES {
            return Err(over_limit(format!("{name} has at most {SETTING_BYTES} bytes")));
        }
        let read: Result<serde_json::Map<String, serde_json::Value>, _> = serde_json::from_str(text);
        let read = read.map_err(|_| invalid(format!("{name} is no JSON object")))?;
        if name == "extra"
            && let Some(key) = OWN_SETTINGS.into_iter().find(|key| read.contains_key(*key))
        {
            return Err(invalid(format!("extra: '{key}' is not one of the further settings")));
        }
    }
    Ok(())
}

fn check_texts(texts: &[String], options: &EmbedOptions) -> Result<(), Error> {
    if texts.is_empty() {
        return Err(invalid("there is no text to embed"));
    }
    if texts.len() > TEXTS {
        return Err(over_limit(format!("at most {TEXTS} texts are embedded at once")));
    }
    if options.dimension == Some(0) {
        return Err(invalid("dimension is at least 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{DEPTH, ModelCalls, ModelGrant, Spent, Used};

    #[test]
    fn circles_and_long_chains_of_models_end() {
        let one = ModelCalls::default().below().unwrap().through("a").unwrap();
        let two = one.below().unwrap().through("b").unwrap();
        let circle = two.through("a").unwrap_err();
        assert_eq!((circle.code.as_str(), circle.retryable), ("CZ0704", false));
        assert_eq!(circle.message, "provider 'a' waits for its own answer: a > b > a");
        let three = two.below().unwrap().through("c").unwrap();
        assert_eq!((one.depth(), three.depth()), (1, DEPTH));
        assert_eq!(three.below().unwrap_err().message, "more than 3 plugins wait for each other: a > b > c");
        let used =
            |tokens| Used { provider: "a".into(), model: "m".into(), prompt_tokens: tokens, completion_tokens: 1 };
        for tokens in 0..150 {
            three.used(used(tokens));
        }
        let all = one.take();
        assert_eq!(all.len(), 100);
        assert_eq!(all.iter().map(|used| used.prompt_tokens).sum::<u64>(), (0..150).sum::<u64>());
        assert!(three.take().is_empty());
    }

    #[test]
    fn a_budget_ends_by_calls_or_by_tokens() {
        let grant = ModelGrant { providers: Vec::new(), calls: 3, tokens: 100 };
        let mut spent = Spent::default();
        assert_eq!(spent.admit(&grant).unwrap(), 100);
        spent.add(10, 20, 4_000);
        assert_eq!(spent.admit(&grant).unwrap(), 70);
        // Nothing was counted by the provider: four bytes are a token.
        spent.add(0, 0, 240);
        assert_eq!(spent.admit(&grant).unwrap(), 10);
        let error = spent.admit(&grant).unwrap_err();
        assert_eq!(error.message, "the budget of 3 questions to models per call of the plugin is used up");
        let mut spent = Spent::default();
        spent.add(99, 1, 0);
        let error = spent.admit(&grant).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("CZ0704", "the budget of 100 tokens of models per call of the plugin is used up")
        );
    }
}
