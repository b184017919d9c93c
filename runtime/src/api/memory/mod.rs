//! `/memory`: what memory tasks do, from outside. The answers are those of the tasks (dialect §13.1).

pub(super) mod change;
pub(super) mod overview;
pub(super) mod read;

use compozy_lang::plan::{MemoryDefinition, Project};

use super::code;
use super::error::Problem;
use super::query::nearest;
use crate::memory::Error;

/// The memory `id` of the project.
fn find<'p>(project: &'p Project, id: &str) -> Result<&'p MemoryDefinition, Problem> {
    project.memories.iter().find(|memory| memory.id == id).ok_or_else(|| {
        let shown: String = id.chars().take(64).flat_map(char::escape_debug).collect();
        let near = nearest(id, project.memories.iter().map(|memory| memory.id.as_str()));
        let hint = near.map(|near| format!("did you mean '{near}'?"));
        Problem::new(code::MEMORY_NOT_FOUND, format!("memory '{shown}' not found")).maybe_hint(hint)
    })
}

/// Why an operation failed.
fn failed(operation: &str, error: Error) -> Problem {
    match error {
        Error::Storage(error) => error.into(),
        Error::Refused(_) | Error::Summary(_) | Error::Canceled => {
            Problem::new(code::MEMORY_FAILED, format!("memory {operation} failed: {error}"))
        }
    }
}
