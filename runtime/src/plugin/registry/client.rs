//! A client of registries: manifests and blobs of one repository, over our HTTP client.
//!
//! Registries are hostile input: what they send is bounded and checked while it arrives, redirects are followed here,
//! few and never to plain http, and what proves who we are goes to the registry that asked for it and nowhere else.

use std::time::Duration;

use compozy_lang::oci::Reference;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Error;
use super::auth::{self, Challenge};
use super::cache::{Cache, Content};
use super::manifest::{self, Layer};
use crate::plugin::cache::hex;

/// Redirects of one request.
const MOST_REDIRECTS: usize = 5;

/// Bytes of the answer of a token server, and of an error.
const MOST_TOKEN_BYTES: u64 = 64 << 10;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Longest wait for the next bytes.
const READ: Duration = Duration::from_secs(30);
/// Longest time of one request and its answer, also if something of it keeps coming.
const WHOLE: Duration = Duration::from_secs(15 * 60);

/// The repository of a reference.
pub(super) struct Repository<'a> {
    http: &'a reqwest::Client,
    reference: &'a Reference,
    base: Url,
    /// `Bearer …` or `Basic …`, once the registry asked for it.
    authorization: Option<HeaderValue>,
}

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The HTTP client for registries.
pub(super) fn http() -> Result<reqwest::Client, Error> {
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .read_timeout(READ)
        .timeout(WHOLE)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("compozy/", env!("CARGO_PKG_VERSION")))
        .build();
    client.map_err(|error| Error::Unreachable { host: "http".into(), reason: error.to_string() })
}

impl<'a> Repository<'a> {
    /// The repository that `reference` names.
    pub(super) fn new(http: &'a reqwest::Client, reference: &'a Reference) -> Result<Self, Error> {
        let scheme = if reference.is_local() { "http" } else { "https" };
        // Docker's registry has another address than name.
        let host = if reference.registry == "docker.io" { "registry-1.docker.io" } else { &reference.registry };
        let base = Url::parse(&format!("{scheme}://{host}/v2/{}/", reference.repository));
        let base = base.map_err(|error| Error::Reference(format!("{reference}: {error}")))?;
        Ok(Self { http, reference, base, authorization: None })
    }

    /// The manifest of a digest (hex), else of the reference's tag, with its digest.
    pub(super) async fn manifest(&mut self, digest: Option<&str>) -> Result<(String, Vec<u8>), Error> {
        let named = match digest {
            Some(digest) => format!("sha256:{digest}"),
            None => self.reference.tag.clone().unwrap_or_default(),
        };
        let answer = self.get(&format!("manifests/{named}"), manifest::ACCEPT).await?;
        let bytes = self.read(answer, manifest::MOST_BYTES).await?;
        let found = hex(&Sha256::digest(&bytes));
        match digest {
            Some(expected) if expected != found => {
                Err(Error::Digest { expected: expected.to_owned(), found: format!("sha256:{found}") })
            }
            _ => Ok((found, bytes)),
        }
    }

    /// Fetches a component into the cache; its digest is taken while it arrives.
    pub(super) async fn component(&mut self, layer: &Layer, cache: &Cache) -> Result<(), Error> {
        let mut answer = self.get(&format!("blobs/sha256:{}", layer.digest), "application/wasm, */*").await?;
        let wrong = |found: u64, word: &str| Error::Digest {
            expected: layer.digest.clone(),
            found: format!("{word}{found} bytes instead of {}", layer.size),
        };
        if let Some(length) = answer.content_length().filter(|length| *length != layer.size) {
            return Err(wrong(length, ""));
        }
        let mut incoming = cache.begin()?;
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            incoming.write(&piece)?;
            if incoming.size() > layer.size {
                return Err(wrong(incoming.size(), "at least "));
            }
        }
        if incoming.size() < layer.size {
            return Err(wrong(incoming.size(), ""));
        }
        incoming.keep(&layer.digest, Content::Component)
    }

    /// Asks, proves who we are if that is asked for, and gives an answer of status 200.
    async fn get(&mut self, path: &str, accept: &str) -> Result<Response, Error> {
        let url = self.base.join(path).map_err(|error| Error::Reference(error.to_string()))?;
        let mut answer = self.follow(url.clone(), accept).await?;
        if answer.status() == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            let header = answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
            let challenge = header.and_then(auth::challenge);
            let challenge = challenge.ok_or_else(|| self.refused("it asks for proof of a kind that is not known"))?;
            self.authorization = Some(self.prove(challenge).await?);
            answer = self.follow(url, accept).await?;
        }
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.refused(&status(answer.status()))),
            StatusCode::NOT_FOUND => Err(Error::NotFound(format!("{path} of {}", self.reference))),
            other => Err(self.failed(status(other))),
        }
    }

    /// Follows redirects. Storage behind a registry gets no proof: it has its own in the address.
    async fn follow(&self, mut url: Url, accept: &str) -> Result<Response, Error> {
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.http.get(url.clone()).header(ACCEPT, accept);
            if let Some(authorization) = self.authorization.as_ref().filter(|_| url.origin() == self.base.origin()) {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            let next = next.ok_or_else(|| self.failed("a redirect leads nowhere".to_owned()))?;
            self.check_safe(&next)?;
            url = next;
        }
        Err(self.failed(format!("more than {MOST_REDIRECTS} redirects")))
    }

    /// A registry leads to https only, so that nothing is sent in clear and no local service is asked; one on this
    /// machine also to this machine.
    fn check_safe(&self, url: &Url) -> Result<(), Error> {
        let stays_here = url.scheme() == "http" && self.reference.is_local() && is_local(url);
        let is_safe = url.scheme() == "https" || stays_here;
        if is_safe { Ok(()) } else { Err(self.failed(format!("it leads to {}, which is not https", shown(url)))) }
    }

    async fn prove(&self, challenge: Challenge) -> Result<HeaderValue, Error> {
        let credentials = auth::credentials(&self.reference.registry);
        let text = match challenge {
            Challenge::Basic => {
                let credentials = credentials.ok_or_else(|| self.refused("there are no credentials for it"))?;
                format!("Basic {credentials}")
            }
            Challenge::Bearer { realm, service, scope } => {
                let mut url =
                    Url::parse(&realm).map_err(|_| self.failed("its token server has no address".to_owned()))?;
                self.check_safe(&url)?;
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.reference.repository));
                url.query_pairs_mut().append_pair("scope", &scope);
                if let Some(service) = service {
                    url.query_pairs_mut().append_pair("service", &service);
                }
                format!("Bearer {}", self.token(url, credentials).await?)
            }
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| self.refused("its token cannot be sent"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    async fn token(&self, url: Url, credentials: Option<String>) -> Result<String, Error> {
        let has_credentials = credentials.is_some();
        let mut request = self.http.get(url);
        if let Some(credentials) = credentials {
            request = request.header(AUTHORIZATION, format!("Basic {credentials}"));
        }
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if has_credentials => {
                return Err(self.refused("the credentials were not accepted"));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.refused("there are no credentials for it"));
            }
            other => return Err(self.failed(format!("its token server: {}", status(other)))),
        }
        let body = self.read(answer, MOST_TOKEN_BYTES).await?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let token = body.get("token").or_else(|| body.get("access_token")).and_then(Value::as_str);
        token.map(str::to_owned).ok_or_else(|| self.failed("its token server gave no token".to_owned()))
    }

    async fn read(&self, mut answer: Response, most: u64) -> Result<Vec<u8>, Error> {
        let too_long = || self.failed(format!("its answer is longer than {most} bytes"));
        if answer.content_length().is_some_and(|length| length > most) {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > most {
                return Err(too_long());
            }
        }
        Ok(bytes)
    }

    fn refused(&self, reason: &str) -> Error {
        Error::Refused { host: self.reference.registry.clone(), reason: reason.to_owned() }
    }

    fn failed(&self, reason: String) -> Error {
        Error::Unreachable { host: self.reference.registry.clone(), reason }
    }

    /// The innermost reason, without the address: that of storage may hold a signature.
    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let mut reason: &dyn std::error::Error = error;
        while let Some(source) = reason.source() {
            reason = source;
        }
        self.failed(reason.to_string())
    }
}

fn status(status: StatusCode) -> String {
    format!("it answered with HTTP {}", status.as_u16())
}

fn shown(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}
