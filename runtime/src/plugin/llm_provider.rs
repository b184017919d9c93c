//! `compozy:plugin/llm-provider`: one question to a model, whole or streamed. Every call gets a fresh instance.

pub use super::bindings::llm::exports::compozy::plugin::llm_provider::{
    Finish, Message, Parameters, Request, Response, Role, ToolCall, ToolDefinition, Usage,
};

use super::bindings::llm::Llm;
use super::bindings::llm::exports::compozy::plugin::llm_provider::Event;
use super::bindings::tool::compozy::plugin::types;
use super::call::{self, Binding, CallContext};
use super::component::Export;
use super::error::{CallError, Kind};
use super::state::State;

/// Receives pieces of a streamed answer.
pub type OnText<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Asks the model and waits for the whole answer; with `on_text`, its pieces are handed over as they come.
///
/// # Errors
/// What the plugin reported, or what ended it.
pub async fn chat(
    binding: &Binding,
    ctx: &CallContext,
    request: &Request,
    on_text: Option<OnText<'_>>,
) -> Result<Response, CallError> {
    let Export::Llm(pre) = &binding.component.export else {
        let message = format!("'{}' is a {:?} plugin, not an llm one", binding.plugin_id, binding.component.kind());
        return Err(CallError::new(Kind::Host, "CZ0702", message));
    };
    let mut live = call::begin(binding, ctx).await?;
    let (deadline, store) = (live.deadline(), &mut live.store);
    let outcome = call::supervise(deadline, &ctx.cancel, async {
        let plugin = pre.instantiate_async(&mut *store).await?;
        match on_text {
            Some(on_text) => stream(&plugin, store, request, on_text, binding.limits.output_bytes).await,
            None => plugin.compozy_plugin_llm_provider().call_chat(&mut *store, request).await,
        }
    })
    .await;
    let response = live.finish(binding, "chat", outcome)?;
    let called = |call: &ToolCall| call.id.len() + call.name.len() + call.arguments.len();
    call::check_output(binding, response.text.len() + response.tool_calls.iter().map(called).sum::<usize>())?;
    Ok(response)
}

/// Reads a stream to its end.
async fn stream(
    plugin: &Llm,
    store: &mut wasmtime::Store<State>,
    request: &Request,
    on_text: OnText<'_>,
    output_bytes: u64,
) -> wasmtime::Result<Result<Response, types::Error>> {
    let provider = plugin.compozy_plugin_llm_provider();
    let stream = match provider.call_stream(&mut *store, request).await? {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    let mut bytes = 0_u64;
    let ended = loop {
        match provider.chat_stream().call_next(&mut *store, stream).await? {
            Ok(Some(Event::Text(piece))) => {
                bytes = bytes.saturating_add(piece.len() as u64);
                if bytes > output_bytes {
                    break Err(too_long(output_bytes));
                }
                on_text(&piece);
            }
            Ok(Some(Event::Done(response))) => break Ok(response),
            Ok(None) => break Err(cut_off()),
            Err(error) => break Err(error),
        }
    };
    stream.resource_drop_async(store).await?;
    Ok(ended)
}

fn cut_off() -> types::Error {
    types::Error {
        code: "stream_ended".into(),
        message: "the stream ended before the answer was complete".into(),
        retryable: true,
        retry_after_ms: None,
    }
}

fn too_long(bytes: u64) -> types::Error {
    let message = format!("the answer is longer than {bytes} bytes");
    types::Error { code: "CZ0704".into(), message, retryable: false, retry_after_ms: None }
}

/// Names of the models the endpoint offers.
///
/// # Errors
/// What the plugin reported, or what ended it.
pub async fn models(binding: &Binding, ctx: &CallContext) -> Result<Vec<String>, CallError> {
    let Export::Llm(pre) = &binding.component.export else {
        return Err(CallError::new(Kind::Host, "CZ0702", format!("'{}' is not an llm plugin", binding.plugin_id)));
    };
    let mut live = call::begin(binding, ctx).await?;
    let (deadline, store) = (live.deadline(), &mut live.store);
    let outcome = call::supervise(deadline, &ctx.cancel, async {
        let plugin = pre.instantiate_async(&mut *store).await?;
        plugin.compozy_plugin_llm_provider().call_models(&mut *store).await
    })
    .await;
    live.finish(binding, "models", outcome)
}
