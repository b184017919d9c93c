//! `llm.providers` and `models`.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::plan::{Provider, Template, TemplateMode};
use crate::schema::Kind;
use crate::schema::definitions::{PARAMS, PROVIDER, PROVIDER_TYPES};
use crate::yaml::Node;

use super::fields::Fields;
use super::reader::Reader;
use super::{Name, item_path};

/// A provider entry, or what stands for one in an agent or task.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Id as written.
    pub(crate) id: Option<Name>,
    /// `type` as written.
    pub(crate) kind: Option<Name>,
    /// The model's text, where it needs no variable.
    pub(crate) model_text: Option<String>,
    /// Whether it says more than which entry, model and params: then it is an entry of its own.
    pub(crate) stands_alone: bool,
    /// The entry; `id` and `kind` are filled in where it is registered.
    pub(crate) provider: Provider,
}

/// The canonical name of a provider type; `None`: there is no such type.
pub(crate) fn canonical_type(text: &str) -> Option<&'static str> {
    let lower = text.trim().to_ascii_lowercase().replace('-', "_");
    match PROVIDER_TYPES.iter().copied().find(|known| *known == lower)? {
        "gemini" => Some("google"),
        known => Some(known),
    }
}

impl Reader<'_> {
    /// Reads one entry. Its texts are used at the first call, so missing variables are kept for later.
    pub(crate) fn provider(&mut self, node: &Node, path: &str) -> Option<Entry> {
        let fields = self.fields(node, &PROVIDER, path)?;
        let id = self.name(&fields, "id");
        let kind = self.name(&fields, "type");
        let model = self.field_template(&fields, "model");
        let model_text = model.as_ref().and_then(Template::fixed_text);
        let stands_alone = fields.written().any(|(key, _)| !matches!(key.name, "id" | "type" | "model" | "params"));
        let provider = self.lazily(|reader| Provider {
            id: String::new(),
            kind: String::new(),
            plugin: reader.text(&fields, "plugin"),
            default: reader.bool(&fields, "default").unwrap_or_default(),
            model,
            base_url: reader.field_template(&fields, "base_url"),
            api_key: reader.field_template(&fields, "api_key"),
            organization: reader.field_template(&fields, "organization"),
            headers: reader.headers(&fields),
            config: fields.get("config").map_or(Value::Null, |node| reader.value(node, &fields.at("config"))),
            params: reader.params(&fields),
            timeout: reader.duration(&fields, "timeout").filter(|timeout| *timeout > Duration::ZERO),
            concurrency: reader.provider_concurrency(&fields),
            max_tool_iterations: reader.number(&fields, "max_tool_iterations").filter(|rounds| *rounds > 0),
            place: node.place(),
        });
        if let Some(rest) = fields.get("rate_limit") {
            self.check(rest, &Kind::Map(rate_limit_table()), &fields.at("rate_limit"));
        }
        Some(Entry { id, kind, model_text, stands_alone, provider })
    }

    /// Entries of a list of providers.
    pub(crate) fn providers(&mut self, node: &Node, path: &str) -> Vec<Entry> {
        let nodes = super::scalar::one_or_many(node).iter().enumerate();
        nodes.filter_map(|(index, node)| self.provider(node, &item_path(path, node, index))).collect()
    }

    fn field_template(&mut self, fields: &Fields<'_>, name: &str) -> Option<Template> {
        let node = fields.get(name)?;
        self.template(node, &fields.at(name), TemplateMode::Text)
    }

    fn headers(&mut self, fields: &Fields<'_>) -> Vec<(String, Template)> {
        let Some(node) = fields.get("headers") else { return Vec::new() };
        let path = fields.at("headers");
        for entry in node.entries().unwrap_or_default() {
            if crate::environment::is_secret_name(&entry.key) {
                self.secret(&entry.value, &format!("{path}.{}", entry.key));
            }
        }
        self.template_map(node, &path)
    }

    /// `params`, a JSON object with canonical keys.
    pub(crate) fn params(&mut self, fields: &Fields<'_>) -> Map<String, Value> {
        let Some(node) = fields.get("params") else { return Map::new() };
        let path = fields.at("params");
        let Some(params) = self.fields(node, &PARAMS, &path) else { return Map::new() };
        let mut found = Map::new();
        for (key, entry) in params.written().collect::<Vec<_>>() {
            let at = params.at(key.name);
            let value = match key.kind {
                Kind::Float => self.float_of(&entry.value, &at).map(Value::from),
                Kind::Int(least, most) => self.int_of(&entry.value, &at, least, most).map(Value::from),
                Kind::List(_) => Some(Value::from(self.texts(&params, key.name))),
                _ => Some(self.value(&entry.value, &at)),
            };
            if let Some(value) = value {
                found.insert(key.name.to_owned(), value);
            }
        }
        found
    }

    fn provider_concurrency(&mut self, fields: &Fields<'_>) -> Option<u32> {
        let node = fields.get("rate_limit")?.get("concurrency")?;
        let path = format!("{}.concurrency", fields.at("rate_limit"));
        self.int_of(node, &path, 1, 100_000).map(|value| u32::try_from(value).unwrap_or(u32::MAX))
    }
}

fn rate_limit_table() -> &'static crate::schema::Table {
    &crate::schema::definitions::RATE_LIMIT
}
