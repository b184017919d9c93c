//! What a plugin is granted, abused: called without end, never given back, aimed elsewhere, made to wait forever.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use compozy_lang::plan::{Access, Grant, ModelGrant, Permissions, PluginLimits};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime_wasi::async_trait;

use super::lent::Recorder;
use super::models::Parrot;
use super::{bind_with, call};
use crate::plugin::egress::connect::{Network, Resolver};
use crate::plugin::{Binding, Kind, Services};

fn short() -> PluginLimits {
    PluginLimits { timeout: Duration::from_millis(300), ..PluginLimits::default() }
}

fn http(pattern: &str) -> Permissions {
    Permissions { http: vec![pattern.to_owned()], ..Permissions::default() }
}

/// A zoo that may do everything, and the database it uses.
async fn granted(url: &str) -> (Binding, Recorder) {
    let recorder = Recorder::default();
    let permissions = Permissions {
        sql: vec![Grant { id: "shop".into(), write: true }],
        kv: Access::ReadWrite,
        env: vec!["REGION".into()],
        secrets: vec!["TOKEN".into()],
        llm: Some(ModelGrant::default()),
        ..http(url)
    };
    let services = Services {
        storage: Some(Arc::new(super::memory::Memory::default())),
        databases: Some(Arc::new(recorder.clone())),
        models: Some(Arc::new(Parrot::default())),
        ..Services::default()
    };
    (bind_with("guests/zoo", permissions, services).await, recorder)
}

/// A server that counts open connections and answers each request with `answer`; `None`: never.
async fn server(answer: Option<&'static str>) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let open = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&open);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counter = Arc::clone(&counter);
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(1..) = stream.read(&mut bytes).await {
                    if let Some(answer) = answer {
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                }
                counter.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (origin, open)
}

async fn falls_to_zero(count: &AtomicUsize) {
    let started = Instant::now();
    while count.load(Ordering::SeqCst) > 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "{count:?} are still there");
        crate::clock::Clock::system().sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storms_on_every_interface_end_and_others_are_answered() {
    let (origin, open) = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let (zoo, recorder) = granted(&origin).await;
    let before = recorder.holders();
    let interfaces = ["log", "config", "env", "secrets", "kv", "sql", "llm", "run", "http", "clock"];
    let storms: Vec<_> = interfaces
        .map(|interface| {
            let zoo = Binding { limits: short(), ..zoo.clone() };
            let input = json!({"interface": interface, "url": origin});
            (interface, tokio::spawn(async move { call(&zoo, "storm", input).await }))
        })
        .into();
    for n in 0..5 {
        assert_eq!(call(&zoo, "add", json!({"a": n, "b": 1})).await.unwrap(), json!({"sum": n + 1}));
    }
    for (interface, storm) in storms {
        let error = storm.await.unwrap().unwrap_err();
        assert!(matches!(error.kind, Kind::Deadline | Kind::HostCalls), "{interface}: {error:?}");
        assert_eq!(error.code, "CZ0704", "{interface}");
    }
    falls_to_zero(&open).await;
    assert_eq!(recorder.holders(), before, "a handle on the database is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_that_nobody_gives_back_are_counted_and_taken() {
    let (origin, open) = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")).await;
    let (zoo, recorder) = granted(&origin).await;
    let before = recorder.holders();
    for (what, held) in [("connections", 16), ("transactions", 15), ("cursors", 15)] {
        let answer = call(&zoo, "leak", json!({"what": what})).await.unwrap();
        assert_eq!(answer, json!({"held": held, "refusal": "CZ0704"}), "{what}");
        assert_eq!(recorder.holders(), before, "{what} are left");
    }
    // The seventeenth request waits for one of the sixteen, which nobody reads to its end.
    let zoo = Binding { limits: short(), ..zoo };
    let error = call(&zoo, "leak", json!({"what": "responses", "url": origin})).await.unwrap_err();
    assert_eq!(error.kind, Kind::Deadline, "{error:?}");
    falls_to_zero(&open).await;
}

/// Answers in turn, the last one for good, and writes down what it was asked.
#[derive(Debug)]
struct Flips {
    answers: Vec<&'static str>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Resolver for Flips {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        let turn = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(name.to_owned());
            asked.len() - 1
        };
        let answer = self.answers.get(turn).or(self.answers.last()).unwrap();
        if *answer == "hang" {
            return std::future::pending().await;
        }
        Ok(answer.split(' ').map(|address| address.parse().unwrap()).collect())
    }
}

async fn with_names(pattern: &str, answers: &[&'static str]) -> (Binding, Arc<Flips>) {
    let flips = Arc::new(Flips { answers: answers.to_vec(), asked: Mutex::default() });
    let network = Arc::new(Network::new(Arc::clone(&flips) as _));
    let services = Services { network, ..Services::default() };
    (bind_with("guests/zoo", http(pattern), services).await, flips)
}

/// Every way of naming this machine, with a grant of everything: nothing listens to a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_an_inner_address_is_reached() {
    let (origin, open) = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let port: u16 = origin.rsplit(':').next().unwrap().parse().unwrap();
    let (zoo, flips) = with_names(&format!("http://*:{port}"), &["127.0.0.1"]).await;
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127.000.000.001",
        "%31%32%37.0.0.1",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "127\u{3002}0\u{3002}0\u{3002}1",
        "\u{2460}27.0.0.1",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "rebind.test",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1%25eth0]",
        "10.0.0.1",
        "169.254.169.254",
        "[fd00::1]",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ];
    for host in hosts {
        let url = format!("http://{host}:{port}/");
        let error = call(&zoo, "fetch", json!({"url": url})).await.expect_err(host);
        assert_eq!(error.kind, Kind::Plugin, "{host}: {error:?}");
        assert!(matches!(error.code.as_str(), "CZ0703" | "invalid_request" | "connection_failed"), "{host}: {error:?}");
    }
    // What is no http URL, or hides its host.
    for url in [
        format!("http://user@127.0.0.1:{port}/"),
        format!("http://user:password@127.0.0.1:{port}/"),
        format!("http://example.com@127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}#@example.com/"),
        format!("http://127.0.0.1:{port}\\@example.com/"),
        format!("http://example.com\\@127.0.0.1:{port}/"),
        format!("http:127.0.0.1:{port}/"),
        format!("http:///127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}\r\nhost: example.com/"),
        format!("http://127.0.0.1:{port}\t/"),
        format!("http://[::1:{port}/"),
        format!("http://127.0.0.1:{port}:{port}/"),
        "http://127.0.0.1:0/".to_owned(),
        "http://127.0.0.1:99999/".to_owned(),
        format!("https://127.0.0.1:{port}/"),
        format!("ftp://127.0.0.1:{port}/"),
        format!("gopher://127.0.0.1:{port}/"),
        format!("ws://127.0.0.1:{port}/"),
        "file:///etc/passwd".to_owned(),
        "data:text/plain,x".to_owned(),
        "javascript:1".to_owned(),
        String::new(),
        "x".repeat(100_000),
    ] {
        let error = call(&zoo, "fetch", json!({"url": url})).await.expect_err(&url);
        assert_eq!(error.kind, Kind::Plugin, "{url}: {error:?}");
    }
    assert_eq!(open.load(Ordering::SeqCst), 0, "somebody connected");
    assert!(flips.asked.lock().unwrap().iter().all(|name| name.parse::<IpAddr>().is_err()));
}

/// The name is asked once per connection, and the address that was checked is the one connected to.
#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_each_time() {
    let (origin, open) = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let port = origin.rsplit(':').next().unwrap();
    for answers in [
        &["127.0.0.1"][..],
        &["93.184.216.34 127.0.0.1"],
        &["127.0.0.1 93.184.216.34"],
        &["::ffff:127.0.0.1"],
        &["93.184.216.34 ::1"],
        &["169.254.169.254", "93.184.216.34"],
    ] {
        let (zoo, flips) = with_names(&format!("http://*:{port}"), answers).await;
        let error = call(&zoo, "fetch", json!({"url": format!("http://rebind.test:{port}/")})).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (Kind::Plugin, "CZ0703"), "{answers:?}: {error:?}");
        assert_eq!(*flips.asked.lock().unwrap(), ["rebind.test"], "{answers:?}");
    }
    assert_eq!(open.load(Ordering::SeqCst), 0);
}

/// A guest follows redirects itself, so each hop is a request like any other.
#[tokio::test]
async fn a_redirect_is_judged_like_any_request() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data\r\ncontent-length: 0\r\n\r\n";
    let (origin, _) = server(Some(moved)).await;
    let zoo = bind_with("guests/zoo", http(&origin), Services::default()).await;
    let answer = call(&zoo, "fetch", json!({"url": origin})).await.unwrap();
    let next = answer["headers"]["location"].as_str().unwrap();
    let error = call(&zoo, "fetch", json!({"url": next})).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (Kind::Plugin, "CZ0703"), "{error:?}");
}

/// What would end the head of a request early, or say that it is for someone else.
#[tokio::test]
async fn the_head_of_a_request_is_the_hosts_to_write() {
    let (origin, open) = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let zoo = bind_with("guests/zoo", http(&origin), Services::default()).await;
    for headers in [
        json!({"x": "a\r\nhost: example.com"}),
        json!({"x": "a\nb"}),
        json!({"x": "a\u{0}b"}),
        json!({"x\r\ny": "a"}),
        json!({"": "a"}),
        json!({"x y": "a"}),
        json!({"x:": "a"}),
        json!({"host": "example.com"}),
        json!({"Host": "example.com"}),
        json!({"transfer-encoding": "chunked"}),
        json!({"connection": "upgrade"}),
        json!({"upgrade": "websocket"}),
        json!({"x": "y".repeat(200 << 10)}),
    ] {
        let shown = headers.to_string().chars().take(60).collect::<String>();
        let error = call(&zoo, "fetch", json!({"url": origin, "headers": headers})).await.expect_err(&shown);
        assert!(matches!(error.kind, Kind::Plugin | Kind::Trap), "{shown}: {error:?}");
    }
    for method in ["CONNECT", "connect", "GET /evil HTTP/1.1\r\nx:", "", "G T", "GET\u{0}"] {
        let error = call(&zoo, "fetch", json!({"url": origin, "method": method})).await.expect_err(method);
        assert_eq!(error.kind, Kind::Plugin, "{method}: {error:?}");
    }
    for path in ["/a b", "/\r\nx: y", "/a\u{0}", "//example.com/", "/../../etc", "http://example.com/"] {
        // Whatever is sent goes to the granted host, in one line.
        if let Err(error) = call(&zoo, "fetch", json!({"url": format!("{origin}{path}")})).await {
            assert_eq!(error.kind, Kind::Plugin, "{path}: {error:?}");
        }
    }
    falls_to_zero(&open).await;
}

/// Waits that never end: for a name, for an answer, for the rest of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_the_network_ends_at_the_deadline() {
    let (silent, _) = server(None).await;
    let (cut_short, open) = server(Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")).await;
    let (chunked, _) = server(Some("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")).await;
    let (heads, _) = server(Some("HTTP/1.1 200 OK\r\nx: y")).await;
    let (nameless, _) = with_names("http://*", &["hang"]).await;
    for (what, url) in [
        ("an answer", silent.as_str()),
        ("the rest of a body", cut_short.as_str()),
        ("the next piece", chunked.as_str()),
        ("the rest of a head", heads.as_str()),
        ("a name", "http://rebind.test/"),
    ] {
        let zoo = match what {
            "a name" => nameless.clone(),
            _ => bind_with("guests/zoo", http(url), Services::default()).await,
        };
        let started = Instant::now();
        let error = call(&Binding { limits: short(), ..zoo }, "fetch", json!({"url": url})).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (Kind::Deadline, "CZ0704"), "{what}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{what}: {:?}", started.elapsed());
    }
    falls_to_zero(&open).await;
}

/// Arguments that are wrong though they are of the right type: typed answers, the next call works.
#[tokio::test]
async fn odd_arguments_get_typed_answers() {
    let (zoo, _) = granted("http://127.0.0.1:1").await;
    let nul = "a\u{0}b";
    let long = "k".repeat(1 << 20);
    for (function, input, expected) in [
        ("kv", json!({"operation": "get", "key": ""}), Err("CZ0704")),
        ("kv", json!({"operation": "get", "key": long}), Err("CZ0704")),
        ("kv", json!({"operation": "set", "key": nul, "value": "1"}), Ok(Value::Null)),
        ("kv", json!({"operation": "get", "key": nul}), Ok(json!("1"))),
        ("kv", json!({"operation": "get", "key": "a"}), Ok(Value::Null)),
        ("kv", json!({"operation": "set", "key": "\u{10ffff}\u{202e}'\"\\%_", "value": ""}), Ok(Value::Null)),
        ("kv", json!({"operation": "set", "key": "t", "value": "1", "ttl_ms": u64::MAX}), Ok(Value::Null)),
        ("kv", json!({"operation": "get", "key": "t"}), Ok(json!("1"))),
        ("kv", json!({"operation": "set", "key": "v", "value": "x".repeat((1 << 20) + 1)}), Err("CZ0704")),
        ("kv", json!({"operation": "compare_and_set", "key": "", "value": "x"}), Err("CZ0704")),
        ("kv", json!({"operation": "delete", "key": ""}), Err("CZ0704")),
        ("kv", json!({"operation": "keys", "key": long}), Err("CZ0704")),
        ("kv", json!({"operation": "keys", "key": "t", "limit": 0}), Ok(json!(["t"]))),
        ("kv", json!({"operation": "keys", "key": "t", "limit": u32::MAX}), Ok(json!(["t"]))),
        ("secret", json!({"name": ""}), Err("CZ0703")),
        ("secret", json!({"name": nul}), Err("CZ0703")),
        ("secret", json!({"name": long}), Err("CZ0703")),
        ("env", json!({"name": ""}), Err("CZ0703")),
        ("env", json!({"name": "REGION=eu"}), Err("CZ0703")),
        ("env", json!({"name": long}), Err("CZ0703")),
        ("query", json!({"label": "", "statement": "s"}), Err("CZ0703")),
        ("query", json!({"label": "../shop", "statement": "s"}), Err("CZ0703")),
        ("query", json!({"label": "SHOP", "statement": "s"}), Err("CZ0703")),
        ("query", json!({"label": "own", "statement": "s"}), Err("CZ0703")),
        ("query", json!({"label": long, "statement": "s"}), Err("CZ0703")),
        ("query", json!({"label": "shop", "statement": long}), Err("CZ0704")),
        ("query", json!({"label": "shop", "statement": "s", "parameters": vec![0; 40_000]}), Err("CZ0704")),
        ("log", json!({"message": nul, "fields": vec![["k", "v"]; 10_000], "level": "error"}), Ok(Value::Null)),
        ("log", json!({"message": "x", "fields": [[long, long]]}), Ok(Value::Null)),
        ("context", Value::Null, Ok(json!("01RUN"))),
        ("settings", Value::Null, Ok(json!({"currency": "EUR"}))),
    ] {
        let shown: String = input.to_string().chars().take(80).collect();
        let answer = call(&zoo, function, input).await;
        match (answer, expected) {
            (Ok(answer), Ok(expected)) => {
                let answer = if function == "context" { answer["exec_id"].clone() } else { answer };
                assert_eq!(answer, expected, "{function} {shown}");
            }
            (Err(error), Err(code)) => {
                assert_eq!((error.kind, error.code.as_str()), (Kind::Plugin, code), "{function} {shown}: {error:?}");
                assert!(error.message.len() < 1_000, "{function} {shown}: {} bytes", error.message.len());
            }
            (answer, _) => panic!("{function} {shown}: {answer:?}"),
        }
    }
}
