//! Components that use up whatever they are given, end in a trap, or answer what they should not: each call ends with a
//! typed error, and calls beside it go on.

use std::time::{Duration, Instant};

use compozy_lang::plan::{Access, Permissions, PluginLimits};
use serde_json::{Value, json};

use super::{bind, bind_with, call, context};
use crate::plugin::{Binding, CallContext, CallError, CancelToken, Kind, Services, tool};

async fn zoo(limits: PluginLimits) -> Binding {
    let permissions = Permissions { kv: Access::ReadWrite, ..Permissions::default() };
    Binding { limits, ..bind_with("guests/zoo", permissions, Services::default()).await }
}

fn tight() -> PluginLimits {
    PluginLimits { timeout: Duration::from_millis(300), memory_bytes: 48 << 20, output_bytes: 1 << 20, fuel: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_misdeed_ends_with_its_typed_error() {
    let hurried = zoo(tight()).await;
    // A loaded machine must not turn other misdeeds into slow ones.
    let patient = Binding { limits: PluginLimits { timeout: Duration::from_secs(20), ..tight() }, ..hurried.clone() };
    for (function, input, kind, code, message, retryable) in [
        ("endless_loop", Value::Null, Kind::Deadline, "CZ0704", "'pet' exceeded its time limit", true),
        ("call_storm", Value::Null, Kind::Deadline, "CZ0704", "'pet' exceeded its time limit", true),
        (
            "log_flood",
            json!({"records": 0, "bytes": 1000}),
            Kind::Deadline,
            "CZ0704",
            "'pet' exceeded its time limit",
            true,
        ),
        ("deep_recursion", Value::Null, Kind::Stack, "CZ0704", "'pet' exceeded its stack limit", false),
        ("giant_output", json!({"bytes": 2_000_000}), Kind::Output, "CZ0704", "'pet' exceeded its output limit", false),
        ("giant_output", json!({"bytes": 8_000_000}), Kind::Output, "CZ0704", "'pet' exceeded its output limit", false),
        ("giant_output", json!({}), Kind::Memory, "CZ0704", "'pet' exceeded its memory limit", false),
        ("unreachable_now", Value::Null, Kind::Trap, "CZ0705", "'pet' trapped: ", true),
        ("panic_now", json!({"message": "no such pet"}), Kind::Trap, "CZ0705", "'pet' trapped: ", true),
        (
            "error",
            json!({"code": "E1", "message": "so it is", "retryable": true, "retry_after_ms": 1500}),
            Kind::Plugin,
            "E1",
            "so it is",
            true,
        ),
    ] {
        let zoo = if kind == Kind::Deadline { &hurried } else { &patient };
        let error = call(zoo, function, input).await.expect_err(function);
        assert_eq!(
            (error.kind, error.code.as_str(), error.retryable),
            (kind, code, retryable),
            "{function}: {error:?}"
        );
        assert!(error.message.starts_with(message), "{function}: {}", error.message);
    }
    assert_eq!(call(&patient, "add", json!({"a": 2, "b": 3})).await.unwrap(), json!({"sum": 5}));
}

#[tokio::test]
async fn memory_is_capped_and_its_peak_reported() {
    let zoo = zoo(PluginLimits { memory_bytes: 8 << 20, ..PluginLimits::default() }).await;
    // Refused growth is no trap: the guest sees it and answers.
    let answer = call(&zoo, "memory_bomb", Value::Null).await;
    match answer {
        Ok(answer) => assert!(answer["taken_bytes"].as_u64().unwrap() < 8 << 20),
        Err(error) => assert_eq!(error.kind, Kind::Memory, "{error:?}"),
    }
    let error = call(&zoo, "giant_output", json!({"bytes": 32 << 20})).await.unwrap_err();
    assert_eq!(error.kind, Kind::Memory, "{error:?}");
    let peak = error.trap.unwrap().peak_memory_bytes;
    assert!(peak > 0 && peak <= 8 << 20, "{peak}");
}

#[tokio::test]
async fn traps_say_where_and_what_the_guest_said() {
    let error = call(&bind("guests/zoo").await, "unreachable_now", Value::Null).await.unwrap_err();
    let trap = error.trap.unwrap();
    assert!(trap.backtrace.iter().any(|frame| frame.contains("CompozyTool as compozy_plugin")), "{trap:?}");
    let error = call(&bind("guests/trap-start").await, "anything", Value::Null).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (Kind::Trap, "CZ0705"));
    assert!(!error.trap.unwrap().backtrace.is_empty());
}

#[tokio::test]
async fn messages_of_plugins_are_capped() {
    let error = call(&bind("guests/zoo").await, "huge_error", json!({"bytes": 1 << 20})).await.unwrap_err();
    assert_eq!(error.kind, Kind::Plugin);
    assert_eq!(error.message.len(), 16 << 10);
    assert!(call(&bind("guests/zoo").await, "huge_message_log", json!({"bytes": 1 << 20})).await.is_ok());
    assert!(call(&bind("guests/zoo").await, "log_flood", json!({"records": 5000, "bytes": 10_000})).await.is_ok());
}

#[tokio::test]
async fn a_call_is_canceled_at_once() {
    let zoo = zoo(PluginLimits::default()).await;
    let cancel = CancelToken::new();
    let ctx = CallContext { cancel: cancel.clone(), ..context() };
    let started = Instant::now();
    let calling = tokio::spawn({
        let zoo = zoo.clone();
        async move { tool::run(&zoo, &ctx, "endless_loop", "null").await }
    });
    tokio::task::yield_now().await;
    cancel.cancel();
    let error = calling.await.unwrap().unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (Kind::Canceled, "CZ0321"));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_guest_that_waits_in_the_host_meets_its_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let permissions = Permissions { http: vec![url.clone()], ..Permissions::default() };
    let zoo = Binding { limits: tight(), ..bind_with("guests/zoo", permissions, Services::default()).await };
    let started = Instant::now();
    let error = call(&zoo, "wait_forever", json!({"url": url})).await.unwrap_err();
    assert_eq!(error.kind, Kind::Deadline, "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

/// Two endless loops and a storm on two threads: ordinary calls still get through, and quickly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_calls_go_on_meanwhile() {
    let zoo = zoo(PluginLimits { timeout: Duration::from_secs(2), ..tight() }).await;
    let misdeeds: Vec<_> = ["endless_loop", "endless_loop", "call_storm"]
        .map(|function| {
            let zoo = zoo.clone();
            tokio::spawn(async move { call(&zoo, function, Value::Null).await })
        })
        .into();
    let started = Instant::now();
    let mut done = 0;
    while started.elapsed() < Duration::from_secs(1) {
        assert_eq!(call(&zoo, "add", json!({"a": done, "b": 1})).await.unwrap(), json!({"sum": done + 1}));
        done += 1;
    }
    assert!(done >= 20, "only {done} calls got through");
    for misdeed in misdeeds {
        assert_eq!(misdeed.await.unwrap().unwrap_err().kind, Kind::Deadline);
    }
}

/// More calls than slots: those beyond wait, and their clock starts only then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_slots_wait_their_turn() {
    use crate::plugin::{Host, HostOptions, Source};
    let host = Host::new(HostOptions { max_instances: 2, ..HostOptions::default() }).unwrap();
    let component =
        host.load(Source::Path(super::path("guests/zoo")), compozy_lang::plan::PluginKind::Tool).await.unwrap();
    let zoo = Binding { component, limits: tight(), ..bind("guests/zoo").await };
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let zoo = zoo.clone();
            tokio::spawn(async move { call(&zoo, "endless_loop", Value::Null).await })
        })
        .collect();
    let started = Instant::now();
    for call in calls {
        let error: CallError = call.await.unwrap().unwrap_err();
        assert_eq!(error.kind, Kind::Deadline, "{error:?}");
    }
    assert!(started.elapsed() >= Duration::from_millis(850), "three rounds of 300 ms took {:?}", started.elapsed());
}
