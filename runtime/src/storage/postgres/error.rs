//! What PostgreSQL says, as what the caller can do.

use super::super::Error;

/// SQLSTATEs this driver tells apart (PostgreSQL documentation, appendix A).
mod code {
    pub(super) const DIVISION_BY_ZERO: &str = "22012";
    pub(super) const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
    pub(super) const UNTRANSLATABLE_CHARACTER: &str = "22P05";
    pub(super) const UNIQUE_VIOLATION: &str = "23505";
    pub(super) const SERIALIZATION_FAILURE: &str = "40001";
    pub(super) const DEADLOCK_DETECTED: &str = "40P01";
    pub(super) const DISK_FULL: &str = "53100";
    pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";
    pub(super) const QUERY_CANCELED: &str = "57014";
    pub(super) const DATABASE_IS_MISSING: &str = "3D000";
    pub(super) const READ_ONLY: &str = "25006";
    pub(super) const DATA_CORRUPTED: &str = "XX001";
    pub(super) const INDEX_CORRUPTED: &str = "XX002";
}

/// Why a logical transaction was not carried out.
#[derive(Debug)]
pub(super) enum Refused {
    /// The guard of the run's row did not match, or a signal was settled before.
    Guard,
    /// A memory is not as it was when its change was decided.
    Stale,
    /// It does not fit.
    Storage(Error),
    /// What PostgreSQL said.
    Postgres(sqlx::Error),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        if code_of(&error).as_deref() == Some(code::DIVISION_BY_ZERO) { Self::Guard } else { Self::Postgres(error) }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Guard => Self::Conflict("a row is not as it was expected".into()),
            Refused::Stale => stale(),
            Refused::Storage(error) => error,
            Refused::Postgres(error) => from_sqlx(error),
        }
    }
}

impl Refused {
    /// Another transaction was in the way, and the same one may pass the next time.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::Postgres(error) if is_transient(error))
    }

    /// The connection or the server is gone.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Postgres(error) => is_lost(error),
            Self::Storage(error) => matches!(error, Error::Unavailable(_)),
            _ => false,
        }
    }

    /// A row with this key exists.
    pub(super) fn is_unique(&self) -> bool {
        matches!(self, Self::Postgres(error) if code_of(error).as_deref() == Some(code::UNIQUE_VIOLATION))
    }
}

/// A change of a memory that was decided on another state than the present one.
pub(super) fn stale() -> Error {
    Error::Conflict("the memory was changed meanwhile".into())
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// A deadlock or a serialisation failure.
pub(super) fn is_transient(error: &sqlx::Error) -> bool {
    matches!(code_of(error).as_deref(), Some(code::SERIALIZATION_FAILURE | code::DEADLOCK_DETECTED))
}

/// The connection or the server is gone: what was under way may or may not have happened.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => database.code().is_some_and(|code| ends_the_session(&code)),
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Tls(_) => true,
        _ => false,
    }
}

/// Class 08 is about connections, 57P01 to 57P05 end the session; 53300 and 57P03 refuse to begin one.
fn ends_the_session(code: &str) -> bool {
    code.starts_with("08") || code.starts_with("57P") || code == "53300"
}

/// The storage error for what PostgreSQL or sqlx said.
pub(super) fn from_sqlx(error: sqlx::Error) -> Error {
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::PoolTimedOut => Error::Unavailable("no connection to PostgreSQL became free in time".into()),
            sqlx::Error::PoolClosed => Error::Unavailable("the database is closed".into()),
            error if is_lost(&error) => Error::Unavailable(format!("PostgreSQL cannot be reached: {error}")),
            error => Error::Driver(error.to_string()),
        };
    };
    let message = database.message().to_owned();
    let code = database.code().unwrap_or_default();
    match &*code {
        code::DISK_FULL => Error::DiskFull,
        code::LOCK_NOT_AVAILABLE | code::QUERY_CANCELED => Error::Busy(message),
        code::SERIALIZATION_FAILURE | code::DEADLOCK_DETECTED => Error::Busy(message),
        code::DATA_CORRUPTED | code::INDEX_CORRUPTED => {
            Error::Unusable(format!("the PostgreSQL database is damaged: {message}"))
        }
        code::CHARACTER_NOT_IN_REPERTOIRE | code::UNTRANSLATABLE_CHARACTER => {
            Error::Driver("a text holds U+0000, which PostgreSQL does not store".into())
        }
        code::DATABASE_IS_MISSING | code::READ_ONLY => Error::Unavailable(message),
        // 28: the server does not let this user in.
        other if other.starts_with("28") || ends_the_session(other) => Error::Unavailable(message),
        _ => Error::Driver(message),
    }
}

/// Whether the error concerns the database as a whole rather than one logical transaction.
pub(super) fn is_general(error: &Error) -> bool {
    matches!(error, Error::Busy(_) | Error::DiskFull | Error::Unavailable(_) | Error::TooNew(_) | Error::Unusable(_))
}
