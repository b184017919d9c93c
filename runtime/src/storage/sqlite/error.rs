//! What SQLite says, as what the caller can do.

use super::super::Error;

/// Result codes of SQLite this driver tells apart (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const NOTADB: i32 = 26;
}

/// The primary result code behind `error`, if it came from SQLite.
pub(super) fn result_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Another connection holds the lock and nothing was done.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(result_code(error), Some(code::BUSY | code::LOCKED))
}

/// The storage error for what SQLite or sqlx said.
pub(super) fn from_sqlx(error: sqlx::Error) -> Error {
    let message = match error.as_database_error() {
        Some(database) => database.message().to_owned(),
        None => error.to_string(),
    };
    match (result_code(&error), &error) {
        (Some(code::BUSY | code::LOCKED), _) => Error::Busy("another process holds the write lock".into()),
        (Some(code::FULL), _) => Error::DiskFull,
        (Some(code::CORRUPT), _) => Error::Unusable(format!("the database file is damaged: {message}")),
        (Some(code::NOTADB), _) => Error::Unusable(format!("the file is not a SQLite database: {message}")),
        (Some(code::IOERR | code::CANTOPEN | code::READONLY), _) => {
            Error::Unavailable(format!("the database file cannot be used: {message}"))
        }
        (_, sqlx::Error::Io(io)) if io.kind() == std::io::ErrorKind::StorageFull => Error::DiskFull,
        (_, sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed | sqlx::Error::PoolTimedOut | sqlx::Error::Io(_)) => {
            Error::Unavailable(message)
        }
        _ => Error::Driver(message),
    }
}

/// Whether the error concerns the database as a whole rather than one logical transaction.
pub(super) fn is_general(error: &Error) -> bool {
    matches!(error, Error::Busy(_) | Error::DiskFull | Error::Unavailable(_) | Error::TooNew(_) | Error::Unusable(_))
}
