//! The provider entry's configuration.

use compozy_plugin::{Error, Result, http};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// What the host hands over; other keys are other layers' business.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Settings {
    #[serde(default, deserialize_with = "or_default")]
    base_url: String,
    /// A placeholder: the host puts the key into the outgoing header.
    api_key: Option<String>,
    organization: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    headers: Map<String, Value>,
    /// How an output schema is asked for.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) json_mode: JsonMode,
}

/// Which JSON mode the server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JsonMode {
    /// `response_format` of type `json_schema`.
    #[default]
    Schema,
    /// `response_format` of type `json_object`, which knows no schema.
    Object,
    /// None; the prompt has to ask.
    None,
}

/// Reads `null` as what is left out.
fn or_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Settings {
    /// Completes the base URL: without trailing slash, and with `/v1` where it names no path.
    pub(crate) fn checked(mut self) -> Result<Self> {
        let base = self.base_url.trim().trim_end_matches('/');
        let Some((_, rest)) = base.split_once("://") else {
            return Err(Error::new("invalid_config", format!("base_url '{base}' is not a URL like https://host/v1")));
        };
        self.base_url = if rest.contains('/') { base.to_owned() } else { format!("{base}/v1") };
        Ok(self)
    }

    /// A request to `path` below the base URL with the headers every call has.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::Request {
        let request = http::Request::new(method, format!("{}{path}", self.base_url));
        self.headers().into_iter().fold(request, |request, (name, value)| request.header(&name, value))
    }

    /// Names in lower case; a configured header replaces ours.
    fn headers(&self) -> Vec<(String, String)> {
        let mut headers = vec![
            ("accept".to_owned(), "application/json, text/event-stream".to_owned()),
            ("user-agent".to_owned(), concat!("compozy-llm-openai/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        if let Some(key) = self.api_key.as_deref().filter(|key| !key.is_empty()) {
            headers.push(("authorization".to_owned(), format!("Bearer {key}")));
        }
        if let Some(organization) = &self.organization {
            headers.push(("openai-organization".to_owned(), organization.clone()));
        }
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
    use super::{JsonMode, Settings};

    fn check(config: &str) -> Settings {
        serde_json::from_str::<Settings>(config).expect("config").checked().expect("settings")
    }

    #[test]
    fn base_urls_are_completed() {
        for (base_url, expected) in [
            ("https://api.openai.com/v1", "https://api.openai.com/v1"),
            ("https://api.groq.com/openai/v1/", "https://api.groq.com/openai/v1"),
            ("http://localhost:11434", "http://localhost:11434/v1"),
            ("http://localhost:11434/", "http://localhost:11434/v1"),
        ] {
            assert_eq!(check(&format!(r#"{{"base_url": "{base_url}"}}"#)).base_url, expected);
        }
        for config in ["{}", r#"{"base_url": "localhost:80"}"#] {
            let settings: Settings = serde_json::from_str(config).expect("config");
            assert_eq!(settings.checked().expect_err("no URL").code, "invalid_config");
        }
    }

    #[test]
    fn configured_headers_win() {
        let settings = check(
            r#"{"base_url": "http://a/v1", "api_key": "k", "organization": "o", "timeout": "5s",
                "headers": {"X-Title": "t", "Authorization": "Basic b", "x-n": 1}}"#,
        );
        let headers = settings.headers();
        let value = |name: &str| {
            let found: Vec<_> =
                headers.iter().filter(|(present, _)| present == name).map(|(_, value)| value.as_str()).collect();
            found.join(",")
        };
        assert_eq!(value("authorization"), "Basic b");
        assert_eq!(
            (value("openai-organization"), value("x-title"), value("x-n")),
            ("o".into(), "t".into(), "1".into())
        );
    }

    #[test]
    fn null_is_left_out() {
        let settings =
            check(r#"{"base_url": "http://a/v1", "headers": null, "organization": null, "json_mode": null}"#);
        assert_eq!(settings.json_mode, JsonMode::Schema);
        assert_eq!(settings.headers().len(), 2);
    }

    #[test]
    fn no_key_sends_no_authorization() {
        for config in
            [r#"{"base_url": "http://a/v1", "api_key": ""}"#, r#"{"base_url": "http://a/v1", "api_key": null}"#]
        {
            assert!(!check(config).headers().iter().any(|(name, _)| name == "authorization"));
        }
    }
}
