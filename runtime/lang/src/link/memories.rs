//! Memories, memory tasks and the memories of prompts.

use crate::document::Name;
use crate::document::memory::MemoryUse;
use crate::document::task::Memory;
use crate::plan::{self, MemoryBinding, MemoryDefinition, TaskKind};

use super::Linker;
use super::tasks::{Used, Written};

impl Linker<'_> {
    /// Registers the memories of all files.
    pub(super) fn memories(&mut self, entries: Vec<(Name, MemoryDefinition)>) -> Vec<MemoryDefinition> {
        let names: Vec<Name> = entries.iter().map(|(name, _)| name.clone()).collect();
        let unique = self.unique_ids("memory", &names);
        let mut memories = Vec::new();
        for ((name, definition), is_first) in entries.into_iter().zip(unique) {
            if is_first {
                self.memories.insert(name.text, definition.clone());
                memories.push(definition);
            }
        }
        memories
    }

    /// A memory task.
    pub(super) fn memory(&mut self, memory: Memory, task: &Written<'_>, used: &mut Used) -> Option<TaskKind> {
        let definition = self.memory_of(&memory.memory)?;
        if memory.key.is_none() && definition.default_key.is_none() {
            self.needs_key(task.id, format!("memory task '{}' needs 'key_template'", task.id.text), &definition);
        }
        used.memories.insert(definition.id.clone(), definition);
        Some(TaskKind::Memory(plan::Memory {
            operation: memory.operation,
            memory: memory.memory.text,
            key: memory.key,
            payload: memory.payload,
            options: memory.options,
        }))
    }

    /// Gives a prompt the memories of its task, which replace those of its agent with the same id, and checks them all.
    pub(super) fn prompt_memories(&mut self, kind: &mut TaskKind, of_task: Vec<MemoryUse>, used: &mut Used) {
        let TaskKind::Prompt(prompt) = kind else { return };
        for of_task in of_task {
            let binding = self.memory_binding(&of_task, used);
            prompt.memories.retain(|known| known.memory != of_task.id.text);
            prompt.memories.extend(binding);
        }
    }

    /// A memory of a prompt.
    pub(super) fn memory_binding(&mut self, written: &MemoryUse, used: &mut Used) -> Option<MemoryBinding> {
        let definition = self.memory_of(&written.id)?;
        if written.key.is_none() && definition.default_key.is_none() {
            self.needs_key(&written.id, format!("memory '{}' needs a 'key' here", written.id.text), &definition);
        }
        used.memories.insert(definition.id.clone(), definition);
        let MemoryUse { id, read_only, key } = written.clone();
        Some(MemoryBinding { memory: id.text, read_only, key })
    }

    fn memory_of(&mut self, name: &Name) -> Option<MemoryDefinition> {
        let found = self.memories.get(&name.text).cloned();
        if found.is_none() {
            let known: Vec<String> = self.memories.keys().cloned().collect();
            self.not_found("memory", name, &known);
        }
        found
    }

    fn needs_key(&mut self, name: &Name, message: String, definition: &MemoryDefinition) {
        let problem = name.diagnostic("CZ0309", message).related(definition.place.clone(), "the memory has no default");
        self.report(problem.help("add it, or default_key_template to the memory"));
    }
}
