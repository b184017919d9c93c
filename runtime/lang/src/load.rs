//! From a request to a draft, and from a draft and the template plugin's reports to the plan.
//!
//! ```no_run
//! use compozy_lang::load::{self, Disk, Request, TemplateReport};
//!
//! let environment = std::sync::Arc::new(std::collections::BTreeMap::<String, String>::new());
//! let request = Request { files: &Disk, config: None, cwd: ".".into(), env_file: None, environment, overrides: vec![], strict: false };
//! let draft = load::read(&request);
//! // Here the template plugin checks `draft.template_sources()`.
//! let reports = draft.template_sources().iter().map(|_| TemplateReport::default()).collect();
//! let checked = draft.link(reports);
//! for problem in &checked.diagnostics {
//!     eprintln!("{problem}");
//! }
//! ```

mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{self, Diagnostic};
use crate::document::project::{Definitions, Project as ProjectDocument};
use crate::document::workflow::Workflow as WorkflowDocument;
use crate::document::{Check, Name, Reader};
use crate::dotenv;
use crate::environment::{Environment, ProjectEnvironment, is_name, is_secret_name};
use crate::files;
use crate::link::{self, Linker};
use crate::overlay;
use crate::plan::{Project, TemplateMode};
use crate::script::Modules;
use crate::source::{Origin, Place, Source};
use crate::yaml::{self, Limits, Node};

pub use crate::files::{Disk, Files, FolderEntry};
pub use crate::origins::Setting;

/// What to load.
pub struct Request<'a> {
    /// Where files come from.
    pub files: &'a dyn Files,
    /// The project file; `None`: `$COMPOZY_CONFIG`, `$COMPOZY_CONFIG_FILE`, `compozy.yaml`, `compozy.yml`.
    pub config: Option<PathBuf>,
    /// Folder that relative paths of this request belong to.
    pub cwd: PathBuf,
    /// The `.env` file; `None`: the one in the project folder, if there is one.
    pub env_file: Option<PathBuf>,
    /// The process environment.
    pub environment: Arc<dyn Environment>,
    /// `--set` and its shorthands: path and value.
    pub overrides: Vec<(String, String)>,
    /// Unknown keys and their like are errors.
    pub strict: bool,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("config", &self.config).field("cwd", &self.cwd).finish_non_exhaustive()
    }
}

/// A project that is read but not yet linked: its templates wait for the plugin.
#[derive(Debug)]
pub struct Draft {
    project: Option<ProjectDocument>,
    definitions: Definitions,
    workflows: Vec<WorkflowDocument>,
    checks: Vec<Check>,
    environment: ProjectEnvironment,
    diagnostics: Vec<Diagnostic>,
    missing: Vec<Diagnostic>,
    deferred: Vec<(String, Diagnostic)>,
    origins: Vec<Setting>,
    files: Vec<PathBuf>,
    written: Vec<(String, serde_json::Value)>,
    /// Scripts by their paths as written; those that cannot be used are not among them.
    scripts: BTreeMap<String, Modules>,
    /// `runtime.entrypoint`.
    entrypoint: Option<Name>,
    root: PathBuf,
    config_file: PathBuf,
    strict: bool,
}

/// A template for the plugin's `check`.
#[derive(Debug, Clone, Copy)]
pub struct TemplateSource<'d> {
    /// Its text with variables filled in; missing ones are empty.
    pub text: &'d str,
    /// Byte ranges of the text that came from outside.
    pub inert: &'d [(u32, u32)],
    /// How its result is read.
    pub mode: TemplateMode,
}

/// What the plugin's `check` says about one template.
#[derive(Debug, Clone, Default)]
pub struct TemplateReport {
    /// It holds at least one action.
    pub is_template: bool,
    /// Variables it refers to.
    pub references: Vec<TemplateReference>,
    /// What is wrong with it.
    pub problems: Vec<TemplateProblem>,
}

/// A variable that a template refers to; offsets are bytes of the source text.
#[derive(Debug, Clone, Default)]
pub struct TemplateReference {
    /// Segments after the leading dot; empty: the whole context.
    pub path: Vec<String>,
    /// Everything below `path` may be read.
    pub whole: bool,
    /// It stands inside a guard expression.
    pub guarded: bool,
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

/// A problem of a template; offsets are bytes of the source text.
#[derive(Debug, Clone, Default)]
pub struct TemplateProblem {
    /// `CZ0401` to `CZ0412`; others are shown as CZ0401.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
    /// It is only a warning.
    pub warning: bool,
}

/// The outcome of loading.
#[derive(Debug)]
pub struct Checked {
    /// The plan; missing when there is an error.
    pub project: Option<Project>,
    /// Environment of the project, also when there is no plan.
    pub environment: ProjectEnvironment,
    /// What is wrong, sorted by position, the first [`diagnostic::REPORTED`].
    pub diagnostics: Vec<Diagnostic>,
    /// How many more there are.
    pub omitted: usize,
    /// Every variable without value and default, as warnings (CZ0113) for `validate`. Not among `diagnostics`.
    pub missing_variables: Vec<Diagnostic>,
    /// Effective settings and where they came from.
    pub origins: Vec<Setting>,
    /// Files that were read, absolute, the project file first.
    pub files: Vec<PathBuf>,
}

impl Checked {
    /// Whether something stops every command.
    pub fn has_errors(&self) -> bool {
        self.project.is_none()
    }
}

/// Reads everything a project consists of. Never fails: what is wrong is told by [`Draft::link`].
pub fn read(request: &Request<'_>) -> Draft {
    tree::Loading::new(request).run()
}

impl Draft {
    /// Templates in the order in which [`Draft::link`] wants their reports. Scalars that cannot hold an action are not
    /// among them.
    pub fn template_sources(&self) -> Vec<TemplateSource<'_>> {
        self.checks
            .iter()
            .map(|check| TemplateSource { text: &check.resolved.text, inert: &check.resolved.inert, mode: check.mode })
            .collect()
    }

    /// The settings as far as they could be read, for limits of the plugin that checks the templates.
    pub fn settings(&self) -> Option<&crate::settings::Settings> {
        self.project.as_ref().map(|project| &project.settings)
    }

    /// Resolves references and builds the plan. A template without a report counts as plain text.
    pub fn link(self, reports: Vec<TemplateReport>) -> Checked {
        let Self {
            project,
            definitions,
            workflows,
            checks,
            environment,
            mut diagnostics,
            mut missing,
            deferred,
            origins,
            files,
            mut written,
            scripts,
            entrypoint,
            root,
            config_file,
            strict,
        } = self;
        let environment = environment.with_secret_names(secret_references(&written, &reports));
        let texts = scripts.values().flat_map(|modules| &modules.texts);
        written.extend(texts.map(|(name, text)| (name.clone(), crate::digest::of(&text.as_str().into()).into())));
        let mut plan = None;
        if let Some(document) = project {
            link::templates::report(&checks, &reports, &workflows, &mut diagnostics);
            let facts =
                link::Facts { root, config_file, strict, environment: &environment, written, scripts, entrypoint };
            let mut linker = Linker::new(facts, diagnostics);
            let mut project = linker.project(document, definitions, workflows);
            diagnostics = linker.into_diagnostics();
            project.settings.deferred = unique(deferred);
            link::templates::fill(&mut project, &reports);
            diagnostics.extend(link::seal(&mut project));
            plan = Some(project);
        }
        let has_errors = diagnostics.iter().any(|problem| problem.severity == diagnostic::Severity::Error);
        let (diagnostics, omitted) = diagnostic::report(diagnostics);
        missing.sort_by(|a, b| (&a.place, &a.path).cmp(&(&b.place, &b.path)));
        missing.dedup_by(|a, b| a.place == b.place);
        Checked {
            project: plan.filter(|_| !has_errors),
            environment,
            diagnostics,
            omitted,
            missing_variables: missing,
            origins,
            files,
        }
    }
}

/// Secret-looking variables that the files name as `${NAME}` or in a template as `.env.NAME`.
fn secret_references(written: &[(String, serde_json::Value)], reports: &[TemplateReport]) -> Vec<String> {
    let mut found = Vec::new();
    written.iter().for_each(|(_, document)| variables(document, &mut found));
    for reference in reports.iter().flat_map(|report| &report.references) {
        if let [root, name, ..] = reference.path.as_slice()
            && root == "env"
        {
            found.push(name.clone());
        }
    }
    found.retain(|name| is_secret_name(name));
    found
}

/// The names after each `${` in the scalars of a document, which is no deeper than its limit.
fn variables(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => {
            let names = text
                .split("${")
                .skip(1)
                .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default());
            found.extend(names.filter(|name| is_name(name)).map(str::to_owned));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| variables(item, found)),
        serde_json::Value::Object(members) => members.values().for_each(|member| variables(member, found)),
        _ => {}
    }
}

fn unique(mut deferred: Vec<(String, Diagnostic)>) -> Vec<(String, Diagnostic)> {
    deferred.sort_by(|a, b| (&a.1.place, &a.0).cmp(&(&b.1.place, &b.0)));
    deferred.dedup_by(|a, b| a.0 == b.0 && a.1.place == b.1.place);
    deferred
}
