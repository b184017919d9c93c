//! Why a command ends early, and with which exit code.

use compozy_lang::diagnostic::Diagnostic;
use serde_json::{Map, Value, json};

use super::exit;
use crate::{api, node, storage, transfer};

/// Why a command ends early.
#[derive(Debug)]
pub enum Failure {
    /// Nothing more to say; the command printed what there was.
    Quiet(u8),
    /// One problem.
    Problem(Box<Problem>),
    /// What is wrong with a project.
    Diagnostics(Box<Diagnostics>),
}

/// One problem, in the words of cli-and-api §7.3.
#[derive(Debug, Clone, Default)]
pub struct Problem {
    /// Stable code.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Single violations `{pointer, code, message, …}`.
    pub errors: Vec<Value>,
    /// HTTP status, when a server said it.
    pub status: Option<u16>,
    /// The document a server sent, printed as it is.
    pub document: Option<Value>,
    /// Further members, `exec_id` and the like.
    pub members: Map<String, Value>,
}

/// Diagnostics of a project, with what is needed to show their source lines.
#[derive(Debug, Default)]
pub struct Diagnostics {
    /// In the order of their places.
    pub all: Vec<Diagnostic>,
    /// How many more there are.
    pub omitted: usize,
    /// Folder that their files are relative to.
    pub root: std::path::PathBuf,
}

impl Failure {
    /// A problem with a code of the registry.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self::from(Problem { code: code.to_owned(), message: message.into(), ..Problem::default() })
    }

    /// A flag or argument that cannot be used.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", message)
    }

    /// A defect of ours.
    #[must_use]
    pub fn internal(message: &str) -> Self {
        Self::new("internal", message)
    }

    /// Nobody reads stdout any more: end quietly with 0.
    #[must_use]
    pub fn closed_pipe() -> Self {
        Self::Quiet(exit::OK)
    }

    /// What a failed write to stdout means.
    #[must_use]
    pub fn from_stdout(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::closed_pipe(),
            _ => Self::new("internal", format!("cannot write to stdout: {error}")),
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Problem(mut problem) => {
                problem.hint = Some(hint.into());
                Self::Problem(problem)
            }
            other => other,
        }
    }

    /// The same with one more member.
    #[must_use]
    pub fn member(self, name: &str, value: impl Into<Value>) -> Self {
        match self {
            Self::Problem(mut problem) => {
                problem.members.insert(name.to_owned(), value.into());
                Self::Problem(problem)
            }
            other => other,
        }
    }

    /// A problem document of a server.
    #[must_use]
    pub fn from_document(status: u16, document: Value) -> Self {
        let text = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
        Self::from(Problem {
            code: text("code").unwrap_or_else(|| "internal".to_owned()),
            message: text("detail")
                .or_else(|| text("title"))
                .unwrap_or_else(|| format!("the server answered {status}")),
            hint: text("hint"),
            errors: document.get("errors").and_then(Value::as_array).cloned().unwrap_or_default(),
            status: Some(status),
            document: Some(document),
            members: Map::new(),
        })
    }

    /// The code, if this is one problem.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            Self::Quiet(_) | Self::Diagnostics(_) => None,
        }
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Quiet(code) => *code,
            Self::Problem(problem) => exit::of(&problem.code, problem.status),
            Self::Diagnostics(diagnostics) => {
                // A code may mean a failed run elsewhere; found while loading, it says that the project is not valid.
                let first = diagnostics.errors().next().map(|diagnostic| exit::of(diagnostic.code, None));
                first.filter(|code| *code == exit::USAGE).unwrap_or(exit::VALIDATION)
            }
        }
    }

    /// The problem document for `-o json`, `exit_code` included.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = match self {
            Self::Quiet(_) => Map::new(),
            Self::Problem(problem) => problem.members(),
            Self::Diagnostics(diagnostics) => diagnostics.members(),
        };
        document.insert("exit_code".to_owned(), self.exit().into());
        Value::Object(document)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<api::error::Problem> for Failure {
    fn from(problem: api::error::Problem) -> Self {
        if let Some(cause) = problem.cause() {
            tracing::error!(code = problem.code().word, "{cause}");
        }
        let document = serde_json::to_string(&problem.document(None, None)).unwrap_or_default();
        let document = serde_json::from_str(&document).unwrap_or_default();
        Self::from_document(problem.code().status, document)
    }
}

impl From<node::Error> for Failure {
    fn from(error: node::Error) -> Self {
        api::error::Problem::from(error).into()
    }
}

impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Self {
        api::error::Problem::from(error).into()
    }
}

impl From<transfer::Error> for Failure {
    fn from(error: transfer::Error) -> Self {
        match error {
            transfer::Error::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Self::closed_pipe(),
            transfer::Error::Io(error) => Self::usage(format!("reading or writing failed: {error}")),
            other => api::error::Problem::from(other).into(),
        }
    }
}

impl Problem {
    fn members(&self) -> Map<String, Value> {
        if let Some(Value::Object(document)) = &self.document {
            let mut document = document.clone();
            document.extend(self.members.clone());
            return document;
        }
        let mut document = Map::new();
        document.insert("type".to_owned(), format!("/problems/{}", self.code).into());
        document.insert("title".to_owned(), self.code.replace('_', " ").into());
        document.insert("detail".to_owned(), self.message.clone().into());
        document.insert("code".to_owned(), self.code.clone().into());
        if let Some(hint) = &self.hint {
            document.insert("hint".to_owned(), hint.clone().into());
        }
        if !self.errors.is_empty() {
            document.insert("errors".to_owned(), self.errors.clone().into());
        }
        document.extend(self.members.clone());
        document
    }
}

impl Diagnostics {
    /// Those that stop a command.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.all.iter().filter(|diagnostic| diagnostic.severity == compozy_lang::diagnostic::Severity::Error)
    }

    /// The first error leads; all of them are in `errors`.
    fn members(&self) -> Map<String, Value> {
        let mut document = Map::new();
        let Some(first) = self.errors().next().or_else(|| self.all.first()) else { return document };
        document.insert("type".to_owned(), format!("/problems/{}", first.code).into());
        document.insert("title".to_owned(), "the project is not valid".into());
        document.insert("detail".to_owned(), first.message.clone().into());
        document.insert("code".to_owned(), first.code.into());
        document.insert("file".to_owned(), first.place.file.as_ref().into());
        document.insert("line".to_owned(), first.place.line.into());
        document.insert("column".to_owned(), first.place.column.into());
        document.insert("span".to_owned(), first.span_len.into());
        if let Some(help) = &first.help {
            document.insert("hint".to_owned(), help.clone().into());
        }
        document.insert("errors".to_owned(), json!(self.all));
        if self.omitted > 0 {
            document.insert("omitted".to_owned(), self.omitted.into());
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_document_is_printed_as_it_is_with_the_exit_code() {
        let sent = json!({"type": "/problems/workflow_not_found", "status": 404, "code": "workflow_not_found", "detail": "no"});
        let failure = Failure::from_document(404, sent);
        assert_eq!(failure.exit(), 4);
        assert_eq!(
            failure.document(),
            json!({"type": "/problems/workflow_not_found", "status": 404, "code": "workflow_not_found", "detail": "no", "exit_code": 4})
        );
    }

    #[test]
    fn what_loading_finds_is_usage_or_validation() {
        let place = compozy_lang::source::Place { file: "compozy.yaml".into(), line: 1, column: 1 };
        for (code, exit) in [("CZ0101", 2), ("CZ0102", 2), ("CZ0108", 3), ("CZ0202", 3), ("CZ0410", 3), ("CZ0806", 3)] {
            let all = vec![Diagnostic::error(code, "no", place.clone())];
            let failure = Failure::Diagnostics(Box::new(Diagnostics { all, ..Diagnostics::default() }));
            assert_eq!(failure.exit(), exit, "{code}");
        }
    }

    #[test]
    fn the_code_decides_and_not_the_text() {
        assert_eq!(Failure::new("internal", "the api key was not found, unauthorized").exit(), 1);
        assert_eq!(Failure::closed_pipe().exit(), 0);
    }
}
