//! `compozy:plugin/tool`: what a tool offers, and one call of it. Every call gets a fresh instance.

use std::time::Duration;

pub use super::bindings::tool::exports::compozy::plugin::tool::{Description, Function};

use super::call::{self, Binding, CallContext};
use super::component::{Export, wrong};
use super::error::{CallError, Kind};

/// Longest `describe`: it does no work.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks what the component offers, without any grant. Called once when a project is loaded.
///
/// # Errors
/// It trapped, ran too long, or described nothing usable.
pub async fn describe(binding: &Binding) -> Result<Description, CallError> {
    let ungranted = Binding { grants: super::Grants::none().into(), ..binding.clone() };
    let ctx = CallContext::outside_runs(DESCRIBE_TIMEOUT);
    let Export::Tool(pre) = &binding.component.export else { return Err(not_a_tool(binding)) };
    let mut live = call::begin(&ungranted, &ctx).await?;
    let (deadline, store) = (live.deadline(), &mut live.store);
    let outcome = call::supervise(deadline, &ctx.cancel, async {
        let tool = pre.instantiate_async(&mut *store).await?;
        tool.compozy_plugin_tool().call_describe(&mut *store).await
    })
    .await;
    let description = live.finish(&ungranted, "describe", outcome.map(Ok))?;
    match contradiction(&description) {
        None => Ok(description),
        Some(reason) => {
            let message = format!("'{}': {}", binding.plugin_id, wrong(binding.component.kind(), reason));
            Err(CallError::new(Kind::Plugin, "CZ0702", message))
        }
    }
}

/// Why a description is of no use.
fn contradiction(description: &Description) -> Option<String> {
    if description.functions.is_empty() {
        return Some("describe names no function".into());
    }
    let mut seen = std::collections::HashSet::new();
    for function in &description.functions {
        if !seen.insert(function.name.as_str()) {
            return Some(format!("describe names function '{}' twice", function.name));
        }
        let mut schemas = [&function.input_schema, &function.output_schema].into_iter().flatten();
        if schemas.any(|schema| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(schema).is_err()) {
            return Some(format!("a schema of function '{}' is no JSON object", function.name));
        }
    }
    None
}

/// Calls `function` with `input` (JSON text) in a fresh instance and returns its answer (JSON text).
///
/// # Errors
/// What the plugin reported, or what ended it. The host lives on in either case, and so do all other calls.
pub async fn run(binding: &Binding, ctx: &CallContext, function: &str, input: &str) -> Result<String, CallError> {
    let Export::Tool(pre) = &binding.component.export else { return Err(not_a_tool(binding)) };
    let mut live = call::begin(binding, ctx).await?;
    let (deadline, store) = (live.deadline(), &mut live.store);
    let outcome = call::supervise(deadline, &ctx.cancel, async {
        let tool = pre.instantiate_async(&mut *store).await?;
        tool.compozy_plugin_tool().call_run(&mut *store, function, input).await
    })
    .await;
    let answer = live.finish(binding, "run", outcome)?;
    call::check_output(binding, answer.len())?;
    Ok(answer)
}

fn not_a_tool(binding: &Binding) -> CallError {
    let message = format!("'{}' is a {:?} plugin, not a tool", binding.plugin_id, binding.component.kind());
    CallError::new(Kind::Host, "CZ0702", message)
}
