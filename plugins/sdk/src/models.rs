//! The project's models, granted with `permissions.llm`: a question, an answer, no key and no protocol.
//!
//! ```no_run
//! use compozy_plugin::{Result, models};
//!
//! fn mood(text: &str) -> Result<String> {
//!     let answer = models::Question::new()
//!         .system("Answer with one word: happy, sad or neutral.")
//!         .user(text)
//!         .temperature(0.0)
//!         .ask()?;
//!     Ok(answer.text)
//! }
//! ```

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::host::compozy::host::llm;
pub use crate::bindings::host::compozy::host::llm::{Answer, Embeddings, Message, Role, Usage};
use crate::{Error, Result};

/// A question to a model. The last message must be the user's.
#[derive(Debug, Clone, Default)]
pub struct Question {
    provider: Option<String>,
    messages: Vec<(Role, String)>,
    model: Option<String>,
    temperature: Option<f64>,
    max_tokens: Option<u32>,
    output_schema: Option<Value>,
    extra: Option<Value>,
}

impl Question {
    /// A question without messages, for the project's default provider entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks this provider entry.
    #[must_use]
    pub fn provider(mut self, id: impl Into<String>) -> Self {
        self.provider = Some(id.into());
        self
    }

    /// Asks this model of the entry.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Adds instructions.
    #[must_use]
    pub fn system(self, text: impl Into<String>) -> Self {
        self.message(Role::System, text)
    }

    /// Adds what the user says.
    #[must_use]
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(Role::User, text)
    }

    /// Adds what the model said before.
    #[must_use]
    pub fn assistant(self, text: impl Into<String>) -> Self {
        self.message(Role::Assistant, text)
    }

    /// Adds a message.
    #[must_use]
    pub fn message(mut self, role: Role, text: impl Into<String>) -> Self {
        self.messages.push((role, text.into()));
        self
    }

    /// How freely it may write, 0 to 2.
    #[must_use]
    pub fn temperature(mut self, value: f64) -> Self {
        self.temperature = Some(value);
        self
    }

    /// The most tokens it may write.
    #[must_use]
    pub fn max_tokens(mut self, most: u32) -> Self {
        self.max_tokens = Some(most);
        self
    }

    /// The JSON Schema its answer must match; read the answer with [`Self::ask_for`].
    #[must_use]
    pub fn output_schema(mut self, schema: Value) -> Self {
        self.output_schema = Some(schema);
        self
    }

    /// Further settings, an object with the names that `params` of a task has.
    #[must_use]
    pub fn extra(mut self, settings: Value) -> Self {
        self.extra = Some(settings);
        self
    }

    /// Asks and waits for the whole answer.
    ///
    /// # Errors
    /// `CZ0703` when not granted, `CZ0704` when the budget is used up, `CZ05xx` what the provider entry says.
    pub fn ask(self) -> Result<Answer> {
        let messages: Vec<Message> =
            self.messages.into_iter().map(|(role, content)| Message { role, content }).collect();
        let parameters = llm::Parameters {
            model: self.model,
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            output_schema: self.output_schema.map(|schema| schema.to_string()),
            extra: self.extra.map(|settings| settings.to_string()),
        };
        Ok(llm::chat(self.provider.as_deref(), &messages, &parameters)?)
    }

    /// Asks for an answer that matches [`Self::output_schema`], and reads it.
    ///
    /// # Errors
    /// As [`Self::ask`], and `invalid_json` when the answer is no such value.
    pub fn ask_for<T: DeserializeOwned>(self) -> Result<T> {
        let answer = self.ask()?;
        serde_json::from_str(&answer.text).map_err(Error::from)
    }
}

/// Asks the default provider entry one thing.
///
/// # Errors
/// As [`Question::ask`].
pub fn ask(text: impl Into<String>) -> Result<String> {
    Ok(Question::new().user(text).ask()?.text)
}

/// One vector per text by the default provider entry.
///
/// # Errors
/// As [`Question::ask`]; `unavailable` where the entry does not embed.
pub fn embed(texts: &[String]) -> Result<Embeddings> {
    embed_with(None, texts, None, None)
}

/// One vector per text by the entry `provider` with `model`, reduced to `dimension` where the model supports it.
///
/// # Errors
/// As [`embed`].
pub fn embed_with(
    provider: Option<&str>,
    texts: &[String],
    model: Option<&str>,
    dimension: Option<u32>,
) -> Result<Embeddings> {
    let options = llm::EmbedOptions { model: model.map(str::to_owned), dimension };
    Ok(llm::embed(provider, texts, &options)?)
}
