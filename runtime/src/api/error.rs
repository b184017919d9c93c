//! Problems: the one form of every error of every route, `application/problem+json` (RFC 9457).
//!
//! A handler returns a [`Problem`] with a code of the registry and a sentence for the user. What only the log may see
//! (driver texts, panics) travels in [`Problem::internal`]. The guard, which knows path and request id, prints it.

use std::fmt;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::code::{self, Code};
use crate::{node, storage, transfer};

/// What went wrong, for the caller.
#[derive(Debug, Clone)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: &'static Code,
    detail: String,
    hint: Option<String>,
    retry_after_ms: Option<u64>,
    errors: Vec<Violation>,
    members: Vec<(&'static str, Box<RawValue>)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    internal: Option<String>,
}

/// One of several defects of a request.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// JSON pointer into the body, `/input/city`.
    pub pointer: String,
    /// Code of this defect.
    pub code: String,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// A problem of `code`; `detail` is one sentence written for users.
    #[must_use]
    pub fn new(code: &'static Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            detail: detail.into(),
            hint: None,
            retry_after_ms: None,
            errors: Vec::new(),
            members: Vec::new(),
            headers: Vec::new(),
            internal: None,
        }))
    }

    /// An unexpected failure; `cause` goes to the log only.
    #[must_use]
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(code::INTERNAL, "an unexpected error happened; the log has it under the request id").because(cause)
    }

    /// The same with a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.0.internal = Some(cause.to_string());
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same with advice, if there is some.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.0.hint = hint.or(self.0.hint);
        self
    }

    /// The same, worth another try after so many milliseconds.
    #[must_use]
    pub fn retry_after_ms(mut self, milliseconds: u64) -> Self {
        self.0.retry_after_ms = Some(milliseconds);
        self
    }

    /// The same with one defect more.
    #[must_use]
    pub fn at(self, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let code = self.0.code.word;
        self.defect(pointer, code, message)
    }

    /// The same with one defect more, which has a code of its own.
    #[must_use]
    pub fn defect(mut self, pointer: impl Into<String>, code: &str, message: impl Into<String>) -> Self {
        let (pointer, code, message) = (pointer.into(), code.to_owned(), message.into());
        self.0.errors.push(Violation { pointer, code, message });
        self
    }

    /// The same with one defect more that has a code of its own.
    #[must_use]
    pub fn at_with(mut self, pointer: impl Into<String>, code: impl Into<String>, message: impl Into<String>) -> Self {
        self.0.errors.push(Violation { pointer: pointer.into(), code: code.into(), message: message.into() });
        self
    }

    /// The same with a member of its own.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: &impl Serialize) -> Self {
        // A value that cannot be printed is left out: the problem itself matters more.
        if let Ok(value) = serde_json::value::to_raw_value(value) {
            self.0.members.push((name, value));
        }
        self
    }

    /// The same with a response header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> &'static Code {
        self.0.code
    }

    /// The sentence for the user.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Advice, if any.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Its defects one by one.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.0.errors
    }

    /// What only the log may see.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.0.internal.as_deref()
    }

    /// The problem document, as the API sends it and the command line prints it.
    #[must_use]
    pub fn document<'p>(&'p self, instance: Option<&'p str>, request_id: Option<&'p str>) -> Document<'p> {
        Document { problem: &self.0, instance, request_id }
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The finished response.
    pub(super) fn render(self, instance: &str, request_id: &str) -> Response {
        let body = serde_json::to_vec(&self.document(Some(instance), Some(request_id))).unwrap_or_default();
        let mut response = Response::new(body.into());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(milliseconds) = self.0.retry_after_ms {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from(milliseconds.div_ceil(1_000)));
        }
        for (name, value) in self.0.headers {
            headers.append(name, value);
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.detail)
    }
}

impl std::error::Error for Problem {}

/// A problem with the place it happened, ready to be printed.
#[derive(Debug)]
pub struct Document<'p> {
    problem: &'p Inner,
    instance: Option<&'p str>,
    request_id: Option<&'p str>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let problem = self.problem;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("/problems/{}", problem.code.word))?;
        map.serialize_entry("title", problem.code.title)?;
        if problem.code.status != 0 {
            map.serialize_entry("status", &problem.code.status)?;
        }
        map.serialize_entry("detail", &problem.detail)?;
        map.serialize_entry("code", problem.code.word)?;
        if let Some(instance) = self.instance {
            map.serialize_entry("instance", instance)?;
        }
        if let Some(request_id) = self.request_id {
            map.serialize_entry("request_id", request_id)?;
        }
        if let Some(hint) = &problem.hint {
            map.serialize_entry("hint", hint)?;
        }
        if let Some(milliseconds) = problem.retry_after_ms {
            map.serialize_entry("retry_after_ms", &milliseconds)?;
        }
        if !problem.errors.is_empty() {
            map.serialize_entry("errors", &problem.errors)?;
        }
        for (name, value) in &problem.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The guard takes the problem out again and prints it; see [`Problem::render`].
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<node::Error> for Problem {
    fn from(error: node::Error) -> Self {
        use node::Error;
        let text = error.to_string();
        match error {
            Error::WorkflowNotFound { suggestions, .. } => {
                Self::new(code::WORKFLOW_NOT_FOUND, text).maybe_hint(did_you_mean(&suggestions))
            }
            Error::TaskNotFound { .. } => {
                Self::new(code::TASK_NOT_FOUND, text).at("/task_id", "the workflow has no such task")
            }
            Error::InputInvalid { violations, .. } => {
                violations.into_iter().fold(Self::new(code::INPUT_INVALID, text), |problem, violation| {
                    problem.at(format!("/input{}", violation.pointer), violation.message)
                })
            }
            Error::ScheduleNotFound { suggestions, .. } => {
                Self::new(code::SCHEDULE_NOT_FOUND, text).maybe_hint(did_you_mean(&suggestions))
            }
            Error::ScheduleInvalid { invalid } => {
                invalid.into_iter().fold(Self::new(code::DEFINITION_INVALID, text), |problem, invalid| {
                    problem.defect(format!("/{}", invalid.part), invalid.code, invalid.message)
                })
            }
            Error::PayloadInvalid { violations, .. } => {
                violations.into_iter().fold(Self::new(code::INPUT_INVALID, text), |problem, violation| {
                    problem.at_with(format!("/payload{}", violation.pointer), "CZ0905", violation.message)
                })
            }
            // What the sender has sent is not what is wrong here, so no place in it is named.
            Error::EventInvalid { violations, .. } => {
                violations.into_iter().fold(Self::new(code::INPUT_INVALID, text), |problem, violation| {
                    problem.at_with(violation.pointer, "CZ0905", violation.message)
                })
            }
            Error::Unverified => Self::new(code::UNAUTHORIZED, text),
            Error::WebhookUnusable(cause) => Self::internal(cause),
            Error::InputTooLarge { .. } => Self::new(code::PAYLOAD_TOO_LARGE, text),
            Error::Overloaded => Self::new(code::OVERLOADED, text).retry_after_ms(1_000),
            Error::ShuttingDown => Self::new(code::SHUTTING_DOWN, text).retry_after_ms(5_000),
            Error::IdempotencyMismatch => Self::new(code::IDEMPOTENCY_MISMATCH, text),
            Error::ExecutionNotFound(exec_id) => not_found(exec_id.as_str()),
            Error::ExecutionFinished(status) => finished(&status),
            Error::NotFailed(status) => Self::new(code::EXECUTION_NOT_FAILED, text)
                .hint("fork it: a fork begins at a task of your choice")
                .member("execution_status", &status),
            Error::TaskNotReached(_) => {
                Self::new(code::TASK_NOT_REACHED, text).at("/at", "the execution has not reached this task")
            }
            Error::TaskInside { container, .. } => Self::new(code::INVALID_REQUEST, text)
                .hint(format!("fork it at '{container}'"))
                .at("/at", "is inside a container"),
            Error::DefinitionUnavailable(_) => Self::new(code::DEFINITION_UNAVAILABLE, text),
            Error::Storage(error) => error.into(),
        }
    }
}

impl From<storage::Error> for Problem {
    fn from(error: storage::Error) -> Self {
        use storage::Error;
        let cause = error.to_string();
        match error {
            Error::Finished(status) => finished(&status),
            Error::NotFound(_) => Self::new(code::EXECUTION_NOT_FOUND, "execution not found").because(cause),
            Error::InvalidCursor => Self::new(code::INVALID_CURSOR, "the cursor does not belong to this list"),
            Error::Busy(_) => {
                Self::new(code::DATABASE_BUSY, "the database is busy").because(cause).retry_after_ms(1_000)
            }
            Error::DiskFull => Self::new(code::DISK_FULL, cause),
            Error::Unavailable(_) | Error::TooNew(_) | Error::Unusable(_) => {
                Self::new(code::DATABASE_UNAVAILABLE, "the database is unavailable")
                    .because(cause)
                    .retry_after_ms(5_000)
            }
            Error::Fenced | Error::Conflict(_) | Error::Driver(_) => Self::internal(cause),
        }
    }
}

impl From<transfer::Error> for Problem {
    fn from(error: transfer::Error) -> Self {
        use transfer::Error;
        let text = error.to_string();
        match error {
            Error::Invalid { place, message } => {
                Self::new(code::IMPORT_INVALID, format!("{place}: {message}")).member("place", &place)
            }
            Error::Truncated(_) => Self::new(code::IMPORT_TRUNCATED, text),
            Error::TooNew(_) => Self::new(code::IMPORT_TOO_NEW, text),
            Error::Conflict(_) => Self::new(code::IMPORT_CONFLICT, text),
            Error::Unsupported => Self::new(code::DATABASE_UNAVAILABLE, text),
            Error::Io(_) => Self::new(code::INVALID_REQUEST, "the file broke off").because(text),
            Error::Storage(error) => error.into(),
        }
    }
}

/// No execution has this id.
pub(crate) fn not_found(exec_id: &str) -> Problem {
    Problem::new(code::EXECUTION_NOT_FOUND, format!("execution '{exec_id}' not found"))
}

fn finished(status: &str) -> Problem {
    Problem::new(code::EXECUTION_FINISHED, format!("the execution has ended with {status}"))
        .member("execution_status", &status)
}

fn did_you_mean(names: &[String]) -> Option<String> {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    (!quoted.is_empty()).then(|| format!("did you mean {}?", quoted.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ExecId;
    use crate::node::Violation as Breach;

    fn printed(problem: &Problem) -> String {
        serde_json::to_string(&problem.document(Some("/api/v0/x"), Some("r1"))).unwrap()
    }

    #[test]
    fn a_problem_prints_every_member_in_order() {
        let problem = Problem::new(code::OVERLOADED, "full")
            .hint("wait")
            .retry_after_ms(1_500)
            .at("/input", "too much")
            .member("exec_id", &"01");
        assert_eq!(
            printed(&problem),
            r#"{"type":"/problems/overloaded","title":"too many runs are waiting","status":429,"detail":"full","code":"overloaded","instance":"/api/v0/x","request_id":"r1","hint":"wait","retry_after_ms":1500,"errors":[{"pointer":"/input","code":"overloaded","message":"too much"}],"exec_id":"01"}"#
        );
        let response = problem.render("/api/v0/x", "r1");
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[test]
    fn every_error_of_node_and_storage_has_its_code_and_leaks_nothing() {
        let secret = "SELECT x FROM t at /home/u/db.sqlite host=10.0.0.1";
        let breach = Breach { pointer: "/city".into(), message: "is required".into() };
        let storage = |error: storage::Error| node::Error::Storage(error);
        for (error, word) in [
            (
                node::Error::WorkflowNotFound { id: "helo".into(), suggestions: vec!["hello".into()] },
                "workflow_not_found",
            ),
            (node::Error::TaskNotFound { workflow: "w".into(), task: "t".into() }, "task_not_found"),
            (node::Error::InputInvalid { workflow: "w".into(), violations: vec![breach.clone()] }, "input_invalid"),
            (node::Error::PayloadInvalid { name: "s".into(), violations: vec![breach.clone()] }, "input_invalid"),
            (node::Error::EventInvalid { event: "e".into(), violations: vec![breach] }, "input_invalid"),
            (node::Error::Unverified, "unauthorized"),
            (node::Error::WebhookUnusable(secret.into()), "internal"),
            (node::Error::ScheduleNotFound { id: "s".into(), suggestions: Vec::new() }, "schedule_not_found"),
            (node::Error::ScheduleInvalid { invalid: Vec::new() }, "definition_invalid"),
            (node::Error::InputTooLarge { size: 2, limit: 1 }, "payload_too_large"),
            (node::Error::Overloaded, "overloaded"),
            (node::Error::ShuttingDown, "shutting_down"),
            (node::Error::IdempotencyMismatch, "idempotency_mismatch"),
            (node::Error::ExecutionNotFound(ExecId::from("01")), "execution_not_found"),
            (node::Error::ExecutionFinished("FAILED".into()), "execution_finished"),
            (node::Error::NotFailed("RUNNING".into()), "execution_not_failed"),
            (node::Error::TaskNotReached("t".into()), "task_not_reached"),
            (node::Error::TaskInside { task: "c/t".into(), container: "c".into() }, "invalid_request"),
            (node::Error::DefinitionUnavailable("it".into()), "definition_unavailable"),
            (storage(storage::Error::Fenced), "internal"),
            (storage(storage::Error::NotFound(secret.into())), "execution_not_found"),
            (storage(storage::Error::Conflict(secret.into())), "internal"),
            (storage(storage::Error::Finished("SUCCESS".into())), "execution_finished"),
            (storage(storage::Error::InvalidCursor), "invalid_cursor"),
            (storage(storage::Error::Busy(secret.into())), "database_busy"),
            (storage(storage::Error::DiskFull), "disk_full"),
            (storage(storage::Error::Unavailable(secret.into())), "database_unavailable"),
            (storage(storage::Error::TooNew(secret.into())), "database_unavailable"),
            (storage(storage::Error::Unusable(secret.into())), "database_unavailable"),
            (storage(storage::Error::Driver(secret.into())), "internal"),
        ] {
            let problem = Problem::from(error);
            assert_eq!(problem.code().word, word);
            let text = printed(&problem);
            assert!(!text.contains("SELECT") && !text.contains("/home") && !text.contains("10.0.0.1"), "{text}");
        }
    }

    #[test]
    fn a_violation_points_into_the_body() {
        let breach = Breach { pointer: "/city".into(), message: "is required".into() };
        let problem: Problem = node::Error::InputInvalid { workflow: "w".into(), violations: vec![breach] }.into();
        assert_eq!(problem.violations()[0].pointer, "/input/city");
        let problem: Problem =
            node::Error::WorkflowNotFound { id: "h".into(), suggestions: vec!["a".into(), "b".into()] }.into();
        assert_eq!(problem.advice(), Some("did you mean 'a' or 'b'?"));
    }
}
