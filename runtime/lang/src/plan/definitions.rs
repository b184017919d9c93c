//! What a project defines beside its workflows: providers, plugins, databases, knowledge.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Template;
use crate::source::Place;

/// `.project` of templates.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProjectFacts {
    /// Project name.
    pub name: String,
    /// Project version.
    pub version: String,
    /// Project description.
    pub description: String,
}

/// An entry of `llm.providers`. Its texts are resolved at the first use.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Id.
    pub id: String,
    /// `openai`, `groq`, `mock`, … (dialect §8), aliases folded.
    pub kind: String,
    /// Plugin entry, for `type: plugin`.
    pub plugin: Option<String>,
    /// `default: true`.
    pub default: bool,
    /// Model; `None`: the type's default.
    pub model: Option<Template>,
    /// Base URL; `None`: the type's default.
    pub base_url: Option<Template>,
    /// Key; `None`: the type's key variable.
    pub api_key: Option<Template>,
    /// OpenAI organization.
    pub organization: Option<Template>,
    /// Further request headers.
    pub headers: Vec<(String, Template)>,
    /// `config`, a JSON object (for `mock`: scripted answers).
    pub config: Value,
    /// `params` under the agent's and task's, a JSON object.
    pub params: serde_json::Map<String, Value>,
    /// Limit of one call; `None`: `llm.provider_timeout`.
    pub timeout: Option<Duration>,
    /// Most calls at once; `None`: `llm.rate_limiting.default_concurrency`.
    pub concurrency: Option<u32>,
    /// Most rounds of tool calls; `None`: `llm.max_tool_iterations`.
    pub max_tool_iterations: Option<u32>,
    /// Where it is written.
    pub place: Place,
}

impl Provider {
    /// The entry that a bare type stands for.
    #[must_use]
    pub fn implicit(kind: &str, id: &str, place: Place) -> Self {
        Self {
            id: id.to_owned(),
            kind: kind.to_owned(),
            plugin: None,
            default: false,
            model: None,
            base_url: None,
            api_key: None,
            organization: None,
            headers: Vec::new(),
            config: Value::Object(serde_json::Map::new()),
            params: serde_json::Map::new(),
            timeout: None,
            concurrency: None,
            max_tool_iterations: None,
            place,
        }
    }
}

/// An entry of `plugins`.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Id.
    pub id: String,
    /// A path relative to the project folder, or `builtin:NAME`.
    pub source: String,
    /// What it must export.
    pub kind: PluginKind,
    /// Expected digest, `sha256:` and 64 hex digits.
    pub digest: Option<String>,
    /// What it may do.
    pub permissions: Permissions,
    /// Caps on one call.
    pub limits: PluginLimits,
    /// Its `config:`.
    pub config: Value,
    /// Where its `source` is written.
    pub place: Place,
}

impl Plugin {
    /// The entry that a bare `builtin:NAME` stands for: nothing is granted.
    #[must_use]
    pub fn builtin(source: &str, kind: PluginKind, place: Place) -> Self {
        Self {
            id: source.to_owned(),
            source: source.to_owned(),
            kind,
            digest: None,
            permissions: Permissions::default(),
            limits: PluginLimits::default(),
            config: Value::Null,
            place,
        }
    }
}

/// What a component must export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    /// `tool`.
    Tool,
    /// `llm-provider`.
    Llm,
    /// `embedder`.
    Embedder,
    /// `template`.
    Template,
}

/// `permissions` (dialect §10.2). Empty: nothing is granted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// Patterns `[scheme://]host[:port]`.
    pub http: Vec<String>,
    /// Named databases.
    pub sql: Vec<Grant>,
    /// Vector DBs.
    pub vector: Vec<Grant>,
    /// The plugin's key-value space.
    pub kv: Access,
    /// Environment variables readable in clear.
    pub env: Vec<String>,
    /// Environment variables seen as placeholders.
    pub secrets: Vec<String>,
    /// Folders inside the project.
    pub fs: Vec<Grant>,
    /// Models it may ask; `None`: none.
    pub llm: Option<ModelGrant>,
}

/// Leave to ask models, and how much of it one call of the plugin has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelGrant {
    /// Ids of provider entries; empty: all.
    pub providers: Vec<String>,
    /// Questions.
    pub calls: u32,
    /// Tokens read and written.
    pub tokens: u64,
}

impl Default for ModelGrant {
    fn default() -> Self {
        Self { providers: Vec::new(), calls: 20, tokens: 100_000 }
    }
}

/// Leave to use one named thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Id of the database or vector DB, or a path.
    pub id: String,
    /// Whether it may also write.
    pub write: bool,
}

/// How far a grant goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Not at all.
    #[default]
    None,
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// `limits` of a plugin (dialect §10.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginLimits {
    /// Linear memory of one instance in bytes.
    pub memory_bytes: u64,
    /// Longest call.
    pub timeout: Duration,
    /// Bytes of one answer.
    pub output_bytes: u64,
    /// Fuel of one call; `None`: off.
    pub fuel: Option<u64>,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self { memory_bytes: 64 << 20, timeout: Duration::from_secs(30), output_bytes: 10 << 20, fuel: None }
    }
}

/// An entry of `databases`.
#[derive(Debug, Clone)]
pub struct NamedDatabase {
    /// Label that plugins use.
    pub id: String,
    /// Settings as in `database:`.
    pub database: crate::settings::Database,
    /// Where it is written.
    pub place: Place,
}

/// A definition of the knowledge sections, kept as it is written for the part of compozy that reads it.
#[derive(Debug, Clone)]
pub struct KnowledgeDefinition {
    /// Which list it stands in.
    pub kind: KnowledgeKind,
    /// Id.
    pub id: String,
    /// Its keys with the variables that are set filled in.
    pub value: Value,
    /// Where it is written.
    pub place: Place,
}

/// Lists of the knowledge sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnowledgeKind {
    /// `vector_dbs`.
    VectorDb,
    /// `embedders`.
    Embedder,
    /// `knowledge_bases`.
    KnowledgeBase,
}
