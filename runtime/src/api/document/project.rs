//! The project as loaded.

use compozy_lang::plan::Project;
use serde::{Deserialize, Serialize};

/// `GET /project`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectDocument {
    /// Name.
    pub name: String,
    /// Version as written.
    pub version: String,
    /// Description.
    pub description: String,
    /// SHA-256 (hex) over all loaded definitions.
    pub definitions_digest: String,
    /// Ids of its workflows.
    pub workflows: Vec<String>,
    /// Ids of its LLM providers.
    pub providers: Vec<String>,
    /// Ids of its plugins.
    pub plugins: Vec<String>,
}

impl ProjectDocument {
    /// The document of a loaded project.
    #[must_use]
    pub fn new(project: &Project) -> Self {
        Self {
            name: project.name.clone(),
            version: project.version.clone(),
            description: project.description.clone(),
            definitions_digest: project.digest.clone(),
            workflows: project.workflows.keys().cloned().collect(),
            providers: project.providers.iter().map(|provider| provider.id.clone()).collect(),
            plugins: project.plugins.iter().map(|plugin| plugin.id.clone()).collect(),
        }
    }
}
