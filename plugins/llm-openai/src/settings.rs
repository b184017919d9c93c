//! The provider entry's configuration.

use compozy_plugin::{Result, http};
use llm_wire::endpoint::{Endpoint, JsonMode, or_default};
use serde::Deserialize;

/// What the host hands over; other keys are other layers' business.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Settings {
    #[serde(flatten)]
    pub(crate) endpoint: Endpoint,
    organization: Option<String>,
    /// How an output schema is asked for: `response_format` of type `json_schema`, of type `json_object`, or not.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) json_mode: JsonMode,
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
        let key = self.endpoint.api_key().map(|key| ("authorization", format!("Bearer {key}")));
        let organization = self.organization.clone().map(|id| ("openai-organization", id));
        key.into_iter().chain(organization).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{JsonMode, Settings};

    #[test]
    fn headers_are_sent_for_what_is_there() {
        for (config, expected) in [
            (r#"{"base_url": "http://a", "api_key": "k"}"#, vec![("authorization", "Bearer k")]),
            (
                r#"{"base_url": "http://a", "api_key": "k", "organization": "o", "json_mode": null}"#,
                vec![("authorization", "Bearer k"), ("openai-organization", "o")],
            ),
            (r#"{"base_url": "http://a", "api_key": "", "organization": null}"#, vec![]),
        ] {
            let settings = serde_json::from_str::<Settings>(config).expect("config").checked().expect("settings");
            let headers = settings.headers();
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!((headers, settings.json_mode), (expected, JsonMode::Schema));
        }
    }
}
