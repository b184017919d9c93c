//! Secrets that a hostile plugin tries to carry off through every channel it has: what it is granted works for it, and
//! the values appear nowhere but on the wire to the granted host.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::listener::Listener;
use crate::support::model_server::ModelServer;
use crate::support::sse::Stream;
use crate::support::{Project, Server};

/// The plugin's own secret, that of another plugin, the key of the provider, a variable of the process.
const CANARIES: [(&str, &str); 4] = [
    ("ZOO_TOKEN", "canary-zoo/+\"7'\\"),
    ("OTHER_TOKEN", "canary-other-ä-2"),
    ("MODEL_KEY", "canary-model-33"),
    ("PROCESS_PASSWORD", "canary-process-4"),
];

const PLUGINS: &str = "llm: {providers: [{id: m, type: openai_compatible, model: small, api_key: \"${MODEL_KEY}\", base_url: \"${BASE}\"}]}
databases: [{id: shop, driver: sqlite, path: ./data/shop.db}]
plugins:
  - id: zoo
    source: ./plugins/zoo.wasm
    permissions: {http: [\"${GRANTED}\"], secrets: [ZOO_TOKEN], kv: true, sql: [{id: shop, mode: rw}, own], llm: true, env: [PROCESS_REGION]}
  - id: other
    source: ./plugins/zoo.wasm
    permissions: {http: [\"${GRANTED}\"], secrets: [OTHER_TOKEN]}
  - {id: std, source: ./plugins/wasi-std.wasm}
";

/// Each function of the guest is a workflow of its name; `other-` is the second plugin's.
const FUNCTIONS: [(&str, &str); 12] = [
    ("zoo", "secret"),
    ("zoo", "env"),
    ("zoo", "echo"),
    ("zoo", "error"),
    ("zoo", "panic_now"),
    ("zoo", "log"),
    ("zoo", "kv"),
    ("zoo", "query"),
    ("zoo", "ask"),
    ("zoo", "fetch"),
    ("other", "fetch"),
    ("std", "probe"),
];

fn workflow(plugin: &str, function: &str) -> String {
    format!("{plugin}-{}", function.replace('_', "-"))
}

/// What the granted host was sent.
type Wire = Arc<Mutex<Vec<String>>>;

fn granted_host() -> (Listener, Wire) {
    let wire = Wire::default();
    let seen = Arc::clone(&wire);
    let listener = Listener::serve(move |request, stream| {
        let text = format!("{} {:?} {}", request.path, request.headers, String::from_utf8_lossy(&request.body));
        seen.lock().expect("the wire").push(text);
        // It sends everything back, as a debugging endpoint would.
        let body =
            json!({"path": request.path, "headers": request.headers, "body": String::from_utf8_lossy(&request.body)});
        let body = body.to_string();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    });
    (listener, wire)
}

fn project(model: &ModelServer, host: &Listener) -> Project {
    let mut text = PLUGINS.replace("${GRANTED}", &format!("http://{}", host.address));
    text.push_str("tools:\n");
    for (plugin, function) in FUNCTIONS {
        let id = workflow(plugin, function);
        text.push_str(&format!("  - {{id: {id}, plugin: {plugin}, function: {function}}}\n"));
    }
    let mut project = Project::sqlite(&text);
    project.env("BASE", &model.base_url()).env("PROCESS_REGION", "eu");
    for (name, value) in CANARIES {
        project.env(name, value);
    }
    project.component("guests/zoo").component("guests/wasi-std");
    for (plugin, function) in FUNCTIONS {
        let id = workflow(plugin, function);
        project.file(
            &format!("workflows/{id}.yaml"),
            format!("id: {id}\ntasks:\n  - id: deed\n    tool: {id}\n    retries: 0\n    with: \"{{{{ .input }}}}\"\n"),
        );
    }
    for (id, text) in tellings() {
        project.file(&format!("workflows/{id}.yaml"), text);
    }
    project
}

/// Runs one deed and gives all that is shown of it, with the output of its run.
fn deed(server: &Server, shown: &mut String, plugin: &str, function: &str, input: Value) -> Value {
    let run = server.start_run(&workflow(plugin, function), input);
    let live = Stream::open(&server.address, &format!("/api/v0/executions/workflows/{run}/stream"), None);
    shown.push_str(&format!("{:?}", live.and_then(Stream::rest).expect("the stream")));
    show(server, shown, &run)
}

/// Adds all that is shown of a run.
fn show(server: &Server, shown: &mut String, run: &str) -> Value {
    let document = server.run(run);
    shown.push_str(&document.to_string());
    for part in ["tasks", "events"] {
        shown.push_str(&server.get(&format!("/api/v0/executions/workflows/{run}/{part}")).text());
    }
    document
}

/// Workflows that hand a secret to the plugin in a template, which then says it through a channel: a log record, an error,
/// a panic, an output.
fn tellings() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (number, (name, _)) in CANARIES.iter().enumerate() {
        for (form, pipe) in [("raw", ""), ("base64", " | b64enc"), ("json", " | toJson")] {
            let said = format!("\"got {{{{ .env.{name}{pipe} }}}} out\"");
            for (channel, with) in [
                ("echo", format!("{{said: {said}, list: [{said}]}}")),
                ("error", format!("{{code: {said}, message: {said}}}")),
                ("panic-now", format!("{{message: {said}}}")),
                ("log", format!("{{message: {said}, fields: [[{said}, {said}]], level: error}}")),
            ] {
                let id = format!("say-{channel}-{number}-{form}");
                let task = format!("{{id: deed, tool: zoo-{channel}, retries: 0, with: {with}}}");
                all.push((id.clone(), format!("id: {id}\ntasks:\n  - {task}\n")));
            }
        }
    }
    all
}

/// Everything below a folder, as one text.
fn all_files(folder: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            text.push_str(&all_files(&entry.path()));
        } else {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).expect("a file")));
        }
    }
    text
}

/// The spellings of a value in which it could lie about.
fn spellings(value: &str) -> Vec<String> {
    let base64 = |alphabet: &[u8; 64]| {
        let mut text = String::new();
        for chunk in value.as_bytes().chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for index in 0..=chunk.len() {
                text.push(char::from(alphabet[(bits >> (18 - 6 * index)) as usize & 63]));
            }
        }
        text
    };
    let hex = |upper: bool| {
        let digit = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        value.as_bytes().iter().map(digit).collect::<String>()
    };
    let percent = |lower: bool| {
        let byte = |byte: u8| match byte {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
            b if lower => format!("%{b:02x}"),
            b => format!("%{b:02X}"),
        };
        value.bytes().map(byte).collect::<String>()
    };
    let json = Value::from(value).to_string();
    vec![
        value.to_owned(),
        json.trim_matches('"').to_owned(),
        base64(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
        base64(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
        hex(false),
        hex(true),
        percent(false),
        percent(true),
    ]
}

fn try_everything(server: &Server, model: &ModelServer, host: &str, wire: &Wire) -> String {
    let mut shown = String::new();
    let all = &mut shown;
    let secret = deed(server, all, "zoo", "secret", json!({"name": "ZOO_TOKEN"}));
    let stand_in = secret["output"]["value"].as_str().expect("a placeholder").to_owned();
    assert!(stand_in.starts_with("placeholder-"), "{secret:#}");
    // Names it was not granted.
    for name in ["OTHER_TOKEN", "MODEL_KEY", "PROCESS_PASSWORD", "api_key"] {
        assert_eq!(deed(server, all, "zoo", "secret", json!({"name": name}))["error"]["code"], "CZ0703", "{name}");
        assert_eq!(deed(server, all, "zoo", "env", json!({"name": name}))["error"]["code"], "CZ0703", "{name}");
    }
    assert_eq!(deed(server, all, "zoo", "env", json!({"name": "ZOO_TOKEN"}))["error"]["code"], "CZ0703");
    let probed =
        deed(server, all, "std", "probe", json!({"path": "/proc/self/environ", "variable": "PROCESS_PASSWORD"}));
    assert_eq!(probed["output"]["variable"], Value::Null);

    // The granted host gets the value, in a header and in a body, and sends it back to the guest, which hands it on.
    let send = json!({
        "url": format!("http://{host}/given"), "method": "POST", "secret": "ZOO_TOKEN",
        "headers": {"x-key": "{secret}"}, "body": "key={secret}",
    });
    let sent = deed(server, all, "zoo", "fetch", send);
    assert_eq!(sent["status"], "SUCCESS", "{sent:#}");
    let on_the_wire = wire.lock().expect("the wire").concat();
    assert!(on_the_wire.contains("Bearer canary-zoo"), "the granted host gets the value: {on_the_wire}");
    // Elsewhere a placeholder stays one: in the path, the query, towards models, and with another plugin.
    for (path, key) in [("/{secret}", "x"), ("/query", "{secret}"), ("/{secret}/a", "{secret}")] {
        let url = format!("http://{host}{path}?key={key}");
        deed(server, all, "zoo", "fetch", json!({"url": url, "secret": "ZOO_TOKEN"}));
    }
    let other = json!({"url": format!("http://{host}/other"), "headers": {"x-key": stand_in}, "body": stand_in, "method": "POST"});
    deed(server, all, "other", "fetch", other);
    let refused = deed(
        server,
        all,
        "zoo",
        "fetch",
        json!({"url": format!("https://{stand_in}.example.com/"), "secret": "ZOO_TOKEN"}),
    );
    assert_eq!(refused["error"]["code"], "CZ0703");
    let asked = deed(server, all, "zoo", "ask", json!({"prompt": "the key is", "secret": "ZOO_TOKEN"}));
    assert_eq!(asked["status"], "SUCCESS", "{asked:#}");
    let question = model.asked().last().expect("a question").body.to_string();
    assert!(question.contains("placeholder-") && !question.contains("canary-zoo"), "{question}");

    // What it is told, it says through every channel there is.
    for (id, _) in tellings() {
        let run = server.start_run(&id, json!({}));
        server.wait_run(&run);
        show(server, all, &run);
    }
    shown
}

#[test]
fn no_channel_carries_a_secret_out() {
    let (host, wire) = granted_host();
    let model = ModelServer::listen();
    for format in ["json", "text"] {
        let project = project(&model, &host);
        let server = project.start_with(&["--log-level", "debug", "--log-format", format], &[]);
        let shown = try_everything(&server, &model, &host.address, &wire);
        let output = server.stop();
        let stored = all_files(&project.path("data"));
        let listed = project.compozy(&["execution", "list", "-o", "json"]).ok().to_string();
        for (name, value) in CANARIES {
            for spelling in spellings(value) {
                for (what, text) in
                    [("shown", &shown), ("printed", &output.to_string()), ("stored", &stored), ("listed", &listed)]
                {
                    let at =
                        text.find(&spelling).map(|at| text.get(text.floor_char_boundary(at.saturating_sub(200))..at));
                    assert_eq!(at, None, "{name} is {what} as {spelling}");
                }
            }
        }
        // Only the plugin's own secret was sent, in headers and bodies of its own requests.
        let wire = std::mem::take(&mut *wire.lock().expect("the wire"));
        for request in wire {
            let (path, rest) = request.split_once(' ').expect("a path");
            assert_eq!(rest.contains("canary-zoo"), path != "/other", "{request}");
            assert!(!path.contains("canary"), "{request}");
            assert!(!request.contains("canary-other") && !request.contains("canary-model"), "{request}");
        }
    }
}
