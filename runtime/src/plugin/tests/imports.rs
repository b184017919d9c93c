//! Every function that a component may import, called as no compiler would: wild pointers, lengths without end, handles
//! that were never given, numbers that are none. The list is taken from the WIT, so a new function is tried too.

use std::fmt::Write as _;
use std::sync::Arc;

use compozy_lang::plan::{Access, Grant, ModelGrant, Permissions, PluginKind};

use super::lent::Recorder;
use super::models::Parrot;
use super::raw::{MISUSES, imports};
use super::{bind_with, context, host};
use crate::plugin::{Binding, CallError, Kind, Services, Source, tool};

/// May do everything there is.
async fn granted() -> Binding {
    let grant = |id: &str| Grant { id: id.into(), write: true };
    let permissions = Permissions {
        http: vec!["*".into()],
        sql: vec![grant("raw")],
        vector: vec![grant("raw")],
        kv: Access::ReadWrite,
        env: vec!["raw".into()],
        secrets: vec!["raw".into()],
        fs: Vec::new(),
        llm: Some(ModelGrant::default()),
    };
    let services = Services {
        storage: Some(Arc::new(super::memory::Memory::default())),
        databases: Some(Arc::new(Recorder::default())),
        models: Some(Arc::new(Parrot::default())),
        ..Services::default()
    };
    bind_with("guests/zoo", permissions, services).await
}

/// How a call ended, without what differs between machines.
fn ending(outcome: &Result<String, CallError>) -> String {
    match outcome {
        Ok(_) => "ends well".into(),
        Err(error) => match error.message.split_once(": ") {
            Some((_, reason)) => format!("{} {reason}", error.code),
            None => format!("{} {}", error.code, error.message),
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_import_can_be_misused() {
    let base = granted().await;
    let (mut ours, mut tried) = (String::new(), 0);
    for import in imports() {
        let raw = Source::Bytes(import.misused().encode().into());
        let name = format!("{} {}", import.interface, import.function);
        let component = host().load(raw, PluginKind::Tool).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let binding = Binding { component, ..base.clone() };
        let is_ours = import.interface.starts_with("compozy:");
        if is_ours {
            let _ = writeln!(ours, "{name}");
        }
        for (index, (misuse, _, _)) in MISUSES.iter().enumerate() {
            let outcome = tool::run(&binding, &context(), "raw", &"x".repeat(index)).await;
            if let Err(error) = &outcome {
                assert!(
                    matches!(error.kind, Kind::Trap | Kind::Output | Kind::Handles | Kind::Memory),
                    "{name}, {misuse}: {error:?}"
                );
                assert!(matches!(error.code.as_str(), "CZ0704" | "CZ0705"), "{name}, {misuse}: {error:?}");
            }
            if is_ours {
                let _ = writeln!(ours, "  {misuse}: {}", ending(&outcome));
            }
            tried += 1;
        }
    }
    assert!(tried > 600, "only {tried} calls were tried");
    insta::assert_snapshot!("misused_imports", ours);
}
