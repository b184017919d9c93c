//! Finding the live server of a project (cli-and-api §4.2).
//!
//! A server is used only after it proved that it serves the same project and the same database; before that it is sent
//! nothing but a nonce.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::failure::Failure;
use super::output::Output;
use super::probe::{self, NoAnswer};
use super::record::{self, Found, State, hex, unhex};
use crate::api::identity as proof;
use crate::clock::{Clock, random_bytes};

/// How long a server may take to become ready, or to answer at all, before a command gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const STEP: Duration = Duration::from_millis(100);

/// Which server is looked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Folder whose records count.
    pub root: PathBuf,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    /// The project, when its file is known. Without it any record counts.
    pub project: Option<WantedProject>,
}

/// The project whose server is looked for.
#[derive(Debug, Clone)]
pub struct WantedProject {
    /// Its file, absolute.
    pub config: PathBuf,
    /// Its name.
    pub name: String,
    /// `server.host`.
    pub host: String,
    /// `server.port`.
    pub port: u16,
}

/// A server that proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `http://127.0.0.1:8080`.
    pub url: String,
    /// Id of its process.
    pub instance_id: String,
}

/// Where the key of a database comes from when no record names it. Asked only if something answers.
pub trait Keys {
    /// The identity key; `None` when the database is in memory or does not exist.
    fn identity_key(&self) -> impl Future<Output = Result<Option<[u8; 32]>, Failure>> + Send;
}

/// Looks for the server; `None` when there is none.
///
/// # Errors
/// Several servers (exit 2), one that does not get ready (7), one that refuses us (5).
pub async fn find(
    wanted: &Wanted,
    keys: &impl Keys,
    output: &Output,
    clock: &Clock,
) -> Result<Option<Server>, Failure> {
    let config = wanted.project.as_ref().map(|project| project.config.as_path());
    let mut servers: Vec<(Server, Found)> = Vec::new();
    for found in record::list(&wanted.root, wanted.runtime.as_deref(), config) {
        let Some(server) = follow(&found, output, clock).await? else { continue };
        // The record a killed server left leads to the one that was started again at its address.
        if found.record.instance_id != server.instance_id && !found.alive() {
            found.discard();
        }
        if servers.iter().all(|(known, _)| known.instance_id != server.instance_id) {
            servers.push((server, found));
        }
    }
    match (servers.len(), &wanted.project) {
        (0, Some(project)) => configured(project, keys, output).await,
        (0 | 1, _) => Ok(servers.pop().map(|(server, _)| server)),
        _ => Err(several(&servers)),
    }
}

fn several(servers: &[(Server, Found)]) -> Failure {
    let list: Vec<String> = servers
        .iter()
        .map(|(server, found)| format!("{} ({}, {})", server.url, found.record.project, found.record.config.display()))
        .collect();
    Failure::usage(format!("several servers are running here: {}", list.join("; ")))
        .hint("choose one with --config FILE or --server URL")
}

/// Follows one record to its server, waiting for one that is starting.
async fn follow(found: &Found, output: &Output, clock: &Clock) -> Result<Option<Server>, Failure> {
    let since = clock.now();
    loop {
        let Some(now) = found.again() else { return Ok(None) };
        let url = now.record.url.clone().unwrap_or_default();
        let verdict = match (now.record.state, address_of(&url), key_of(&now)) {
            (State::Listening, Some(address), Some(key)) => ask(address, &key, &now.record.project).await,
            _ => Verdict::Silent,
        };
        let waited = clock.now().since(since) >= PATIENCE;
        let who = format!("the server of this project (pid {})", now.record.pid);
        match verdict {
            Verdict::Ready(instance_id) => return Ok(Some(Server { url, instance_id })),
            Verdict::Refused => {
                output.detail(&format!("nothing listens at {url} any more; removing {}", found.path.display()));
                found.discard();
                return Ok(None);
            }
            Verdict::Forbidden => return Err(forbidden(&url)),
            Verdict::Foreign | Verdict::Silent | Verdict::NotReady if !now.alive() => {
                output.detail(&format!("process {} is gone; removing {}", now.record.pid, found.path.display()));
                found.discard();
                return Ok(None);
            }
            Verdict::Foreign => {
                output.detail(&format!("{url} is another service, not the server of this project"));
                return Ok(None);
            }
            Verdict::NotReady if waited => {
                return Err(Failure::new("not_ready", format!("{who} does not get ready")).hint("look at its log"));
            }
            Verdict::Silent if waited => {
                return Err(Failure::new("server_unreachable", format!("{who} does not answer"))
                    .hint("look at its log; --local works without it on a file database"));
            }
            Verdict::NotReady | Verdict::Silent => clock.sleep(STEP).await,
        }
    }
}

/// Asks at `server.host:server.port`.
async fn configured(project: &WantedProject, keys: &impl Keys, output: &Output) -> Result<Option<Server>, Failure> {
    for address in addresses(&project.host, project.port).await {
        let url = format!("http://{address}");
        let nonce = nonce();
        let answer = match identity(address, &nonce).await {
            Answer::Identity(answer) => answer,
            Answer::Forbidden => return Err(forbidden(&url)),
            Answer::Refused | Answer::Silent => continue,
            Answer::Foreign => {
                output.detail(&format!("{url} is not a compozy server"));
                continue;
            }
        };
        let Some(key) = keys.identity_key().await? else {
            return Err(Failure::new(
                "memory_server_unreachable",
                format!("a compozy server answers at {url}, and this project has no key that tells whose it is"),
            )
            .hint(format!("use --server {url} if it is yours, or --local")));
        };
        if !proves(&answer, &key, &nonce, address.port(), &project.name) {
            output.detail(&format!("{url} serves another project or database"));
            continue;
        }
        if !answer.ready {
            return Err(Failure::new("not_ready", format!("the server at {url} is not ready")));
        }
        return Ok(Some(Server { url, instance_id: answer.instance_id }));
    }
    Ok(None)
}

/// Whether a compozy server, of whatever project, answers at a configured address.
pub async fn is_compozy(host: &str, port: u16) -> bool {
    for address in addresses(host, port).await {
        if matches!(identity(address, &nonce()).await, Answer::Identity(_) | Answer::Forbidden) {
            return true;
        }
    }
    false
}

fn forbidden(url: &str) -> Failure {
    Failure::new("unauthorized", format!("the server at {url} refuses to identify itself to us")).hint("use --api-key")
}

/// The addresses a client tries for a configured host.
async fn addresses(host: &str, port: u16) -> Vec<SocketAddr> {
    let host = host.trim_matches(['[', ']']);
    let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match host.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() => vec![SocketAddr::new(address, port)],
        _ if host.is_empty() || host == "localhost" || host.parse::<IpAddr>().is_ok() => {
            both.map(|address| SocketAddr::new(address, port)).to_vec()
        }
        _ => tokio::net::lookup_host((host, port)).await.map(Iterator::collect).unwrap_or_default(),
    }
}

fn address_of(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.trim_end_matches('/').parse().ok()
}

fn key_of(found: &Found) -> Option<[u8; 32]> {
    unhex(found.record.identity_key.as_deref()?)?.try_into().ok()
}

/// What a candidate turned out to be.
enum Verdict {
    Ready(String),
    NotReady,
    Refused,
    Silent,
    Foreign,
    Forbidden,
}

async fn ask(address: SocketAddr, key: &[u8; 32], project: &str) -> Verdict {
    let nonce = nonce();
    match identity(address, &nonce).await {
        Answer::Refused => Verdict::Refused,
        Answer::Silent => Verdict::Silent,
        Answer::Foreign => Verdict::Foreign,
        Answer::Forbidden => Verdict::Forbidden,
        Answer::Identity(answer) if !proves(&answer, key, &nonce, address.port(), project) => Verdict::Foreign,
        Answer::Identity(answer) if answer.ready => Verdict::Ready(answer.instance_id),
        Answer::Identity(_) => Verdict::NotReady,
    }
}

/// What came back from `GET /api/v0/identity`.
enum Answer {
    Identity(Identity),
    Refused,
    Silent,
    Foreign,
    Forbidden,
}

struct Identity {
    instance_id: String,
    proof: String,
    ready: bool,
}

async fn identity(address: SocketAddr, nonce: &str) -> Answer {
    match probe::get(address, &format!("/api/v0/identity?nonce={nonce}")).await {
        Ok((status, body)) => answer_of(status, &body),
        Err(NoAnswer::Refused) => Answer::Refused,
        Err(NoAnswer::Silent) => Answer::Silent,
        Err(NoAnswer::Foreign) => Answer::Foreign,
    }
}

fn answer_of(status: u16, body: &[u8]) -> Answer {
    if matches!(status, 401 | 403) {
        return Answer::Forbidden;
    }
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let data = document.get("data").unwrap_or(&document);
    let text = |name: &str| data.get(name).and_then(Value::as_str).map(str::to_owned);
    match (text("instance_id"), text("proof")) {
        (Some(instance_id), Some(proof)) if status == 200 => {
            Answer::Identity(Identity { instance_id, proof, ready: data.get("ready") == Some(&Value::Bool(true)) })
        }
        _ => Answer::Foreign,
    }
}

fn nonce() -> String {
    hex(&random_bytes::<32>())
}

/// Whether the answer can only come from the server of this project and database, at this very port.
fn proves(answer: &Identity, key: &[u8; 32], nonce: &str, port: u16, project: &str) -> bool {
    proof::verify(key, nonce, port, project, &answer.proof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        for (status, body, expected) in [
            (200, r#"{"data": {"instance_id": "i", "proof": "00", "ready": true}}"#, "identity"),
            (200, r#"{"instance_id": "i", "proof": "00"}"#, "identity"),
            (200, "<html>", "foreign"),
            (404, r#"{"code": "route_not_found"}"#, "foreign"),
            (401, "{}", "forbidden"),
        ] {
            let word = match answer_of(status, body.as_bytes()) {
                Answer::Identity(_) => "identity",
                Answer::Foreign => "foreign",
                Answer::Forbidden => "forbidden",
                Answer::Refused | Answer::Silent => "silent",
            };
            assert_eq!(word, expected, "{body}");
        }
    }

    #[tokio::test]
    async fn wildcard_and_unset_hosts_mean_this_machine() {
        let text = |addresses: Vec<SocketAddr>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        for host in ["", "0.0.0.0", "::", "[::]", "localhost"] {
            assert_eq!(text(addresses(host, 80).await), ["127.0.0.1:80", "[::1]:80"], "{host}");
        }
        assert_eq!(text(addresses("10.0.0.1", 80).await), ["10.0.0.1:80"]);
        assert_eq!(address_of("http://[::1]:9/"), Some("[::1]:9".parse().unwrap()));
        assert_eq!(address_of("https://x"), None);
    }

    struct NoKeys;

    impl Keys for NoKeys {
        async fn identity_key(&self) -> Result<Option<[u8; 32]>, Failure> {
            Ok(None)
        }
    }

    fn quiet() -> Output {
        Output {
            format: crate::cli::output::Format::Table,
            quiet: true,
            verbose: 0,
            color_out: false,
            color_err: false,
            spinner: false,
            width: None,
        }
    }

    fn record(folder: &std::path::Path, instance: &str, pid: u32, address: SocketAddr) -> record::Record {
        record::Record {
            instance_id: instance.into(),
            pid,
            url: Some(format!("http://{address}")),
            config: folder.join("compozy.yaml"),
            project: "p".into(),
            driver: "sqlite".into(),
            identity_key: Some("00".repeat(32)),
            version: "0".into(),
            state: State::Listening,
        }
    }

    /// Answers every question for the identity as the instance `new` of the project `p`.
    fn answer_identities(listener: std::net::TcpListener) {
        use std::io::{Read as _, Write as _};
        let port = listener.local_addr().unwrap().port();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let nonce = request.split_once("nonce=").unwrap().1.split(' ').next().unwrap();
            let proof = proof::proof(&[0; 32], nonce, port, "p");
            let body = serde_json::json!({"data": {"instance_id": "new", "proof": proof, "ready": true}}).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    }

    #[tokio::test]
    async fn a_killed_server_started_again_at_its_address_is_one_server() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || answer_identities(listener));
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let killed = record::Written::create(folder.path(), None, record(folder.path(), "killed", gone.id(), address));
        let alive = record(folder.path(), "new", std::process::id(), address);
        let written = [killed.unwrap(), record::Written::create(folder.path(), None, alive).unwrap()];
        let wanted = Wanted { root: folder.path().to_owned(), runtime: None, project: None };
        let found = find(&wanted, &NoKeys, &quiet(), &Clock::system()).await.unwrap();
        assert_eq!(found.map(|server| server.instance_id).as_deref(), Some("new"));
        let left = record::list(folder.path(), None, None);
        assert_eq!(left.iter().map(|found| found.record.instance_id.as_str()).collect::<Vec<_>>(), ["new"]);
        drop(written);
    }

    #[tokio::test]
    async fn the_record_of_a_server_that_is_gone_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let record = record(folder.path(), "gone", std::process::id(), address);
        let written = record::Written::create(folder.path(), None, record).unwrap();
        let wanted = Wanted { root: folder.path().to_owned(), runtime: None, project: None };
        let found = find(&wanted, &NoKeys, &quiet(), &Clock::system()).await;
        assert_eq!(found.unwrap(), None);
        assert!(record::list(folder.path(), None, None).is_empty());
        drop(written);
    }
}
