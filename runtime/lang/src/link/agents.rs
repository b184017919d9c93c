//! Agents: registered, replaced in part, or written in a task.

use crate::document::Name;
use crate::document::agent::{Action, Agent, AgentRef};
use crate::plan::{Segment, Template, ValueTemplate};

use super::Linker;

impl Linker<'_> {
    /// Registers the agents of all files.
    pub(super) fn agents(&mut self, agents: Vec<Agent>) {
        let mut with_id = Vec::new();
        for agent in agents {
            match agent.id.clone() {
                Some(id) => with_id.push((id, agent)),
                None => {
                    let place = agent.instructions.as_ref().map(|template| template.place.clone()).unwrap_or_default();
                    self.report(
                        crate::diagnostic::Diagnostic::error("CZ0203", "an agent needs an id", place).help("add it"),
                    );
                }
            }
        }
        let names: Vec<Name> = with_id.iter().map(|(id, _)| id.clone()).collect();
        let unique = self.unique_ids("agent", &names);
        for ((id, agent), is_first) in with_id.into_iter().zip(unique) {
            if is_first {
                self.agents.insert(id.text, agent);
            }
        }
    }

    /// The agent of a task.
    pub(super) fn agent(&mut self, reference: &AgentRef) -> Option<Agent> {
        match reference {
            AgentRef::Id(name) => {
                let found = self.agents.get(&name.text).cloned();
                if found.is_none() {
                    let known: Vec<String> = self.agents.keys().cloned().collect();
                    self.not_found("agent", name, &known);
                }
                found
            }
            AgentRef::Inline(agent) => {
                let base = agent.id.as_ref().and_then(|id| self.agents.get(&id.text));
                Some(match base {
                    Some(base) => replace(base, agent),
                    None => (**agent).clone(),
                })
            }
        }
    }

    /// The action of a task.
    pub(super) fn action(&mut self, agent: &Agent, name: &Name) -> Option<Action> {
        let found = agent.actions.iter().find(|action| action.id.text == name.text).cloned();
        if found.is_none() {
            let known: Vec<String> = agent.actions.iter().map(|action| action.id.text.clone()).collect();
            self.not_found("action", name, &known);
        }
        found
    }

    /// Values laid over each other by their top-level keys, the last wins.
    pub(super) fn overlay(
        &mut self,
        under: Option<ValueTemplate>,
        over: Option<ValueTemplate>,
        place: &Name,
    ) -> Option<ValueTemplate> {
        let (under, over) = match (under, over) {
            (Some(under), Some(over)) => (under, over),
            (under, over) => return over.or(under),
        };
        let (Some(under), Some(over)) = (members(under), members(over)) else {
            let message = "with: expected maps to lay over each other, got another value";
            self.report(
                place.diagnostic("CZ0110", message).help("write the agent's, the action's and the task's with as maps"),
            );
            return None;
        };
        let mut merged = under;
        for (key, value) in over {
            match merged.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => *known = value,
                None => merged.push((key, value)),
            }
        }
        Some(ValueTemplate::Map(merged))
    }
}

/// `base` with the parts that `over` has.
fn replace(base: &Agent, over: &Agent) -> Agent {
    let over = over.clone();
    Agent {
        id: over.id,
        instructions: over.instructions.or_else(|| base.instructions.clone()),
        llm: over.llm.or_else(|| base.llm.clone()),
        model: over.model.or_else(|| base.model.clone()),
        params: if over.params.is_empty() { base.params.clone() } else { over.params },
        actions: if over.actions.is_empty() { base.actions.clone() } else { over.actions },
        with: over.with.or_else(|| base.with.clone()),
        env: if over.env.is_empty() { base.env.clone() } else { over.env },
        unsupported: base.unsupported.iter().cloned().chain(over.unsupported).collect(),
        bindings: if over.bindings.is_empty() { base.bindings.clone() } else { over.bindings },
        memories: if over.memories.is_empty() { base.memories.clone() } else { over.memories },
        tools: if over.tools.is_empty() { base.tools.clone() } else { over.tools },
        max_iterations: over.max_iterations.or(base.max_iterations),
    }
}

/// Entries of a map of values.
fn members(value: ValueTemplate) -> Option<Vec<(String, ValueTemplate)>> {
    match value {
        ValueTemplate::Map(members) => Some(members),
        ValueTemplate::Fixed(serde_json::Value::Object(members)) => {
            Some(members.into_iter().map(|(key, value)| (key, ValueTemplate::Fixed(value))).collect())
        }
        _ => None,
    }
}

/// An action's prompt, a blank line, the task's prompt.
pub(super) fn join(first: Option<Template>, second: Option<Template>) -> Option<Template> {
    let (mut first, second) = match (first, second) {
        (Some(first), Some(second)) => (first, second),
        (first, second) => return first.or(second),
    };
    first.segments.push(Segment::Literal("\n\n".into()));
    first.segments.extend(second.segments);
    first.checks.extend(second.checks);
    first.plain = false;
    Some(first)
}
