//! Errors of named databases, in the shape of `compozy:host/sql`.

/// Why a statement was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// `CZ0703` not allowed, `CZ0704` a cap was reached, `database` what the database said, `unavailable`.
    pub code: &'static str,
    /// What happened, without connection details.
    pub message: String,
    /// The nearest five-character SQLSTATE (PostgreSQL documentation, appendix A).
    pub sqlstate: Option<&'static str>,
    /// Whether the same transaction may succeed when tried again.
    pub retryable: bool,
}

impl Error {
    pub(super) fn unavailable(message: String) -> Self {
        Self { code: "unavailable", message, sqlstate: Some("08001"), retryable: true }
    }

    pub(super) fn refused(message: String) -> Self {
        Self { code: "CZ0703", message, sqlstate: Some("42501"), retryable: false }
    }

    pub(super) fn too_large(max_bytes: usize) -> Self {
        let message = format!("the rows take more than {max_bytes} bytes; fetch them in pieces with a cursor");
        Self { code: "CZ0704", message, sqlstate: Some("54000"), retryable: false }
    }

    pub(super) fn parameters(expected: usize, given: usize) -> Self {
        let message = format!("the statement has {expected} parameters, {given} were given");
        Self { code: "database", message, sqlstate: Some("07001"), retryable: false }
    }
}

/// What SQLite said (<https://www.sqlite.org/rescode.html>).
pub(super) fn from_sqlx(error: &sqlx::Error) -> Error {
    let Some(database) = error.as_database_error() else {
        return Error { code: "database", message: error.to_string(), sqlstate: Some("HY000"), retryable: false };
    };
    let code: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or(1);
    let message = database.message().to_owned();
    let sqlstate = match (code, code & 0xff) {
        (1555 | 2067 | 2579, _) => "23505",
        (787, _) => "23503",
        (1299, _) => "23502",
        (275, _) => "23514",
        (_, 19) => "23000",
        (_, 5 | 6) => "55P03",
        (_, 8) => "25006",
        (_, 9) => "57014",
        (_, 10) => "58030",
        (_, 11 | 26) => "XX001",
        (_, 13) => "53100",
        (_, 14) => "08001",
        (_, 18) => "54000",
        (_, 20) => "42804",
        (_, 23) => "42501",
        _ if message.contains("syntax error") || message.contains("incomplete input") => "42601",
        _ if message.starts_with("no such table") => "42P01",
        _ if message.starts_with("no such column") => "42703",
        _ if message.starts_with("no such function") => "42883",
        _ if message.contains("already exists") => "42P07",
        _ => "HY000",
    };
    let busy = matches!(code & 0xff, 5 | 6);
    let code = if matches!(code & 0xff, 10 | 11 | 14 | 26) { "unavailable" } else { "database" };
    Error { code, message, sqlstate: Some(sqlstate), retryable: busy }
}
