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
    pub(super) const CONSTRAINT_PRIMARYKEY: i32 = 1_555;
    pub(super) const CONSTRAINT_UNIQUE: i32 = 2_067;
}

/// Another connection holds the lock and nothing was done.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(primary(extended(error)), Some(code::BUSY | code::LOCKED))
}

/// A row with this key exists.
pub(super) fn is_unique(error: &rusqlite::Error) -> bool {
    matches!(extended(error), Some(code::CONSTRAINT_PRIMARYKEY | code::CONSTRAINT_UNIQUE))
}

fn extended(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

fn primary(extended: Option<i32>) -> Option<i32> {
    extended.map(|extended| extended & 0xff)
}

/// The storage error for what SQLite said to the writer.
pub(super) fn from_sqlite(error: rusqlite::Error) -> Error {
    let message = match &error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        error => error.to_string(),
    };
    from_code(primary(extended(&error)), &message).unwrap_or(Error::Driver(message))
}

/// The storage error for what SQLite or sqlx said.
pub(super) fn from_sqlx(error: sqlx::Error) -> Error {
    let database = error.as_database_error();
    let message = database.map_or_else(|| error.to_string(), |database| database.message().to_owned());
    let code = database.and_then(|database| database.code()?.parse().ok());
    match (from_code(primary(code), &message), &error) {
        (Some(known), _) => known,
        (None, sqlx::Error::Io(io)) if io.kind() == std::io::ErrorKind::StorageFull => Error::DiskFull,
        (
            None,
            sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed | sqlx::Error::PoolTimedOut | sqlx::Error::Io(_),
        ) => Error::Unavailable(message),
        _ => Error::Driver(message),
    }
}

fn from_code(code: Option<i32>, message: &str) -> Option<Error> {
    Some(match code? {
        code::BUSY | code::LOCKED => Error::Busy("another process holds the write lock".into()),
        code::FULL => Error::DiskFull,
        code::CORRUPT => Error::Unusable(format!("the database file is damaged: {message}")),
        code::NOTADB => Error::Unusable(format!("the file is not a SQLite database: {message}")),
        code::IOERR | code::CANTOPEN | code::READONLY => {
            Error::Unavailable(format!("the database file cannot be used: {message}"))
        }
        _ => return None,
    })
}

/// Whether the error concerns the database as a whole rather than one logical transaction.
pub(super) fn is_general(error: &Error) -> bool {
    matches!(error, Error::Busy(_) | Error::DiskFull | Error::Unavailable(_) | Error::TooNew(_) | Error::Unusable(_))
}
