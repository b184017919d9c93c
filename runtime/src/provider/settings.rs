//! Settings of `llm:` that calls need, and the choice of an entry.

use std::borrow::Cow;
use std::time::Duration;

use compozy_lang::plan;

use super::error::Error;
use super::kinds::{self, Protocol};

/// `llm:` of a project.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Entries in the order written.
    pub providers: Vec<plan::Provider>,
    /// Limit of one request.
    pub provider_timeout: Duration,
    /// Requests after the first that failed.
    pub retry_attempts: u32,
    /// Wait before the second request.
    pub retry_backoff_base: Duration,
    /// Longest wait, unless the provider asks for a longer one.
    pub retry_backoff_max: Duration,
    /// Questions asked again after an answer that breaks its schema.
    pub structured_output_retries: u32,
    /// Requests at once per entry; `None`: no limit.
    pub default_concurrency: Option<u32>,
    /// Requests waiting per entry.
    pub default_queue_size: u32,
    /// `COMPOZY_MOCK_LLM`: every entry answers as a mock.
    pub mock_all: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            provider_timeout: Duration::from_secs(300),
            retry_attempts: 3,
            retry_backoff_base: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(10),
            structured_output_retries: 2,
            default_concurrency: Some(10),
            default_queue_size: 100,
            mock_all: false,
        }
    }
}

impl Settings {
    /// The entry `wished` names: by id, else an implicit one by type; without a wish the default one.
    pub(crate) fn choose(&self, wished: Option<&str>) -> Result<Cow<'_, plan::Provider>, Error> {
        let chosen = match wished {
            Some(id) => self.named(id),
            None => self.default_entry(),
        };
        let entry = match chosen {
            Err(Error::NoProvider) if self.mock_all => Cow::Owned(implicit("mock")),
            chosen => chosen?,
        };
        if self.mock_all && kinds::find(&entry.kind).is_none_or(|kind| kind.protocol != Protocol::Mock) {
            return Ok(Cow::Owned(plan::Provider { id: entry.id.clone(), ..implicit("mock") }));
        }
        Ok(entry)
    }

    fn named(&self, id: &str) -> Result<Cow<'_, plan::Provider>, Error> {
        if let Some(entry) = self.providers.iter().find(|entry| entry.id == id) {
            return Ok(Cow::Borrowed(entry));
        }
        match kinds::find(id) {
            Some(kind) if kind.protocol != Protocol::Plugin => Ok(Cow::Owned(implicit(id))),
            _ => Err(Error::Unknown {
                id: id.to_owned(),
                known: self.providers.iter().map(|entry| entry.id.clone()).collect(),
            }),
        }
    }

    fn default_entry(&self) -> Result<Cow<'_, plan::Provider>, Error> {
        let mut defaults = self.providers.iter().filter(|entry| entry.default);
        match (defaults.next(), defaults.next()) {
            (Some(one), Some(two)) => Err(Error::TwoDefaults { ids: vec![one.id.clone(), two.id.clone()] }),
            (Some(one), None) => Ok(Cow::Borrowed(one)),
            (None, _) => self.providers.first().map(Cow::Borrowed).ok_or(Error::NoProvider),
        }
    }
}

/// The entry that a bare type stands for.
fn implicit(kind: &str) -> plan::Provider {
    plan::Provider::implicit(kind, kind, compozy_lang::source::Place::default())
}

#[cfg(test)]
mod tests {
    use compozy_lang::plan;

    use super::{Settings, implicit};

    fn entry(id: &str, kind: &str, default: bool) -> plan::Provider {
        plan::Provider { id: id.into(), default, ..implicit(kind) }
    }

    fn chosen(settings: &Settings, wished: Option<&str>) -> Result<(String, String), String> {
        settings
            .choose(wished)
            .map(|entry| (entry.id.clone(), entry.kind.clone()))
            .map_err(|error| error.code().to_owned())
    }

    #[test]
    fn an_entry_is_chosen_by_id_then_type_then_default() {
        let settings = |providers: Vec<plan::Provider>| Settings { providers, ..Settings::default() };
        let two = settings(vec![entry("a", "openai", false), entry("b", "groq", true)]);
        let pair = |id: &str, kind: &str| Ok((id.to_owned(), kind.to_owned()));
        for (settings, wished, expected) in [
            (&two, None, pair("b", "groq")),
            (&two, Some("a"), pair("a", "openai")),
            (&two, Some("ollama"), pair("ollama", "ollama")),
            (&two, Some("c"), Err("CZ0501".into())),
            (&two, Some("plugin"), Err("CZ0501".into())),
            (&settings(vec![entry("a", "openai", false), entry("b", "groq", false)]), None, pair("a", "openai")),
            (&settings(vec![entry("a", "openai", true), entry("b", "groq", true)]), None, Err("CZ0503".into())),
            (&settings(vec![]), None, Err("CZ0502".into())),
            (&Settings { mock_all: true, ..settings(vec![]) }, None, pair("mock", "mock")),
            (&Settings { mock_all: true, ..two.clone() }, Some("a"), pair("a", "mock")),
            (&Settings { mock_all: true, ..two.clone() }, Some("c"), Err("CZ0501".into())),
        ] {
            assert_eq!(chosen(settings, wished), expected, "{wished:?}");
        }
    }
}
