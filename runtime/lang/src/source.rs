//! Places in source files.

use serde::{Deserialize, Serialize};

/// A position in a source file: 1-based line and column, the column in characters.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// File as the user knows it (relative to the project folder).
    pub file: std::sync::Arc<str>,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
}
