//! Documents to plan: references resolved, checks across sections made.

mod agents;
mod calls;
mod definitions;
mod flow;
mod memories;
mod providers;
mod tasks;
pub(crate) mod templates;
mod tools;
mod triggers;
mod workflows;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Severity};
use crate::document::project::{Definitions, Project as ProjectDocument};
use crate::document::workflow::Workflow as WorkflowDocument;
use crate::document::{Name, SchemaRef};
use crate::environment::{Environment as _, ProjectEnvironment};
use crate::plan::{MemoryDefinition, Project, ProjectFacts, Provider};
use crate::source::Place;
use crate::suggest;

/// What linking knows besides the documents.
pub(crate) struct Facts<'e> {
    pub(crate) root: PathBuf,
    pub(crate) config_file: PathBuf,
    pub(crate) strict: bool,
    pub(crate) environment: &'e ProjectEnvironment,
    /// Files as written, for the project's digest.
    pub(crate) written: Vec<(String, serde_json::Value)>,
    /// Scripts by their paths as written.
    pub(crate) scripts: BTreeMap<String, crate::script::Modules>,
    /// `runtime.entrypoint`.
    pub(crate) entrypoint: Option<Name>,
}

/// Resolves references and collects what is wrong.
pub(crate) struct Linker<'e> {
    facts: Facts<'e>,
    diagnostics: Vec<Diagnostic>,
    project_name: String,
    schemas: BTreeMap<String, serde_json::Value>,
    providers: Vec<Provider>,
    agents: BTreeMap<String, crate::document::agent::Agent>,
    tools: BTreeMap<String, crate::plan::Tool>,
    /// Plugin ids and kinds.
    plugins: BTreeMap<String, crate::plan::PluginKind>,
    /// Ids of `databases`.
    databases: Vec<String>,
    memories: BTreeMap<String, MemoryDefinition>,
    /// Ids of all workflows.
    workflow_ids: Vec<String>,
    calls: Vec<calls::Call>,
    slugs: BTreeMap<String, Place>,
    event_names: BTreeMap<String, Vec<triggers::Named>>,
    /// Ids a knowledge binding may name.
    knowledge_bases: Vec<String>,
    settings: crate::settings::Settings,
}

impl<'e> Linker<'e> {
    pub(crate) fn new(facts: Facts<'e>, diagnostics: Vec<Diagnostic>) -> Self {
        Self {
            facts,
            diagnostics,
            project_name: String::new(),
            schemas: BTreeMap::new(),
            providers: Vec::new(),
            agents: BTreeMap::new(),
            tools: BTreeMap::new(),
            plugins: BTreeMap::new(),
            databases: Vec::new(),
            memories: BTreeMap::new(),
            workflow_ids: Vec::new(),
            calls: Vec::new(),
            slugs: BTreeMap::new(),
            event_names: BTreeMap::new(),
            knowledge_bases: Vec::new(),
            settings: crate::settings::Settings::default(),
        }
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// Builds the plan.
    pub(crate) fn project(
        &mut self,
        document: ProjectDocument,
        definitions: Definitions,
        workflows: Vec<WorkflowDocument>,
    ) -> Project {
        let folder = self.facts.root.file_name().map(|name| name.to_string_lossy().into_owned());
        self.project_name = document.name.clone().or(folder).unwrap_or_else(|| "project".into());
        let facts = ProjectFacts {
            name: self.project_name.clone(),
            version: document.version.clone(),
            description: document.description.clone(),
        };
        self.settings = document.settings.clone();
        self.settings.mode = self.mode(&document);
        let models: Vec<_> =
            definitions.plugins.iter().map(|entry| (entry.plugin.id.clone(), entry.models.clone())).collect();
        let mut plugins = self.plugins(definitions.plugins, &document);
        self.databases = document.databases.iter().map(|(name, _)| name.text.clone()).collect();
        let databases = self.databases(document.databases);
        self.schemas(definitions.schemas);
        self.knowledge(&definitions.knowledge);
        self.unique_ids("mcp", &definitions.mcps);
        self.providers(definitions.providers);
        self.model_grants(&mut plugins, models);
        self.agents(definitions.agents);
        self.tools(definitions.tools);
        let memories = self.memories(definitions.memories);
        let workflows = self.workflows(workflows, &document.defaults, &facts);
        Project {
            name: facts.name,
            version: facts.version,
            description: facts.description,
            root: self.facts.root.clone(),
            config_file: self.facts.config_file.clone(),
            settings: self.settings.clone(),
            workflows,
            providers: std::mem::take(&mut self.providers),
            plugins,
            databases,
            memories,
            knowledge: definitions.knowledge.into_iter().map(|entry| entry.definition).collect(),
            digest: crate::digest::of(&self.facts.written.iter().cloned().collect::<serde_json::Map<_, _>>().into()),
        }
    }

    fn report(&mut self, problem: Diagnostic) {
        crate::diagnostic::keep(&mut self.diagnostics, problem);
    }

    /// An error in strict loads, a warning otherwise.
    fn report_loose(&mut self, problem: Diagnostic) {
        let severity = if self.facts.strict { Severity::Error } else { Severity::Warning };
        self.report(problem.severity(severity));
    }

    /// Whether an id is well formed.
    fn check_id(&mut self, name: &Name, is_model: bool) -> bool {
        let mut chars = name.text.chars();
        let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        let rest = chars.all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c) || (is_model && c == '/'));
        let is_valid = first && rest && name.text.len() <= 128;
        if !is_valid {
            let shown = crate::yaml::describe_text(&name.text);
            let problem = name.diagnostic("CZ0203", format!("id {shown} is not valid"));
            self.report(problem.help("use letters, digits and _ . : - with a letter, digit or _ first, at most 128"));
        }
        is_valid
    }

    /// Reports ids that are malformed or occur twice; says for each whether it is the first of its name.
    fn unique_ids(&mut self, kind: &str, names: &[Name]) -> Vec<bool> {
        let mut first: BTreeMap<&str, &Name> = BTreeMap::new();
        let mut unique = Vec::with_capacity(names.len());
        for name in names {
            self.check_id(name, kind == "provider");
            match first.get(name.text.as_str()) {
                Some(known) => {
                    let message = format!("duplicate {kind} id '{}': {}, {}", name.text, known.place, name.place);
                    self.report(
                        name.diagnostic("CZ0204", message)
                            .related(known.place.clone(), "first here")
                            .help("rename one"),
                    );
                    unique.push(false);
                }
                None => {
                    first.insert(&name.text, name);
                    unique.push(true);
                }
            }
        }
        unique
    }

    /// `{kind} '{id}' not found in project '{name}'. Did you mean: {list}?`
    fn not_found(&mut self, kind: &str, name: &Name, known: &[String]) {
        let near = did_you_mean(&name.text, known);
        let message = format!("{kind} '{}' not found in project '{}'{near}", name.text, self.project_name);
        self.report(name.diagnostic("CZ0205", message).help("define it, or fix the id"));
    }

    /// A schema, looked up when it is an id.
    fn schema(&mut self, schema: Option<SchemaRef>) -> Option<serde_json::Value> {
        match schema? {
            SchemaRef::Inline(value) => Some(value),
            SchemaRef::Id(name) => {
                let found = self.schemas.get(&name.text).cloned();
                if found.is_none() {
                    let known: Vec<String> = self.schemas.keys().cloned().collect();
                    self.not_found("schema", &name, &known);
                }
                found
            }
        }
    }

    /// Whether every provider is replaced by the mock, so that none needs to be configured.
    fn is_mocked(&self) -> bool {
        let value = self.facts.environment.lookup("COMPOZY_MOCK_LLM").unwrap_or_default();
        !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "false" | "no" | "off")
    }
}

/// `. Did you mean: a, b?`, or nothing.
fn did_you_mean(text: &str, known: &[String]) -> String {
    match suggest::several(text, known.iter().map(String::as_str)).as_slice() {
        [] => String::new(),
        near => format!(". Did you mean: {}?", near.join(", ")),
    }
}

/// `a -> b -> c`, long chains without their middle.
fn chain(ids: &[&str]) -> String {
    match ids {
        [a, b, c, .., x, y, z] if ids.len() > 8 => format!("{a} -> {b} -> {c} -> … -> {x} -> {y} -> {z}"),
        _ => ids.join(" -> "),
    }
}

/// Most levels of a workflow's JSON. Readers of JSON stop at 128, and it is stored inside other objects.
const MAX_JSON_DEPTH: usize = 110;

/// Writes the digests of the workflows, once their templates are known; names those that are nested too deep to be read
/// back.
pub(crate) fn seal(project: &mut Project) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for workflow in project.workflows.values_mut() {
        let workflow = std::sync::Arc::make_mut(workflow);
        workflow.digest = String::new();
        let value = serde_json::to_value(&*workflow).unwrap_or_default();
        if depth(&value) > MAX_JSON_DEPTH {
            let place = Place { file: workflow.file.as_str().into(), line: 1, column: 1 };
            let message = format!("workflow '{}': nesting deeper than {MAX_JSON_DEPTH} levels", workflow.id);
            problems.push(Diagnostic::error("CZ0104", message, place).help("flatten the values of its tasks"));
        }
        workflow.digest = crate::digest::of(&value);
    }
    problems
}

/// Lists and maps in each other.
fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        serde_json::Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}
