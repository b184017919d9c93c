//! Errors inside answers. Source: <https://docs.anthropic.com/en/api/errors>.

use compozy_plugin::Error;
use llm_wire::failure::from_status;
use serde_json::Value;

/// The error of a body or event `{"type": "error", "error": {"type", "message"}}`, as its status would have told it.
pub(crate) fn from_body(body: &Value) -> Option<Error> {
    if body.get("type").and_then(Value::as_str) != Some("error") {
        return None;
    }
    let kind = body.pointer("/error/type").and_then(Value::as_str).unwrap_or_default();
    let status = match kind {
        "authentication_error" => 401,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "api_error" => 500,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 400,
    };
    Some(from_status(status, None, body.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::from_body;
    use serde_json::json;

    #[test]
    fn types_stand_for_statuses() {
        for (kind, code, retryable, message) in [
            ("overloaded_error", "CZ0507", true, "the provider failed (HTTP 529): m"),
            ("rate_limit_error", "CZ0506", true, "the provider limits the rate of requests (HTTP 429): m"),
            ("authentication_error", "CZ0504", false, "the provider refused the API key (HTTP 401): m"),
            ("invalid_request_error", "provider_error", false, "the provider refused the request (HTTP 400): m"),
            ("new_error", "provider_error", false, "the provider refused the request (HTTP 400): m"),
        ] {
            let error = from_body(&json!({"type": "error", "error": {"type": kind, "message": "m"}})).expect("error");
            assert_eq!((&*error.code, error.retryable, &*error.message), (code, retryable, message), "{kind}");
        }
        assert!(from_body(&json!({"type": "message"})).is_none());
    }
}
