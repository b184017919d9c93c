//! What the bundled JavaScript engine is told of a script, and whether a script can be used at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::{PluginKind, Script, Tool};
use serde::Serialize;
use serde_json::Value;

use super::call::{Binding, CallContext};
use super::error::CallError;
use super::grants::Grants;
use super::host::{Host, Services};
use super::{bundled, tool};

/// Name of the engine among the bundled plugins.
pub const ENGINE: &str = "js";

/// The engine's function that calls what a script exports.
pub const RUN: &str = "run";

/// The engine's function that reads a script and runs nothing.
const CHECK: &str = "check";

/// Longest check: it parses at most a megabyte.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// The config of the engine (plugins/js, `script.rs`).
#[derive(Serialize)]
struct Config<'t> {
    tool: &'t str,
    main: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<&'t str>,
    modules: &'t BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Value::is_null")]
    config: &'t Value,
}

/// What the engine is told of a tool, as JSON.
#[must_use]
pub fn config(tool: &Tool, script: &Script) -> String {
    let config = Config {
        tool: &tool.id,
        main: &script.main,
        function: tool.function.as_deref(),
        modules: &script.modules,
        config: &tool.config,
    };
    // Maps of texts can always be written.
    serde_json::to_string(&config).unwrap_or_default()
}

/// Whether scripts can be looked at now: where the engine is compiled first that takes seconds.
#[must_use]
pub fn is_ready(host: &Host) -> bool {
    bundled::find(ENGINE).is_none_or(|engine| host.is_compiled(engine))
}

/// Parses the script of a tool and everything it imports, and looks for what it exports. None of it is run.
///
/// # Errors
/// What is wrong with the script (CZ0701, CZ0706), or why the engine could not look at it.
pub async fn check(host: &Arc<Host>, tool: &Tool, script: &Script) -> Result<(), CallError> {
    let unusable = |error: super::Error| {
        CallError::new(super::Kind::Host, error.code(), format!("'{}': the JavaScript engine: {error}", tool.id))
    };
    let Some(source) = bundled::source(ENGINE) else {
        let missing = super::Error::Unusable("it is not part of this build".to_owned());
        return Err(unusable(missing));
    };
    let binding = Binding {
        plugin_id: tool.id.as_str().into(),
        component: host.load(source, PluginKind::Tool).await.map_err(unusable)?,
        grants: Arc::new(Grants::none()),
        limits: script.limits.clone(),
        config: config(tool, script).into(),
        services: Arc::new(Services::default()),
    };
    tool::run(&binding, &CallContext::outside_runs(CHECK_TIMEOUT), CHECK, "null").await.map(drop)
}
