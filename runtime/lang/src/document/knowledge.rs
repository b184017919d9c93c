//! Vector databases, embedders and knowledge bases: checked by their tables and kept as written.

use crate::plan::{KnowledgeDefinition, KnowledgeKind};
use crate::schema::knowledge::{EMBEDDER, KNOWLEDGE_BASE, VECTOR_DB};
use crate::schema::{Kind, Table};
use crate::yaml::Node;

use super::reader::Reader;
use super::{Name, item_path};

/// A definition with what the checks across sections need.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    /// Id, or empty.
    pub(crate) id: Name,
    /// Its provider (or type), filled in.
    pub(crate) provider: Option<Name>,
    /// The definition.
    pub(crate) definition: KnowledgeDefinition,
}

impl Reader<'_> {
    /// Entries of one list.
    pub(crate) fn knowledge_list(&mut self, node: &Node, kind: KnowledgeKind, path: &str) -> Vec<Definition> {
        let nodes = super::scalar::one_or_many(node).iter().enumerate();
        nodes.filter_map(|(index, node)| self.knowledge_entry(node, kind, &item_path(path, node, index))).collect()
    }

    /// One entry.
    pub(crate) fn knowledge_entry(&mut self, node: &Node, kind: KnowledgeKind, path: &str) -> Option<Definition> {
        let table: &'static Table = match kind {
            KnowledgeKind::VectorDb => &VECTOR_DB,
            KnowledgeKind::Embedder => &EMBEDDER,
            KnowledgeKind::KnowledgeBase => &KNOWLEDGE_BASE,
        };
        self.check(node, &Kind::Map(table), path);
        node.entries()?;
        let id = node.get("id").and_then(|id| self.name_of(id, path));
        // Every setting may also stand under `config`.
        let inner = node.get("config");
        let provider = ["provider", "type"]
            .iter()
            .find_map(|key| node.get(key))
            .or_else(|| ["provider", "type"].iter().find_map(|key| inner?.get(key)))
            .and_then(|provider| self.name_of(provider, path));
        let value = self.lazily(|reader| reader.value(node, path));
        let id = id.unwrap_or(Name { text: String::new(), place: node.place(), length: 1 });
        let definition = KnowledgeDefinition { kind, id: id.text.clone(), value, place: node.place() };
        Some(Definition { id, provider, definition })
    }
}
