//! The state of reading: what was found besides the documents.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnostic::{self, Diagnostic, Severity};
use crate::environment::ProjectEnvironment;
use crate::interpolate::{MissingVariable, Parts, Resolved, Run};
use crate::plan::Segment;
use crate::script::ScriptRef;
use crate::source::Place;
use crate::yaml::raw::Places;
use crate::yaml::{Node, Style};

use super::template::Check;

/// Most missing variables kept.
const KEPT: usize = 2_000;

/// Reads trees into documents and collects what is wrong.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    /// Variables.
    pub(crate) environment: &'a ProjectEnvironment,
    /// Warnings about keys are errors.
    pub(crate) strict: bool,
    /// Everything that is wrong.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Every variable without value and default, used or not.
    pub(crate) missing: Vec<Diagnostic>,
    /// Values that wait for a missing variable: key path and problem.
    pub(crate) deferred: Vec<(String, Diagnostic)>,
    /// Templates for the plugin.
    pub(crate) checks: Vec<Check>,
    /// Variables that stand in secret keys.
    pub(crate) secret_names: BTreeSet<String>,
    /// Scripts of tools, and the one of `runtime.entrypoint`.
    pub(crate) scripts: Vec<ScriptRef>,
    /// `runtime.entrypoint`.
    pub(crate) entrypoint: Option<super::Name>,
    /// A missing variable is kept for later instead of being an error.
    pub(crate) lazily: bool,
    /// Which templates are being read.
    pub(crate) site: Site,
    /// Ids of all tasks of the workflow being read.
    pub(crate) task_ids: Vec<String>,
    /// Tasks around the one being read.
    pub(crate) depth: usize,
}

/// Where a template stands: decides which variables it may name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Site {
    /// What kind of place.
    pub(crate) kind: SiteKind,
    /// Number of the workflow, if it is inside one.
    pub(crate) workflow: Option<usize>,
    /// Variables that only some tasks have: those of the containers around, children, the signal of a wait.
    pub(crate) names: Arc<[String]>,
}

/// Kinds of places that hold templates (dialect §6.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SiteKind {
    /// Settings and definitions: only `.env` and `.project`.
    #[default]
    Definition,
    /// A task's `with`.
    With,
    /// Other fields of a task, an agent's texts.
    Task,
    /// A task's `outputs`, `final`, `on_success`.
    Output,
    /// A task's `on_error`.
    Error,
    /// Workflow `outputs`.
    WorkflowOutputs,
    /// What a webhook makes of a request.
    Request,
}

/// A scalar with its variables filled in.
#[derive(Debug)]
pub(crate) struct Filled {
    /// The text.
    pub(crate) text: String,
    /// At least one variable stood in it.
    pub(crate) has_variable: bool,
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing yet.
    pub(crate) fn new(environment: &'a ProjectEnvironment, strict: bool) -> Self {
        Self {
            environment,
            strict,
            diagnostics: Vec::new(),
            missing: Vec::new(),
            deferred: Vec::new(),
            checks: Vec::new(),
            secret_names: BTreeSet::new(),
            scripts: Vec::new(),
            entrypoint: None,
            lazily: false,
            site: Site::default(),
            task_ids: Vec::new(),
            depth: 0,
        }
    }

    /// Reports a problem.
    pub(crate) fn report(&mut self, problem: Diagnostic) {
        diagnostic::keep(&mut self.diagnostics, problem);
    }

    /// Reports a problem that is an error in strict loads and a warning otherwise.
    pub(crate) fn report_loose(&mut self, problem: Diagnostic) {
        let severity = if self.strict { Severity::Error } else { Severity::Warning };
        self.report(problem.severity(severity));
    }

    /// `{path}: expected {type}, got {found}`.
    pub(crate) fn expected(&mut self, node: &Node, path: &str, what: &str) {
        let subject = if path.is_empty() { node.source.name.as_ref() } else { path };
        let message = format!("{subject}: expected {what}, got {}", node.describe());
        self.report(node.diagnostic("CZ0110", message).path(path));
    }

    /// `expected` for text that was filled in and so is not what stands in the file.
    pub(crate) fn expected_text(&mut self, node: &Node, path: &str, what: &str, text: &str) {
        let message = format!("{path}: expected {what}, got {}", crate::yaml::describe_text(text));
        self.report(node.diagnostic("CZ0110", message).path(path));
    }

    /// Runs `read` with missing variables kept for later.
    pub(crate) fn lazily<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.lazily, true);
        let found = read(self);
        self.lazily = before;
        found
    }

    /// Runs `read` with templates counted as standing at another kind of place.
    pub(crate) fn at<T>(&mut self, kind: SiteKind, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.site.kind, kind);
        let found = read(self);
        self.site.kind = before;
        found
    }

    /// Runs `read` with more variables that templates may name.
    pub(crate) fn with_names<T>(&mut self, names: &[&str], read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.site.names.clone();
        let new = names.iter().filter(|name| !before.iter().any(|known| known == *name));
        self.site.names = before.iter().cloned().chain(new.map(|name| (*name).to_owned())).collect();
        let found = read(self);
        self.site.names = before;
        found
    }

    /// Runs `read` for something that is registered: tasks of any kind and place may use it.
    pub(crate) fn anywhere<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        if self.site.workflow.is_some() {
            return read(self);
        }
        self.with_names(&["parent", "item", "index"], read)
    }

    /// Takes a scalar apart and reports what only looks like a variable.
    pub(crate) fn parts(&mut self, node: &Node) -> Parts {
        let Some(scalar) = node.scalar() else { return Parts::default() };
        if scalar.style == Style::Given || !scalar.text.contains('$') {
            let piece = Segment::Literal(scalar.text.to_string());
            let pieces = if scalar.text.is_empty() { Vec::new() } else { vec![(piece, 0, scalar.text.len())] };
            return Parts { pieces, odd: Vec::new() };
        }
        let places = Places::of(node);
        let parts = Parts::of(&scalar.text, &|start, end| places.at(start, end).0);
        for (start, end) in &parts.odd {
            let (place, length) = places.at(*start, *end);
            let text: String = scalar.text.get(*start..*end).unwrap_or_default().chars().take(60).collect();
            let problem =
                Diagnostic::warning("CZ0115", format!("'{text}' is not a variable reference, kept as text"), place);
            self.report(problem.length(length).help("write $${ for a literal ${"));
        }
        parts
    }

    /// Fills in the variables of a scalar now. `None`: one is missing, which is reported or kept for later.
    pub(crate) fn fill(&mut self, node: &Node, path: &str) -> Option<Filled> {
        node.scalar()?;
        let parts = self.parts(node);
        let has_variable = parts.has_variable();
        let (resolved, missing, _) = parts.fill(self.environment);
        if missing.is_empty() {
            return Some(Filled { text: resolved.text, has_variable });
        }
        for variable in missing {
            let problem = variable.diagnostic(path);
            self.note_missing(&variable, path);
            if self.lazily {
                self.deferred.push((path.to_owned(), problem));
            } else {
                self.report(problem);
            }
        }
        None
    }

    /// Fills in what can be filled in, for a check.
    pub(crate) fn fill_for_check(&mut self, parts: &Parts, path: &str) -> (Resolved, Vec<Run>) {
        let (resolved, missing, runs) = parts.fill(self.environment);
        for variable in missing {
            self.note_missing(&variable, path);
        }
        (resolved, runs)
    }

    /// Remembers a missing variable for the warnings of `validate`.
    pub(crate) fn note_missing(&mut self, variable: &MissingVariable, path: &str) {
        if self.missing.len() < KEPT {
            self.missing.push(variable.diagnostic(path).severity(Severity::Warning));
        }
    }

    /// Something that is not part of this version.
    pub(crate) fn unsupported(&mut self, what: &str, place: Place) {
        let unsupported = super::Unsupported { what: what.to_owned(), place, is_warning: false };
        self.report(unsupported.diagnostic());
    }
}
