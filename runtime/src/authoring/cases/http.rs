//! The outside, played: requests that a case foresees, each answered once.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use compozy_lang::cases::{Exchange, Reply};
use serde_json::Value;

use super::Complaints;
use super::difference::{self, Match};
use crate::clock::Clock;
use crate::plugin::egress::peer::{Answered, Asked, Peer};

/// Exchanges that have not happened yet.
#[derive(Debug)]
pub struct Script {
    left: Mutex<Vec<Exchange>>,
    complaints: Complaints,
    clock: Clock,
}

impl Script {
    /// What is to be answered; what goes otherwise is told to `complaints`.
    #[must_use]
    pub fn new(exchanges: Vec<Exchange>, complaints: Complaints, clock: Clock) -> Self {
        Self { left: Mutex::new(exchanges), complaints, clock }
    }

    /// Requests that were foreseen and never made.
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.iter().map(|exchange| format!("no request {} {} was made", exchange.method, exchange.url)).collect()
    }

    /// Takes the first exchange for this method and address.
    fn take(&self, asked: &Asked) -> Option<Exchange> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant =
            |exchange: &Exchange| exchange.method == asked.method && canonical(&exchange.url) == canonical(&asked.url);
        let index = left.iter().position(is_meant)?;
        Some(left.remove(index))
    }
}

#[async_trait]
impl Peer for Script {
    async fn answer(&self, asked: Asked) -> Option<Answered> {
        let Some(exchange) = self.take(&asked) else {
            self.complaints.note(format!("no answer is written for the request {} {}", asked.method, asked.url));
            return None;
        };
        for problem in problems(&exchange, &asked) {
            self.complaints.note(format!("{} {}: {problem}", asked.method, asked.url));
        }
        if !exchange.delay.is_zero() {
            self.clock.sleep(exchange.delay).await;
        }
        Some(answered(exchange))
    }
}

fn answered(exchange: Exchange) -> Answered {
    let mut headers: Vec<(String, String)> = exchange.reply_headers.into_iter().collect();
    let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let (body, kind) = match exchange.reply {
        Reply::Empty => (Bytes::new(), None),
        Reply::Text(text) => (text.into(), Some("text/plain; charset=utf-8")),
        Reply::Json(value) => (value.to_string().into(), Some("application/json")),
    };
    if let Some(kind) = kind.filter(|_| !has_type) {
        headers.push(("content-type".to_owned(), kind.to_owned()));
    }
    Answered { status: exchange.status, headers, body }
}

/// What a request lacks of what is expected.
fn problems(exchange: &Exchange, asked: &Asked) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, wanted) in &exchange.headers {
        let held: Vec<&str> = asked
            .headers
            .iter()
            .filter(|(held, _)| held.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        match held.as_slice() {
            [] => problems.push(format!("expected header {name}: {wanted}, got none")),
            held if held.contains(&wanted.as_str()) => {}
            held => problems.push(format!("expected header {name}: {wanted}, got {}", held.join(", "))),
        }
    }
    match &exchange.body {
        Some(Value::String(wanted)) if asked.body != wanted.as_bytes() => {
            let found = Value::from(String::from_utf8_lossy(&asked.body));
            let wanted = Value::from(wanted.as_str());
            problems.push(format!("expected body {}, got {}", difference::shown(&wanted), difference::shown(&found)));
        }
        None | Some(Value::String(_)) => {}
        Some(wanted) => match serde_json::from_slice(&asked.body) {
            Ok(found) => {
                let differences = difference::between(wanted, &found, Match::Whole);
                problems.extend(differences.iter().map(|found| format!("body {}", found.text())));
            }
            Err(error) => problems.push(format!("the body is not JSON: {error}")),
        },
    }
    problems
}

/// An address in one spelling: host in lower case, no usual port, at least a path of `/`.
fn canonical(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let scheme = scheme.to_ascii_lowercase();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let usual = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(usual).unwrap_or(&authority);
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{authority}{slash}{path}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn exchange(method: &str, url: &str) -> Exchange {
        Exchange {
            method: method.into(),
            url: url.into(),
            headers: [("Authorization".to_owned(), "Bearer a".to_owned())].into(),
            body: Some(json!({"a": 1})),
            status: 201,
            reply_headers: Default::default(),
            reply: Reply::Json(json!({"ok": true})),
            delay: Default::default(),
        }
    }

    fn asked(method: &str, url: &str, token: &str, body: &str) -> Asked {
        let headers = vec![("authorization".to_owned(), token.to_owned())];
        Asked { method: method.into(), url: url.into(), headers, body: body.to_owned().into() }
    }

    #[tokio::test]
    async fn each_exchange_happens_once_and_what_differs_is_told() {
        let complaints = Complaints::default();
        let all = vec![exchange("POST", "https://api.test/a"), exchange("GET", "https://api.test/never")];
        let script = Script::new(all, complaints.clone(), Clock::system());
        let answer = script.answer(asked("POST", "https://API.test:443/a", "Bearer a", r#"{"a": 1.0}"#)).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (201, br#"{"ok":true}"#.as_slice()));
        assert_eq!(answer.headers, [("content-type".to_owned(), "application/json".to_owned())]);
        assert_eq!(complaints.take(), Vec::<String>::new());
        assert!(script.answer(asked("POST", "https://api.test/a", "", "")).await.is_none());
        assert_eq!(complaints.take(), ["no answer is written for the request POST https://api.test/a"]);
        assert_eq!(script.unused(), ["no request GET https://api.test/never was made"]);
        script.answer(asked("GET", "https://api.test/never", "Bearer b", r#"{"a": 2}"#)).await.unwrap();
        assert_eq!(
            complaints.take(),
            [
                "GET https://api.test/never: expected header Authorization: Bearer a, got Bearer b",
                "GET https://api.test/never: body /a: expected 1, got 2"
            ]
        );
    }

    #[test]
    fn addresses_have_one_spelling() {
        for (written, expected) in [
            ("https://A.test", "https://a.test/"),
            ("HTTPS://a.test:443/B?c", "https://a.test/B?c"),
            ("http://a.test:80?x", "http://a.test/?x"),
            ("http://a.test:8080/", "http://a.test:8080/"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(canonical(written), expected);
        }
    }
}
