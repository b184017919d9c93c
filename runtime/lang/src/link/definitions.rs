//! Plugins, databases, schemas and knowledge definitions.

use crate::diagnostic::{Diagnostic, Severity};
use crate::document::Name;
use crate::document::knowledge::Definition;
use crate::document::plugin::PluginEntry;
use crate::document::project::Project as ProjectDocument;
use crate::plan::{KnowledgeKind, NamedDatabase, Plugin};
use crate::settings::{Driver, Mode};

use super::Linker;

/// Dialect §11.1, word for word: the page and anchor exist.
const PGVECTOR_ON_SQLITE: &str = "pgvector provider is incompatible with SQLite driver. SQLite requires an external vector database. Configure one of: Qdrant, Redis, or Filesystem. See documentation: docs/database/sqlite.md#vector-database-requirement";

/// Vector database providers.
const VECTOR_PROVIDERS: &[&str] = &["filesystem", "qdrant", "pgvector", "redis"];

impl Linker<'_> {
    /// `mode` as written and checked against the database, else what the database means.
    pub(super) fn mode(&mut self, document: &ProjectDocument) -> Mode {
        let database = &document.settings.database;
        let derived = match database.driver {
            Driver::Postgres => Mode::Distributed,
            Driver::Sqlite if database.path == ":memory:" => Mode::Memory,
            Driver::Sqlite => Mode::Persistent,
        };
        let Some((mode, node)) = &document.mode else { return derived };
        if *mode != derived && !self.settings.deferred.iter().any(|(path, _)| path.starts_with("database.")) {
            let is = match derived {
                Mode::Distributed => "postgres",
                Mode::Memory => "sqlite in memory",
                Mode::Persistent => "an sqlite file",
            };
            let mut problem =
                node.diagnostic("CZ0809", format!("mode '{}' contradicts database, which is {is}", node.text));
            if let Some(place) = &document.database_place {
                problem = problem.related(place.clone(), "database is here");
            }
            self.report(problem.path("mode").help("leave one of them out"));
        }
        derived
    }

    /// Checks and registers plugins.
    pub(super) fn plugins(&mut self, entries: Vec<PluginEntry>, document: &ProjectDocument) -> Vec<Plugin> {
        let names: Vec<Name> = entries.iter().map(|entry| entry.id.clone()).collect();
        let unique = self.unique_ids("plugin", &names);
        let databases: Vec<String> = document.databases.iter().map(|(name, _)| name.text.clone()).collect();
        let mut plugins = Vec::new();
        for (entry, is_first) in entries.into_iter().zip(unique) {
            self.granted_databases(&entry.databases, &databases);
            if is_first {
                self.plugins.insert(entry.plugin.id.clone(), entry.plugin.kind);
                plugins.push(entry.plugin);
            }
        }
        plugins
    }

    /// Checks that databases which something is granted are there.
    pub(super) fn granted_databases(&mut self, granted: &[Name], known: &[String]) {
        for name in granted.iter().filter(|name| name.text != "own" && !known.contains(&name.text)) {
            self.not_found("database", name, known);
        }
    }

    /// Checks named databases.
    pub(super) fn databases(&mut self, entries: Vec<(Name, NamedDatabase)>) -> Vec<NamedDatabase> {
        let names: Vec<Name> = entries.iter().map(|(name, _)| name.clone()).collect();
        let unique = self.unique_ids("database", &names);
        entries.into_iter().zip(unique).filter(|(_, is_first)| *is_first).map(|((_, database), _)| database).collect()
    }

    /// Registers schemas.
    pub(super) fn schemas(&mut self, entries: Vec<crate::document::Schema>) {
        let names: Vec<Name> = entries.iter().map(|entry| entry.id.clone()).collect();
        let unique = self.unique_ids("schema", &names);
        for (entry, is_first) in entries.into_iter().zip(unique) {
            if is_first {
                self.schemas.insert(entry.id.text, entry.value);
            }
        }
    }

    /// Checks vector databases, embedders and knowledge bases.
    pub(super) fn knowledge(&mut self, entries: &[Definition]) {
        for (kind, word) in [
            (KnowledgeKind::VectorDb, "vector_db"),
            (KnowledgeKind::Embedder, "embedder"),
            (KnowledgeKind::KnowledgeBase, "knowledge_base"),
        ] {
            let of_kind = entries.iter().filter(|entry| entry.definition.kind == kind);
            let names: Vec<Name> =
                of_kind.clone().filter(|entry| !entry.id.text.is_empty()).map(|entry| entry.id.clone()).collect();
            self.unique_ids(word, &names);
            for entry in of_kind {
                if entry.id.text.is_empty() {
                    let problem = Diagnostic::error("CZ0203", format!("a {word} needs an id"), entry.id.place.clone());
                    self.report(problem.help("add it"));
                }
                if kind == KnowledgeKind::VectorDb {
                    self.vector_db(entry);
                } else {
                    self.later(entry, word);
                }
            }
            if kind != KnowledgeKind::Embedder {
                self.knowledge_bases.extend(names.into_iter().map(|name| name.text));
            }
        }
    }

    /// A definition that is kept for later versions.
    fn later(&mut self, entry: &Definition, word: &str) {
        let message = format!("'{word}' is not part of this version yet");
        self.report(Diagnostic::note("CZ0001", message, entry.id.place.clone()));
    }

    /// CZ0601: declared anywhere, in any letter case, used or not.
    fn vector_db(&mut self, entry: &Definition) {
        let Some(provider) = &entry.provider else {
            let message = format!("vector_db '{}' needs 'provider'", entry.id.text);
            let problem = entry.id.diagnostic("CZ0602", message);
            self.report(problem.help(format!("known: {}", VECTOR_PROVIDERS.join(", "))));
            return;
        };
        let kind = provider.text.trim().to_ascii_lowercase();
        let driver_is_known = !self.settings.deferred.iter().any(|(path, _)| path == "database.driver");
        match kind.as_str() {
            "pgvector" | "postgres" | "postgresql" => {
                if self.settings.database.driver == Driver::Sqlite && driver_is_known {
                    let problem = provider.diagnostic("CZ0601", PGVECTOR_ON_SQLITE);
                    self.report(problem.help("choose another vector database, or the postgres driver"));
                }
            }
            "redis" => {
                let message = format!(
                    "vector_db '{}': redis support is not built in; use qdrant, filesystem or pgvector",
                    entry.id.text
                );
                self.report(provider.diagnostic("CZ0603", message));
            }
            "filesystem" | "qdrant" => {}
            _ => {
                let known = VECTOR_PROVIDERS.join(", ");
                let message =
                    format!("vector_db '{}': '{}' is not supported. Known: {known}", entry.id.text, provider.text);
                self.report(provider.diagnostic("CZ0602", message));
            }
        }
    }

    /// Knowledge bindings: their bases must exist, and nothing asks them yet.
    pub(super) fn bindings(&mut self, bindings: &[Name]) {
        for name in bindings {
            if !self.knowledge_bases.contains(&name.text) {
                let near = super::did_you_mean(&name.text, &self.knowledge_bases);
                let problem = name.diagnostic("CZ0606", format!("knowledge_base '{}' not found{near}", name.text));
                self.report(problem.help("fix the id").severity(Severity::Error));
            }
        }
    }
}
