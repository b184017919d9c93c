//! Plugins ask the project's models: through real providers, with real plugins on both sides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::{self, ModelGrant, Permissions};
use serde_json::{Value, json};

use super::lend::Lent;
use super::tests::{KEY, entry as openai_entry, parts, server, text};
use super::{Parts, PromptRequest, Providers, Settings};
use crate::plugin::tests::{bind_with, call, environment, host, path};
use crate::plugin::{Binding, CallContext, Grants, Kind, Services, Source};

fn entry(id: &str, kind: &str, config: Value) -> plan::Provider {
    plan::Provider { config, model: Some(text("m")), ..plan::Provider::implicit(kind, id, Default::default()) }
}

fn openai(id: &str, base_url: &str) -> plan::Provider {
    openai_entry(id, "openai_compatible", base_url)
}

/// A tool that may ask models, and the services it asks through.
async fn zoo(lent: &Arc<Lent>) -> Binding {
    let services = Services { models: Some(Arc::clone(lent) as _), ..Services::default() };
    let permissions = Permissions { llm: Some(ModelGrant::default()), ..Permissions::default() };
    bind_with("guests/zoo", permissions, services).await
}

fn settings(providers: Vec<plan::Provider>) -> Settings {
    Settings { providers, retry_backoff_base: Duration::from_millis(1), ..Settings::default() }
}

#[tokio::test]
async fn a_plugin_asks_the_projects_models() {
    let lent = Arc::new(Lent::default());
    let zoo = zoo(&lent).await;
    assert_eq!(call(&zoo, "ask", json!({"prompt": "x"})).await.unwrap_err().code, "unavailable");
    let scripted = json!({"answers": [
        {"match": "busy", "error": {"code": "CZ0506", "message": "later", "retryable": true, "retry_after_ms": 30_000}},
        {"match": "json", "text": "```json\n{\"a\": 1}\n```"},
    ]});
    let providers = Arc::new(Providers::new(parts(), settings(vec![entry("fast", "mock", scripted)])));
    lent.bind(&providers);
    let said = call(&zoo, "ask", json!({"prompt": "hello", "system": "be brief"})).await.unwrap();
    assert_eq!((&said["text"], &said["provider"]), (&json!("[mock] hello"), &json!("fast")));
    assert!(said["prompt_tokens"].as_u64() > Some(0), "{said}");
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}});
    let said = call(&zoo, "ask", json!({"prompt": "json", "schema": schema})).await.unwrap();
    assert_eq!(said["text"], r#"{"a":1}"#, "the value alone");
    for (input, code, retryable) in [
        (json!({"prompt": "busy", "extra": {}}), "CZ0506", true),
        (json!({"prompt": "x", "provider": "nobody"}), "CZ0501", false),
        (json!({"prompt": "x", "schema": {"type": 7}}), "CZ0208", false),
        (json!({"prompt": "busy", "provider": "fast"}), "CZ0506", true),
    ] {
        let error = call(&zoo, "ask", input.clone()).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str(), error.retryable), (Kind::Plugin, code, retryable), "{error:?}");
        let after = (code == "CZ0506").then_some(Duration::from_secs(30));
        assert_eq!(error.retry_after, after, "{input}");
    }
    // Another revision of the project counts from the next question on; with the providers their models are gone.
    providers.replace(parts(), settings(vec![entry("best", "mock", json!({}))]));
    assert_eq!(call(&zoo, "ask", json!({"prompt": "x"})).await.unwrap()["provider"], "best");
    drop(providers);
    assert_eq!(call(&zoo, "ask", json!({"prompt": "x"})).await.unwrap_err().code, "unavailable");
}

#[tokio::test]
async fn a_plugin_embeds_texts() {
    let (base_url, seen) = server().await;
    let lent = Arc::new(Lent::default());
    let zoo = zoo(&lent).await;
    let lab = plan::Provider { api_key: Some(text(KEY)), ..openai("lab", &base_url) };
    let entries = vec![entry("mock", "mock", json!({})), lab, entry("no", "plugin", json!({}))];
    let providers = Arc::new(Providers::new(parts(), settings(entries)));
    lent.bind(&providers);
    let found = call(&zoo, "embed", json!({"texts": ["a cat", "the cat"], "dimension": 16})).await.unwrap();
    let sizes: Vec<usize> =
        found["vectors"].as_array().unwrap().iter().map(|one| one.as_array().unwrap().len()).collect();
    assert_eq!((sizes, &found["prompt_tokens"]), (vec![16, 16], &json!(4)));
    let ask = |model: &str, texts: Value| json!({"provider": "lab", "model": model, "texts": texts});
    let found = call(&zoo, "embed", ask("fits", json!(["a", "bc"]))).await.unwrap();
    assert_eq!(found, json!({"vectors": [[1.0, 0.5], [2.0, 0.5]], "prompt_tokens": 5}));
    assert_eq!(seen.count("fits"), 1);
    for (input, code, message) in [
        (ask("short", json!(["a", "b"])), "CZ0507", "1 vectors for 2 texts"),
        (ask("ragged", json!(["a", "b"])), "CZ0507", "not 2 of one size"),
        (ask("denied", json!(["a"])), "CZ0504", "refused the API key"),
        (json!({"provider": "lab", "texts": ["a"]}), "CZ0110", "no default embedding model"),
        (json!({"provider": "no", "texts": ["a"]}), "CZ0511", "makes no embeddings"),
        (json!({"provider": "mock", "texts": ["a"], "dimension": 5000}), "CZ0507", "1 to 4096"),
    ] {
        let error = call(&zoo, "embed", input.clone()).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (Kind::Plugin, code), "{input}: {error:?}");
        assert!(error.message.contains(message), "{input}: {}", error.message);
        assert!(!error.message.contains(KEY), "{}", error.message);
    }
}

#[tokio::test]
async fn models_that_ask_each_other_in_a_circle_end() {
    let lent = Arc::new(Lent::default());
    let services = Arc::new(Services { models: Some(Arc::clone(&lent) as _), ..Services::default() });
    let zoo = zoo(&lent).await;
    let component = host().load(Source::Path(path("guests/relay")), plan::PluginKind::Llm).await.unwrap();
    let permissions = Permissions { llm: Some(ModelGrant::default()), ..Permissions::default() };
    let grants = Grants::new(&permissions, std::path::Path::new("."), environment()).unwrap();
    let relay = Binding { plugin_id: "relay".into(), component, grants: Arc::new(grants), services, ..zoo.clone() };
    let to =
        |id: &str, to: &str| plan::Provider { plugin: Some("relay".into()), ..entry(id, "plugin", json!({"to": to})) };
    let parts = Parts { plugins: BTreeMap::from([("relay".into(), relay)]), ..parts() };
    let entries = vec![
        to("self", "self"),
        to("a", "b"),
        to("b", "a"),
        entry("mock", "mock", json!({})),
        to("one", "mock"),
        to("two", "one"),
        to("three", "two"),
    ];
    let providers = Arc::new(Providers::new(parts, settings(entries)));
    lent.bind(&providers);
    for (provider, said) in [
        ("one", Ok("relayed: [mock] x")),
        ("two", Ok("relayed: relayed: [mock] x")),
        ("three", Err("more than 3 plugins wait for each other: three > two > one")),
        ("self", Err("provider 'self' waits for its own answer: self > self")),
        ("a", Err("provider 'a' waits for its own answer: a > b > a")),
    ] {
        let answer = call(&zoo, "ask", json!({"prompt": "x", "provider": provider})).await;
        match (answer, said) {
            (Ok(answer), Ok(said)) => assert_eq!(answer["text"], said),
            (Err(error), Err(said)) => assert!(error.message.contains(said), "{provider}: {error:?}"),
            (answer, _) => panic!("{provider}: {answer:?}"),
        }
    }
    // A step's own question to such an entry ends as well.
    let ask = PromptRequest { prompt: "x".into(), ..PromptRequest::default() };
    let ctx = CallContext::outside_runs(Duration::from_secs(20));
    let error = providers.chat(Some("self"), &ask, &ctx, None).await.unwrap_err();
    assert!(error.to_string().contains("waits for its own answer"), "{error:?}");
}
