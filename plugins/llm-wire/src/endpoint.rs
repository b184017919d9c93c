//! The part of a provider entry's configuration that every protocol has.

use compozy_plugin::{Error, Result, http};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Where a provider is, and what is sent along. Flatten it into a plugin's settings.
#[derive(Debug, Default, Deserialize)]
pub struct Endpoint {
    #[serde(default, deserialize_with = "or_default")]
    base_url: String,
    /// A placeholder: the host puts the key into the outgoing header.
    api_key: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    headers: Map<String, Value>,
    /// Laid over the body of every question.
    #[serde(default, deserialize_with = "or_default")]
    body: Map<String, Value>,
}

/// Which JSON mode a server is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JsonMode {
    /// One that knows the schema.
    #[default]
    Schema,
    /// One that knows no schema, only that there is JSON.
    Object,
    /// None; the prompt has to ask.
    None,
}

/// Reads `null` as what is left out.
///
/// # Errors
/// What is there is no `T`.
pub fn or_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Endpoint {
    /// Completes the base URL: without trailing slash, and with `path` where it names none.
    ///
    /// # Errors
    /// It is no URL.
    pub fn checked(mut self, path: &str) -> Result<Self> {
        let base = self.base_url.trim().trim_end_matches('/');
        let Some((_, rest)) = base.split_once("://") else {
            return Err(Error::new("invalid_config", format!("base_url '{base}' is not a URL like https://host/v1")));
        };
        self.base_url = if rest.contains('/') { base.to_owned() } else { format!("{base}{path}") };
        Ok(self)
    }

    /// The base URL without trailing slash.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Takes `suffix` off the base URL, if it ends so.
    pub fn without_suffix(&mut self, suffix: &str) {
        if let Some(base) = self.base_url.strip_suffix(suffix) {
            self.base_url.truncate(base.len());
        }
    }

    /// The key's placeholder, unless it is empty.
    #[must_use]
    pub fn api_key(&self) -> Option<&str> {
        self.api_key.as_deref().filter(|key| !key.is_empty())
    }

    /// What the configuration lays over the body of every question.
    #[must_use]
    pub fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    /// A request to `path` below the base URL, with the protocol's `own` headers and those that every call has.
    #[must_use]
    pub fn request(&self, method: &str, path: &str, own: &[(&str, String)]) -> http::Request {
        let request = http::Request::new(method, format!("{}{path}", self.base_url));
        self.headers(own).into_iter().fold(request, |request, (name, value)| request.header(&name, value))
    }

    /// Names in lower case; a configured header replaces ours.
    #[must_use]
    pub fn headers(&self, own: &[(&str, String)]) -> Vec<(String, String)> {
        let mut headers = vec![
            ("accept".to_owned(), "application/json, text/event-stream".to_owned()),
            ("user-agent".to_owned(), concat!("compozy/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        headers.extend(own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        for (name, value) in &self.headers {
            let name = name.to_ascii_lowercase();
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            headers.retain(|(present, _)| *present != name);
            headers.push((name, value));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    fn check(config: &str) -> Endpoint {
        serde_json::from_str::<Endpoint>(config).expect("config").checked("/v1").expect("settings")
    }

    #[test]
    fn base_urls_are_completed() {
        for (base_url, expected) in [
            ("https://api.openai.com/v1", "https://api.openai.com/v1"),
            ("https://api.groq.com/openai/v1/", "https://api.groq.com/openai/v1"),
            ("http://localhost:11434", "http://localhost:11434/v1"),
            ("http://localhost:11434/", "http://localhost:11434/v1"),
        ] {
            assert_eq!(check(&format!(r#"{{"base_url": "{base_url}"}}"#)).base_url(), expected);
        }
        for config in ["{}", r#"{"base_url": "localhost:80"}"#] {
            let endpoint: Endpoint = serde_json::from_str(config).expect("config");
            assert_eq!(endpoint.checked("").expect_err("no URL").code, "invalid_config");
        }
    }

    #[test]
    fn configured_headers_win() {
        let endpoint = check(
            r#"{"base_url": "http://a/v1", "timeout": "5s",
                "headers": {"X-Title": "t", "Authorization": "Basic b", "x-n": 1}}"#,
        );
        let headers = endpoint.headers(&[("authorization", "Bearer k".to_owned()), ("x-own", "o".to_owned())]);
        let value = |name: &str| {
            let found: Vec<_> =
                headers.iter().filter(|(present, _)| present == name).map(|(_, value)| value.as_str()).collect();
            found.join(",")
        };
        assert_eq!(value("authorization"), "Basic b");
        assert_eq!((value("x-own"), value("x-title"), value("x-n")), ("o".into(), "t".into(), "1".into()));
    }

    #[test]
    fn null_and_empty_are_left_out() {
        let endpoint = check(r#"{"base_url": "http://a/v1", "headers": null, "api_key": "", "body": null}"#);
        assert_eq!((endpoint.headers(&[]).len(), endpoint.api_key(), endpoint.body().len()), (2, None, 0));
        assert_eq!(check(r#"{"base_url": "http://a", "api_key": null}"#).api_key(), None);
        assert_eq!(check(r#"{"base_url": "http://a", "api_key": "k"}"#).api_key(), Some("k"));
    }
}
