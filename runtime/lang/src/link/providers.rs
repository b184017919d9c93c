//! LLM providers: types, defaults and the entries that agents and tasks imply.

use serde_json::{Map, Value};

use crate::diagnostic::Diagnostic;
use crate::document::Name;
use crate::document::agent::Llm;
use crate::document::provider::{Entry, canonical_type};
use crate::plan::{Permissions, Plugin, PluginKind, Provider};
use crate::schema::definitions::PROVIDER_TYPES;

use super::Linker;

/// Which provider answers a prompt, and with what.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    pub(super) provider: Option<String>,
    pub(super) model: Option<String>,
    pub(super) params: Map<String, Value>,
}

impl Linker<'_> {
    /// Registers the entries of all files.
    pub(super) fn providers(&mut self, entries: Vec<Entry>) {
        let mut names = Vec::new();
        for entry in &entries {
            let id = entry.id.clone().or_else(|| entry.kind.clone());
            names.push(id.unwrap_or_else(|| Name {
                text: String::new(),
                place: entry.provider.place.clone(),
                length: 1,
            }));
        }
        let unique = self.unique_ids("provider", &names);
        for ((entry, name), is_first) in entries.into_iter().zip(names).zip(unique) {
            if is_first && let Some(provider) = self.provider(entry, name.text) {
                self.providers.push(provider);
            }
        }
        self.default_provider();
    }

    /// An entry with its type resolved.
    fn provider(&mut self, entry: Entry, id: String) -> Option<Provider> {
        // `id: openai` alone means the type of that name.
        let kind_name = entry.kind.clone().or_else(|| entry.id.clone())?;
        let Some(kind) = canonical_type(&kind_name.text) else {
            let known: Vec<&str> = PROVIDER_TYPES.iter().copied().filter(|known| *known != "gemini").collect();
            let message = format!("provider type '{}' is not supported. Known: {}", kind_name.text, known.join(", "));
            self.report(kind_name.diagnostic("CZ0511", message));
            return None;
        };
        let provider = Provider { id, kind: kind.to_owned(), ..entry.provider };
        if kind == "openai_compatible" {
            for (key, is_there) in [("base_url", provider.base_url.is_some()), ("model", provider.model.is_some())] {
                if !is_there {
                    let message = format!("llm.providers.{}.{key}: expected a value, got nothing", provider.id);
                    let problem = Diagnostic::error("CZ0110", message, provider.place.clone());
                    self.report(problem.help(format!("providers of type openai_compatible need {key}")));
                }
            }
        }
        if kind == "plugin" {
            self.plugin_of(&provider, &kind_name);
        }
        Some(provider)
    }

    fn plugin_of(&mut self, provider: &Provider, kind: &Name) {
        let Some(plugin) = &provider.plugin else {
            let message = format!("llm.providers.{}.plugin: expected the id of a plugin, got nothing", provider.id);
            self.report(kind.diagnostic("CZ0110", message));
            return;
        };
        if plugin.starts_with("builtin:") {
            return;
        }
        match self.plugins.get(plugin) {
            Some(PluginKind::Llm) => {}
            Some(_) => {
                let message = format!("'{plugin}': not a llm component: its entry in plugins says otherwise");
                self.report(kind.diagnostic("CZ0702", message).help("write kind: llm there"));
            }
            None => {
                let known: Vec<String> = self.plugins.keys().cloned().collect();
                let name = Name { text: plugin.clone(), ..kind.clone() };
                self.not_found("plugin", &name, &known);
            }
        }
    }

    /// Fills in the provider entries that plugins may ask, by id.
    pub(super) fn model_grants(&mut self, plugins: &mut [Plugin], granted: Vec<(String, Vec<Name>)>) {
        for (id, names) in granted {
            if let Some(plugin) = plugins.iter_mut().find(|plugin| plugin.id == id) {
                self.model_grant(&mut plugin.permissions, &names);
            }
        }
    }

    /// The provider entries that `names` are, as those that may be asked.
    pub(super) fn model_grant(&mut self, permissions: &mut Permissions, names: &[Name]) {
        let asked: Vec<String> = names.iter().filter_map(|name| self.named(name)).collect();
        if let Some(grant) = permissions.llm.as_mut().filter(|grant| grant.providers.is_empty()) {
            grant.providers = asked;
        }
    }

    /// The one marked, else the first.
    fn default_provider(&mut self) {
        let marked: Vec<&Provider> = self.providers.iter().filter(|provider| provider.default).collect();
        if let [_, second, ..] = marked.as_slice() {
            let ids: Vec<&str> = marked.iter().map(|provider| provider.id.as_str()).collect();
            let message = format!("more than one default provider: {}", ids.join(", "));
            let problem =
                Diagnostic::error("CZ0503", message, second.place.clone()).help("keep default: true on one of them");
            self.report(problem);
        }
        if marked_none(&self.providers)
            && let Some(first) = self.providers.first_mut()
        {
            first.default = true;
        }
    }

    /// The provider of a prompt: the task's own over the agent's over the default.
    pub(super) fn choose(
        &mut self,
        llm: Option<&Llm>,
        model_config: Option<&Entry>,
        owner: &str,
        place: &Name,
    ) -> Choice {
        let mut choice = match llm {
            Some(Llm::Id(name)) => Choice { provider: self.named(name), ..Choice::default() },
            Some(Llm::Entry(entry)) => self.entry(entry, owner),
            None => Choice::default(),
        };
        if let Some(entry) = model_config {
            let own = self.entry(entry, owner);
            let params = choice.params.into_iter().chain(own.params).collect();
            choice = match own.provider {
                Some(_) => Choice { params, ..own },
                None => Choice { provider: choice.provider, model: own.model.or(choice.model), params },
            };
        }
        if choice.provider.is_none() && llm.is_none() && self.providers.is_empty() && !self.is_mocked() {
            let problem = place.diagnostic("CZ0502", "no LLM provider is configured");
            self.report(problem.help("add an entry to llm.providers; {id: mock, type: mock} needs no key"));
        }
        choice
    }

    /// A provider by its id, or by its type, which makes an implicit entry.
    fn named(&mut self, name: &Name) -> Option<String> {
        let text = name.text.trim();
        if self.providers.iter().any(|provider| provider.id == text) {
            return Some(text.to_owned());
        }
        if let Some(kind) = canonical_type(text).filter(|kind| !matches!(*kind, "plugin" | "openai_compatible")) {
            if let Some(provider) = self.providers.iter().find(|provider| provider.kind == kind) {
                return Some(provider.id.clone());
            }
            let message = format!("provider '{text}' is not in llm.providers; its type's defaults are used");
            self.report(Diagnostic::note("CZ0501", message, name.place.clone()).length(name.length));
            self.providers.push(Provider::implicit(kind, text, name.place.clone()));
            return Some(text.to_owned());
        }
        let known: Vec<String> = self.providers.iter().map(|provider| provider.id.clone()).collect();
        let near = super::did_you_mean(text, &known);
        let problem = name.diagnostic("CZ0501", format!("provider '{text}' not found in llm.providers{near}"));
        self.report(problem.help("add the entry"));
        None
    }

    /// A provider written in place: a reference with a model, or an entry of its own.
    fn entry(&mut self, entry: &Entry, owner: &str) -> Choice {
        let has_variable_model = entry.provider.model.is_some() && entry.model_text.is_none();
        if !entry.stands_alone && !has_variable_model {
            let name = entry.id.as_ref().or(entry.kind.as_ref());
            let provider = name.and_then(|name| self.named(name));
            return Choice { provider, model: entry.model_text.clone(), params: entry.provider.params.clone() };
        }
        let id = entry.id.as_ref().map_or_else(|| owner.to_owned(), |id| id.text.clone());
        if let Some(known) = self.providers.iter().find(|provider| provider.id == id) {
            if known.place == entry.provider.place {
                return Choice { provider: Some(id), ..Choice::default() };
            }
            let message = format!("duplicate provider id '{id}': {}, {}", known.place, entry.provider.place);
            let problem = Diagnostic::error("CZ0204", message, entry.provider.place.clone());
            self.report(problem.help("rename one"));
            return Choice::default();
        }
        match self.provider(entry.clone(), id.clone()) {
            Some(provider) => {
                self.providers.push(Provider { default: false, ..provider });
                Choice { provider: Some(id), ..Choice::default() }
            }
            None => Choice::default(),
        }
    }
}

fn marked_none(providers: &[Provider]) -> bool {
    providers.iter().all(|provider| !provider.default)
}
