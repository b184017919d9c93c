//! Lends the models of a project to plugins: the providers in the words of `compozy:host/llm`.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Error, PromptRequest, Providers, Role};
use crate::plugin::CallContext;
use crate::plugin::host::llm::{self, Answer, EmbedOptions, Embeddings, Message, Models, Parameters};

/// The providers of a project for its plugins.
///
/// Providers are built on the services they are lent through, so they are bound when they are there, and weakly: with
/// the last [`Providers`] their models are gone.
#[derive(Debug, Default)]
pub struct Lent(OnceLock<Weak<Providers>>);

impl Lent {
    /// Lends `providers` from now on. The first call counts.
    pub fn bind(&self, providers: &Arc<Providers>) {
        self.0.get_or_init(|| Arc::downgrade(providers));
    }

    fn providers(&self) -> Result<Arc<Providers>, llm::Error> {
        let bound = self.0.get().and_then(Weak::upgrade);
        bound.ok_or_else(|| failure("unavailable", "no models are configured"))
    }
}

#[async_trait]
impl Models for Lent {
    async fn chat(
        &self,
        provider: Option<&str>,
        messages: Vec<Message>,
        parameters: Parameters,
        ctx: &CallContext,
    ) -> Result<Answer, llm::Error> {
        let request = request(messages, parameters)?;
        let answer = self.providers()?.chat(provider, &request, ctx, None).await.map_err(|error| told(&error))?;
        let usage =
            llm::Usage { prompt_tokens: answer.usage.prompt_tokens, completion_tokens: answer.usage.completion_tokens };
        let text = answer.value.map_or(answer.text, |value| value.to_string());
        Ok(Answer { text, usage, provider: answer.provider_id, model: answer.model })
    }

    async fn embed(
        &self,
        provider: Option<&str>,
        texts: Vec<String>,
        options: EmbedOptions,
        ctx: &CallContext,
    ) -> Result<Embeddings, llm::Error> {
        let providers = self.providers()?;
        let embedded = providers.embed(provider, &texts, options.model.as_deref(), options.dimension, ctx).await;
        let embedded = embedded.map_err(|error| told(&error))?;
        Ok(Embeddings {
            vectors: embedded.vectors,
            prompt_tokens: embedded.prompt_tokens,
            provider: embedded.provider_id,
            model: embedded.model,
        })
    }
}

/// The question of a plugin as that of a step. The last message is the user's.
fn request(mut messages: Vec<Message>, parameters: Parameters) -> Result<PromptRequest, llm::Error> {
    let prompt = messages.pop().map(|message| message.content).unwrap_or_default();
    let system = match messages.first() {
        Some(first) if first.role == llm::Role::System => Some(messages.remove(0).content),
        _ => None,
    };
    let object = |text: Option<String>| match text {
        None => Ok(None),
        Some(text) => match serde_json::from_str::<Map<String, Value>>(&text) {
            Ok(members) => Ok(Some(members)),
            Err(error) => Err(failure("invalid", format!("no JSON object: {error}"))),
        },
    };
    let mut params = object(parameters.extra)?.unwrap_or_default();
    if let Some(temperature) = parameters.temperature {
        params.insert("temperature".into(), temperature.into());
    }
    if let Some(most) = parameters.max_tokens {
        params.insert("max_tokens".into(), most.into());
    }
    Ok(PromptRequest {
        system: system.filter(|text| !text.is_empty()),
        history: messages.into_iter().map(|message| (role(message.role), message.content)).collect(),
        prompt,
        model: parameters.model,
        params,
        output_schema: object(parameters.output_schema)?.map(Value::Object),
        ..PromptRequest::default()
    })
}

fn role(role: llm::Role) -> Role {
    match role {
        llm::Role::System => Role::System,
        llm::Role::User => Role::User,
        llm::Role::Assistant => Role::Assistant,
    }
}

fn failure(code: &str, message: impl Into<String>) -> llm::Error {
    llm::Error { code: code.into(), message: message.into(), retryable: false, retry_after_ms: None }
}

/// What the plugin is told of a failed question.
fn told(error: &Error) -> llm::Error {
    llm::Error {
        retryable: error.retryable(),
        retry_after_ms: error.retry_after().and_then(|after| u64::try_from(after.as_millis()).ok()),
        ..failure(error.code(), error.to_string())
    }
}
