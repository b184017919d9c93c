//! Agents: registered ones, and those written in a task.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::diagnostic::Severity;
use crate::plan::{Template, TemplateMode, ValueTemplate};
use crate::schema::Kind;
use crate::schema::definitions::{ACTION, AGENT};
use crate::source::Place;
use crate::yaml::Node;

use super::fields::Fields;
use super::memory::MemoryUse;
use super::provider::Entry;
use super::reader::{Reader, SiteKind};
use super::tool::ToolRef;
use super::{Name, SchemaRef, Unsupported, item_path};

/// An agent as written. Every part may be absent: it may replace parts of a registered one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agent {
    /// Id, if it has one.
    pub(crate) id: Option<Name>,
    /// The system prompt.
    pub(crate) instructions: Option<Template>,
    /// Its provider.
    pub(crate) llm: Option<Llm>,
    /// Its model.
    pub(crate) model: Option<String>,
    /// Sampling settings.
    pub(crate) params: Map<String, Value>,
    /// Named prompts.
    pub(crate) actions: Vec<Action>,
    /// Values under those of the task.
    pub(crate) with: Option<ValueTemplate>,
    /// `.env` names under those of the task.
    pub(crate) env: BTreeMap<String, Template>,
    /// What it uses that is not part of this version.
    pub(crate) unsupported: Vec<Unsupported>,
    /// Knowledge bases it is bound to.
    pub(crate) bindings: Vec<Name>,
    /// Memories it is bound to.
    pub(crate) memories: Vec<MemoryUse>,
    /// Tools it may call.
    pub(crate) tools: Vec<ToolRef>,
    /// Most rounds of tool calls.
    pub(crate) max_iterations: Option<u32>,
}

/// Which provider.
#[derive(Debug, Clone)]
pub(crate) enum Llm {
    /// An entry of `llm.providers`, or a type.
    Id(Name),
    /// Written in place.
    Entry(Box<Entry>),
}

/// An action of an agent.
#[derive(Debug, Clone)]
pub(crate) struct Action {
    /// Id.
    pub(crate) id: Name,
    /// What the model is asked.
    pub(crate) prompt: Option<Template>,
    /// Schema of the values.
    pub(crate) input: Option<SchemaRef>,
    /// Schema of the answer.
    pub(crate) output: Option<SchemaRef>,
    /// Values under those of the task, over those of the agent.
    pub(crate) with: Option<ValueTemplate>,
}

/// An agent of a task.
#[derive(Debug, Clone)]
pub(crate) enum AgentRef {
    /// A registered one.
    Id(Name),
    /// Written in place; with the id of a registered one it replaces parts of that.
    Inline(Box<Agent>),
}

impl Reader<'_> {
    /// Reads one agent.
    pub(crate) fn agent(&mut self, node: &Node, path: &str) -> Option<Agent> {
        self.anywhere(|reader| reader.agent_fields(node, path))
    }

    fn agent_fields(&mut self, node: &Node, path: &str) -> Option<Agent> {
        let fields = self.fields(node, &AGENT, path)?;
        let mut agent = Agent { id: self.name(&fields, "id"), ..Agent::default() };
        self.at(SiteKind::Task, |reader| {
            agent.instructions = fields
                .get("instructions")
                .and_then(|node| reader.template(node, &fields.at("instructions"), TemplateMode::Text));
            agent.with = fields.get("with").map(|node| {
                reader.at(SiteKind::With, |reader| reader.templates(node, &fields.at("with"), TemplateMode::Value))
            });
            agent.env = fields
                .get("env")
                .map(|node| reader.template_map(node, &fields.at("env")))
                .unwrap_or_default()
                .into_iter()
                .collect();
            agent.actions = reader.actions(&fields);
        });
        self.model(&fields, &mut agent);
        agent.params.extend(self.params(&fields));
        agent.bindings = self.bindings(&fields);
        agent.memories = self.memory_uses(&fields);
        agent.tools = self.tool_refs(&fields);
        agent.max_iterations = self.number(&fields, "max_iterations").filter(|rounds| *rounds > 0);
        agent.unsupported = self.unsupported_keys(&fields, &["mcps", "attachments"], &["knowledge"]);
        Some(agent)
    }

    /// The agent of a task: an id, or an agent.
    pub(crate) fn agent_ref(&mut self, node: &Node, path: &str) -> Option<AgentRef> {
        if node.scalar().is_some() {
            return self.name_of(node, path).map(AgentRef::Id);
        }
        let agent = self.agent(node, path)?;
        let only_id = node.entries().is_some_and(|entries| entries.iter().all(|entry| &*entry.key == "id"));
        match (only_id, agent.id) {
            (true, Some(id)) => Some(AgentRef::Id(id)),
            (_, id) => Some(AgentRef::Inline(Box::new(Agent { id, ..agent }))),
        }
    }

    /// `llm` and `model` in all their spellings.
    fn model(&mut self, fields: &Fields<'_>, agent: &mut Agent) {
        if let Some(node) = fields.get("llm") {
            agent.llm = self.llm(node, &fields.at("llm"));
        }
        let Some(node) = fields.get("model") else { return };
        let path = fields.at("model");
        if node.entries().is_some() {
            if let Some(entry) = self.provider(node, &path) {
                agent.llm = Some(Llm::Entry(Box::new(entry)));
            }
            return;
        }
        let Some(name) = self.name_of(node, &path) else { return };
        match name.text.split_once(':') {
            // `llama3.2:3b` is a model with a tag, not a provider's.
            Some((provider, model)) if agent.llm.is_none() && super::provider::canonical_type(provider).is_some() => {
                agent.llm = Some(Llm::Id(Name { text: provider.to_owned(), ..name.clone() }));
                agent.model = Some(model.to_owned());
            }
            _ => agent.model = Some(name.text),
        }
    }

    /// A provider: an id, or an entry.
    pub(crate) fn llm(&mut self, node: &Node, path: &str) -> Option<Llm> {
        if node.entries().is_some() {
            return self.provider(node, path).map(|entry| Llm::Entry(Box::new(entry)));
        }
        self.name_of(node, path).map(Llm::Id)
    }

    fn actions(&mut self, fields: &Fields<'_>) -> Vec<Action> {
        let path = fields.at("actions");
        let nodes = fields.get("actions").map(super::scalar::one_or_many).unwrap_or_default();
        let mut actions = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let path = item_path(&path, node, index);
            let Some(fields) = self.fields(node, &ACTION, &path) else { continue };
            let Some(id) = self.name(&fields, "id") else {
                self.report(node.diagnostic("CZ0203", "an action needs an id").path(&path));
                continue;
            };
            if let Some(node) = fields.get("attachments") {
                self.unsupported("attachments", node.place());
            }
            actions.push(Action {
                id,
                prompt: fields
                    .get("prompt")
                    .and_then(|node| self.template(node, &fields.at("prompt"), TemplateMode::Text)),
                input: self.schema(&fields, "input"),
                output: self.schema(&fields, "output"),
                with: fields.get("with").map(|node| {
                    self.at(SiteKind::With, |reader| reader.templates(node, &fields.at("with"), TemplateMode::Value))
                }),
            });
        }
        actions
    }

    /// Keys that are recognised, checked and not part of this version: those that make a task wrong, and those it can
    /// run without.
    pub(crate) fn unsupported_keys(
        &mut self,
        fields: &Fields<'_>,
        wrong: &[&str],
        without: &[&str],
    ) -> Vec<Unsupported> {
        let mut found = Vec::new();
        for name in wrong.iter().chain(without) {
            let Some(node) = fields.get(name).filter(|node| node.items().is_none_or(|items| !items.is_empty())) else {
                continue;
            };
            if let Some(key) = fields.key(name)
                && !matches!(key.kind, Kind::Any)
            {
                self.check(node, &key.kind, &fields.at(name));
            }
            let place: Place = fields.place(name);
            found.push(Unsupported { what: (*name).to_owned(), place, is_warning: without.contains(name) });
        }
        found
    }

    /// Ids of the knowledge bases of a `knowledge` key.
    pub(crate) fn bindings(&mut self, fields: &Fields<'_>) -> Vec<Name> {
        let nodes = fields.get("knowledge").map(super::scalar::one_or_many).unwrap_or_default();
        let path = fields.at("knowledge");
        let mut found = Vec::new();
        for node in nodes {
            let id = match node.entries() {
                Some(_) => ["id", "knowledge_base_id", "knowledge_base"].iter().find_map(|key| node.get(key)),
                None => Some(node),
            };
            found.extend(id.and_then(|id| self.name_of(id, &path)));
        }
        found
    }

    /// A warning that is printed once per place.
    pub(crate) fn warn(&mut self, node: &Node, code: &'static str, message: String) {
        self.report(node.diagnostic(code, message).severity(Severity::Warning));
    }
}
