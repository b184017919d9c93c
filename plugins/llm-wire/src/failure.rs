//! From statuses, error bodies and broken connections to errors of the catalogue.
//!
//! | what happened | code | tried again |
//! |---|---|---|
//! | 401, 403 | `CZ0504` | no |
//! | 429 | `CZ0506` | yes, after what `Retry-After` says |
//! | 408, 5xx, connection failed | `CZ0507` | yes |
//! | any other status but 2xx | `provider_error` | no |
//! | an answer that cannot be read | `provider_malformed` | yes |

use std::time::Duration;

use compozy_plugin::{Error, http};
use serde_json::Value;

/// Characters of the upstream's own message that are shown.
const MESSAGE_LIMIT: usize = 300;

/// The longest wait a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A request that got no whole answer.
#[must_use]
pub fn from_http(error: http::Error) -> Error {
    match error {
        http::Error::Connection(reason) => {
            Error::new("CZ0507", format!("the provider is unreachable: {reason}")).retryable()
        }
        http::Error::TooLong(limit) => {
            Error::new("provider_malformed", format!("the provider's answer is longer than {limit} bytes"))
        }
        other => other.into(),
    }
}

/// A status other than 2xx with its body.
#[must_use]
pub fn from_status(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Error {
    let upstream = serde_json::from_slice(body).ok().and_then(|body| upstream_message(&body));
    let error = |code: &str, what: &str| {
        let upstream = upstream.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        Error::new(code, format!("{what} (HTTP {status}){upstream}"))
    };
    let later = |error: Error| match retry_after {
        Some(delay) => error.retry_after(delay),
        None => error.retryable(),
    };
    match status {
        401 | 403 => error("CZ0504", "the provider refused the API key"),
        429 => later(error("CZ0506", "the provider limits the rate of requests")),
        408 | 500.. => later(error("CZ0507", "the provider failed")),
        300..=399 => error("provider_error", "the provider answered with a redirect; check base_url"),
        _ => error("provider_error", "the provider refused the request"),
    }
}

/// An error inside an answer of status 200, as routers of several providers send it: `{"error": …}`.
#[must_use]
pub fn from_body(body: &Value) -> Option<Error> {
    let error = body.get("error").filter(|error| !error.is_null())?;
    let status = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    if let Some(status @ 400..=599) = status {
        return Some(from_status(status, None, body.to_string().as_bytes()));
    }
    let message = upstream_message(body).unwrap_or_else(|| "no message".to_owned());
    Some(Error::new("provider_error", format!("the provider reported an error: {message}")))
}

/// An answer that does not keep to the protocol.
pub fn malformed(reason: impl std::fmt::Display) -> Error {
    Error::new("provider_malformed", format!("the provider's answer cannot be read: {reason}")).retryable()
}

/// An answer that the provider kept back: an empty text would pass for what the model had to say.
#[must_use]
pub fn withheld(reason: &str) -> Error {
    Error::new("provider_error", format!("the provider withheld the answer: {}", short(reason)))
}

/// What the headers say about waiting: `retry-after-ms`, else `retry-after` in seconds or as a date (RFC 9110, 10.2.3),
/// which is taken against the answer's own `date`, since a plugin has no wall clock.
pub fn retry_after<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Duration> {
    let number = |name| header(name)?.trim().parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
    let delay = if let Some(milliseconds) = number("retry-after-ms") {
        Duration::try_from_secs_f64(milliseconds / 1000.0).ok()?
    } else if let Some(seconds) = number("retry-after") {
        Duration::try_from_secs_f64(seconds).ok()?
    } else {
        let seconds = http_date(header("retry-after")?)? - http_date(header("date")?)?;
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    };
    Some(delay.min(LONGEST_WAIT))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7, IMF-fixdate).
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut time = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days from civil, counting years from March: https://howardhinnant.github.io/date_algorithms.html
    let (march_year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        march_year * 365 + march_year / 4 - march_year / 100 + march_year / 400 + (153 * march_month + 2) / 5 + day
            - 1
            - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// The message in the shapes servers use.
fn upstream_message(body: &Value) -> Option<String> {
    let candidates = [
        body.pointer("/error/message"),
        body.get("error"),
        body.get("message"),
        body.get("detail"),
        body.pointer("/0/error/message"),
    ];
    let message = short(candidates.into_iter().flatten().find_map(Value::as_str)?);
    (!message.is_empty()).then_some(message)
}

/// A text of the provider's on one line, cut, and without anything that looks like a key.
fn short(message: &str) -> String {
    let words: Vec<&str> = message.split_whitespace().map(|word| if is_keylike(word) { "…" } else { word }).collect();
    let line: String = words.join(" ").chars().filter(|character| !character.is_control()).collect();
    let mut short: String = line.chars().take(MESSAGE_LIMIT).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

/// Servers like to quote the key they refuse, whole or with asterisks in it.
fn is_keylike(word: &str) -> bool {
    let bare = word.trim_matches(|character: char| !character.is_alphanumeric());
    let is_prefixed =
        ["sk-", "sk_", "pk-", "gsk_", "xai-", "csk-", "AIza", "key-"].iter().any(|prefix| bare.starts_with(prefix));
    let is_long = bare.len() >= 32
        && bare.chars().any(|character| character.is_ascii_digit())
        && bare.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'));
    is_prefixed || is_long || word.contains("***")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{from_body, from_http, from_status, retry_after};
    use compozy_plugin::http;
    use serde_json::json;

    #[test]
    fn statuses() {
        let text = r#"{"error": {"message": "The model `x` does not exist", "type": "invalid_request_error"}}"#;
        for (status, code, retryable, message) in [
            (401, "CZ0504", false, "the provider refused the API key (HTTP 401): The model `x` does not exist"),
            (403, "CZ0504", false, "the provider refused the API key (HTTP 403): The model `x` does not exist"),
            (404, "provider_error", false, "the provider refused the request (HTTP 404): The model `x` does not exist"),
            (408, "CZ0507", true, "the provider failed (HTTP 408): The model `x` does not exist"),
            (429, "CZ0506", true, "the provider limits the rate of requests (HTTP 429): The model `x` does not exist"),
            (503, "CZ0507", true, "the provider failed (HTTP 503): The model `x` does not exist"),
            (
                301,
                "provider_error",
                false,
                "the provider answered with a redirect; check base_url (HTTP 301): The model `x` does not exist",
            ),
        ] {
            let error = from_status(status, None, text.as_bytes());
            assert_eq!((error.code.as_str(), error.retryable, error.message.as_str()), (code, retryable, message));
        }
    }

    #[test]
    fn upstream_messages_are_short_and_hold_no_key() {
        for (body, expected) in [
            (
                json!({"error": {"message": "Incorrect API key provided: sk-abcd1234****wxyz. You can find it at https://a.example/keys."}}),
                ": Incorrect API key provided: … You can find it at https://a.example/keys.",
            ),
            (json!({"error": "model not found,\n  try pulling it"}), ": model not found, try pulling it"),
            (json!({"message": "token 0123456789abcdef0123456789abcdef is unknown"}), ": token … is unknown"),
            (
                json!({"detail": "meta-llama/Llama-3.3-70B-Instruct-Turbo-Free"}),
                ": meta-llama/Llama-3.3-70B-Instruct-Turbo-Free",
            ),
            (json!({"detail": [{"loc": []}]}), ""),
            (json!({"error": {"message": "x ".repeat(400)}}), &format!(": {}…", "x ".repeat(150))),
        ] {
            let message = from_status(400, None, body.to_string().as_bytes()).message;
            assert_eq!(message, format!("the provider refused the request (HTTP 400){expected}"));
        }
        assert_eq!(from_status(502, None, b"<html>Bad gateway").message, "the provider failed (HTTP 502)");
    }

    #[test]
    fn waits() {
        let check = |headers: &'static [(&str, &str)]| {
            retry_after(|name| headers.iter().find(|(present, _)| *present == name).map(|(_, value)| *value))
        };
        let milliseconds = |value| Some(Duration::from_millis(value));
        assert_eq!(check(&[("retry-after", "20")]), milliseconds(20_000));
        assert_eq!(check(&[("retry-after", "0.5")]), milliseconds(500));
        assert_eq!(check(&[("retry-after", "20"), ("retry-after-ms", "150")]), milliseconds(150));
        assert_eq!(check(&[("retry-after", "-1")]), None);
        assert_eq!(check(&[("retry-after", "soon")]), None);
        assert_eq!(check(&[("retry-after", "1e300")]), None);
        assert_eq!(check(&[("retry-after", "99999999")]), milliseconds(86_400_000));
        assert_eq!(
            check(&[("retry-after", "Fri, 01 Mar 2024 00:00:30 GMT"), ("date", "Thu, 29 Feb 2024 23:59:50 GMT")]),
            milliseconds(40_000)
        );
        assert_eq!(
            check(&[("retry-after", "Thu, 29 Feb 2024 00:00:00 GMT"), ("date", "Fri, 01 Mar 2024 00:00:00 GMT")]),
            milliseconds(0)
        );
        assert_eq!(check(&[("retry-after", "Fri, 01 Mar 2024 00:00:30 GMT")]), None);
        assert_eq!(check(&[]), None);
        let error = from_status(429, Some(Duration::from_secs(2)), b"");
        assert_eq!((error.retryable, error.retry_after_ms), (true, Some(2000)));
    }

    #[test]
    fn dates() {
        // The RFC's own example.
        assert_eq!(super::http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(super::http_date("Sunday, 06-Nov-94 08:49:37 GMT"), None);
    }

    #[test]
    fn errors_inside_answers() {
        let error = from_body(&json!({"error": {"code": 429, "message": "slow down"}})).expect("error");
        assert_eq!((error.code.as_str(), error.retryable), ("CZ0506", true));
        let error = from_body(&json!({"error": {"code": "server_error", "message": "oops"}})).expect("error");
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("provider_error", "the provider reported an error: oops")
        );
        assert!(from_body(&json!({"error": null, "choices": []})).is_none());
    }

    #[test]
    fn connections() {
        let check = |error| {
            let error = from_http(error);
            (error.code, error.retryable)
        };
        assert_eq!(check(http::Error::Connection("refused".to_owned())), ("CZ0507".to_owned(), true));
        assert_eq!(check(http::Error::Denied("a:80".to_owned())), ("CZ0703".to_owned(), false));
        assert_eq!(check(http::Error::TooLong(9)), ("provider_malformed".to_owned(), false));
    }
}
