//! The registry of problem codes (cli-and-api §7.3): HTTP status, exit code of the command line, and what `GET
//! /problems/{code}` says about it.
//!
//! Codes are never renamed. One entry here is all a new code needs.

/// One problem code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable word, `workflow_not_found`.
    pub word: &'static str,
    /// HTTP status; 0 for codes that only the command line uses.
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

impl Code {
    /// The entry of `word`.
    #[must_use]
    pub fn find(word: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|code| code.word == word)
    }
}

macro_rules! codes {
    ($($name:ident $word:literal $status:literal $exit:literal $title:literal $cause:literal $fix:literal)*) => {
        $(
            #[doc = $title]
            pub const $name: &Code =
                &Code { word: $word, status: $status, exit: $exit, title: $title, cause: $cause, fix: $fix };
        )*
        /// Every code.
        pub const ALL: &[&Code] = &[$($name),*];
    };
}

codes! {
    INVALID_REQUEST "invalid_request" 400 2 "Invalid request"
        "A header, query parameter or member of the body has a form that the route does not accept."
        "Read `detail` and `errors`; each entry points at the member that is wrong."
    INVALID_JSON "invalid_json" 400 2 "Invalid JSON"
        "The body is not one JSON document in UTF-8, or is nested too deeply."
        "Send one JSON object; `detail` names line and column."
    INVALID_CURSOR "invalid_cursor" 400 2 "Invalid cursor"
        "The cursor was not made by this list, or was changed."
        "Use `page.next_cursor` or `page.prev_cursor` of an earlier answer unchanged, with the same filters."
    UNKNOWN_PARAMETER "unknown_parameter" 400 2 "Unknown query parameter"
        "The route has no such query parameter."
        "Correct or remove it; `hint` names the nearest one."
    UNKNOWN_EVENT_TYPE "unknown_event_type" 400 2 "Unknown event type"
        "`?events=` names an event that no stream has."
        "Use the event names of the stream's documentation, separated by commas."
    UNAUTHORIZED "unauthorized" 401 5 "Not authenticated"
        "The Authorization header is absent, malformed, or its key is unknown, expired or revoked."
        "Send `Authorization: Bearer <key>` with a valid key."
    FORBIDDEN "forbidden" 403 5 "Not allowed"
        "The key is valid and does not carry the right this route needs."
        "Use a key with a wider scope."
    ORIGIN_NOT_ALLOWED "origin_not_allowed" 403 5 "Origin not allowed"
        "A page of another origin sent this request."
        "Add the origin to `server.cors.allowed_origins` and enable `server.cors_enabled`."
    WORKFLOW_NOT_FOUND "workflow_not_found" 404 4 "Workflow not found"
        "The project has no workflow with this id."
        "List the ids with `compozy workflow list`."
    EXECUTION_NOT_FOUND "execution_not_found" 404 4 "Execution not found"
        "No execution with this id is stored."
        "List executions with `compozy execution list`; in-memory databases forget them with the process."
    TASK_NOT_FOUND "task_not_found" 404 4 "Task not found"
        "The workflow has no task with this id."
        "List its tasks with `compozy workflow get <id> --show-tasks`."
    PROBLEM_NOT_FOUND "problem_not_found" 404 4 "Problem code not found"
        "No problem has this code."
        "Copy the `code` member of the problem document."
    ROUTE_NOT_FOUND "route_not_found" 404 4 "Route not found"
        "No route has this path. Routes match exactly, without trailing slash."
        "`GET /api/v0` lists the routes."
    METHOD_NOT_ALLOWED "method_not_allowed" 405 2 "Method not allowed"
        "The route exists and does not take this method."
        "Use one of the methods of the `Allow` header."
    SYNC_TIMEOUT "sync_timeout" 408 124 "The execution is still running"
        "The execution did not end within the time the caller wanted to wait. It goes on."
        "Follow `exec_url`, or wait longer with `timeout`."
    EXECUTION_FINISHED "execution_finished" 409 6 "Execution has ended"
        "The execution has a terminal status, and nothing re-opens it."
        "Start a new execution."
    ALREADY_EXISTS "already_exists" 409 6 "Already exists"
        "Something with this id exists with other content."
        "Choose another id."
    PRECONDITION_FAILED "precondition_failed" 412 6 "Precondition failed"
        "The document changed since the ETag of `If-Match`."
        "Read it again and repeat the change."
    PAYLOAD_TOO_LARGE "payload_too_large" 413 2 "Body too large"
        "The body is larger than the route's limit."
        "Send less, or raise `server.limits.body_bytes` or `start_body_bytes`."
    URI_TOO_LONG "uri_too_long" 414 2 "URI too long"
        "Path and query are longer than `server.limits.uri_bytes`."
        "Shorten the query."
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" 415 2 "Unsupported media type"
        "A request with a body needs a content type that the route reads."
        "Send `Content-Type: application/json`."
    HOST_NOT_ALLOWED "host_not_allowed" 421 5 "Host not allowed"
        "The Host header names neither this machine nor an allowed host. This stops web pages that rebind their name."
        "Add the name to `server.allowed_hosts`."
    INPUT_INVALID "input_invalid" 422 3 "Input does not match the schema"
        "The input breaks the workflow's input schema. Nothing was stored."
        "Correct the members that `errors` points at."
    IDEMPOTENCY_MISMATCH "idempotency_mismatch" 422 6 "Idempotency key used with another request"
        "The key was used before with a different body."
        "Use a new key for a new request."
    RUN_FAILED "run_failed" 422 1 "The execution did not succeed"
        "The execution ended FAILED, TIMED_OUT or CANCELED, and the caller asked for `strict` answers."
        "Read `workflow.error`."
    RATE_LIMITED "rate_limited" 429 7 "Too many requests"
        "The caller used up its request budget."
        "Wait for `Retry-After`."
    OVERLOADED "overloaded" 429 7 "Too much work is waiting"
        "A queue of the server is full. Nothing was stored."
        "Repeat after `Retry-After`."
    HEADERS_TOO_LARGE "headers_too_large" 431 2 "Headers too large"
        "The request's headers are larger than `server.limits.header_bytes`."
        "Send fewer or shorter headers."
    INTERNAL "internal" 500 1 "Internal error"
        "Something unexpected happened. The log has the details under the request id."
        "Report it with the request id."
    DATABASE_BUSY "database_busy" 503 7 "Database busy"
        "Another process held the database longer than `database.busy_timeout`."
        "Repeat the request."
    DATABASE_UNAVAILABLE "database_unavailable" 503 7 "Database unavailable"
        "The database cannot be reached or used."
        "Look at `GET /api/v0/health` and the log."
    SHUTTING_DOWN "shutting_down" 503 7 "Shutting down"
        "The server is going down. Stored executions continue when it is back."
        "Repeat the request later."
    NOT_READY "not_ready" 503 7 "Not ready"
        "The server does not accept work yet, or not any more."
        "Look at `GET /readyz`."
    DISK_FULL "disk_full" 507 7 "Disk full"
        "No space is left on the database's disk."
        "Free some space; waiting executions go on by themselves."
    PORT_IN_USE "port_in_use" 0 6 "Port in use"
        "Another process listens on the server's address."
        "Stop it, or choose another port with `--port`."
    SERVER_UNREACHABLE "server_unreachable" 0 7 "Server unreachable"
        "No compozy server answers at the address."
        "Start it with `compozy start`, or use `--local`."
    MEMORY_SERVER_UNREACHABLE "memory_server_unreachable" 0 7 "The in-memory server is unreachable"
        "The project keeps its executions in the memory of a server, and none is running."
        "Start it with `compozy start`."
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn words_are_unique_and_every_entry_is_complete() {
        for (index, code) in ALL.iter().enumerate() {
            assert!(!ALL[..index].iter().any(|other| other.word == code.word), "{} twice", code.word);
            assert!(code.word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{}", code.word);
            assert!(!code.title.is_empty() && code.cause.ends_with('.') && code.fix.ends_with('.'), "{}", code.word);
            assert!(code.status == 0 || (400..600).contains(&code.status), "{}", code.word);
            assert!(matches!(code.exit, 1..=7 | 124), "{}", code.word);
        }
    }
}
