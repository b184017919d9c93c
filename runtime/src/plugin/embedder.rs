//! `compozy:plugin/embedder`: vectors of texts.

pub use super::bindings::embedder::exports::compozy::plugin::embedder::Embeddings;

use super::call::{self, Binding, CallContext};
use super::component::Export;
use super::error::{CallError, Kind};

/// Embeds `texts` with `model`, one vector per text.
///
/// # Errors
/// What the plugin reported, or what ended it.
pub async fn embed(
    binding: &Binding,
    ctx: &CallContext,
    model: &str,
    texts: &[String],
    dimension: Option<u32>,
) -> Result<Embeddings, CallError> {
    let Export::Embedder(pre) = &binding.component.export else {
        return Err(CallError::new(Kind::Host, "CZ0702", format!("'{}' is not an embedder plugin", binding.plugin_id)));
    };
    let mut live = call::begin(binding, ctx).await?;
    let (deadline, store) = (live.deadline(), &mut live.store);
    let outcome = call::supervise(deadline, &ctx.cancel, async {
        let plugin = pre.instantiate_async(&mut *store).await?;
        plugin.compozy_plugin_embedder().call_embed(&mut *store, model, texts, dimension).await
    })
    .await;
    live.finish(binding, "embed", outcome)
}
