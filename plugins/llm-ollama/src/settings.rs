//! The provider entry's configuration.

use compozy_plugin::{Result, http};
use llm_wire::endpoint::{Endpoint, JsonMode, or_default};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What the host hands over; other keys are other layers' business.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Settings {
    #[serde(flatten)]
    pub(crate) endpoint: Endpoint,
    /// How an output schema is asked for: as the grammar of the answer, as JSON alone, or not.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) json_mode: JsonMode,
    /// Options of the model, `num_ctx` and others.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) options: Map<String, Value>,
    /// How long the model stays loaded, `5m` or a number of seconds.
    pub(crate) keep_alive: Option<Value>,
}

impl Settings {
    /// Completes the base URL. One that was written for the imitation of OpenAI's protocol serves too.
    pub(crate) fn checked(self) -> Result<Self> {
        let mut endpoint = self.endpoint.checked("")?;
        endpoint.without_suffix("/v1");
        endpoint.without_suffix("/api");
        Ok(Self { endpoint, ..self })
    }

    /// A request to `path` below the base URL. A key is only asked for by servers behind a gate.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::Request {
        let key = self.endpoint.api_key().map(|key| ("authorization", format!("Bearer {key}")));
        self.endpoint.request(method, path, key.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn base_urls_are_those_of_the_server() {
        for (base_url, expected) in [
            ("http://localhost:11434", "http://localhost:11434"),
            ("http://localhost:11434/", "http://localhost:11434"),
            ("http://localhost:11434/v1", "http://localhost:11434"),
            ("http://localhost:11434/api", "http://localhost:11434"),
            ("https://host/ollama", "https://host/ollama"),
        ] {
            let config = format!(r#"{{"base_url": "{base_url}", "options": null}}"#);
            let settings = serde_json::from_str::<Settings>(&config).expect("config").checked().expect("settings");
            assert_eq!(settings.endpoint.base_url(), expected);
        }
    }
}
