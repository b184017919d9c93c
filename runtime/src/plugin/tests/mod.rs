//! Real components against the real host. They are built by `cargo plugins`.

mod abuse;
mod hostile;
mod imports;
mod lent;
mod load;
pub(in crate::plugin) mod memory;
mod models;
#[path = "../../../../tests/support/raw.rs"]
mod raw;
mod released;
mod script;
mod template;
mod zoo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use compozy_lang::plan::{Permissions, PluginKind, PluginLimits};
use serde_json::Value;

use super::environment::Fixed;
use super::{Binding, CallContext, CallError, Grants, Host, HostOptions, RunContext, Services, Source, tool};

/// Where `cargo plugins` puts a component.
pub(crate) fn path(name: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/target/components").join(name).with_extension("wasm");
    assert!(path.is_file(), "{} is not there: run `cargo plugins`", path.display());
    path
}

/// One host for all tests of the process, as in the server.
pub(crate) fn host() -> Arc<Host> {
    static HOST: OnceLock<Arc<Host>> = OnceLock::new();
    Arc::clone(HOST.get_or_init(|| Host::new(HostOptions { max_instances: 64, ..HostOptions::default() }).unwrap()))
}

pub(crate) const SECRET: &str = "s3cr3t-canary/+42";

pub(crate) fn environment() -> Arc<Fixed> {
    Arc::new(Fixed(BTreeMap::from([("REGION".into(), "eu".into()), ("TOKEN".into(), SECRET.into())])))
}

/// `name` with `permissions`, and 2 s per call.
pub(crate) async fn bind_with(name: &str, permissions: Permissions, services: Services) -> Binding {
    let grants = Grants::new(&permissions, Path::new(env!("CARGO_MANIFEST_DIR")), environment()).unwrap();
    Binding {
        plugin_id: "pet".into(),
        component: host().load(Source::Path(path(name)), PluginKind::Tool).await.unwrap(),
        grants: Arc::new(grants),
        limits: PluginLimits { timeout: Duration::from_secs(2), ..PluginLimits::default() },
        config: r#"{"currency":"EUR"}"#.into(),
        services: Arc::new(services),
    }
}

pub(crate) async fn bind(name: &str) -> Binding {
    bind_with(name, Permissions::default(), Services::default()).await
}

pub(crate) fn context() -> CallContext {
    CallContext {
        run: Some(Arc::new(RunContext {
            exec_id: "01RUN".into(),
            workflow_id: "flow".into(),
            step_path: "outer/task".into(),
            attempt: 2,
            idempotency_key: "01RUN:outer/task:1".into(),
        })),
        ..CallContext::outside_runs(Duration::from_secs(30))
    }
}

/// Calls a function with and to JSON values.
pub(crate) async fn call(binding: &Binding, function: &str, input: Value) -> Result<Value, CallError> {
    let answer = tool::run(binding, &context(), function, &input.to_string()).await?;
    Ok(serde_json::from_str(&answer).unwrap())
}
