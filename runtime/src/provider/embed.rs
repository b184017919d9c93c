//! Vectors of texts by a provider entry: the bundled plugins that speak a chat protocol speak its embeddings too.

use std::time::Instant;

use compozy_lang::plan::PluginKind;

use super::error::Error;
use super::kinds::{self, Kind, Protocol};
use super::{Lane, Revision, retry};
use crate::plugin::embedder::{self, Embeddings};
use crate::plugin::{Binding, CallContext, CallError, Source};

/// Vectors with who made them.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// One vector per text, in order, all of one dimension.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens read, 0 where the provider does not say.
    pub prompt_tokens: u64,
    /// The model that was asked for.
    pub model: String,
    /// Id of the entry.
    pub provider_id: String,
}

/// The bundled plugins over HTTP that make vectors too.
const EMBEDDERS: [&str; 2] = ["llm-openai", "llm-ollama"];

/// Default embedding models by type (dialect §8).
const MODELS: [(&str, &str); 4] = [
    ("openai", "text-embedding-3-small"),
    ("mistral", "mistral-embed"),
    ("ollama", "nomic-embed-text"),
    ("mock", "mock"),
];

impl Revision {
    /// Embeds `texts` with `model`, else the type's default one.
    pub(super) async fn embed(
        &self,
        provider: Option<&str>,
        texts: &[String],
        model: Option<&str>,
        dimension: Option<u32>,
        ctx: &CallContext,
    ) -> Result<Embedded, Error> {
        let entry = self.settings.choose(provider)?;
        let kind = kinds::find(&entry.kind).ok_or_else(|| Error::unsupported(&entry.kind))?;
        let models = ctx.models.through(&entry.id).map_err(Error::Circle)?;
        let ctx = &CallContext { models, ..ctx.clone() };
        let source = self.embedder_of(kind)?;
        let default = MODELS.iter().find(|(known, _)| *known == kind.name).map(|(_, model)| *model);
        let model = model.or(default).ok_or_else(|| Error::Setting {
            id: entry.id.clone(),
            key: "model",
            reason: format!("type '{}' has no default embedding model; name one", entry.kind),
        })?;
        let component = self.parts.host.load(source, PluginKind::Embedder).await;
        let component = component.map_err(|source| Error::Plugin { id: entry.id.clone(), source })?;
        let binding = Binding { component, ..self.bind(&entry, kind, ctx).await? };
        let asking = Asking { providers: self, lane: &self.lane(&entry), id: &entry.id, binding, ctx };
        let Embeddings { vectors, prompt_tokens } = asking.ask(model, texts, dimension).await?;
        let size = vectors.first().map_or(0, Vec::len);
        let fits = vectors.len() == texts.len()
            && size > 0
            && vectors.iter().all(|vector| vector.len() == size && vector.iter().all(|number| number.is_finite()));
        if !fits {
            let reason = format!("its vectors are not {} of one size", texts.len());
            return Err(Error::Unreachable { id: entry.id.clone(), reason, retryable: false, retry_after: None });
        }
        Ok(Embedded { vectors, prompt_tokens, model: model.to_owned(), provider_id: entry.id.clone() })
    }

    /// The plugin that makes vectors for a type.
    fn embedder_of(&self, kind: &Kind) -> Result<Source, Error> {
        let none = || Error::Type(format!("a provider of type '{}' makes no embeddings", kind.name));
        let plugin = match kind.protocol {
            Protocol::Mock => "llm-mock",
            Protocol::Http(plugin) if EMBEDDERS.contains(&plugin) => plugin,
            _ => return Err(none()),
        };
        self.parts.bundle.get(plugin).cloned().ok_or_else(none)
    }
}

/// One request on its way.
struct Asking<'a> {
    providers: &'a Revision,
    lane: &'a Lane,
    id: &'a str,
    binding: Binding,
    ctx: &'a CallContext,
}

impl Asking<'_> {
    /// Asks until there is an answer or the failure is final.
    async fn ask(&self, model: &str, texts: &[String], dimension: Option<u32>) -> Result<Embeddings, Error> {
        let deadline = Instant::now() + self.ctx.timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        for attempt in 1.. {
            let place = self.lane.enter(self.id, &self.ctx.cancel, deadline).await?;
            let ctx = CallContext { timeout: left(), ..self.ctx.clone() };
            let answered = embedder::embed(&self.binding, &ctx, model, texts, dimension).await;
            drop(place);
            let error = match answered {
                Ok(embeddings) => return Ok(embeddings),
                Err(error) => {
                    let message = self.binding.grants.mask().apply(&error.message).into_owned();
                    Error::from_call(self.id, CallError { message, ..error })
                }
            };
            let wait = retry::wait(&self.providers.settings, &error, attempt).filter(|wait| *wait < left());
            let Some(wait) = wait else { return Err(error.after(attempt)) };
            tokio::select! {
                () = self.providers.clock.sleep(wait) => {}
                () = self.ctx.cancel.canceled() => return Err(Error::canceled(self.id)),
            }
        }
        Err(Error::canceled(self.id))
    }
}
