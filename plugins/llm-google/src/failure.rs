//! What an error of Google's says beyond its status (<https://cloud.google.com/apis/design/errors>): how long to wait,
//! and that a key is the reason.

use std::time::Duration;

use compozy_plugin::Error;
use llm_wire::failure;
use serde_json::Value;

/// The longest wait a server may ask for.
const LONGEST_WAIT: f64 = 24.0 * 60.0 * 60.0;

/// A status other than 2xx with its body.
pub(crate) fn from_status(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Error {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    // A key that is wrong is told as a bad request.
    let status = if status == 400 && has_reason(&value, "API_KEY_INVALID") { 401 } else { status };
    failure::from_status(status, retry_after.or_else(|| delay(&value)), body)
}

/// An error inside a body of status 200, an object or a list of one.
pub(crate) fn from_body(body: &Value) -> Option<Error> {
    let error = error_of(body)?;
    let status = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    Some(from_status(status.filter(|code| *code >= 400).unwrap_or(500), None, body.to_string().as_bytes()))
}

fn error_of(body: &Value) -> Option<&Value> {
    body.get("error").or_else(|| body.pointer("/0/error")).filter(|error| !error.is_null())
}

fn details(body: &Value) -> impl Iterator<Item = &Value> {
    error_of(body).and_then(|error| error.get("details")).and_then(Value::as_array).into_iter().flatten()
}

fn has_reason(body: &Value, reason: &str) -> bool {
    details(body).any(|detail| detail.get("reason").and_then(Value::as_str) == Some(reason))
}

/// `retryDelay` of a `google.rpc.RetryInfo`: seconds as text, `37s` or `0.5s`.
fn delay(body: &Value) -> Option<Duration> {
    let text = details(body).find_map(|detail| detail.get("retryDelay")?.as_str())?;
    let seconds = text.strip_suffix('s')?.parse::<f64>().ok().filter(|seconds| seconds.is_finite())?;
    Duration::try_from_secs_f64(seconds.min(LONGEST_WAIT)).ok()
}

#[cfg(test)]
mod tests {
    use super::{from_body, from_status};
    use serde_json::{Value, json};

    #[test]
    fn errors_and_their_details() {
        let limited = include_str!("../exchanges/limited.json");
        let bad_key = include_str!("../exchanges/bad_key.json");
        for (status, body, code, wait, message) in [
            (
                429,
                limited,
                "CZ0506",
                Some(37_500),
                "the provider limits the rate of requests (HTTP 429): You exceeded your current quota.",
            ),
            (
                400,
                bad_key,
                "CZ0504",
                None,
                "the provider refused the API key (HTTP 401): API key not valid. Please pass a valid API key.",
            ),
            (
                400,
                r#"{"error": {"code": 400, "message": "m"}}"#,
                "provider_error",
                None,
                "the provider refused the request (HTTP 400): m",
            ),
            (
                503,
                r#"[{"error": {"message": "overloaded"}}]"#,
                "CZ0507",
                None,
                "the provider failed (HTTP 503): overloaded",
            ),
            (502, "<html>", "CZ0507", None, "the provider failed (HTTP 502)"),
        ] {
            let error = from_status(status, None, body.as_bytes());
            assert_eq!((&*error.code, error.retry_after_ms, &*error.message), (code, wait, message));
        }
    }

    #[test]
    fn delays_are_bounded() {
        let wait = |delay: &str| {
            let body = json!({"error": {"details": [{"retryDelay": delay}]}}).to_string();
            from_status(429, None, body.as_bytes()).retry_after_ms
        };
        assert_eq!(wait("1e30s"), Some(86_400_000));
        for odd in ["-1s", "NaNs", "5", "soon", ""] {
            assert_eq!(wait(odd), None, "{odd}");
        }
    }

    #[test]
    fn errors_inside_answers() {
        let check = |body: Value| from_body(&body).map(|error| (error.code, error.retryable));
        assert_eq!(check(json!({"error": {"code": 503, "message": "m"}})), Some(("CZ0507".into(), true)));
        assert_eq!(check(json!([{"error": {"code": 403}}])), Some(("CZ0504".into(), false)));
        assert_eq!(check(json!({"error": {"code": 7}})), Some(("CZ0507".into(), true)));
        assert_eq!(check(json!({"error": null, "candidates": []})), None);
    }
}
