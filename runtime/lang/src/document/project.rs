//! The project file, and what any file may add to the project.

use crate::plan::{KnowledgeKind, MemoryDefinition, NamedDatabase};
use crate::schema::Kind;
use crate::schema::project::{CONFIG, LLM, PROJECT};
use crate::schema::settings::NAMED_DATABASE;
use crate::settings::Settings;
use crate::yaml::Node;

use super::agent::Agent;
use super::fields::Fields;
use super::knowledge::Definition;
use super::plugin::PluginEntry;
use super::provider::Entry;
use super::reader::Reader;
use super::schema::Schema;
use super::tool::Tool;
use super::workflow::Defaults;
use super::{Name, item_path};

/// The project file as written.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) name: Option<String>,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) settings: Settings,
    /// `mode` as written.
    pub(crate) mode: Option<(crate::settings::Mode, Name)>,
    /// Whether `database` or `mode` chose the driver and where.
    pub(crate) database_place: Option<crate::source::Place>,
    /// `workflows`; `None`: the folder `workflows/`.
    pub(crate) workflows: Option<Vec<Node>>,
    pub(crate) defaults: Defaults,
    pub(crate) databases: Vec<(Name, NamedDatabase)>,
}

/// Definitions of all files.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    pub(crate) providers: Vec<Entry>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) plugins: Vec<PluginEntry>,
    pub(crate) schemas: Vec<Schema>,
    pub(crate) knowledge: Vec<Definition>,
    pub(crate) memories: Vec<(Name, MemoryDefinition)>,
    /// Ids of MCP servers: checked, not yet used.
    pub(crate) mcps: Vec<Name>,
}

impl Definitions {
    /// Reads the lists of a map that are named.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>, fields: &Fields<'_>, lists: &[&'static str]) {
        for list in lists.iter().copied() {
            let Some(node) = fields.get(list) else { continue };
            let path = fields.at(list);
            match list {
                "schemas" => self.schemas.extend(reader.schemas(fields)),
                "models" => self.providers.extend(reader.models(node, &path)),
                "vector_dbs" => self.knowledge.extend(reader.knowledge_list(node, KnowledgeKind::VectorDb, &path)),
                "embedders" => self.knowledge.extend(reader.knowledge_list(node, KnowledgeKind::Embedder, &path)),
                "knowledge_bases" => {
                    self.knowledge.extend(reader.knowledge_list(node, KnowledgeKind::KnowledgeBase, &path))
                }
                _ => {
                    for (index, node) in super::scalar::one_or_many(node).iter().enumerate() {
                        self.entry(reader, list, node, &item_path(&path, node, index));
                    }
                }
            }
        }
    }

    /// Reads one entry of a list, or a file that defines one.
    pub(crate) fn entry(&mut self, reader: &mut Reader<'_>, list: &'static str, node: &Node, path: &str) {
        match list {
            "agents" => self.agents.extend(reader.agent(node, path)),
            "tools" => self.tools.extend(reader.tool(node, path)),
            "plugins" => self.plugins.extend(reader.plugin(node, path)),
            "schemas" => self.schemas.extend(reader.schema_entry(node, path)),
            "models" => self.providers.extend(reader.model_entry(node, path)),
            "memories" => self.memories.extend(reader.memory(node, path)),
            "vector_dbs" => self.knowledge.extend(reader.knowledge_entry(node, KnowledgeKind::VectorDb, path)),
            "embedders" => self.knowledge.extend(reader.knowledge_entry(node, KnowledgeKind::Embedder, path)),
            "knowledge_bases" => {
                self.knowledge.extend(reader.knowledge_entry(node, KnowledgeKind::KnowledgeBase, path))
            }
            _ => self.mcps.extend(reader.mcp(node, path)),
        }
    }
}

impl Reader<'_> {
    /// Reads the project file.
    pub(crate) fn project(&mut self, node: &Node, definitions: &mut Definitions) -> Option<Project> {
        let fields = self.fields(node, &PROJECT, "")?;
        if let Some(author) = fields.get("author") {
            self.check(author, &PROJECT.key("author").map_or(Kind::Any, |key| key.kind), "author");
        }
        let settings = self.settings(&fields);
        let llm = fields.get("llm").and_then(|node| self.fields(node, &LLM, "llm"));
        if let Some(providers) = llm.and_then(|llm| llm.get("providers")) {
            definitions.providers.extend(self.providers(providers, "llm.providers"));
        }
        let lists = [
            "schemas",
            "models",
            "agents",
            "tools",
            "plugins",
            "mcps",
            "memories",
            "embedders",
            "vector_dbs",
            "knowledge_bases",
        ];
        definitions.read(self, &fields, &lists);
        self.project_knowledge(&fields, definitions);
        let config = fields.get("config").and_then(|node| self.fields(node, &CONFIG, "config"));
        Some(Project {
            name: self.text(&fields, "name").filter(|name| !name.is_empty()),
            version: self.text(&fields, "version").unwrap_or_default(),
            description: self.text(&fields, "description").unwrap_or_default(),
            mode: self.name(&fields, "mode").map(|name| (settings.mode, name)),
            settings,
            database_place: fields.entry("database").map(super::fields::key_place),
            workflows: fields.get("workflows").map(|node| super::scalar::one_or_many(node).to_vec()),
            defaults: config.map(|config| self.defaults(&config)).unwrap_or_default(),
            databases: self.databases(&fields),
        })
    }

    /// `models`: `{provider, model, …}`, called `provider:model` without an id.
    fn models(&mut self, node: &Node, path: &str) -> Vec<Entry> {
        let nodes = super::scalar::one_or_many(node).iter().enumerate();
        nodes.filter_map(|(index, node)| self.model_entry(node, &item_path(path, node, index))).collect()
    }

    fn model_entry(&mut self, node: &Node, path: &str) -> Option<Entry> {
        let mut entry = self.provider(node, path)?;
        if entry.id.is_none()
            && let (Some(kind), Some(model)) = (&entry.kind, &entry.model_text)
        {
            entry.id = Some(Name { text: format!("{}:{model}", kind.text), ..kind.clone() });
        }
        Some(entry)
    }

    /// `knowledge`: definitions and defaults, or bindings.
    fn project_knowledge(&mut self, fields: &Fields<'_>, definitions: &mut Definitions) {
        let Some(node) = fields.get("knowledge") else { return };
        if node.entries().is_none()
            || ["id", "knowledge_base_id", "knowledge_base"].iter().any(|key| node.get(key).is_some())
        {
            self.check(node, &crate::schema::project::BINDINGS, "knowledge");
            let message = "'knowledge' is not part of this version yet".to_owned();
            self.warn(node, "CZ0001", message);
            return;
        }
        let Some(knowledge) = self.fields(node, &crate::schema::knowledge::KNOWLEDGE, "knowledge") else { return };
        definitions.read(self, &knowledge, &["vector_dbs", "embedders", "knowledge_bases"]);
        for (key, entry) in knowledge.written().collect::<Vec<_>>() {
            if !matches!(key.name, "vector_dbs" | "embedders" | "knowledge_bases") {
                self.check(&entry.value, &key.kind, &knowledge.at(key.name));
            }
        }
    }

    fn databases(&mut self, fields: &Fields<'_>) -> Vec<(Name, NamedDatabase)> {
        let nodes = fields.get("databases").map(super::scalar::one_or_many).unwrap_or_default();
        let mut found = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let path = item_path("databases", node, index);
            let Some(fields) = self.fields(node, &NAMED_DATABASE, &path) else { continue };
            let Some(id) = self.name(&fields, "id") else {
                self.report(node.diagnostic("CZ0203", "a database needs an id").path(&path));
                continue;
            };
            let database = self.lazily(|reader| reader.database(&fields));
            found.push((id.clone(), NamedDatabase { id: id.text, database, place: node.place() }));
        }
        found
    }
}
