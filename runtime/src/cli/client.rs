//! HTTP client to a compozy server.
//!
//! A GET may be repeated. A POST is sent again only under the idempotency key it was first sent with. There is no limit
//! on how long an answer may take: waiting is bounded by `--timeout` alone.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Method, Url};
use serde_json::Value;
use tokio::sync::mpsc;

use super::events::{Event, Reader};
use super::failure::Failure;
use crate::clock::Clock;
use crate::transfer::Chunks;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Waits between attempts to reach a server that went away during a stream; about 30 s in all.
const AGAIN: [u64; 8] = [200, 500, 1_000, 2_000, 4_000, 6_000, 8_000, 8_000];
/// Attempts of a request that never reached the server.
const ATTEMPTS: usize = 3;

/// A server that may be asked.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    api_key: Option<String>,
    clock: Clock,
}

impl Client {
    /// A client of the server at `url`, with or without `/api/v0`.
    ///
    /// # Errors
    /// Usage (exit 2): no URL, or a key that would go over plain http to another machine.
    pub fn new(url: &str, api_key: Option<String>, insecure: bool, clock: Clock) -> Result<Self, Failure> {
        let base = base_of(url)?;
        if api_key.is_some() && !insecure && base.scheme() == "http" && !is_loopback(&base) {
            return Err(Failure::usage(format!(
                "the API key would go over plain http to {}",
                base.host_str().unwrap_or_default()
            ))
            .hint("use https, or --insecure if the network is trusted"));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("compozy/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::internal(&format!("cannot set up the HTTP client: {error}")))?;
        Ok(Self { http, base, api_key, clock })
    }

    /// The server's address, without `/api/v0`.
    #[must_use]
    pub fn address(&self) -> String {
        let text = self.base.as_str();
        text.strip_suffix("/api/v0/").unwrap_or(text).to_owned()
    }

    /// `data` of a GET.
    ///
    /// # Errors
    /// The server's problem, or `server_unreachable`.
    pub async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        self.send(Method::GET, path, query, None, None).await
    }

    /// `data` of a POST. `key` is its idempotency key.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&self, path: &[&str], body: &Value, key: Option<&str>) -> Result<Value, Failure> {
        self.send(Method::POST, path, &[], Some(body), key).await
    }

    /// `data` of a PATCH.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.send(Method::PATCH, path, &[], Some(body), None).await
    }

    /// The bytes of a GET that answers with a stream.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn download(&self, path: &[&str], query: &[(&str, String)]) -> Result<Chunks, Failure> {
        let request = self.request(Method::GET, self.url(path, query)?);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(Box::pin(response.bytes_stream().map(|piece| piece.map_err(std::io::Error::other))));
        }
        let (status, document) = read(response).await.map_err(|error| self.unreachable(&error))?;
        Err(data(status, document).err().unwrap_or_else(|| Failure::internal("the server answered without a stream")))
    }

    /// `data` of a POST whose body is a stream. It is sent once.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn upload(&self, path: &[&str], query: &[(&str, String)], body: Chunks) -> Result<Value, Failure> {
        let request = self.request(Method::POST, self.url(path, query)?);
        let request = request.header("Content-Type", "application/octet-stream").body(reqwest::Body::wrap_stream(body));
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let (status, document) = read(response).await.map_err(|error| self.unreachable(&error))?;
        data(status, document)
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<Value, Failure> {
        let repeatable = method == Method::GET || key.is_some();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut request = self.request(method.clone(), self.url(path, query)?);
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some(key) = key {
                request = request.header("Idempotency-Key", key);
            }
            let answer = match request.send().await {
                Ok(response) => read(response).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok((status, document)) => return data(status, document),
                Err(_) if repeatable && attempt < ATTEMPTS => self.clock.sleep(Duration::from_millis(200)).await,
                Err(error) => return Err(self.unreachable(&error)),
            }
        }
    }

    /// Sends the events of a run after `after` until its last one, over any number of reconnects.
    ///
    /// # Errors
    /// The server's problem; `server_unreachable` when it stays away for about 30 s.
    pub async fn events(&self, exec_id: &str, after: i64, sender: &mpsc::Sender<Event>) -> Result<(), Failure> {
        let mut last = (after > 0).then(|| after.to_string());
        let mut waits = AGAIN.iter();
        loop {
            let failure = match self.stream(exec_id, &mut last, &mut waits, sender).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    Failure::new("server_unreachable", format!("the stream of {} ended early", self.address()))
                }
                Err(failure) if failure.code() == Some("server_unreachable") => failure,
                Err(failure) => return Err(failure),
            };
            let Some(wait) = waits.next() else { return Err(failure) };
            self.clock.sleep(Duration::from_millis(*wait)).await;
        }
    }

    /// One connection; true when the run's last event came or nobody listens any more.
    async fn stream(
        &self,
        exec_id: &str,
        last: &mut Option<String>,
        waits: &mut std::slice::Iter<'_, u64>,
        sender: &mpsc::Sender<Event>,
    ) -> Result<bool, Failure> {
        let url = self.url(&["executions", "workflows", exec_id, "stream"], &[])?;
        let mut request = self.request(Method::GET, url).header("Accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last.as_str());
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            let (status, document) = read(response).await.map_err(|error| self.unreachable(&error))?;
            // A server that is going down or just coming up is one to wait for.
            return match data(status, document) {
                Err(failure) if status == 503 => Err(Failure::new(
                    "server_unreachable",
                    failure.document()["detail"].as_str().unwrap_or("not ready"),
                )),
                Err(failure) => Err(failure),
                Ok(_) => Ok(false),
            };
        }
        let (mut bytes, mut reader) = (response.bytes_stream(), Reader::default());
        while let Some(Ok(piece)) = bytes.next().await {
            let events =
                reader.feed(&piece).ok_or_else(|| Failure::internal("the event stream is not one of compozy"))?;
            for event in events {
                *waits = AGAIN.iter();
                if event.name == "server_shutdown" {
                    return Ok(false);
                }
                if !event.id.is_empty() {
                    *last = Some(event.id.clone());
                }
                let ends = event.is_terminal();
                if sender.send(event).await.is_err() || ends {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url);
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::usage("the server's URL has no path"))?
            .pop_if_empty()
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Failure::new("server_unreachable", format!("cannot reach the server at {}: {cause}", self.address()))
            .hint("start it with `compozy start`, or check --server")
    }
}

async fn read(response: reqwest::Response) -> Result<(u16, Option<Value>), reqwest::Error> {
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    Ok((status, serde_json::from_slice(&body).ok()))
}

/// `data` of an envelope, or the problem.
fn data(status: u16, document: Option<Value>) -> Result<Value, Failure> {
    match document {
        Some(Value::Object(mut envelope)) if (200..300).contains(&status) => {
            Ok(envelope.remove("data").unwrap_or(Value::Object(envelope)))
        }
        Some(problem) if problem.get("code").is_some() => Err(Failure::from_document(status, problem)),
        None if (200..300).contains(&status) => Ok(Value::Null),
        _ => {
            Err(Failure::new("server_unreachable", format!("the server answered {status} and is not a compozy server"))
                .hint("check --server"))
        }
    }
}

fn base_of(url: &str) -> Result<Url, Failure> {
    let text = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let bad =
        || Failure::usage(format!("'{url}' is not a server URL")).hint("for example --server http://127.0.0.1:8080");
    let mut base = Url::parse(&text).map_err(|_| bad())?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none_or(str::is_empty) {
        return Err(bad());
    }
    let path = base.path().trim_end_matches('/');
    let path = path.strip_suffix("/api/v0").unwrap_or(path);
    base.set_path(&format!("{path}/api/v0/"));
    base.set_query(None);
    base.set_fragment(None);
    Ok(base)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn server_urls_work_with_and_without_the_base_path() {
        for (url, expected) in [
            ("http://localhost:8080", "http://localhost:8080/api/v0/"),
            ("http://localhost:8080/", "http://localhost:8080/api/v0/"),
            ("http://localhost:8080/api/v0", "http://localhost:8080/api/v0/"),
            ("https://example.org/compozy/api/v0/", "https://example.org/compozy/api/v0/"),
            ("localhost:8080", "http://localhost:8080/api/v0/"),
            ("http://[::1]:1/?q#f", "http://[::1]:1/api/v0/"),
        ] {
            assert_eq!(base_of(url).unwrap().as_str(), expected, "{url}");
        }
        for url in ["", "ftp://a", "http://", "://x"] {
            assert_eq!(base_of(url).unwrap_err().exit(), 2, "{url}");
        }
    }

    #[test]
    fn keys_stay_off_foreign_plain_http() {
        for (url, leaves) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost:1", true),
            ("https://example.org", true),
            ("http://example.org", false),
            ("http://localhost.example.org", false),
        ] {
            let base = base_of(url).unwrap();
            assert_eq!(base.scheme() == "https" || is_loopback(&base), leaves, "{url}");
        }
    }

    #[test]
    fn answers_are_unwrapped_and_problems_keep_their_code() {
        assert_eq!(
            data(200, Some(json!({"status": 200, "message": "ok", "data": {"a": 1}}))).unwrap(),
            json!({"a": 1})
        );
        let problem = json!({"code": "execution_finished", "detail": "execution has ended: SUCCESS", "status": 409});
        assert_eq!(data(409, Some(problem)).unwrap_err().exit(), 6);
        assert_eq!(data(404, None).unwrap_err().exit(), 7);
        assert_eq!(data(404, Some(json!("<html>"))).unwrap_err().exit(), 7);
    }
}
