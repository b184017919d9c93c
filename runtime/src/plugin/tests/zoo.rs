//! Components that no compiler emits, misbehaving in every function the host calls: each call ends with a typed error,
//! nothing stays behind, and calls beside them go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use compozy_lang::plan::{PluginKind, PluginLimits};

use super::raw::{LOOP, Raw};
use super::{bind, context};
use crate::plugin::llm_provider::{Message, Parameters, Request, Role};
use crate::plugin::template::{Ambient, Leniency, Limits, Mode, RenderError, Renderer, Source as Template};
use crate::plugin::{Binding, CallError, Error, Host, HostOptions, Kind, Source, embedder, llm_provider, tool};

/// Which function of the component is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Describe,
    Run,
    Chat,
    Stream,
    Models,
    Embed,
    Check,
    Render,
}

use Entry::{Chat, Check, Describe, Embed, Models, Render, Run, Stream};

struct Member {
    deed: &'static str,
    raw: Raw,
    entry: Entry,
    kind: Kind,
    code: &'static str,
}

fn member(deed: &'static str, raw: Raw, entry: Entry, kind: Kind) -> Member {
    let code = match kind {
        Kind::Trap => "CZ0705",
        _ => "CZ0704",
    };
    Member { deed, raw, entry, kind, code }
}

/// A tool whose `run` answers with this memory at 512.
fn answering(bytes: &str) -> Raw {
    Raw::tool().extra(&data(bytes)).body("run", "(i32.const 512)")
}

fn data(bytes: &str) -> String {
    format!("(data (i32.const 512) \"{bytes}\")")
}

/// A stream whose pieces are this memory at 512.
fn streaming(bytes: &str) -> Raw {
    Raw::llm().extra(&data(bytes)).body("[method]chat-stream.next", "(i32.const 512)")
}

const RECURSION: &str = "(func $down (param i64) (result i64)
    (i64.add (i64.const 1) (call $down (i64.add (local.get 0) (i64.const 1)))))";

const MUTUAL: &str = "(table 1 funcref) (elem (i32.const 0) $down) (type $t (func (param i64) (result i64)))
    (func $down (type $t)
      (i64.add (i64.const 1) (call_indirect (type $t) (i64.add (local.get 0) (i64.const 1)) (i32.const 0))))";

/// Grows by `what` until it is refused, then traps.
fn growing(what: &str) -> String {
    format!("(loop $on (br_if $on (i32.ne {what} (i32.const -1)))) unreachable")
}

fn loops() -> Vec<Member> {
    let endless = |deed, raw, entry| member(deed, raw, entry, Kind::Deadline);
    vec![
        endless("start function", Raw::tool().extra("(func $start (loop $on (br $on))) (start $start)"), Run),
        endless("describe", Raw::tool().body("describe", LOOP), Describe),
        endless("run", Raw::tool().body("run", LOOP), Run),
        endless("cabi_realloc", Raw::tool().realloc(LOOP), Run),
        endless("post-return of run", Raw::tool().body("post run", "(loop $on (br $on))"), Run),
        endless("post-return of describe", Raw::tool().body("post describe", "(loop $on (br $on))"), Describe),
        endless("chat", Raw::llm().body("chat", LOOP), Chat),
        endless("stream", Raw::llm().body("stream", LOOP), Stream),
        endless("stream.next", Raw::llm().body("[method]chat-stream.next", LOOP), Stream),
        endless(
            "the destructor of a stream",
            streaming("\\00").body("[dtor]chat-stream", "(loop $on (br $on))"),
            Stream,
        ),
        endless(
            "a stream of empty pieces",
            streaming(
                "\\00\\00\\00\\00\\00\\00\\00\\00\\01\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\10",
            ),
            Stream,
        ),
        endless("models", Raw::llm().body("models", LOOP), Models),
        endless("embed", Raw::embedder().body("embed", LOOP), Embed),
        endless("check", Raw::template().body("check", LOOP), Check),
        endless("render", Raw::template().body("render", LOOP), Render),
    ]
}

fn growths() -> Vec<Member> {
    vec![
        member(
            "memory without end",
            Raw::tool().body("run", &growing("(memory.grow (i32.const 64))")),
            Run,
            Kind::Memory,
        ),
        member("4 GiB from the start", Raw::tool().memory("65536"), Run, Kind::Memory),
        member(
            "a table without end",
            Raw::tool()
                .extra("(table $t 1 funcref)")
                .body("run", &growing("(table.grow $t (ref.null func) (i32.const 1000))")),
            Run,
            Kind::Table,
        ),
        member(
            "recursion",
            Raw::tool().extra(RECURSION).body("run", "(drop (call $down (i64.const 0))) (i32.const 256)"),
            Run,
            Kind::Stack,
        ),
        member(
            "recursion through a table",
            Raw::tool().extra(MUTUAL).body("run", "(drop (call $down (i64.const 0))) (i32.const 256)"),
            Run,
            Kind::Stack,
        ),
        member(
            "recursion in the start function",
            Raw::tool().extra(RECURSION).extra("(func $start (drop (call $down (i64.const 0)))) (start $start)"),
            Run,
            Kind::Stack,
        ),
        member(
            "recursion in cabi_realloc",
            Raw::tool().realloc("(call $realloc (local.get 0) (local.get 1) (local.get 2) (local.get 3))"),
            Run,
            Kind::Stack,
        ),
        member(
            "a stream of large pieces",
            streaming(
                "\\00\\00\\00\\00\\00\\00\\00\\00\\01\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\40\\00\\00",
            ),
            Stream,
            Kind::Plugin,
        ),
    ]
}

fn malformed() -> Vec<Member> {
    let traps = |deed, raw, entry| member(deed, raw, entry, Kind::Trap);
    vec![
        traps("start function that traps", Raw::tool().extra("(func $start unreachable) (start $start)"), Run),
        traps("realloc that answers beyond memory", Raw::tool().realloc("(i32.const -16)"), Run),
        traps("realloc that traps", Raw::tool().realloc("unreachable"), Run),
        traps("post-return that traps", Raw::tool().body("post run", "unreachable"), Run),
        traps("an answer beyond memory", Raw::tool().body("run", "(i32.const -16)"), Run),
        traps("an answer that is not aligned", Raw::tool().body("run", "(i32.const 257)"), Run),
        traps("neither answer nor error", answering("\\07"), Run),
        traps("a text beyond memory", answering("\\00\\00\\00\\00\\00\\00\\00\\00\\f0\\ff\\ff\\ff\\10"), Run),
        traps("a text without end", answering("\\00\\00\\00\\00\\00\\00\\00\\00\\10\\00\\00\\00\\ff\\ff\\ff\\7f"), Run),
        traps("a text of all bits", answering("\\00\\00\\00\\00\\00\\00\\00\\00\\10\\00\\00\\00\\ff\\ff\\ff\\ff"), Run),
        traps(
            "an answer that is no text",
            answering("\\00\\00\\00\\00\\00\\00\\00\\00\\10\\02\\00\\00\\04\\00\\00\\00\\ff\\fe\\ff\\80"),
            Run,
        ),
        traps(
            "an error with a wild message",
            answering("\\01\\00\\00\\00\\00\\00\\00\\00\\10\\00\\00\\00\\04\\00\\00\\00\\ff\\ff\\ff\\7f\\01"),
            Run,
        ),
        traps("a description beyond memory", Raw::tool().body("describe", "(i32.const -4)"), Describe),
        traps(
            "endless functions",
            Raw::tool()
                .extra(&data("\\20\\00\\00\\00\\03\\00\\00\\00\\20\\00\\00\\00\\03\\00\\00\\00\\00\\00\\00\\00\\40\\00\\00\\00\\ff\\ff\\ff\\7f"))
                .body("describe", "(i32.const 512)"),
            Describe,
        ),
        traps("a stream that was never made", Raw::llm().body("stream", "(i32.store (i32.const 776) (i32.const 77)) (i32.const 768)"), Stream),
        traps(
            "an unknown reason to finish",
            Raw::llm()
                .extra("(data (i32.const 536) \"\\63\")")
                .body("chat", "(i32.const 512)"),
            Chat,
        ),
        traps(
            "an unknown piece of a stream",
            streaming("\\00\\00\\00\\00\\00\\00\\00\\00\\01\\00\\00\\00\\00\\00\\00\\00\\09"),
            Stream,
        ),
        traps(
            "vectors without end",
            Raw::embedder()
                .extra(&data("\\00\\00\\00\\00\\00\\00\\00\\00\\10\\00\\00\\00\\ff\\ff\\ff\\7f"))
                .body("embed", "(i32.const 512)"),
            Embed,
        ),
        traps("a report beyond memory", Raw::template().body("check", "(i32.const -4)"), Check),
        traps("neither text nor failure", Raw::template().extra(&data("\\07")).body("render", "(i32.const 512)"), Render),
    ]
}

fn limits() -> PluginLimits {
    PluginLimits { timeout: Duration::from_millis(300), memory_bytes: 8 << 20, output_bytes: 1 << 20, fuel: None }
}

fn kind_of(entry: Entry) -> PluginKind {
    match entry {
        Describe | Run => PluginKind::Tool,
        Chat | Stream | Models => PluginKind::Llm,
        Embed => PluginKind::Embedder,
        Check | Render => PluginKind::Template,
    }
}

fn question() -> Request {
    Request {
        model: "m".into(),
        messages: vec![Message { role: Role::User, content: "hi".into(), tool_calls: Vec::new(), tool_call_id: None }],
        tools: Vec::new(),
        output_schema: None,
        parameters: Parameters {
            temperature: None,
            top_p: None,
            max_tokens: None,
            seed: None,
            stop: Vec::new(),
            extra: None,
        },
    }
}

fn sources() -> Vec<Template> {
    let text = "{{ .input.x }}".to_owned();
    vec![Template { text, inert: Vec::new(), mode: Mode::Text, leniency: Leniency::empty() }]
}

const RENDER_LIMITS: Limits = Limits { max_source: 1 << 20, max_depth: 100, max_steps: 1 << 20, max_output: 1 << 20 };

/// Calls the entry of a member; what it answers, if it does, is of no interest.
async fn provoke(host: &Arc<Host>, base: &Binding, member: &Member) -> Result<(), CallError> {
    let bytes = Source::Bytes(member.raw.encode().into());
    let component = host.load(bytes, kind_of(member.entry)).await.expect(member.deed);
    let binding = Binding { component: Arc::clone(&component), limits: limits(), ..base.clone() };
    let ctx = context();
    match member.entry {
        Describe => tool::describe(&binding).await.map(drop),
        Run => tool::run(&binding, &ctx, "raw", "{}").await.map(drop),
        Chat => llm_provider::chat(&binding, &ctx, &question(), None).await.map(drop),
        Stream => {
            let mut ignore = |_: &str| {};
            llm_provider::chat(&binding, &ctx, &question(), Some(&mut ignore)).await.map(drop)
        }
        Models => llm_provider::models(&binding, &ctx).await.map(drop),
        Embed => embedder::embed(&binding, &ctx, "m", &["a".to_owned()], None).await.map(drop),
        Check => Renderer::new(component).unwrap().check(&sources(), RENDER_LIMITS).await.map(drop),
        Render => {
            let ambient = Ambient { now_unix_us: 0, seed: 1 };
            match Renderer::new(component).unwrap().render(&sources(), "{}", ambient, RENDER_LIMITS).await {
                Ok(_) | Err(RenderError::Template(_)) => Ok(()),
                Err(RenderError::Call(error)) => Err(error),
            }
        }
    }
}

/// Runs all members side by side on a host of their own, with ordinary calls between them.
async fn run_all(members: Vec<Member>) {
    let host = Host::new(HostOptions { max_instances: 8, ..HostOptions::default() }).unwrap();
    let free = host.free_slots();
    let base = bind("guests/zoo").await;
    let good = host.load(Source::Bytes(Raw::tool().encode().into()), PluginKind::Tool).await.unwrap();
    let good = Binding { component: good, ..base.clone() };
    let running: Vec<_> = members
        .into_iter()
        .map(|member| {
            let (host, base) = (Arc::clone(&host), base.clone());
            tokio::spawn(async move {
                let started = Instant::now();
                let outcome = provoke(&host, &base, &member).await;
                (member, outcome, started.elapsed())
            })
        })
        .collect();
    assert_eq!(tool::run(&good, &context(), "raw", "{}").await.unwrap(), "null");
    let mut wrong = Vec::new();
    for running in running {
        let (member, outcome, elapsed) = running.await.expect("a member ends nothing but its call");
        match outcome {
            Err(error) if (error.kind, error.code.as_str()) == (member.kind, member.code) => {}
            other => wrong.push(format!("{}: {other:?}, not {:?}", member.deed, member.kind)),
        }
        if elapsed > Duration::from_secs(60) {
            wrong.push(format!("{}: took {elapsed:?}", member.deed));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(tool::run(&good, &context(), "raw", "{}").await.unwrap(), "null");
    assert_eq!(host.free_slots(), free, "a slot was not given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_in_every_function_end() {
    run_all(loops()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growth_without_end_is_stopped() {
    run_all(growths()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_answers_are_no_answers() {
    run_all(malformed()).await;
}

/// What the pool could never hold is refused when it is loaded.
#[tokio::test]
async fn components_of_impossible_size_do_not_load() {
    let host = Host::new(HostOptions { max_instances: 8, ..HostOptions::default() }).unwrap();
    let tables = "(table 1 funcref)".repeat(40);
    let memories = "(memory 1)".repeat(8);
    for (deed, raw) in [
        ("a table of ten million", Raw::tool().extra("(table 10000000 funcref)")),
        ("forty tables", Raw::tool().extra(&tables)),
        ("eight memories", Raw::tool().extra(&memories)),
    ] {
        let loaded = host.load(Source::Bytes(raw.encode().into()), PluginKind::Tool).await;
        assert!(matches!(loaded, Err(Error::NotAComponent { .. })), "{deed}: {loaded:?}");
    }
}

/// An instance of fifty modules, and one of a thousand.
#[tokio::test]
async fn components_of_many_modules_are_counted() {
    let host = Host::new(HostOptions { max_instances: 8, ..HostOptions::default() }).unwrap();
    for (count, fits) in [(20, true), (1_000, false)] {
        let instances = "(core instance (instantiate $m))".repeat(count);
        let text = format!("(component (core module $m) {instances})");
        let bytes = wat::parse_str(&text).unwrap();
        // It exports nothing of ours, so it never loads; what matters is which of the two reasons comes first.
        let error = host.load(Source::Bytes(bytes.into()), PluginKind::Tool).await.unwrap_err().to_string();
        assert_eq!(error.contains("core module instances"), !fits, "{count}: {error}");
    }
}
