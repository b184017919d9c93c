//! Trees read into typed documents: what was written, references still by name.
//!
//! Reading never stops at a problem: it reports it and goes on with what can be read, so that one load names everything
//! that is wrong. [`crate::link`] turns documents into the plan.

pub(crate) mod agent;
mod cases;
mod check;
mod concurrency;
mod condition;
mod database;
mod fields;
pub(crate) mod knowledge;
mod mcp;
pub(crate) mod memory;
pub(crate) mod plugin;
pub(crate) mod project;
pub(crate) mod provider;
mod reader;
mod scalar;
pub(crate) mod schedule;
mod schema;
pub(crate) mod settings;
pub(crate) mod task;
mod template;
pub(crate) mod tool;
pub(crate) mod trigger;
pub(crate) mod workflow;

pub(crate) use fields::item_path;
pub(crate) use reader::{Reader, SiteKind};
pub(crate) use schema::{Schema, SchemaRef};
pub(crate) use template::Check;

use crate::source::Place;

/// A name of something, with the place it is written at.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    /// The name.
    pub(crate) text: String,
    /// Where it is written.
    pub(crate) place: Place,
    /// Its length in characters.
    pub(crate) length: u32,
}

impl Name {
    /// A diagnostic at the name.
    pub(crate) fn diagnostic(&self, code: &'static str, message: impl Into<String>) -> crate::diagnostic::Diagnostic {
        crate::diagnostic::Diagnostic::error(code, message, self.place.clone()).length(self.length)
    }
}

/// Something that exists in the language and not in this version (CZ0001), where it is used.
#[derive(Debug, Clone)]
pub(crate) struct Unsupported {
    /// What it is, as it stands in the message.
    pub(crate) what: String,
    /// Where it is used.
    pub(crate) place: Place,
    /// Only a warning: the rest works without it.
    pub(crate) is_warning: bool,
}

impl Unsupported {
    /// The diagnostic.
    pub(crate) fn diagnostic(&self) -> crate::diagnostic::Diagnostic {
        let message = format!("'{}' is not part of this version yet", self.what);
        let problem = crate::diagnostic::Diagnostic::error("CZ0001", message, self.place.clone());
        if self.is_warning { problem.severity(crate::diagnostic::Severity::Warning) } else { problem }
    }
}
