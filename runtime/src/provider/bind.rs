//! From a provider entry to a plugin that may be called: settings resolved, key behind a placeholder, one origin granted.

use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::{self, PluginKind, PluginLimits, Segment, Template};
use compozy_lang::source::Place;
use serde_json::{Map, Value};

use super::Revision;
use super::error::Error;
use super::kinds::{Kind, Protocol};
use crate::plugin::egress::pattern::{Pattern, Target};
use crate::plugin::host::secrets::placeholder_of;
use crate::plugin::secret::Secret;
use crate::plugin::{Binding, CallContext, Component, Environment, Grants};

/// Linear memory of a provider plugin, in bytes: a whole answer of 16 MiB is parsed there.
const MEMORY_BYTES: u64 = 128 << 20;

/// Bytes of one answer.
const OUTPUT_BYTES: u64 = 16 << 20;

/// Name of the key among the entry's secrets.
const API_KEY: &str = "api_key";

impl Revision {
    /// The plugin of `entry`, ready for one call.
    pub(super) async fn bind(&self, entry: &plan::Provider, kind: &Kind, ctx: &CallContext) -> Result<Binding, Error> {
        match kind.protocol {
            Protocol::Mock => self.bind_mock(entry).await,
            Protocol::Http(plugin) => self.bind_http(entry, kind, plugin, ctx).await,
            Protocol::Plugin => self.bind_plugin(entry),
        }
    }

    async fn bind_mock(&self, entry: &plan::Provider) -> Result<Binding, Error> {
        let component = self.component(entry, "llm-mock").await?;
        Ok(self.binding(entry, component, Grants::none(), &entry.config))
    }

    /// An entry of type `plugin` is that plugin entry, with the provider's `config` laid over the plugin's own.
    fn bind_plugin(&self, entry: &plan::Provider) -> Result<Binding, Error> {
        let missing = |reason: String| Error::Setting { id: entry.id.clone(), key: "plugin", reason };
        let id = entry.plugin.as_deref().ok_or_else(|| missing("a provider of type 'plugin' needs one".into()))?;
        let plugin = self.parts.plugins.get(id).ok_or_else(|| missing(format!("no plugin '{id}' of kind llm")))?;
        let mut config: Map<String, Value> = serde_json::from_str(&plugin.config).unwrap_or_default();
        config.extend(entry.config.as_object().cloned().unwrap_or_default());
        Ok(Binding { config: Value::Object(config).to_string().into(), ..plugin.clone() })
    }

    async fn bind_http(
        &self,
        entry: &plan::Provider,
        kind: &Kind,
        plugin: &'static str,
        ctx: &CallContext,
    ) -> Result<Binding, Error> {
        let environment = &*self.parts.environment;
        let base_url = match (&entry.base_url, kind.base_url) {
            (Some(written), _) => resolve(written, environment, &entry.id, "base_url")?,
            (None, Some(default)) => default.to_owned(),
            (None, None) => {
                let reason = format!("a provider of type '{}' needs one", kind.name);
                return Err(Error::Setting { id: entry.id.clone(), key: "base_url", reason });
            }
        };
        let origin =
            origin(&base_url).map_err(|reason| Error::Setting { id: entry.id.clone(), key: "base_url", reason })?;
        let organization = entry
            .organization
            .as_ref()
            .map(|written| resolve(written, environment, &entry.id, "organization"))
            .transpose()?;
        let secrets = secrets(entry, kind, environment)?;
        let component = self.component(entry, plugin).await?;
        let grants = Grants::provider(Pattern::trusted(origin), secrets.clone());
        let mut binding = self.binding(entry, component, grants, &Value::Null);

        let stand_in = |name: &str| Value::from(placeholder_of(&binding, ctx.run.as_deref(), name));
        let mut config = entry.config.as_object().cloned().unwrap_or_default();
        config.insert("base_url".into(), base_url.into());
        if secrets.iter().any(|(name, _)| name == API_KEY) {
            config.insert(API_KEY.into(), stand_in(API_KEY));
        }
        if let Some(organization) = organization {
            config.insert("organization".into(), organization.into());
        }
        let mut headers = Map::new();
        for (name, written) in &entry.headers {
            let value = if is_secret(written) {
                stand_in(&header_secret(name))
            } else {
                resolve(written, environment, &entry.id, "headers")?.into()
            };
            headers.insert(name.clone(), value);
        }
        config.insert("headers".into(), headers.into());
        binding.config = Value::Object(config).to_string().into();
        Ok(binding)
    }

    async fn component(&self, entry: &plan::Provider, name: &str) -> Result<Arc<Component>, Error> {
        let source = self.parts.bundle.get(name).ok_or_else(|| {
            Error::Type(format!("provider type '{}' needs the plugin {name}, which this build leaves out", entry.kind))
        })?;
        let loaded = self.parts.host.load(source.clone(), PluginKind::Llm).await;
        loaded.map_err(|source| Error::Plugin { id: entry.id.clone(), source })
    }

    fn binding(&self, entry: &plan::Provider, component: Arc<Component>, grants: Grants, config: &Value) -> Binding {
        let timeout: Duration = entry.timeout.unwrap_or(self.settings.provider_timeout);
        let config = if config.is_object() { config.to_string() } else { "{}".into() };
        Binding {
            plugin_id: entry.id.as_str().into(),
            component,
            grants: Arc::new(grants),
            limits: PluginLimits { memory_bytes: MEMORY_BYTES, timeout, output_bytes: OUTPUT_BYTES, fuel: None },
            config: config.into(),
            services: Arc::clone(&self.parts.services),
        }
    }
}

/// The key, and headers whose values come from the environment.
fn secrets(entry: &plan::Provider, kind: &Kind, environment: &dyn Environment) -> Result<Vec<(String, Secret)>, Error> {
    let mut secrets = Vec::new();
    let key = match (&entry.api_key, kind.key_variable) {
        (Some(written), _) => Some(resolve(written, environment, &entry.id, API_KEY)?),
        (None, Some(variable)) => Some(environment.lookup(variable).ok_or_else(|| Error::MissingVariable {
            name: variable.to_owned(),
            place: Place::default(),
            key: format!("llm.providers.{}.{API_KEY}", entry.id),
        })?),
        (None, None) => None,
    };
    if let Some(key) = key.filter(|key| !key.is_empty()) {
        secrets.push((API_KEY.to_owned(), Secret::new(key)));
    }
    for (name, written) in entry.headers.iter().filter(|(_, written)| is_secret(written)) {
        secrets.push((header_secret(name), Secret::new(resolve(written, environment, &entry.id, "headers")?)));
    }
    Ok(secrets)
}

fn header_secret(name: &str) -> String {
    format!("header {}", name.to_ascii_lowercase())
}

/// A text with a variable in it may be a secret; one that is written out is none.
fn is_secret(written: &Template) -> bool {
    written.segments.iter().any(|segment| matches!(segment, Segment::Variable { .. }))
}

/// Scheme, host and port of a base URL.
fn origin(base_url: &str) -> Result<Target, String> {
    let wrong = |reason: String| format!("'{base_url}' is not a base URL like https://host/v1: {reason}");
    let url = reqwest::Url::parse(base_url.trim()).map_err(|error| wrong(error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        // The text itself may hold a password: it is not shown.
        return Err("a base URL holds no user name or password; use `headers`".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a query or fragment".into()));
    }
    let host = url.host_str().ok_or_else(|| wrong("it names no host".into()))?;
    let port = url.port_or_known_default().ok_or_else(|| wrong("it names no port".into()))?;
    Target::parse(url.scheme(), &format!("{host}:{port}")).map_err(wrong)
}

/// Fills in the variables of a setting (dialect §1.4).
pub(super) fn resolve(written: &Template, environment: &dyn Environment, id: &str, key: &str) -> Result<String, Error> {
    let filled: Result<String, _> = written.segments.iter().map(|segment| fill(segment, environment)).collect();
    filled.map_err(|(name, place)| Error::MissingVariable { name, place, key: format!("llm.providers.{id}.{key}") })
}

fn fill(segment: &Segment, environment: &dyn Environment) -> Result<String, (String, Place)> {
    match segment {
        Segment::Literal(text) => Ok(text.clone()),
        Segment::Variable { name, default, place } => match (environment.lookup(name), default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => default.iter().map(|part| fill(part, environment)).collect(),
            (None, None) => Err((name.clone(), place.clone())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn origins_of_base_urls() {
        for (base_url, expected) in [
            ("https://api.openai.com/v1", Some((true, "api.openai.com", 443))),
            ("http://localhost:11434", Some((false, "localhost:11434", 11434))),
            ("http://[::1]:9/v1", Some((false, "[::1]:9", 9))),
            (" https://host/ ", Some((true, "host", 443))),
            ("localhost:11434", None),
            ("https://user:pass@host/v1", None),
            ("https://host/v1?key=x", None),
            ("ftp://host", None),
            ("", None),
        ] {
            let origin = origin(base_url).ok();
            let found = origin.as_ref().map(|target| (target.tls, target.authority(), target.port));
            assert_eq!(found, expected.map(|(tls, authority, port)| (tls, authority.to_owned(), port)), "{base_url}");
        }
        assert!(!origin("https://user:hunter2@host/v1").unwrap_err().contains("hunter2"));
    }
}
