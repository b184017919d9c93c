//! What is wrong with a project, where, and how to mend it.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::source::Place;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The command stops.
    Error,
    /// Printed; work goes on.
    Warning,
    /// Printed by `validate` and at log level debug only.
    Note,
}

impl Severity {
    /// The word before the code.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code of [`crate::codes`].
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence without a full stop.
    pub message: String,
    /// Where.
    pub place: Place,
    /// Characters from `place` on the same line that the problem covers, at least 1.
    pub span_len: u32,
    /// Key path such as `llm.providers[0].type`, or empty.
    pub path: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Other places that matter, with a short text each.
    pub related: Vec<(Place, String)>,
}

/// Most characters of one text of a diagnostic: what it quotes may be as long as the file.
const LONGEST: usize = 2_000;

/// A text of a diagnostic, cut to a length that can be read.
fn cut(text: impl Into<String>) -> String {
    let mut text = text.into();
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, message: impl Into<String>, place: Place) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: cut(message),
            place,
            span_len: 1,
            path: String::new(),
            help: None,
            related: Vec::new(),
        }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, message: impl Into<String>, place: Place) -> Self {
        Self::error(code, message, place).severity(Severity::Warning)
    }

    /// A note at a place.
    pub fn note(code: &'static str, message: impl Into<String>, place: Place) -> Self {
        Self::error(code, message, place).severity(Severity::Note)
    }

    /// The same with another severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// The same with a help text.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(cut(help));
        self
    }

    /// The same with a length in characters.
    #[must_use]
    pub fn length(mut self, characters: u32) -> Self {
        self.span_len = characters.max(1);
        self
    }

    /// The same with a key path.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = cut(path);
        self
    }

    /// The same with one more place.
    #[must_use]
    pub fn related(mut self, place: Place, text: impl Into<String>) -> Self {
        self.related.push((place, cut(text)));
        self
    }

    /// The error document of dialect §15.
    pub fn to_json(&self) -> Value {
        json!({"error": {
            "code": self.code,
            "severity": self.severity.word(),
            "message": self.message,
            "file": &*self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "path": self.path,
            "help": self.help,
        }})
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().get("error").serialize(serializer)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}\n  --> {}", self.severity.word(), self.code, self.message, self.place)?;
        for (place, text) in &self.related {
            write!(f, "\n  also: {place} ({text})")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Most problems kept while loading: more than are shown, few enough for hostile files, since each is worked out with
/// its suggestion.
const KEPT: usize = 500;

/// From this many omitted problems on there may be still more: they were not kept.
pub const COUNTED: usize = KEPT - REPORTED;

/// Keeps a problem. Warnings and notes never crowd out errors.
pub(crate) fn keep(all: &mut Vec<Diagnostic>, problem: Diagnostic) {
    if is_kept(all, problem.severity) {
        all.push(problem);
    }
}

/// Whether one more problem of this severity would be kept; if not, it need not be worked out.
pub(crate) fn is_kept(all: &[Diagnostic], severity: Severity) -> bool {
    all.len() < if severity == Severity::Error { 2 * KEPT } else { KEPT }
}

/// Most problems that one load reports.
pub const REPORTED: usize = 50;

/// Sorts problems by position, keeps the first [`REPORTED`] and says how many were left out. Errors go before
/// warnings and notes when there are too many, so that a load never fails without showing why.
pub fn report(mut all: Vec<Diagnostic>) -> (Vec<Diagnostic>, usize) {
    all.sort_by(|a, b| (&a.place, a.severity, a.code, &a.message).cmp(&(&b.place, b.severity, b.code, &b.message)));
    all.dedup_by(|a, b| a.place == b.place && a.code == b.code && a.message == b.message);
    let omitted = all.len().saturating_sub(REPORTED);
    if omitted > 0 {
        all.sort_by_key(|problem| problem.severity);
        all.truncate(REPORTED);
        all.sort_by(|a, b| (&a.place, a.severity).cmp(&(&b.place, b.severity)));
    }
    (all, omitted)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn place(line: u32) -> Place {
        Place { file: Arc::from("a.yaml"), line, column: 3 }
    }

    #[test]
    fn what_is_quoted_does_not_fill_the_screen() {
        let long = "é".repeat(1 << 20);
        let problem =
            Diagnostic::error("CZ0205", format!("agent '{long}' not found"), place(1)).help(&*long).path(&*long);
        assert!(problem.to_string().chars().count() < 5_000 && problem.message.ends_with("é…"));
        assert!(problem.to_json().to_string().len() < 20_000);
    }

    #[test]
    fn a_diagnostic_prints_code_place_and_help() {
        let problem = Diagnostic::error("CZ0307", "no such task", place(14))
            .help("fix the id")
            .related(place(2), "declared here");
        assert_eq!(
            problem.to_string(),
            "error[CZ0307]: no such task\n  --> a.yaml:14:3\n  also: a.yaml:2:3 (declared here)\n  help: fix the id"
        );
        assert_eq!(problem.to_json()["error"]["column"], 3);
    }

    #[test]
    fn the_first_fifty_are_kept_errors_first() {
        let mut all: Vec<_> = (1..=60).rev().map(|line| Diagnostic::warning("CZ0108", "w", place(line))).collect();
        all.push(Diagnostic::error("CZ0110", "e", place(100)));
        let (shown, omitted) = report(all);
        assert_eq!((shown.len(), omitted), (50, 11));
        assert_eq!(shown[0].place.line, 1);
        assert_eq!(shown[49].code, "CZ0110");
    }
}
