//! The provider entry's configuration, and the addresses of models.

use compozy_plugin::{Error, Result, http};
use llm_wire::Delivery;
use llm_wire::endpoint::{Endpoint, JsonMode, or_default};
use serde::Deserialize;

/// What the host hands over; other keys are other layers' business.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Settings {
    #[serde(flatten)]
    pub(crate) endpoint: Endpoint,
    /// How an output schema is asked for: with `responseJsonSchema`, by the type of the answer alone, or not.
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) json_mode: JsonMode,
}

impl Settings {
    /// Completes the base URL.
    pub(crate) fn checked(self) -> Result<Self> {
        Ok(Self { endpoint: self.endpoint.checked("/v1beta")?, ..self })
    }

    /// A request to `path` below the base URL. The key is a header: addresses end up in logs.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::Request {
        let key = self.endpoint.api_key().map(|key| ("x-goog-api-key", key.to_owned()));
        self.endpoint.request(method, path, key.as_slice())
    }
}

/// The path of a question to a model: `gemini-2.5-flash`, or a resource like `tunedModels/mine`.
pub(crate) fn path(model: &str, delivery: Delivery) -> Result<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@/".contains(&byte);
    if model.is_empty() || model.contains("..") || !model.bytes().all(is_plain) {
        return Err(Error::new("invalid_request", format!("'{model}' is not the name of a model")));
    }
    let resource = if model.contains('/') { model.to_owned() } else { format!("models/{model}") };
    Ok(match delivery {
        Delivery::Whole => format!("/{resource}:generateContent"),
        Delivery::Streamed => format!("/{resource}:streamGenerateContent?alt=sse"),
    })
}

#[cfg(test)]
mod tests {
    use super::{Delivery, Settings, path};

    #[test]
    fn paths_of_models() {
        for (model, expected) in [
            ("gemini-2.5-flash", Some("/models/gemini-2.5-flash:generateContent")),
            ("models/gemini-2.5-flash", Some("/models/gemini-2.5-flash:generateContent")),
            ("tunedModels/mine", Some("/tunedModels/mine:generateContent")),
            ("", None),
            ("a?key=b", None),
            ("../../files/x", None),
            ("a b", None),
        ] {
            assert_eq!(path(model, Delivery::Whole).ok().as_deref(), expected, "{model}");
        }
        let streamed = path("gemini-2.5-flash", Delivery::Streamed).expect("path");
        assert_eq!(streamed, "/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    }

    #[test]
    fn base_urls_are_completed() {
        let settings: Settings =
            serde_json::from_str(r#"{"base_url": "http://a/", "json_mode": null}"#).expect("config");
        assert_eq!(settings.checked().expect("settings").endpoint.base_url(), "http://a/v1beta");
    }
}
