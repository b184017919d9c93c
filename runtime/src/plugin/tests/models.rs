//! `compozy:host/llm`: who may ask, how much, and what is made of answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use compozy_lang::plan::{ModelGrant, Permissions, PluginLimits};
use serde_json::{Value, json};
use wasmtime_wasi::async_trait;

use super::{SECRET, bind_with, call, context};
use crate::plugin::host::llm::{Answer, EmbedOptions, Embeddings, Error, Message, Parameters, Usage};
use crate::plugin::{Binding, CallContext, Kind, Models, Services, tool};

/// Answers with what it was asked and remembers how.
#[derive(Debug, Default)]
pub(super) struct Parrot {
    asked: Mutex<Vec<String>>,
}

impl Parrot {
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Models for Parrot {
    async fn chat(
        &self,
        provider: Option<&str>,
        messages: Vec<Message>,
        parameters: Parameters,
        ctx: &CallContext,
    ) -> Result<Answer, Error> {
        let text = messages.last().map(|message| message.content.clone()).unwrap_or_default();
        let asked = format!(
            "{} {:?} {:?} {:?} depth {}",
            provider.unwrap_or("default"),
            text,
            parameters.max_tokens,
            parameters.temperature,
            ctx.models.depth()
        );
        self.asked.lock().unwrap().push(asked);
        match text.as_str() {
            "hang" => std::future::pending().await,
            "fail" => Err(Error {
                code: "CZ0506".into(),
                message: format!("slow down, {SECRET}"),
                retryable: true,
                retry_after_ms: Some(1_500),
            }),
            "tell" => Ok(answer(format!("the secret is {SECRET}"))),
            _ => Ok(answer(text)),
        }
    }

    async fn embed(
        &self,
        _provider: Option<&str>,
        texts: Vec<String>,
        _options: EmbedOptions,
        _ctx: &CallContext,
    ) -> Result<Embeddings, Error> {
        let vectors = texts.iter().map(|text| vec![text.len() as f32]).collect();
        Ok(Embeddings { vectors, prompt_tokens: 30, provider: "parrot".into(), model: "p".into() })
    }
}

fn answer(text: String) -> Answer {
    let usage = Usage { prompt_tokens: 20, completion_tokens: 10 };
    Answer { text, usage, provider: "parrot".into(), model: "p".into() }
}

async fn zoo(grant: Option<ModelGrant>) -> (Binding, Arc<Parrot>) {
    let parrot = Arc::new(Parrot::default());
    let permissions = Permissions { llm: grant, secrets: vec!["TOKEN".into()], ..Permissions::default() };
    let services = Services { models: Some(Arc::clone(&parrot) as _), ..Services::default() };
    (bind_with("guests/zoo", permissions, services).await, parrot)
}

#[tokio::test]
async fn a_granted_plugin_is_answered() {
    let (zoo, parrot) = zoo(Some(ModelGrant::default())).await;
    let ctx = context();
    let input =
        json!({"prompt": "hello", "system": "be brief", "provider": "fast", "max_tokens": 7, "temperature": 0.5});
    let said = tool::run(&zoo, &ctx, "ask", &input.to_string()).await.unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said,
        json!({"text": "hello", "provider": "parrot", "model": "p", "prompt_tokens": 20, "completion_tokens": 10})
    );
    assert_eq!(parrot.asked(), ["fast \"hello\" Some(7) Some(0.5) depth 1"]);
    let used = ctx.models.take();
    assert_eq!((used.len(), used[0].provider.as_str(), used[0].prompt_tokens), (1, "parrot", 20));
    let vectors = call(&zoo, "embed", json!({"texts": ["a", "bcd"]})).await.unwrap();
    assert_eq!(vectors, json!({"vectors": [[1.0], [3.0]], "prompt_tokens": 30}));
}

#[tokio::test]
async fn who_may_ask_and_how_much() {
    let fast = |calls, tokens| Some(ModelGrant { providers: vec!["fast".into()], calls, tokens });
    for (grant, input, code, message) in [
        (None, json!({"prompt": "x"}), "CZ0703", "was refused asking a model; allow it with permissions.llm: true"),
        (
            fast(5, 100),
            json!({"prompt": "x", "provider": "best"}),
            "CZ0703",
            "was refused asking the provider 'best'; allow it with permissions.llm: {providers: [best]}",
        ),
        (fast(3, 1_000), json!({"prompt": "x", "times": 4}), "CZ0704", "the budget of 3 questions to models"),
        (fast(9, 60), json!({"prompt": "x", "times": 4}), "CZ0704", "the budget of 60 tokens of models"),
        (fast(9, 900), json!({"prompt": "fail"}), "CZ0506", "slow down, ***"),
    ] {
        let (zoo, _) = zoo(grant).await;
        let error = call(&zoo, "ask", input.clone()).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (Kind::Plugin, code), "{input}: {error:?}");
        assert!(error.message.contains(message), "{input}: {}", error.message);
        assert_eq!(error.retry_after, (code == "CZ0506").then_some(Duration::from_millis(1_500)));
    }
    // The budget is that of one call.
    let (zoo, parrot) = zoo(fast(2, 60)).await;
    for _ in 0..3 {
        call(&zoo, "ask", json!({"prompt": "x", "times": 2, "max_tokens": 50})).await.unwrap();
        let both = ["fast \"x\" Some(50) None depth 1", "fast \"x\" Some(30) None depth 1"];
        assert_eq!(parrot.asked(), both, "the first granted one, and no more tokens than are left");
    }
    let unbound = bind_with(
        "guests/zoo",
        Permissions { llm: Some(ModelGrant::default()), ..Permissions::default() },
        Services::default(),
    );
    assert_eq!(call(&unbound.await, "ask", json!({"prompt": "x"})).await.unwrap_err().code, "unavailable");
}

#[tokio::test]
async fn what_makes_no_sense_is_not_asked() {
    let (zoo, parrot) = zoo(Some(ModelGrant::default())).await;
    for (input, code, message) in [
        (json!({"messages": []}), "invalid", "the last message is the user's"),
        (json!({"messages": [["user", "a"], ["assistant", "b"]]}), "invalid", "the last message is the user's"),
        (json!({"messages": vec![json!(["user", "a"]); 1_001]}), "CZ0704", "a question has at most 1000 messages"),
        (json!({"prompt": "x", "temperature": -0.1}), "invalid", "temperature is a number from 0 to 2"),
        (json!({"prompt": "x", "temperature": "nan"}), "invalid", "temperature is a number from 0 to 2"),
        (json!({"prompt": "x", "temperature": "inf"}), "invalid", "temperature is a number from 0 to 2"),
        (json!({"prompt": "x", "max_tokens": 0}), "invalid", "max-tokens is at least 1"),
        (json!({"prompt": "x", "schema": [1]}), "invalid", "output-schema is no JSON object"),
        (json!({"prompt": "x", "extra": "text"}), "invalid", "extra is no JSON object"),
        (json!({"prompt": "x", "extra": {"max_tokens": 9}}), "invalid", "'max_tokens' is not one of"),
        (json!({"prompt": "x", "extra": {"a": "x".repeat(300 << 10)}}), "CZ0704", "extra has at most 262144 bytes"),
    ] {
        let error = call(&zoo, "ask", input.clone()).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (Kind::Plugin, code), "{error:?}");
        assert!(error.message.contains(message), "{}", error.message);
    }
    for (input, code) in [
        (json!({"texts": []}), "invalid"),
        (json!({"texts": vec!["a"; 2_049]}), "CZ0704"),
        (json!({"texts": ["a"], "dimension": 0}), "invalid"),
    ] {
        assert_eq!(call(&zoo, "embed", input).await.unwrap_err().code, code);
    }
    assert!(parrot.asked().is_empty());
    // A text may hold what it likes; the whole of one call may not be larger than what a call hands over.
    call(&zoo, "ask", json!({"prompt": "a\u{0}b\u{fffd}"})).await.unwrap();
    let error = call(&zoo, "ask", json!({"prompt": "x", "repeat": 16 << 20})).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (Kind::Output, "CZ0704"), "{error:?}");
}

#[tokio::test]
async fn secrets_reach_no_model_and_come_back_from_none() {
    let (zoo, parrot) = zoo(Some(ModelGrant::default())).await;
    let said = call(&zoo, "ask", json!({"prompt": "key", "secret": "TOKEN"})).await.unwrap();
    let asked = parrot.asked().remove(0);
    assert!(asked.contains("placeholder-") && !asked.contains(SECRET), "{asked}");
    assert!(said["text"].as_str().unwrap().starts_with("key placeholder-"), "{said}");
    let said = call(&zoo, "ask", json!({"prompt": "tell"})).await.unwrap();
    assert_eq!(said["text"], "the secret is ***");
}

#[tokio::test]
async fn a_model_that_hangs_meets_the_deadline_of_the_plugin() {
    let (zoo, _) = zoo(Some(ModelGrant::default())).await;
    let limits = PluginLimits { timeout: Duration::from_millis(200), ..PluginLimits::default() };
    let error = call(&Binding { limits, ..zoo }, "ask", json!({"prompt": "hang"})).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (Kind::Deadline, "CZ0704"));
}
