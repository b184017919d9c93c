//! The provider types: one row each, so that a release can move a default model by one line.

use compozy_lang::plan;

/// How a type is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Over HTTP, by the bundled plugin of this name.
    Http(&'static str),
    /// No model, by the bundled plugin `llm-mock`.
    Mock,
    /// A plugin entry of the project.
    Plugin,
}

/// A provider type with its defaults.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// As YAML writes it.
    pub name: &'static str,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// `None`: the entry must name one.
    pub base_url: Option<&'static str>,
    /// `None`: the entry must name one.
    pub model: Option<&'static str>,
    /// Variable that holds the key when the entry names none.
    pub key_variable: Option<&'static str>,
}

const fn row(
    name: &'static str,
    protocol: Protocol,
    base_url: &'static str,
    model: &'static str,
    key_variable: &'static str,
) -> Kind {
    const fn some(text: &'static str) -> Option<&'static str> {
        if text.is_empty() { None } else { Some(text) }
    }
    Kind { name, protocol, base_url: some(base_url), model: some(model), key_variable: some(key_variable) }
}

use Protocol::{Mock, Plugin};

const ANTHROPIC: Protocol = Protocol::Http("llm-anthropic");
const GOOGLE: Protocol = Protocol::Http("llm-google");
const OLLAMA: Protocol = Protocol::Http("llm-ollama");
const OPENAI: Protocol = Protocol::Http("llm-openai");

/// All types (dialect §8); an empty text is an absent default.
#[rustfmt::skip]
pub const KINDS: [Kind; 14] = [
    row("openai", OPENAI, "https://api.openai.com/v1", "gpt-4o-mini", "OPENAI_API_KEY"),
    row("anthropic", ANTHROPIC, "https://api.anthropic.com/v1", "claude-haiku-4-5", "ANTHROPIC_API_KEY"),
    row("google", GOOGLE, "https://generativelanguage.googleapis.com/v1beta", "gemini-2.5-flash", "GOOGLE_API_KEY"),
    row("groq", OPENAI, "https://api.groq.com/openai/v1", "llama-3.3-70b-versatile", "GROQ_API_KEY"),
    row("mistral", OPENAI, "https://api.mistral.ai/v1", "mistral-small-latest", "MISTRAL_API_KEY"),
    row("deepseek", OPENAI, "https://api.deepseek.com/v1", "deepseek-chat", "DEEPSEEK_API_KEY"),
    row("xai", OPENAI, "https://api.x.ai/v1", "grok-3-mini", "XAI_API_KEY"),
    row("cerebras", OPENAI, "https://api.cerebras.ai/v1", "llama-3.3-70b", "CEREBRAS_API_KEY"),
    row("openrouter", OPENAI, "https://openrouter.ai/api/v1", "openai/gpt-4o-mini", "OPENROUTER_API_KEY"),
    row("ollama", OLLAMA, "http://localhost:11434", "llama3.2", ""),
    row("openai_compatible", OPENAI, "", "", ""),
    row("mock", Mock, "", "mock", ""),
    row("plugin", Plugin, "", "", ""),
    // Another name of `google`.
    row("gemini", GOOGLE, "https://generativelanguage.googleapis.com/v1beta", "gemini-2.5-flash", "GOOGLE_API_KEY"),
];

/// The row of a type.
#[must_use]
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The bundled plugins that the types need; some are named more than once.
pub(super) fn plugins() -> impl Iterator<Item = &'static str> {
    KINDS.iter().filter_map(|kind| match kind.protocol {
        Protocol::Http(plugin) => Some(plugin),
        Protocol::Mock => Some("llm-mock"),
        Protocol::Plugin => None,
    })
}

/// The entries that name no key, with the variable that holds it by their type.
pub fn implied_keys(entries: &[plan::Provider]) -> impl Iterator<Item = (&plan::Provider, &'static str)> {
    let unnamed = entries.iter().filter(|entry| entry.api_key.is_none());
    unnamed.filter_map(|entry| Some((entry, find(&entry.kind)?.key_variable?)))
}

/// The types by name, for messages.
#[must_use]
pub fn names() -> String {
    KINDS.map(|kind| kind.name).join(", ")
}
