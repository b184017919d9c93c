//! The provider entry's configuration.

use compozy_plugin::{Result, http};
use llm_wire::endpoint::{Endpoint, or_default};
use serde::Deserialize;

/// The version of the protocol (<https://docs.anthropic.com/en/api/versioning>); a configured header replaces it.
const VERSION: &str = "2023-06-01";

/// What the host hands over; other keys are other layers' business.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Settings {
    #[serde(flatten)]
    pub(crate) endpoint: Endpoint,
    /// How an output schema is asked for.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) json_mode: JsonMode,
}

/// How an answer of some shape is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum JsonMode {
    /// By a tool that has to be called: every model and every schema of an object.
    #[default]
    Tool,
    /// By `output_config.format`: the newer models, and schemas without bounds of values.
    Schema,
    /// Not; the prompt has to ask.
    None,
}

impl Settings {
    /// Completes the base URL.
    pub(crate) fn checked(self) -> Result<Self> {
        Ok(Self { endpoint: self.endpoint.checked("/v1")?, ..self })
    }

    /// A request to `path` below the base URL.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::Request {
        self.endpoint.request(method, path, &self.headers())
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let key = self.endpoint.api_key().map(|key| ("x-api-key", key.to_owned()));
        [("anthropic-version", VERSION.to_owned())].into_iter().chain(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{JsonMode, Settings};

    #[test]
    fn the_key_is_a_header_of_its_own() {
        for (config, expected) in [
            (
                r#"{"base_url": "http://a", "api_key": "k"}"#,
                vec![("anthropic-version", "2023-06-01"), ("x-api-key", "k")],
            ),
            (r#"{"base_url": "http://a", "json_mode": null}"#, vec![("anthropic-version", "2023-06-01")]),
        ] {
            let settings = serde_json::from_str::<Settings>(config).expect("config").checked().expect("settings");
            let headers = settings.headers();
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!((headers, settings.json_mode), (expected, JsonMode::Tool));
            assert_eq!(settings.endpoint.base_url(), "http://a/v1");
        }
    }
}
