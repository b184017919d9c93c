//! Reading request bodies under limits, and their canonical hash.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::code;
use super::error::Problem;
use super::query::nearest;
use super::settings::Settings;

/// Most values of one JSON document.
const MAX_NODES: usize = 1_000_000;

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Most bytes.
    pub bytes: usize,
    /// Deepest nesting of JSON.
    pub depth: usize,
    /// Longest pause between two pieces.
    pub idle: Duration,
}

impl Bounds {
    /// Of ordinary bodies.
    pub(super) fn of(settings: &Settings) -> Self {
        let limits = &settings.limits;
        Self { bytes: limits.body_bytes, depth: limits.json_depth, idle: settings.body_idle_timeout }
    }

    /// Of bodies that start a run.
    pub(super) fn of_start(settings: &Settings) -> Self {
        Self { bytes: settings.limits.start_body_bytes, ..Self::of(settings) }
    }
}

/// Reads a body that is a JSON object; an empty one is an empty object.
pub(super) async fn object(headers: &HeaderMap, body: Body, bounds: Bounds) -> Result<Map<String, Value>, Problem> {
    let bytes = raw(headers, body, bounds).await?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    if !is_json(headers) {
        let detail = "a request with a body needs 'Content-Type: application/json'";
        return Err(Problem::new(code::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    parse(&bytes, bounds.depth)
}

/// Reads a body of any type.
pub(super) async fn raw(headers: &HeaderMap, body: Body, bounds: Bounds) -> Result<Bytes, Problem> {
    let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > bounds.bytes as u64) {
        return Err(too_large(bounds.bytes));
    }
    read(body, bounds).await
}

/// Whether the content type is JSON in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(text) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = text.split(';').map(str::trim);
    parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

async fn read(mut body: Body, bounds: Bounds) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(bounds.idle, body.frame()).await {
            Err(_) => return Err(Problem::new(code::INVALID_REQUEST, "the body stopped arriving")),
            Ok(None) => break,
            Ok(Some(Err(cause))) => {
                return Err(Problem::new(code::INVALID_REQUEST, "the body broke off").because(cause));
            }
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > bounds.bytes {
            return Err(too_large(bounds.bytes));
        }
        // Nearly every body is one piece, which is then not copied.
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn too_large(limit: usize) -> Problem {
    Problem::new(code::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes"))
}

fn parse(bytes: &[u8], depth: usize) -> Result<Map<String, Value>, Problem> {
    match value(bytes, depth)? {
        Value::Object(object) => Ok(object),
        _ => Err(Problem::new(code::INVALID_REQUEST, "the body must be a JSON object").at("", "must be an object")),
    }
}

/// One JSON value.
pub(super) fn value(bytes: &[u8], depth: usize) -> Result<Value, Problem> {
    check_shape(bytes, depth)?;
    serde_json::from_slice(bytes).map_err(|error| {
        let detail = format!("the body is not valid JSON at line {}, column {}", error.line(), error.column());
        Problem::new(code::INVALID_JSON, detail).because(error)
    })
}

/// Refuses what is nested too deeply or holds too many values, before anything is built of it.
fn check_shape(bytes: &[u8], max_depth: usize) -> Result<(), Problem> {
    let (mut depth, mut nodes, mut in_string, mut escaped) = (0_usize, 1_usize, false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                nodes += 1;
                if depth > max_depth {
                    let detail = format!("the body is nested deeper than {max_depth} levels");
                    return Err(Problem::new(code::INVALID_JSON, detail));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => nodes += 1,
            _ => {}
        }
    }
    if nodes > MAX_NODES {
        return Err(Problem::new(code::INVALID_JSON, format!("the body holds more than {MAX_NODES} values")));
    }
    Ok(())
}

/// Refuses members that the route does not read.
pub(super) fn only(members: &Map<String, Value>, known: &[&str]) -> Result<(), Problem> {
    let unknown: Vec<&String> = members.keys().filter(|name| !known.contains(&name.as_str())).collect();
    let Some(first) = unknown.first() else { return Ok(()) };
    let shown = |name: &str| name.chars().take(64).collect::<String>();
    let hint = match nearest(first, known.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None if known.is_empty() => "this route reads no members".to_owned(),
        None => format!("this route reads: {}", known.join(", ")),
    };
    let problem = Problem::new(code::INVALID_REQUEST, format!("unknown member '{}'", shown(first))).hint(hint);
    Err(unknown.iter().take(16).fold(problem, |problem, name| {
        let pointer = format!("/{}", shown(name).replace('~', "~0").replace('/', "~1"));
        problem.at(pointer, "is unknown")
    }))
}

/// SHA-256 (hex) of the object with its members sorted, so that spelling and order do not matter.
pub(super) fn canonical_hash(object: &Map<String, Value>) -> String {
    let mut text = String::new();
    canonical_object(object, &mut text);
    hex(&Sha256::digest(text.as_bytes()))
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => canonical_object(object, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

fn canonical_object(object: &Map<String, Value>, text: &mut String) {
    let mut members: Vec<(&String, &Value)> = object.iter().collect();
    members.sort_by_key(|(name, _)| *name);
    text.push('{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let _ = write!(text, "{}:", Value::from(name.as_str()));
        canonical(value, text);
    }
    text.push('}');
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 64, depth: 3, idle: Duration::from_secs(1) };

    async fn read_as(content_type: Option<&str>, body: Body) -> Result<Map<String, Value>, &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        object(&headers, body, BOUNDS).await.map_err(|problem| problem.code().word)
    }

    #[tokio::test]
    async fn bodies_are_checked() {
        let json = Some("application/json");
        for (content_type, body, expected) in [
            (None, "", Ok("{}")),
            (json, r#"{"a":1}"#, Ok(r#"{"a":1}"#)),
            (Some("Application/JSON; charset=\"UTF-8\""), "{}", Ok("{}")),
            (Some("application/json; charset=latin1"), "{}", Err("unsupported_media_type")),
            (Some("text/plain"), "{}", Err("unsupported_media_type")),
            (Some("application/x-www-form-urlencoded"), "a=1", Err("unsupported_media_type")),
            (None, "{}", Err("unsupported_media_type")),
            (json, "[1]", Err("invalid_request")),
            (json, "{\"a\":", Err("invalid_json")),
            (json, "{} x", Err("invalid_json")),
            (json, r#"{"a":[[1]]}"#, Ok(r#"{"a":[[1]]}"#)),
            (json, r#"{"a":[[[1]]]}"#, Err("invalid_json")),
            (json, r#"{"a":"[[[[\"{{{{"}"#, Ok(r#"{"a":"[[[[\"{{{{"}"#)),
        ] {
            let read = read_as(content_type, Body::from(body)).await;
            assert_eq!(
                read.map(|object| Value::Object(object).to_string()).as_deref().map_err(|e| *e),
                expected,
                "{body}"
            );
        }
        assert_eq!(read_as(json, Body::from(" ".repeat(65))).await, Err("payload_too_large"));
    }

    #[tokio::test]
    async fn pieces_are_joined_and_counted() {
        let pieces = |pieces: &'static [&'static str]| {
            let pieces =
                pieces.iter().map(|piece| Ok::<_, std::convert::Infallible>(Bytes::from_static(piece.as_bytes())));
            Body::from_stream(futures_util::stream::iter(pieces))
        };
        let json = Some("application/json");
        let read = read_as(json, pieces(&["{\"a\"", ":", "", "1}"])).await.unwrap();
        assert_eq!(Value::Object(read).to_string(), r#"{"a":1}"#);
        let long: &'static [&'static str] =
            &["{\"a\":\"0123456789012345678901234567890123456789", "0123456789012345678901234567\"}"];
        assert_eq!(read_as(json, pieces(long)).await, Err("payload_too_large"));
    }

    #[test]
    fn too_many_values_are_refused() {
        let text = format!("{{\"a\":[{}1]}}", "1,".repeat(MAX_NODES));
        assert_eq!(parse(text.as_bytes(), 64).unwrap_err().code().word, "invalid_json");
    }

    #[test]
    fn equal_bodies_have_equal_hashes() {
        let hash = |text: &str| canonical_hash(&serde_json::from_str(text).unwrap());
        assert_eq!(hash(r#"{"a":1,"b":{"c":[1,2],"d":"x"}}"#), hash(r#"{ "b":{"d":"\u0078","c":[1,2]}, "a":1 }"#));
        assert_ne!(hash(r#"{"a":[1,2]}"#), hash(r#"{"a":[2,1]}"#));
        assert_ne!(hash(r#"{"a":"1"}"#), hash(r#"{"a":1}"#));
        assert_eq!(hash("{}"), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    }
}
