//! Plugins and what they may do.

use serde_json::Value;

use crate::plan::{Access, Grant, ModelGrant, Permissions, Plugin, PluginKind, PluginLimits};
use crate::schema::Table;
use crate::schema::definitions::{GRANT_TABLE, MODEL_GRANT, PATH_GRANT_TABLE, PERMISSIONS, PLUGIN, PLUGIN_LIMITS};
use crate::yaml::Node;

use super::Name;
use super::fields::Fields;
use super::reader::Reader;

/// A plugin with the places of what is checked later.
#[derive(Debug, Clone)]
pub(crate) struct PluginEntry {
    /// Id.
    pub(crate) id: Name,
    /// The entry.
    pub(crate) plugin: Plugin,
    /// Ids of databases it is granted, with their places.
    pub(crate) databases: Vec<Name>,
    /// Ids of provider entries it is granted, with their places.
    pub(crate) models: Vec<Name>,
}

/// `permissions`, with the places of what is checked later.
#[derive(Default)]
pub(super) struct Granted {
    pub(super) permissions: Permissions,
    pub(super) databases: Vec<Name>,
    pub(super) models: Vec<Name>,
}

impl Reader<'_> {
    /// Reads one plugin. Its `config` is used at the first call, so missing variables are kept for later.
    pub(crate) fn plugin(&mut self, node: &Node, path: &str) -> Option<PluginEntry> {
        let fields = self.fields(node, &PLUGIN, path)?;
        let id = self.name(&fields, "id");
        let source = self.name(&fields, "source");
        let kind = match self.choice(&fields, "kind") {
            Some("llm") => PluginKind::Llm,
            Some("embedder") => PluginKind::Embedder,
            Some("template") => PluginKind::Template,
            _ => PluginKind::Tool,
        };
        let Granted { permissions, databases, models } = self.permissions(&fields);
        if kind == PluginKind::Template
            && fields.get("permissions").is_some_and(|node| node.entries().is_some_and(|e| !e.is_empty()))
        {
            let message = format!(
                "'{}': not a template component: template plugins are pure and get no permissions",
                id.as_ref().map_or("", |id| &id.text)
            );
            self.report(fields.diagnostic("permissions", "CZ0702", message));
        }
        let digest = self.digest(&fields);
        let limits = self.plugin_limits(&fields);
        let config = fields
            .get("config")
            .map_or(Value::Null, |node| self.lazily(|reader| reader.value(node, &fields.at("config"))));
        let Some(id) = id else {
            self.report(node.diagnostic("CZ0203", "a plugin needs an id").path(path));
            return None;
        };
        let Some(source) = source else {
            if fields.get("source").is_none() {
                let message = format!("'{}': no usable implementation: 'source' is missing", id.text);
                self.report(node.diagnostic("CZ0701", message).path(path));
            }
            return None;
        };
        self.plugin_source(&id, &source);
        let place = source.place;
        let plugin =
            Plugin { id: id.text.clone(), source: source.text, kind, digest, permissions, limits, config, place };
        Some(PluginEntry { id, plugin, databases, models })
    }

    fn plugin_source(&mut self, id: &Name, source: &Name) {
        let text = source.text.as_str();
        if text.starts_with("builtin:") {
            return;
        }
        if text.starts_with(crate::oci::SCHEME) {
            if let Err(reason) = crate::oci::Reference::parse(text) {
                let message = format!("'{}': no usable implementation: '{text}': {reason}", id.text);
                self.report(source.diagnostic("CZ0701", message));
            }
        } else if crate::files::leaves_folder(text) {
            self.report(source.diagnostic("CZ0206", format!("path '{text}' leaves the project folder")));
        } else if !(text.ends_with(".wasm") || text.ends_with(".cwasm") || text.ends_with(".wat")) {
            let message = format!(
                "'{}': no usable implementation: '{text}' is neither a .wasm component nor builtin:NAME nor oci:HOST/NAME:TAG",
                id.text
            );
            self.report(source.diagnostic("CZ0701", message));
        }
    }

    fn digest(&mut self, fields: &Fields<'_>) -> Option<String> {
        let name = self.name(fields, "digest")?;
        let digits = name.text.strip_prefix("sha256:").unwrap_or_default();
        if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(name.text.to_ascii_lowercase());
        }
        let message = format!(
            "{}: expected sha256: and 64 hex digits, got {}",
            fields.at("digest"),
            crate::yaml::describe_text(&name.text)
        );
        self.report(name.diagnostic("CZ0110", message));
        None
    }

    /// Caps on one call.
    pub(super) fn plugin_limits(&mut self, fields: &Fields<'_>) -> PluginLimits {
        let mut limits = PluginLimits::default();
        let Some(node) = fields.get("limits") else { return limits };
        let Some(fields) = self.fields(node, &PLUGIN_LIMITS, &fields.at("limits")) else { return limits };
        limits.memory_bytes = self.size(&fields, "memory").unwrap_or(limits.memory_bytes);
        limits.timeout = self.duration(&fields, "timeout").unwrap_or(limits.timeout);
        limits.output_bytes = self.size(&fields, "output").unwrap_or(limits.output_bytes);
        limits.fuel = self.count(&fields, "fuel").filter(|fuel| *fuel > 0);
        if limits.fuel.is_some()
            && let Some(fuel) = fields.get("fuel")
        {
            // Time and memory bound the call all the same, so the project may load.
            let unsupported =
                super::Unsupported { what: "limits.fuel".to_owned(), place: fuel.place(), is_warning: true };
            self.report(unsupported.diagnostic());
        }
        limits
    }

    /// `permissions` where nothing else is declared: provider entries are what they are called.
    pub(super) fn unlinked_permissions(&mut self, fields: &Fields<'_>) -> Permissions {
        let Granted { mut permissions, models, .. } = self.permissions(fields);
        if let Some(grant) = &mut permissions.llm {
            grant.providers = models.into_iter().map(|name| name.text).collect();
        }
        permissions
    }

    pub(super) fn permissions(&mut self, fields: &Fields<'_>) -> Granted {
        let mut granted = Granted::default();
        let Some(node) = fields.get("permissions") else { return granted };
        let Some(fields) = self.fields(node, &PERMISSIONS, &fields.at("permissions")) else { return granted };
        let permissions = &mut granted.permissions;
        permissions.http = self.texts(&fields, "http");
        let databases = self.grants(&fields, "sql", &GRANT_TABLE, "id");
        permissions.sql =
            databases.iter().map(|(name, write)| Grant { id: name.text.clone(), write: *write }).collect();
        permissions.vector = self.plain_grants(&fields, "vector", &GRANT_TABLE, "id");
        permissions.fs = self.fs_grants(&fields);
        permissions.kv = self.kv(&fields);
        permissions.env = self.texts(&fields, "env");
        permissions.secrets = self.texts(&fields, "secrets");
        self.secret_names.extend(permissions.secrets.iter().cloned());
        (permissions.llm, granted.models) = self.model_grant(&fields);
        granted.databases = databases.into_iter().map(|(name, _)| name).collect();
        granted
    }

    /// `llm`: true, or a map of provider entries and budget. The entries are filled in when they are known.
    fn model_grant(&mut self, fields: &Fields<'_>) -> (Option<ModelGrant>, Vec<Name>) {
        let Some(node) = fields.get("llm") else { return (None, Vec::new()) };
        let path = fields.at("llm");
        if node.entries().is_none() {
            return (self.bool_of(node, &path).unwrap_or_default().then(ModelGrant::default), Vec::new());
        }
        let Some(fields) = self.fields(node, &MODEL_GRANT, &path) else { return (None, Vec::new()) };
        let mut grant = ModelGrant::default();
        let calls = self.count(&fields, "calls").and_then(|calls| u32::try_from(calls).ok());
        grant.calls = calls.unwrap_or(grant.calls);
        grant.tokens = self.count(&fields, "tokens").unwrap_or(grant.tokens);
        let path = fields.at("providers");
        let nodes = fields.get("providers").map(super::scalar::one_or_many).unwrap_or_default();
        let models = nodes.iter().filter_map(|node| self.name_of(node, &path)).collect();
        (Some(grant), models)
    }

    fn plain_grants(&mut self, fields: &Fields<'_>, name: &str, table: &'static Table, id: &str) -> Vec<Grant> {
        let grants = self.grants(fields, name, table, id).into_iter();
        grants.map(|(name, write)| Grant { id: name.text, write }).collect()
    }

    fn fs_grants(&mut self, fields: &Fields<'_>) -> Vec<Grant> {
        let grants = self.grants(fields, "fs", &PATH_GRANT_TABLE, "path");
        let mut found = Vec::new();
        for (name, write) in grants {
            if crate::files::leaves_folder(&name.text) {
                self.report(name.diagnostic("CZ0206", format!("path '{}' leaves the project folder", name.text)));
            } else {
                found.push(Grant { id: name.text, write });
            }
        }
        found
    }

    /// Grants: `[a, {id: b, mode: rw}]`.
    fn grants(&mut self, fields: &Fields<'_>, name: &str, table: &'static Table, id: &str) -> Vec<(Name, bool)> {
        let path = fields.at(name);
        let nodes = fields.get(name).map(super::scalar::one_or_many).unwrap_or_default();
        let mut found = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            if node.scalar().is_some() {
                found.extend(self.name_of(node, &path).map(|name| (name, false)));
                continue;
            }
            let path = format!("{path}[{index}]");
            let Some(fields) = self.fields(node, table, &path) else { continue };
            let write = matches!(self.choice(&fields, "mode"), Some("rw" | "read-write"));
            match self.name(&fields, id) {
                Some(name) => found.push((name, write)),
                None => self.expected(node, &path, &format!("'{id}'")),
            }
        }
        found
    }

    fn kv(&mut self, fields: &Fields<'_>) -> Access {
        let Some(name) = self.name(fields, "kv") else { return Access::None };
        match name.text.to_ascii_lowercase().as_str() {
            "none" | "false" => Access::None,
            "read" | "ro" => Access::Read,
            "read-write" | "rw" | "true" => Access::ReadWrite,
            _ => {
                let message = format!(
                    "{}: expected none, read or read-write, got {}",
                    fields.at("kv"),
                    crate::yaml::describe_text(&name.text)
                );
                self.report(name.diagnostic("CZ0110", message));
                Access::None
            }
        }
    }
}
