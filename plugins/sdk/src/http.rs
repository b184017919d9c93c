//! HTTP as ordinary blocking calls over `wasi:http/outgoing-handler`, towards hosts granted with `permissions.http`.
//!
//! ```no_run
//! use compozy_plugin::{Result, http};
//!
//! fn price(sku: &str) -> Result<serde_json::Value> {
//!     let response = http::Request::get(format!("https://api.example.com/prices/{sku}")).send()?;
//!     response.error_for_status()?.json(64 * 1024)
//! }
//! ```

mod body;
mod pending;
mod url;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::body::Body;
pub use self::pending::{Pending, wait_any};
use self::url::Url;
use crate::bindings::host::wasi::http::outgoing_handler;
pub use crate::bindings::host::wasi::http::types::ErrorCode;
use crate::bindings::host::wasi::http::types::{
    Fields, FutureIncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use crate::bindings::host::wasi::io::streams::StreamError;

/// Bytes a `blocking-write-and-flush` takes at most (wasi:io/streams).
const WRITE_PIECE: usize = 4096;

/// Why a request got no whole answer.
#[derive(Debug)]
pub enum Error {
    /// The URL, a header or the method is not one that can be sent.
    Invalid(String),
    /// The host refused the address: `permissions.http` does not allow it.
    Denied(String),
    /// The connection could not be made, broke, or timed out.
    Connection(String),
    /// The body is longer than the limit given, in bytes.
    TooLong(usize),
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Invalid(reason) => write!(formatter, "invalid request: {reason}"),
            Self::Denied(host) => write!(formatter, "request to {host} is not allowed by permissions.http"),
            Self::Connection(reason) => write!(formatter, "connection failed: {reason}"),
            Self::TooLong(limit) => write!(formatter, "the body is longer than {limit} bytes"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(_) => Self::new("invalid_request", message),
            Error::Denied(_) => Self::new("CZ0703", message),
            Error::Connection(_) => Self::new("connection_failed", message).retryable(),
            Error::TooLong(_) => Self::new("response_too_long", message),
        }
    }
}

/// A request being made.
#[derive(Debug)]
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    timeout: Option<Duration>,
}

impl Request {
    /// A request by any method, `PATCH` or `get` alike.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        let method = match method.to_ascii_uppercase().as_str() {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            "PATCH" => Method::Patch,
            other => Method::Other(other.to_owned()),
        };
        Self { method, url: url.into(), headers: Vec::new(), body: Vec::new(), timeout: None }
    }

    /// A `GET` request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A `POST` request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// Adds a header; a name may come more than once.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body and its content type.
    ///
    /// # Errors
    /// `value` cannot be written as JSON.
    pub fn json(self, value: &impl Serialize) -> crate::Result<Self> {
        Ok(self.header("content-type", "application/json").body(serde_json::to_vec(value)?))
    }

    /// The longest wait for the connection, for the first byte of the answer and between two pieces of it.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends the request and waits for status and headers of the answer.
    ///
    /// # Errors
    /// The request is not valid, not allowed, or its connection failed. A status of 400 or more is no error here.
    pub fn send(self) -> Result<Response, Error> {
        self.begin()?.wait()
    }

    /// Sends the request without waiting for its answer, so that several can be under way at once.
    ///
    /// # Errors
    /// The request is not valid, or not allowed.
    pub fn begin(mut self) -> Result<Pending, Error> {
        let url = Url::parse(&self.url).map_err(|reason| Error::Invalid(reason.to_owned()))?;
        let answer = self.start(&url)?;
        Ok(Pending::new(answer, url.authority))
    }

    fn start(&mut self, url: &Url) -> Result<FutureIncomingResponse, Error> {
        if !self.body.is_empty() || matches!(self.method, Method::Post | Method::Put | Method::Patch) {
            // Without it the body is sent in chunks, which not every server takes.
            self.headers.push(("content-length".to_owned(), self.body.len().to_string().into_bytes()));
        }
        let headers = Fields::from_list(&self.headers).map_err(|error| Error::Invalid(format!("headers: {error}")))?;
        let request = OutgoingRequest::new(headers);
        let scheme = if url.secure { Scheme::Https } else { Scheme::Http };
        let set = request
            .set_method(&self.method)
            .and_then(|()| request.set_scheme(Some(&scheme)))
            .and_then(|()| request.set_authority(Some(&url.authority)))
            .and_then(|()| request.set_path_with_query(Some(&url.path)));
        set.map_err(|()| Error::Invalid("the method or URL holds a character that cannot be sent".to_owned()))?;
        let body = request.body().map_err(|()| Error::Invalid("the body was taken".to_owned()))?;
        let answer =
            outgoing_handler::handle(request, self.options()?).map_err(|code| from_code(code, &url.authority))?;
        // A peer that answers early closes the body; its answer then says why, so the answer decides.
        drop(
            self.write_body(&body)
                .and_then(|()| OutgoingBody::finish(body, None).map_err(|code| from_code(code, &url.authority))),
        );
        Ok(answer)
    }

    fn options(&self) -> Result<Option<RequestOptions>, Error> {
        let Some(timeout) = self.timeout else {
            return Ok(None);
        };
        let nanoseconds = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        let options = RequestOptions::new();
        options
            .set_connect_timeout(nanoseconds)
            .and_then(|()| options.set_first_byte_timeout(nanoseconds))
            .and_then(|()| options.set_between_bytes_timeout(nanoseconds))
            .map_err(|()| Error::Invalid("the host has no timeouts".to_owned()))?;
        Ok(Some(options))
    }

    fn write_body(&self, body: &OutgoingBody) -> Result<(), Error> {
        let closed = |_: StreamError| Error::Connection("the peer closed the request's body".to_owned());
        let stream = body.write().map_err(|()| Error::Invalid("the body was taken".to_owned()))?;
        self.body.chunks(WRITE_PIECE).try_for_each(|piece| stream.blocking_write_and_flush(piece).map_err(closed))
    }
}

fn from_code(code: ErrorCode, authority: &str) -> Error {
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Error::Denied(authority.to_owned()),
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => Error::Invalid(describe(&code)),
        other => Error::Connection(describe(&other)),
    }
}

/// `connection refused` for `ConnectionRefused`; what a variant carries is left out, but for its text.
fn describe(code: &ErrorCode) -> String {
    if let ErrorCode::InternalError(Some(text)) = code {
        return text.clone();
    }
    let written = format!("{code:?}");
    let name = written.trim_start_matches("ErrorCode::");
    let name = name.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default();
    let mut words = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(character.to_ascii_lowercase());
    }
    words
}

/// An answer: status and headers are here, the body is still to be read.
#[derive(Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, as it arrives.
    pub body: Body,
}

impl Response {
    /// The first value of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// Turns a status of 400 or more into an error; 408, 429 and 5xx may be tried again.
    ///
    /// # Errors
    /// Code `http_<status>`.
    pub fn error_for_status(self) -> crate::Result<Self> {
        if self.status < 400 {
            return Ok(self);
        }
        let error =
            crate::Error::new(format!("http_{}", self.status), format!("the peer answered with HTTP {}", self.status));
        Err(if matches!(self.status, 408 | 429 | 500..) { error.retryable() } else { error })
    }

    /// The whole body.
    ///
    /// # Errors
    /// It is longer than `limit` bytes, or the connection broke.
    pub fn bytes(self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        for piece in self.body {
            whole.extend_from_slice(&piece?);
            if whole.len() > limit {
                return Err(Error::TooLong(limit));
            }
        }
        Ok(whole)
    }

    /// The whole body as text; what is no UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`Response::bytes`].
    pub fn text(self, limit: usize) -> Result<String, Error> {
        self.bytes(limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The whole body as JSON.
    ///
    /// # Errors
    /// As [`Response::bytes`], or it is not JSON of this shape.
    pub fn json<T: DeserializeOwned>(self, limit: usize) -> crate::Result<T> {
        Ok(serde_json::from_slice(&self.bytes(limit)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{ErrorCode, describe};

    #[test]
    fn error_codes_are_readable() {
        for (code, expected) in [
            (ErrorCode::ConnectionRefused, "connection refused"),
            (ErrorCode::HttpResponseBodySize(Some(3)), "http response body size"),
            (ErrorCode::InternalError(Some("told so".to_owned())), "told so"),
            (ErrorCode::InternalError(None), "internal error"),
        ] {
            assert_eq!(describe(&code), expected);
        }
    }
}
