//! Real llm plugins against a real HTTP server that speaks the OpenAI protocol, well or badly by the model's name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use compozy_lang::plan::{self, Segment, Template};
use compozy_lang::source::Place;
use serde_json::{Value, json};

use super::{Answer, Bundle, Error, Finish, Parts, Piece, PromptRequest, Providers, Settings};
use crate::plugin::environment::Fixed;
use crate::plugin::tests::{host, path};
use crate::plugin::{CallContext, Kind, RunContext, Services, Source};

pub(super) const KEY: &str = "sk-canary-0123456789";

/// Requests the server got.
#[derive(Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Vec<(HeaderMap, Value)>>>);

impl Seen {
    pub(super) fn count(&self, model: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(_, body)| body["model"] == model).count()
    }
}

fn completion(text: &str) -> Response {
    Json(json!({
        "id": "1", "object": "chat.completion", "model": "served-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}},
    }))
    .into_response()
}

fn events(pieces: &[&str], whole: bool) -> Response {
    let chunk = |delta: Value, finish: Value| {
        let event =
            json!({"model": "served-model", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        format!("data: {event}\n\n")
    };
    let mut body: String = pieces.iter().map(|piece| chunk(json!({"content": piece}), Value::Null)).collect();
    if whole {
        body += &chunk(json!({}), "stop".into());
        body += &format!(
            "data: {}\n\ndata: [DONE]\n\n",
            json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
        );
    }
    ([("content-type", "text/event-stream")], body).into_response()
}

fn failure(status: u16, headers: &[(&'static str, &'static str)]) -> Response {
    let body = Json(json!({"error": {"message": format!("as asked, {KEY}")}}));
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

async fn serve(State(seen): State<Seen>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    seen.0.lock().unwrap().push((headers, body.clone()));
    let turn = seen.count(&model);
    let streamed = body["stream"] == true;
    match model.as_str() {
        "ok" if streamed => events(&["Hel", "lo ", "world"], true),
        "truncated" => events(&["Hel"], false),
        "limited-twice" if turn <= 2 => failure(429, &[("retry-after-ms", "30")]),
        "limited" => failure(429, &[]),
        "limited-long" => failure(429, &[("retry-after", "3600")]),
        "flaky" if turn == 1 => failure(503, &[]),
        "broken" => failure(500, &[]),
        "denied" => failure(401, &[]),
        "forbidden" => failure(403, &[]),
        "missing" => failure(404, &[]),
        "moved" => failure(302, &[("location", "http://169.254.169.254/")]),
        "malformed" => ([("content-type", "application/json")], "{\"choices\": [").into_response(),
        "slow" => {
            std::future::pending::<()>().await;
            completion("never")
        }
        "late-json" if turn == 1 => completion("I would rather not."),
        "late-json" => completion("```json\n{\"a\": 1}\n```"),
        "bad-json" => completion("{\"a\": \"one\"}"),
        _ => completion("Hello world"),
    }
}

async fn vectors(State(seen): State<Seen>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    seen.0.lock().unwrap().push((headers, body.clone()));
    let texts: Vec<&str> = body["input"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let one = |(index, text): (usize, &&str)| json!({"index": index, "embedding": [text.len(), 0.5]});
    let mut data: Vec<Value> = texts.iter().enumerate().map(one).rev().collect();
    match model.as_str() {
        "denied" => return failure(401, &[]),
        "short" => drop(data.pop()),
        "ragged" => data[0]["embedding"] = json!([1]),
        _ => {}
    }
    Json(json!({"data": data, "usage": {"prompt_tokens": 5}})).into_response()
}

/// A server of its own for each test.
pub(super) async fn server() -> (String, Seen) {
    let seen = Seen::default();
    let app = axum::Router::new()
        .route("/v1/chat/completions", axum::routing::post(serve))
        .route("/v1/embeddings", axum::routing::post(vectors))
        .with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (base_url, seen)
}

pub(super) fn text(text: &str) -> Template {
    Template { segments: vec![Segment::Literal(text.into())], ..Template::default() }
}

fn variable(name: &str) -> Template {
    let place = Place { file: "compozy.yaml".into(), line: 4, column: 9 };
    Template { segments: vec![Segment::Variable { name: name.into(), default: None, place }], ..Template::default() }
}

pub(super) fn entry(id: &str, kind: &str, base_url: &str) -> plan::Provider {
    plan::Provider {
        id: id.into(),
        kind: kind.into(),
        plugin: None,
        default: false,
        model: Some(text("ok")),
        base_url: Some(text(base_url)),
        api_key: Some(variable("LAB_KEY")),
        organization: None,
        headers: Vec::new(),
        config: json!({}),
        params: serde_json::Map::new(),
        timeout: None,
        concurrency: None,
        max_tool_iterations: None,
        place: Place::default(),
    }
}

#[tokio::test]
async fn replaced_entries_count_for_the_next_call() {
    let settings = |id: &str| Settings { providers: vec![entry(id, "mock", "")], ..Settings::default() };
    let providers = with(settings("old"));
    assert_eq!(chat(&providers, &ask("m")).await.unwrap().provider_id, "old");
    providers.replace(parts(), settings("new"));
    assert_eq!(chat(&providers, &ask("m")).await.unwrap().provider_id, "new");
}

fn providers(entries: Vec<plan::Provider>) -> Providers {
    with(Settings { providers: entries, retry_backoff_base: Duration::from_millis(5), ..Settings::default() })
}

fn with(settings: Settings) -> Providers {
    Providers::new(parts(), settings)
}

pub(super) fn parts() -> Parts {
    Parts {
        host: host(),
        bundle: Bundle::new(|name| Some(Source::Path(path(name)))),
        plugins: BTreeMap::new(),
        environment: Arc::new(Fixed(BTreeMap::from([
            ("LAB_KEY".into(), KEY.into()),
            ("TITLE".into(), "title-canary".into()),
        ]))),
        services: Arc::new(Services::default()),
    }
}

fn context() -> CallContext {
    let run = RunContext {
        exec_id: "01RUN".into(),
        idempotency_key: "01RUN:t:1".into(),
        attempt: 1,
        ..RunContext::default()
    };
    CallContext { run: Some(Arc::new(run)), ..CallContext::outside_runs(Duration::from_secs(20)) }
}

fn ask(model: &str) -> PromptRequest {
    PromptRequest { prompt: "Say hello".into(), model: Some(model.into()), ..PromptRequest::default() }
}

async fn chat(providers: &Providers, request: &PromptRequest) -> Result<Answer, Error> {
    providers.chat(None, request, &context(), None).await
}

#[tokio::test]
async fn a_whole_answer_comes_with_its_usage_and_the_key_only_on_the_wire() {
    let (base_url, seen) = server().await;
    let lab = plan::Provider {
        headers: vec![("X-Title".into(), variable("TITLE")), ("X-Plain".into(), text("plain"))],
        organization: Some(text("org-1")),
        ..entry("lab", "openai", &base_url)
    };
    let request = PromptRequest { system: Some("Be kind".into()), ..ask("ok") };
    let answer = chat(&providers(vec![lab]), &request).await.unwrap();
    assert_eq!(
        (answer.text.as_str(), answer.model.as_str(), answer.provider_id.as_str()),
        ("Hello world", "served-model", "lab")
    );
    assert_eq!((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.cached_tokens), (7, 3, 2));
    assert_eq!((answer.finish, answer.requests), (Finish::Stop, 1));
    let seen = seen.0.lock().unwrap();
    let (headers, body) = &seen[0];
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(
        (&headers["x-title"], &headers["x-plain"]),
        (&"title-canary".parse().unwrap(), &"plain".parse().unwrap())
    );
    assert_eq!(headers["openai-organization"], "org-1");
    assert_eq!(
        body["messages"],
        json!([{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Say hello"}])
    );
}

#[tokio::test]
async fn pieces_come_as_they_are_written() {
    let (base_url, _) = server().await;
    let mut pieces = Vec::new();
    let mut on_piece = |piece: Piece<'_>| pieces.push(format!("{piece:?}"));
    let providers = providers(vec![entry("lab", "openai", &base_url)]);
    let answer = providers.chat(Some("lab"), &ask("ok"), &context(), Some(&mut on_piece)).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.usage.completion_tokens), ("Hello world", 3));
    assert_eq!(pieces, [r#"Text("Hel")"#, r#"Text("lo ")"#, r#"Text("world")"#]);
}

#[tokio::test]
async fn a_stream_that_is_cut_off_is_asked_again_and_then_an_error() {
    let (base_url, seen) = server().await;
    let mut pieces = Vec::new();
    let mut on_piece = |piece: Piece<'_>| pieces.push(format!("{piece:?}"));
    let providers = with(Settings {
        retry_attempts: 1,
        ..providers(vec![entry("lab", "openai", &base_url)]).present().settings.clone()
    });
    let error = providers.chat(None, &ask("truncated"), &context(), Some(&mut on_piece)).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("CZ0507", true), "{error}");
    assert_eq!(pieces, [r#"Text("Hel")"#, "Restart", r#"Text("Hel")"#]);
    assert_eq!(seen.count("truncated"), 2);
}

#[tokio::test]
async fn failures_are_tried_again_or_final_as_the_dialect_says() {
    let (base_url, seen) = server().await;
    let providers = providers(vec![entry("lab", "openai", &base_url)]);
    for (model, requests) in [("limited-twice", 3), ("flaky", 2)] {
        assert_eq!(chat(&providers, &ask(model)).await.unwrap().requests, requests, "{model}");
        assert_eq!(seen.count(model), requests as usize);
    }
    for (model, code, requests, retryable, message) in [
        ("limited", "CZ0506", 4, true, "provider 'lab': rate limited after 4 attempts: "),
        ("limited-long", "CZ0506", 1, true, "provider 'lab': rate limited after 1 attempts: "),
        ("broken", "CZ0507", 4, true, "provider 'lab': unreachable: the provider failed (HTTP 500)"),
        ("malformed", "CZ0507", 4, true, "provider 'lab': unreachable: the provider's answer cannot be read"),
        ("denied", "CZ0504", 1, false, "provider 'lab' refused the API key: "),
        ("forbidden", "CZ0504", 1, false, "provider 'lab' refused the API key: "),
        ("missing", "CZ0507", 1, false, "provider 'lab': unreachable: the provider refused the request (HTTP 404)"),
        ("moved", "CZ0507", 1, false, "provider 'lab': unreachable: the provider answered with a redirect"),
    ] {
        let error = chat(&providers, &ask(model)).await.expect_err(model);
        assert_eq!((error.code(), error.retryable()), (code, retryable), "{model}: {error}");
        assert!(error.to_string().starts_with(message), "{model}: {error}");
        assert!(!error.to_string().contains(KEY), "{model}: {error}");
        assert_eq!(seen.count(model), requests, "{model}");
    }
    assert_eq!(
        chat(&providers, &ask("limited-long")).await.unwrap_err().retry_after(),
        Some(Duration::from_secs(3600))
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let error = chat(&providers(vec![entry("lab", "openai", &base_url)]), &ask("ok")).await.unwrap_err();
    assert_eq!(
        (error.code(), error.retryable(), error.help().as_deref()),
        ("CZ0507", true, Some("check `base_url`")),
        "{error}"
    );
}

#[tokio::test]
async fn a_slow_server_meets_the_deadline_and_a_cancel() {
    let (base_url, _) = server().await;
    let providers = Arc::new(providers(vec![entry("lab", "openai", &base_url)]));
    let started = Instant::now();
    let ctx = CallContext { timeout: Duration::from_millis(200), ..context() };
    let error = providers.chat(None, &ask("slow"), &ctx, None).await.unwrap_err();
    assert!(matches!(&error, Error::Call(error) if error.kind == Kind::Deadline), "{error:?}");
    let ctx = context();
    let waiting = tokio::spawn({
        let (providers, ctx) = (Arc::clone(&providers), ctx.clone());
        async move { providers.chat(None, &ask("slow"), &ctx, None).await }
    });
    providers.present().clock.sleep(Duration::from_millis(50)).await;
    ctx.cancel.cancel();
    assert!(waiting.await.unwrap().unwrap_err().is_canceled());
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn answers_that_break_the_schema_are_asked_for_again() {
    let (base_url, seen) = server().await;
    let providers = providers(vec![entry("lab", "openai", &base_url)]);
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}});
    let request = |model| PromptRequest { output_schema: Some(schema.clone()), ..ask(model) };
    let answer = chat(&providers, &request("late-json")).await.unwrap();
    assert_eq!((answer.value, answer.requests, answer.usage.prompt_tokens), (Some(json!({"a": 1})), 2, 14));
    {
        let seen = seen.0.lock().unwrap();
        assert_eq!(seen[0].1["response_format"]["json_schema"]["schema"], schema);
        let roles: Vec<_> =
            seen[1].1["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
        assert!(seen[1].1["messages"][3]["content"].as_str().unwrap().contains("the reply holds no JSON value"));
    }
    let error = chat(&providers, &request("bad-json")).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        (
            "CZ0508",
            "reply of 'lab' does not match the output schema after 3 attempts: /a: \"one\" is not of type \"integer\""
        )
    );
    assert_eq!(seen.count("bad-json"), 3);
}

#[tokio::test]
async fn at_most_so_many_requests_run_and_so_many_wait() {
    let (base_url, seen) = server().await;
    let lab = plan::Provider { concurrency: Some(1), ..entry("lab", "openai", &base_url) };
    let settings = Settings { default_queue_size: 1, ..providers(vec![lab]).present().settings.clone() };
    let providers = Arc::new(with(settings));
    let ctx = CallContext { timeout: Duration::from_secs(2), ..context() };
    let start = || {
        let (providers, ctx) = (Arc::clone(&providers), ctx.clone());
        tokio::spawn(async move { providers.chat(None, &ask("slow"), &ctx, None).await })
    };
    let running = start();
    while seen.count("slow") == 0 {
        tokio::task::yield_now().await;
    }
    let waiting = start();
    providers.present().clock.sleep(Duration::from_millis(50)).await;
    let error = chat(&providers, &ask("slow")).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("CZ0506", "provider 'lab': rate limited, 1 calls are waiting already")
    );
    assert_eq!(seen.count("slow"), 1);
    assert!(running.await.unwrap().is_err());
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_named_before_any_request() {
    let (base_url, seen) = server().await;
    let lab = entry("lab", "openai", &base_url);
    for (entry, code, message) in [
        (
            plan::Provider { api_key: Some(variable("NONE")), ..lab.clone() },
            "CZ0113",
            "environment variable NONE is not set (compozy.yaml:4:9, llm.providers.lab.api_key) and has no default",
        ),
        (
            plan::Provider { api_key: None, ..lab.clone() },
            "CZ0113",
            "environment variable OPENAI_API_KEY is not set (llm.providers.lab.api_key) and has no default",
        ),
        (
            plan::Provider { kind: "openai_compatible".into(), base_url: None, ..lab.clone() },
            "CZ0110",
            "llm.providers.lab.base_url: a provider of type 'openai_compatible' needs one",
        ),
        (
            plan::Provider { base_url: Some(text("http://u:p@host/v1")), ..lab.clone() },
            "CZ0110",
            "llm.providers.lab.base_url: a base URL holds no user name or password; use `headers`",
        ),
        (
            plan::Provider { kind: "plugin".into(), ..lab.clone() },
            "CZ0110",
            "llm.providers.lab.plugin: a provider of type 'plugin' needs one",
        ),
    ] {
        let error = chat(&providers(vec![entry]), &ask("ok")).await.unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (code, message));
    }
    let error = chat(&providers(vec![entry("lab", "nosuch", &base_url)]), &ask("ok")).await.unwrap_err();
    assert_eq!(error.code(), "CZ0511", "{error}");
    assert!(seen.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_mock_answers_without_a_server() {
    let scripted =
        plan::Provider { config: json!({"answers": [{"match": "weather", "text": "Rain"}]}), ..entry("m", "mock", "") };
    let providers = providers(vec![scripted]);
    let answer =
        chat(&providers, &PromptRequest { prompt: "the weather?".into(), ..PromptRequest::default() }).await.unwrap();
    assert_eq!(answer.text, "Rain");
    let answer = chat(&providers, &PromptRequest { prompt: "hi".into(), ..PromptRequest::default() }).await.unwrap();
    assert_eq!(answer.text, "[mock] hi");
    let schema = json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}});
    let request = PromptRequest { prompt: "hi".into(), output_schema: Some(schema), ..PromptRequest::default() };
    assert!(chat(&providers, &request).await.unwrap().value.unwrap()["a"].is_i64());

    let everyone = with(Settings {
        mock_all: true,
        providers: vec![entry("lab", "openai", "http://127.0.0.1:9/v1")],
        ..Settings::default()
    });
    let answer = chat(&everyone, &PromptRequest { prompt: "hi".into(), ..PromptRequest::default() }).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.provider_id.as_str()), ("[mock] hi", "lab"));
}
