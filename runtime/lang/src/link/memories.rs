//! Memories.

use crate::document::Name;
use crate::plan::MemoryDefinition;

use super::Linker;

impl Linker<'_> {
    /// Registers the memories of all files.
    pub(super) fn memories(&mut self, entries: Vec<(Name, MemoryDefinition)>) -> Vec<MemoryDefinition> {
        let names: Vec<Name> = entries.iter().map(|(name, _)| name.clone()).collect();
        let unique = self.unique_ids("memory", &names);
        let mut memories = Vec::new();
        for ((name, definition), is_first) in entries.into_iter().zip(unique) {
            self.not_yet("memories", name.place);
            if is_first {
                self.memories.insert(name.text, definition.clone());
                memories.push(definition);
            }
        }
        memories
    }
}
