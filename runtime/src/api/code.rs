//! Problem codes (cli-and-api §7.3): HTTP status, exit code of the command line and explanation.
//!
//! The one registry is `compozy_lang::codes`; here its words become constants, checked when this is compiled. Codes
//! are never renamed.

use compozy_lang::codes::PROBLEMS;

/// One problem code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The stable word, `workflow_not_found`.
    pub word: &'static str,
    /// HTTP status; 0 for codes that are never an answer of their own.
    pub status: u16,
    /// Exit code of the command line.
    pub exit: u8,
    /// A short name of the problem.
    pub title: &'static str,
    /// What leads to it.
    pub cause: &'static str,
    /// What to do about it.
    pub fix: &'static str,
}

/// Every code, in the registry's order.
pub static ALL: &[Code] = &table();

impl Code {
    /// The entry of `word`.
    #[must_use]
    pub fn find(word: &str) -> Option<&'static Self> {
        ALL.iter().find(|code| code.word == word)
    }
}

const fn table() -> [Code; PROBLEMS.len()] {
    let mut table = [Code { word: "", status: 0, exit: 0, title: "", cause: "", fix: "" }; PROBLEMS.len()];
    let mut index = 0;
    while index < PROBLEMS.len() {
        let entry = &PROBLEMS[index];
        let status = match entry.http {
            Some(status) => status,
            None => 0,
        };
        table[index] = Code {
            word: entry.code,
            status,
            exit: entry.exit,
            title: entry.title,
            cause: entry.cause,
            fix: entry.help,
        };
        index += 1;
    }
    table
}

/// The entry of `word`; without one this does not compile.
#[expect(clippy::panic, reason = "evaluated by the compiler only")]
const fn registered(word: &str) -> &'static Code {
    let mut index = 0;
    while index < ALL.len() {
        if equal(ALL[index].word.as_bytes(), word.as_bytes()) {
            return &ALL[index];
        }
        index += 1;
    }
    panic!("the registry lacks a problem code")
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

macro_rules! codes {
    ($($name:ident $word:literal)*) => {
        $(
            #[doc = concat!("`", $word, "`")]
            pub const $name: &Code = registered($word);
        )*
    };
}

codes! {
    INVALID_REQUEST "invalid_request"
    INVALID_JSON "invalid_json"
    INVALID_CURSOR "invalid_cursor"
    UNKNOWN_PARAMETER "unknown_parameter"
    UNKNOWN_EVENT_TYPE "unknown_event_type"
    UNAUTHORIZED "unauthorized"
    ORIGIN_NOT_ALLOWED "origin_not_allowed"
    WORKFLOW_NOT_FOUND "workflow_not_found"
    EXECUTION_NOT_FOUND "execution_not_found"
    TASK_NOT_FOUND "task_not_found"
    SCHEDULE_NOT_FOUND "schedule_not_found"
    MEMORY_NOT_FOUND "memory_not_found"
    PROBLEM_NOT_FOUND "problem_not_found"
    ROUTE_NOT_FOUND "route_not_found"
    METHOD_NOT_ALLOWED "method_not_allowed"
    SYNC_TIMEOUT "sync_timeout"
    EXECUTION_FINISHED "execution_finished"
    EXECUTION_NOT_FAILED "execution_not_failed"
    TASK_NOT_REACHED "task_not_reached"
    DEFINITION_UNAVAILABLE "definition_unavailable"
    DUPLICATE_EVENT "duplicate_event"
    IMPORT_CONFLICT "import_conflict"
    IMPORT_TOO_NEW "import_too_new"
    IMPORT_INVALID "import_invalid"
    IMPORT_TRUNCATED "import_truncated"
    PAYLOAD_TOO_LARGE "payload_too_large"
    URI_TOO_LONG "uri_too_long"
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type"
    HOST_NOT_ALLOWED "host_not_allowed"
    INPUT_INVALID "input_invalid"
    DEFINITION_INVALID "definition_invalid"
    MEMORY_FAILED "memory_failed"
    IDEMPOTENCY_MISMATCH "idempotency_mismatch"
    RUN_FAILED "run_failed"
    RATE_LIMITED "rate_limited"
    OVERLOADED "overloaded"
    HEADERS_TOO_LARGE "headers_too_large"
    INTERNAL "internal"
    DATABASE_BUSY "database_busy"
    DATABASE_UNAVAILABLE "database_unavailable"
    SHUTTING_DOWN "shutting_down"
    NOT_READY "not_ready"
    DISK_FULL "disk_full"
    PORT_IN_USE "port_in_use"
    SERVER_UNREACHABLE "server_unreachable"
    MEMORY_SERVER_UNREACHABLE "memory_server_unreachable"
}
