//! What every request passes before and after its handler: request id, limits, browser guard, authentication, and the
//! one form of errors.
//!
//! One function instead of a stack of middleware: the order is visible and a request costs few allocations.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::error::Problem;
use super::settings::{Auth, Cors, Settings};
use super::{AppState, code};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// What a handler knows of its caller.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// Who it is.
    pub principal: Principal,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Principal {
    /// Authentication is off: everyone is admin.
    Local,
    /// The admin key.
    Admin,
    /// Authentication is on and no key was sent.
    Anonymous,
}

impl Principal {
    /// The word of it in idempotency scopes and cancel requests.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Local => super::idempotency::LOCAL,
            Self::Admin => "admin",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Answers one request.
pub(super) async fn handle(app: Arc<AppState>, router: Router, mut request: Request<Body>) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let id = request_id(request.headers(), &app);
    let correlation = request.headers().get(X_CORRELATION_ID).filter(|value| is_id(value)).cloned();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let admitted = admit(&app.settings, &request);
    let mut response = match admitted {
        Ok(Admitted::Preflight) => Response::new(Body::empty()),
        Ok(Admitted::As(principal)) => {
            request.extensions_mut().insert(Caller { principal });
            let answer = TowerToHyperService::new(router).call(request);
            match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(panic) => Problem::internal(panic_text(panic.as_ref())).into_response(),
            }
        }
        Err(problem) => problem.into_response(),
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        response = explain(response, &method, &uri, &id);
    }
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(correlation) = correlation {
        headers.insert(X_CORRELATION_ID, correlation);
    }
    if let (Some(cors), Some(origin)) = (&app.settings.cors, origin) {
        cors_headers(cors, &origin, method == Method::OPTIONS, headers);
    }
    if method == Method::HEAD {
        // Bodies of problems are made after the router has emptied the answer of a HEAD.
        *response.body_mut() = Body::empty();
    }
    response
}

/// What the checks before the handler found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admitted {
    /// Go on.
    As(Principal),
    /// A browser asks what it may send.
    Preflight,
}

fn admit<B>(settings: &Settings, request: &Request<B>) -> Result<Admitted, Problem> {
    let (uri, headers) = (request.uri(), request.headers());
    check_sizes(settings, uri, headers)?;
    check_path(uri.path())?;
    check_host(settings, uri, headers)?;
    let cross_origin = check_origin(settings, uri, headers)?;
    if cross_origin
        && request.method() == Method::OPTIONS
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return Ok(Admitted::Preflight);
    }
    let Some(auth) = &settings.auth else { return Ok(Admitted::As(Principal::Local)) };
    authenticate(auth, request.method(), uri.path(), headers).map(Admitted::As)
}

fn check_sizes(settings: &Settings, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let limits = &settings.limits;
    let uri_bytes = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if uri_bytes > limits.uri_bytes {
        let detail = format!("path and query are {uri_bytes} bytes; the limit is {}", limits.uri_bytes);
        return Err(Problem::new(code::URI_TOO_LONG, detail));
    }
    let header_bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if header_bytes > limits.header_bytes {
        let detail = format!("the headers are {header_bytes} bytes; the limit is {}", limits.header_bytes);
        return Err(Problem::new(code::HEADERS_TOO_LARGE, detail));
    }
    Ok(())
}

/// Routes match exactly; spellings that some layer might fold into another path have no route.
fn check_path(path: &str) -> Result<(), Problem> {
    let escapes = |path: &str| {
        let lower = path.to_ascii_lowercase();
        ["%2f", "%5c", "%2e", "%00"].iter().any(|escape| lower.contains(escape))
    };
    let folds = path.contains("//")
        || (path.contains('%') && escapes(path))
        || (path.contains("/.") && path.split('/').any(|segment| matches!(segment, "." | "..")))
        || (path.len() > 1 && path.ends_with('/'));
    if folds { Err(route_not_found()) } else { Ok(()) }
}

/// The Host must be this machine, the bound host or an allowed one, so that no web page reaches the server by a name of
/// its own (DNS rebinding).
fn check_host(settings: &Settings, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if settings.auth.is_some() && settings.allowed_hosts.is_empty() {
        return Ok(());
    }
    let Some(authority) = authority(uri, headers) else {
        return Err(Problem::new(code::INVALID_REQUEST, "the Host header is missing"));
    };
    let host = host_of(authority).to_ascii_lowercase();
    let ip = host.parse::<IpAddr>().ok();
    let wildcard = settings.host.parse::<IpAddr>().is_ok_and(|bound| bound.is_unspecified());
    let loopback = ip.is_some_and(|ip| ip.is_loopback()) || host == "localhost" || host.ends_with(".localhost");
    // An address cannot be rebound: who names one has connected to it.
    let allowed = loopback
        || (wildcard && ip.is_some())
        || host.eq_ignore_ascii_case(&settings.host)
        || settings
            .allowed_hosts
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&host) || known.eq_ignore_ascii_case(authority));
    if allowed {
        return Ok(());
    }
    Err(Problem::new(code::HOST_NOT_ALLOWED, "the Host header names no host that this server answers for")
        .hint("add the name to server.allowed_hosts"))
}

/// True when another, allowed origin asks.
fn check_origin(settings: &Settings, uri: &Uri, headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(false) };
    let origin = origin.to_str().unwrap_or_default();
    let same = authority(uri, headers).is_some_and(|own| {
        origin.split_once("://").is_some_and(|(scheme, rest)| {
            let port = match scheme {
                "http" => ":80",
                "https" => ":443",
                _ => return false,
            };
            let bare = |authority: &str| authority.trim_end_matches(port).to_ascii_lowercase();
            bare(rest) == bare(own)
        })
    });
    if same {
        return Ok(false);
    }
    if settings.cors.as_ref().is_some_and(|cors| cors.allows(origin)) {
        return Ok(true);
    }
    Err(Problem::new(code::ORIGIN_NOT_ALLOWED, "requests of this origin are not allowed"))
}

/// `host[:port]` the caller asked for: the authority of HTTP/2, else the Host header.
fn authority<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> Option<&'r str> {
    let of_uri = uri.authority().map(http::uri::Authority::as_str);
    of_uri.or_else(|| headers.get(header::HOST)?.to_str().ok()).filter(|authority| !authority.is_empty())
}

/// Without port, brackets and the final dot of a full name.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

fn authenticate(auth: &Auth, method: &Method, path: &str, headers: &HeaderMap) -> Result<Principal, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let key = match (given.next(), given.next()) {
        (None, _) => None,
        (Some(value), None) => Some(bearer(value).is_some_and(|key| auth.is_admin(key))),
        (Some(_), Some(_)) => Some(false),
    };
    let open = is_public(path) || (*method == Method::POST && is_excepted(auth, path));
    match key {
        Some(true) => Ok(Principal::Admin),
        None if open => Ok(Principal::Anonymous),
        Some(false) if is_public(path) => Ok(Principal::Anonymous),
        None | Some(false) => Err(Problem::new(code::UNAUTHORIZED, "authentication is required")
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
    }
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

/// Routes that need no key. Everything else does, whether it exists or not.
fn is_public(path: &str) -> bool {
    matches!(path, "/" | "/api/v0" | "/api/v0/identity" | "/api/v0/health" | "/healthz" | "/readyz")
        || ["/problems/", "/api/v0/hooks/"]
            .iter()
            .any(|below| path.strip_prefix(below).is_some_and(|name| !name.is_empty() && !name.contains('/')))
}

/// A start of a workflow that anonymous callers may start.
fn is_excepted(auth: &Auth, path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/api/v0/workflows/") else { return false };
    matches!(rest.split_once('/'), Some((id, "executions" | "executions/sync"))
        if auth.workflow_exceptions.iter().any(|workflow| workflow == id))
}

impl Cors {
    fn allows(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|known| known == origin || known == "*")
    }
}

fn cors_headers(cors: &Cors, origin: &HeaderValue, preflight: bool, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if !cors.allows(origin.to_str().unwrap_or_default()) {
        return;
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if cors.allow_credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    if preflight {
        let methods = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let names = "authorization, content-type, idempotency-key, x-idempotency-key, x-request-id, \
                     x-correlation-id, last-event-id, if-match, if-none-match";
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
    } else {
        let names =
            HeaderValue::from_static("x-request-id, location, link, etag, compozy-status, idempotency-replayed");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
}

/// Gives an error its body. An answer without a [`Problem`] comes from the router itself.
fn explain(mut response: Response, method: &Method, uri: &Uri, id: &HeaderValue) -> Response {
    let id = id.to_str().unwrap_or_default();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| *kind == "application/json") => {
            // `/readyz` says 503 with its report.
            return response;
        }
        None => match response.status() {
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => route_not_found(),
            StatusCode::METHOD_NOT_ALLOWED => {
                Problem::new(code::METHOD_NOT_ALLOWED, format!("this route does not take {method}"))
            }
            other => Problem::internal(format_args!("a handler answered {other} without a problem")),
        },
    };
    match problem.cause() {
        Some(cause) if problem.code().status >= 500 => {
            tracing::error!(request_id = id, code = problem.code().word, "{method} {} failed: {cause}", uri.path());
        }
        cause => tracing::debug!(request_id = id, code = problem.code().word, cause, "{method} {}", uri.path()),
    }
    let mut explained = problem.render(uri.path(), id);
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        explained.headers_mut().insert(header::ALLOW, allow);
    }
    explained
}

/// No route has this path.
pub(super) fn route_not_found() -> Problem {
    Problem::new(code::ROUTE_NOT_FOUND, "no route has this path").hint("GET /api/v0 lists the routes")
}

fn request_id(headers: &HeaderMap, app: &AppState) -> HeaderValue {
    match headers.get(X_REQUEST_ID).filter(|value| is_id(value)) {
        Some(given) => given.clone(),
        None => HeaderValue::try_from(app.clock.ulid()).unwrap_or(HeaderValue::from_static("-")),
    }
}

/// 1 to 128 visible ASCII characters.
fn is_id(value: &HeaderValue) -> bool {
    (1..=128).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a handler panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
