//! A registry of OCI that keeps what is pushed to it, wants tokens if it is told to, and lies as it is told.
//!
//! Source of the protocol: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::http;
use super::listener::{self, Listener, Request};

/// `sha256:…` of bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// How the registry misbehaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Other bytes of the same length, under this part of the path.
    Other(&'static str),
    /// Ends in the middle of the body it announced.
    Cut(&'static str),
    /// Announces and sends one byte less.
    Short(&'static str),
    /// Sends more and more without announcing anything.
    Endless(&'static str),
    /// A status for everything.
    Status(u16),
    /// Sends blobs' readers elsewhere.
    Redirect(String),
    /// Sends everyone back to where they came from.
    Circle,
    /// Wants a token from there.
    TokensFrom(String),
    /// Gives tokens that are too long.
    LongToken,
}

#[derive(Debug, Default)]
struct State {
    blobs: HashMap<String, Vec<u8>>,
    /// By name and tag or digest.
    manifests: HashMap<String, Vec<u8>>,
    /// User and password; with it nobody else gets in, with an empty one anyone who asks for a token.
    secret: Option<String>,
    lie: Option<Lie>,
    asked: Vec<Asked>,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Registry {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    _listener: Listener,
    state: Arc<Mutex<State>>,
}

impl Registry {
    /// Listens on a free port.
    pub(crate) fn listen() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        let listener = Listener::serve(move |request, stream| serve(&shared, request, stream));
        Self { address: listener.address.clone(), _listener: listener, state }
    }

    pub(crate) fn lie(&self, lie: Option<Lie>) {
        self.state.lock().unwrap().lie = lie;
    }

    /// Wants `user:password`, or with an empty text any token of its own.
    pub(crate) fn guard(&self, secret: &str) {
        self.state.lock().unwrap().secret = Some(secret.to_owned());
    }

    /// Everything asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// Pushes a component in the layout of wasm artifacts and gives its manifest's digest.
    pub(crate) fn push(&self, name: &str, tag: &str, component: &[u8]) -> String {
        let lock = |guard: Option<String>| std::mem::replace(&mut self.state.lock().unwrap().secret, guard);
        let guard = lock(None);
        let pushed = push(&self.address, name, tag, component);
        lock(guard);
        pushed
    }
}

/// Pushes by the protocol: both blobs, then the manifest that names them.
pub(crate) fn push(address: &str, name: &str, tag: &str, component: &[u8]) -> String {
    let config = json!({
        "created": "2026-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip2",
        "layerDigests": [digest(component)], "component": {"exports": ["compozy:plugin/tool@0.1.0"], "imports": []},
    });
    let config = config.to_string();
    for blob in [config.as_bytes(), component] {
        let begun = http::send(address, "POST", &format!("/v2/{name}/blobs/uploads/"), &[], Some(b"")).expect("upload");
        assert_eq!(begun.status, 202, "{}", begun.text());
        let location = begun.header("location").expect("a location");
        let location = location.find("/v2/").map(|at| &location[at..]).expect("a path");
        let separator = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{separator}digest={}", digest(blob).replace(':', "%3A"));
        let kind = [("content-type", "application/octet-stream")];
        let done = http::send(address, "PUT", &path, &kind, Some(blob)).expect("upload");
        assert_eq!(done.status, 201, "{}", done.text());
    }
    let descriptor =
        |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor("application/vnd.wasm.config.v0+json", config.as_bytes()),
        "layers": [descriptor("application/wasm", component)],
    });
    let manifest = manifest.to_string();
    let path = format!("/v2/{name}/manifests/{tag}");
    let done =
        http::send(address, "PUT", &path, &[("content-type", MANIFEST)], Some(manifest.as_bytes())).expect("push");
    assert_eq!(done.status, 201, "{}", done.text());
    digest(manifest.as_bytes())
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn serve(state: &Mutex<State>, request: &Request, stream: &mut TcpStream) {
    let mut state = state.lock().unwrap();
    let authorization = http::header(&request.headers, "authorization").map(str::to_owned);
    state.asked.push(Asked { path: request.path.clone(), authorization: authorization.clone() });
    let host = http::header(&request.headers, "host").unwrap_or_default().to_owned();
    if let Some(path) = request.path.strip_prefix("/token?") {
        return token(&state, path, authorization.as_deref(), stream);
    }
    match &state.lie {
        Some(Lie::Status(status)) => return refuse(stream, *status, &[]),
        Some(Lie::Circle) => return refuse(stream, 307, &[("location", &request.path)]),
        Some(Lie::TokensFrom(realm)) => {
            let challenge = format!("Bearer realm=\"{realm}\",service=\"test\"");
            return refuse(stream, 401, &[("www-authenticate", &challenge)]);
        }
        _ => {}
    }
    if state.secret.is_some() && authorization.as_deref() != Some("Bearer token-of-the-registry") {
        let name = request.path.trim_start_matches("/v2/").split("/manifests").next().unwrap_or_default();
        let challenge =
            format!("Bearer realm=\"http://{host}/token\",service=\"test, really\",scope=\"repository:{name}:pull\"");
        return refuse(stream, 401, &[("www-authenticate", &challenge)]);
    }
    if request.method != "GET" {
        return take(&mut state, request, stream);
    }
    let found = match request.path.split_once("/blobs/") {
        Some((_, digest)) => match &state.lie {
            Some(Lie::Redirect(to)) => {
                let to = format!("{to}/storage/{digest}?signature=of-the-storage");
                return refuse(stream, 307, &[("location", &to)]);
            }
            _ => state.blobs.get(digest).map(|bytes| (bytes, "application/octet-stream")),
        },
        None => match request.path.strip_prefix("/storage/") {
            Some(digest) => {
                let digest = digest.split('?').next().unwrap_or_default();
                state.blobs.get(digest).map(|bytes| (bytes, "application/octet-stream"))
            }
            None => state.manifests.get(&request.path).map(|bytes| (bytes, MANIFEST)),
        },
    };
    match found {
        Some((bytes, kind)) => give(stream, &request.path, state.lie.as_ref(), bytes, kind),
        None => refuse(stream, 404, &[]),
    }
}

fn token(state: &State, query: &str, authorization: Option<&str>, stream: &mut TcpStream) {
    use base64::Engine as _;
    assert!(query.contains("scope=repository%3A") && query.contains("service=test%2C+really"), "{query}");
    let secret = state.secret.clone().unwrap_or_default();
    let expected = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(&secret));
    if !secret.is_empty() && authorization != Some(expected.as_str()) {
        return refuse(stream, 401, &[]);
    }
    let token =
        if state.lie == Some(Lie::LongToken) { "x".repeat(1 << 20) } else { "token-of-the-registry".to_owned() };
    let body = json!({"token": token, "expires_in": 60}).to_string();
    listener::answer(stream, 200, &[("content-type", "application/json")], body.as_bytes());
}

fn take(state: &mut State, request: &Request, stream: &mut TcpStream) {
    if request.method == "POST" {
        return listener::answer(stream, 202, &[("location", &format!("{}one", request.path))], b"");
    }
    let named = digest(&request.body);
    if let Some((_, wanted)) = request.path.split_once("digest=") {
        if wanted.replace("%3A", ":") != named {
            return refuse(stream, 400, &[]);
        }
        state.blobs.insert(named, request.body.clone());
    } else if let Some((name, _)) = request.path.split_once("/manifests/") {
        state.manifests.insert(format!("{name}/manifests/{named}"), request.body.clone());
        state.manifests.insert(request.path.clone(), request.body.clone());
    }
    listener::answer(stream, 201, &[], b"");
}

fn give(stream: &mut TcpStream, path: &str, lie: Option<&Lie>, bytes: &[u8], kind: &str) {
    let headers = [("content-type", kind)];
    match lie {
        Some(Lie::Other(part)) if path.contains(part) => {
            let mut other = bytes.to_vec();
            // Still JSON, or still WebAssembly, as far as that can be seen.
            if let Some(last) = other.last_mut() {
                *last = if *last == b'}' { b' ' } else { *last ^ 1 };
            }
            listener::answer(stream, 200, &headers, &other);
        }
        Some(Lie::Short(part)) if path.contains(part) => {
            listener::answer(stream, 200, &headers, &bytes[..bytes.len() - 1]);
        }
        Some(Lie::Cut(part)) if path.contains(part) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
            let _ = stream.write_all(&[head.as_bytes(), &bytes[..bytes.len() / 2]].concat());
        }
        Some(Lie::Endless(part)) if path.contains(part) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(bytes);
            // Until nobody listens any more.
            while stream.write_all(&[b' '; 64 << 10]).is_ok() {}
        }
        _ => listener::answer(stream, 200, &headers, bytes),
    }
}

fn refuse(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)]) {
    let body = json!({"errors": [{"code": "TEST", "message": "told so"}]}).to_string();
    listener::answer(stream, status, headers, body.as_bytes());
}
