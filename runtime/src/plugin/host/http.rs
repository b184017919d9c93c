//! `wasi:http/outgoing-handler`: requests of plugins, towards granted hosts only.
//!
//! The grant is checked before anything else happens; a refusal is `HTTP-request-denied`, or
//! `destination-IP-prohibited` when the name leads to an address that is not public. Placeholders of secrets are
//! exchanged in headers and body on the way out. Redirects are not followed: the guest gets the 3xx answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame};
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::secrets::Exchange;
use crate::plugin::call::{Binding, RunContext};
use crate::plugin::egress::connect;
use crate::plugin::egress::pattern::{Pattern, Target};
use crate::plugin::egress::peer::{Asked, Peer};
use crate::plugin::state::{Call, Refused};

/// Bytes of a request body in which placeholders are exchanged; such a body is held in memory whole.
const EXCHANGED_BODY_BYTES: usize = 16 << 20;

/// Bytes of a response body.
const RESPONSE_BYTES: u64 = 64 << 20;

/// Bytes of the response's head, and of what is read ahead of the guest.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// Wait for the first byte, and between two pieces, when the guest does not set one. The call's deadline is shorter.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Connections that one call may have open at once; further requests wait.
const CONNECTIONS: usize = 16;

/// What decides about the requests of one call.
pub(crate) struct Hooks(Option<Gate>);

#[derive(Clone)]
struct Gate {
    binding: Binding,
    run: Option<Arc<RunContext>>,
    refused: Refused,
    connections: Arc<Semaphore>,
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Io), Error>;

impl Hooks {
    pub(crate) fn of(call: Option<&Call>) -> Self {
        Self(call.map(|call| Gate {
            binding: call.binding.clone(),
            run: call.run.clone(),
            refused: call.refused.clone(),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
        }))
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let allowed = match &self.0 {
            Some(gate) => gate.admit(&request).map(|(target, pattern)| (gate.clone(), target, pattern)),
            None => Err(Error::HttpRequestDenied),
        };
        match allowed {
            Ok((gate, target, pattern)) => {
                Box::new(async move { gate.send(request, options.unwrap_or_default(), target, pattern).await })
            }
            Err(error) => Box::new(std::future::ready(Err(error))),
        }
    }

    /// The guest is told; the log is not, since a guest could flood it so.
    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        if error.is_timeout() {
            ErrorCode::HttpResponseTimeout
        } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            ErrorCode::HttpResponseIncomplete
        } else {
            ErrorCode::HttpProtocolError
        }
    }
}

impl Gate {
    /// Decides whether the request may be made, before anything is resolved.
    fn admit(&self, request: &Request<WasiBody>) -> Result<(Target, Pattern), Error> {
        // A tunnel would carry bytes that nobody looks at.
        if request.method() == http::Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let scheme = request.uri().scheme_str().unwrap_or("https");
        let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
        let target = Target::parse(scheme, authority.as_str()).map_err(|reason| {
            tracing::debug!(plugin.id = &*self.binding.plugin_id, "request with an odd target: {reason}");
            Error::HttpRequestUriInvalid
        })?;
        match self.binding.grants.http.iter().find(|pattern| pattern.matches(&target)) {
            Some(pattern) => Ok((target, pattern.clone())),
            None => {
                self.refuse(&format!("http access to {}", target.authority()), &target);
                Err(Error::HttpRequestDenied)
            }
        }
    }

    fn refuse(&self, action: &str, target: &Target) {
        let line = format!("http: [{}]", target.as_pattern());
        self.refused.note(self.binding.grants.refuse(&self.binding.plugin_id, action, line).line);
    }

    async fn send(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
        target: Target,
        pattern: Pattern,
    ) -> Sent {
        let request = self.prepare(request, &target).await?;
        let peer = self.binding.services.network.peer(&target, &pattern);
        if let Some(peer) = peer.map_err(|error| self.connect_error(&error, &target))? {
            let first_byte = options.first_byte_timeout.unwrap_or(IDLE_TIMEOUT);
            let answering = ask(Arc::clone(peer), request, &target);
            return tokio::time::timeout(first_byte, answering).await.map_err(|_| Error::ConnectionReadTimeout)?;
        }
        let place = Arc::clone(&self.connections).acquire_owned().await.map_err(|_| Error::ConnectionLimitReached)?;
        let connected = self.binding.services.network.connect(&target, &pattern, options.connect_timeout).await;
        let stream = connected.map_err(|error| self.connect_error(&error, &target))?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(READ_BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Error::Hyper)?;
        let first_byte = options.first_byte_timeout.unwrap_or(IDLE_TIMEOUT);
        let between = options.between_bytes_timeout.unwrap_or(IDLE_TIMEOUT);
        let mut connection = Box::pin(connection);
        let mut closed = false;
        let answering = tokio::time::timeout(first_byte, sender.send_request(request));
        tokio::pin!(answering);
        // The connection must be driven while its answer is awaited.
        let answer = std::future::poll_fn(|context| {
            if let Poll::Ready(answer) = answering.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            if !closed && connection.as_mut().poll(context).is_ready() {
                closed = true;
                return answering.as_mut().poll(context);
            }
            Poll::Pending
        });
        let response = answer.await.map_err(|_| Error::ConnectionReadTimeout)?.map_err(Error::Hyper)?;
        let response = response
            .map(|body| Capped { body, left: RESPONSE_BYTES, idle: Idle::new(between), _place: place }.boxed_unsync());
        let io: Io = Box::new(async move {
            if !closed {
                // What breaks the connection shows in the body, which the guest reads.
                drop(connection.await);
            }
            Ok(())
        });
        Ok((response, io))
    }

    /// Exchanges placeholders, and leaves in the head only what goes over the wire.
    async fn prepare(&self, request: Request<WasiBody>, target: &Target) -> Result<Request<WasiBody>, Error> {
        let (mut head, mut body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        let host = HeaderValue::from_str(&target.authority()).map_err(|_| Error::HttpRequestUriInvalid)?;
        head.headers.insert(HOST, host);
        let exchange = Exchange::of(&self.binding, self.run.as_deref());
        if exchange.is_empty() {
            return Ok(Request::from_parts(head, body));
        }
        for value in head.headers.values_mut() {
            if let Some(exchanged) = exchange.apply(value.as_bytes()) {
                *value = HeaderValue::from_bytes(&exchanged).map_err(|_| Error::HttpRequestDenied)?;
                value.set_sensitive(true);
            }
        }
        if !body.is_end_stream() {
            let whole = Limited::new(body, EXCHANGED_BODY_BYTES).collect().await;
            let whole = whole.map_err(|_| Error::HttpRequestBodySize(Some(EXCHANGED_BODY_BYTES as u64)))?.to_bytes();
            let sent = exchange.apply(&whole).map_or(whole, Bytes::from);
            if head.headers.contains_key(CONTENT_LENGTH) {
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(sent.len()));
            }
            body = Full::new(sent).map_err(|never| match never {}).boxed_unsync();
        }
        Ok(Request::from_parts(head, body))
    }

    fn connect_error(&self, error: &connect::Error, target: &Target) -> Error {
        tracing::debug!(plugin.id = &*self.binding.plugin_id, "request to {} failed: {error}", target.authority());
        match error {
            connect::Error::Resolve(_) => Error::DnsError { rcode: Some("name not resolved".into()), info_code: None },
            connect::Error::Prohibited(address) => {
                let action = format!("http access to {}, which resolves to {address}", target.authority());
                let literal =
                    Target { host: crate::plugin::egress::pattern::Host::Address(*address), ..target.clone() };
                self.refuse(&action, &literal);
                Error::DestinationIpProhibited
            }
            connect::Error::Connect(_) => Error::ConnectionRefused,
            connect::Error::Timeout(_) => Error::ConnectionTimeout,
            connect::Error::Tls(_) => Error::TlsProtocolError,
        }
    }
}

/// Lets `peer` answer a request that is ready to be sent.
async fn ask(peer: Arc<dyn Peer>, request: Request<WasiBody>, target: &Target) -> Sent {
    let (head, body) = request.into_parts();
    let whole = Limited::new(body, EXCHANGED_BODY_BYTES).collect().await;
    let body = whole.map_err(|_| Error::HttpRequestBodySize(Some(EXCHANGED_BODY_BYTES as u64)))?.to_bytes();
    let scheme = if target.tls { "https" } else { "http" };
    let value = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let asked = Asked {
        method: head.method.as_str().to_ascii_uppercase(),
        url: format!("{scheme}://{}{}", target.authority(), head.uri),
        headers: head.headers.iter().map(|(name, held)| (name.as_str().to_owned(), value(held))).collect(),
        body,
    };
    let answered = peer.answer(asked).await.ok_or(Error::ConnectionRefused)?;
    let mut response = Response::builder().status(answered.status);
    for (name, value) in &answered.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response = response.header(name, value);
        }
    }
    let body = Full::new(answered.body).map_err(|never| match never {}).boxed_unsync();
    let response = response.body(body).map_err(|_| Error::HttpProtocolError)?;
    Ok((response, Box::new(std::future::ready(Ok(())))))
}

/// A timer that is set anew at each piece.
struct Idle {
    after: Duration,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Idle {
    fn new(after: Duration) -> Self {
        Self { after, timer: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now() + after)) }
    }

    fn reset(&mut self) {
        self.timer.as_mut().reset(tokio::time::Instant::now() + self.after);
    }
}

/// A response body with a cap on its size and on the silence between its pieces.
struct Capped {
    body: hyper::body::Incoming,
    left: u64,
    idle: Idle,
    _place: OwnedSemaphorePermit,
}

impl Body for Capped {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(piece) = polled else {
            ready!(self.idle.timer.as_mut().poll(context));
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        self.idle.reset();
        let Some(frame) = piece else { return Poll::Ready(None) };
        let frame = frame.map_err(Error::Hyper)?;
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(RESPONSE_BYTES))))),
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
