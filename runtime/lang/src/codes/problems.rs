//! Problems of the HTTP API and of commands (cli-and-api §7.3 and §3.3).

use super::Code;

/// A problem with an HTTP status.
const fn http(
    code: &'static str,
    status: u16,
    exit: u8,
    title: &'static str,
    cause: &'static str,
    help: &'static str,
) -> Code {
    Code { code, title, http: Some(status), exit, cause, help }
}

/// A problem that only commands or runs meet.
const fn local(code: &'static str, exit: u8, title: &'static str, cause: &'static str, help: &'static str) -> Code {
    Code { code, title, http: None, exit, cause, help }
}

/// Every problem, by status.
#[rustfmt::skip]
pub static PROBLEMS: &[Code] = &[
    http("invalid_request", 400, 2, "the request is not valid", "A member or header of the request has a wrong name or type.", "Read `errors`, which names each place, and mend the request."),
    http("invalid_json", 400, 2, "the body is not valid JSON", "The body could not be parsed, or is nested deeper than `server.limits.json_depth`.", "Send one JSON value."),
    http("invalid_cursor", 400, 2, "the cursor is not valid", "The cursor was changed, or belongs to another list.", "Begin again without a cursor."),
    http("unknown_parameter", 400, 2, "unknown query parameter", "The route does not know a query parameter.", "Remove it, or fix its name."),
    http("unknown_event_type", 400, 2, "unknown event type", "The stream was asked for an event type that does not exist.", "Use one of the types the message names."),
    http("unauthorized", 401, 5, "authentication is needed", "The key is missing, malformed, unknown, expired or revoked.", "Send `Authorization: Bearer KEY` with a valid key."),
    http("forbidden", 403, 5, "the key does not allow this", "The scope of the key is too narrow.", "Use a key with the scope the message names."),
    http("origin_not_allowed", 403, 5, "the origin is not allowed", "A browser of another origin called.", "Add the origin to `server.cors.allowed_origins` if you trust it."),
    http("workflow_not_found", 404, 4, "workflow not found", "Neither the project nor a stored definition has this id.", "List the ids with `compozy workflow list`."),
    http("execution_not_found", 404, 4, "execution not found", "No run has this id; retention may have removed it.", "List the runs with `compozy execution list`."),
    http("task_not_found", 404, 4, "task not found", "The workflow has no task of this id.", "Look at the tasks with `compozy workflow get ID --show-tasks`."),
    http("agent_not_found", 404, 4, "agent not found", "The project has no agent of this id.", "Define it, or fix the id."),
    http("tool_not_found", 404, 4, "tool not found", "The project has no tool of this id.", "Define it, or fix the id."),
    http("schema_not_found", 404, 4, "schema not found", "There is no schema of this kind or id.", "Fix the name."),
    http("definition_not_found", 404, 4, "definition not found", "No definition of this kind has this id.", "Define it, or fix the id."),
    http("knowledge_base_not_found", 404, 4, "knowledge base not found", "The project has no knowledge base of this id.", "Define it, or fix the id."),
    http("memory_not_found", 404, 4, "memory not found", "The project has no memory of this id.", "Define it under `memories`, or fix the id."),
    http("key_not_found", 404, 4, "key not found", "No API key has this id.", "Fix the id."),
    http("schedule_not_found", 404, 4, "schedule not found", "The workflow has no schedule.", "Fix the id, or declare a schedule."),
    http("route_not_found", 404, 4, "route not found", "No route has this path; routes match exactly.", "`GET /api/v0` lists the routes."),
    http("problem_not_found", 404, 4, "code not found", "No problem or diagnostic has this code.", "Fix the code."),
    http("method_not_allowed", 405, 2, "method not allowed", "The route exists, but not with this method.", "Use a method of the `Allow` header."),
    http("sync_timeout", 408, 124, "the run has not ended in time", "The wait passed its timeout; the run goes on.", "Watch the run by its `exec_id`, or wait longer."),
    http("execution_finished", 409, 6, "the run has finished", "A finished run cannot be canceled, paused or signalled.", "Nothing; start a new run if it is needed again."),
    http("execution_not_failed", 409, 6, "the run has not failed", "Only a run that ended FAILED, TIMED_OUT or CANCELED can be retried.", "Wait for its end, or fork it at a task."),
    http("task_not_reached", 409, 6, "the run has not reached the task", "A fork begins just before a task, and the run never began this one.", "Name a task that the run has begun: `compozy execution get ID --tasks`."),
    http("definition_unavailable", 409, 1, "the run's definition is not available", "The stored definition cannot be read by this version.", "Use the version that started the run, or start a new one."),
    http("definition_in_use", 409, 6, "the definition is in use", "Another definition refers to it.", "Remove the reference first."),
    http("duplicate_event", 409, 6, "the event was seen before", "An event with the same key arrived within the time of `dedupe.ttl`.", "Nothing; the first one counts."),
    http("already_exists", 409, 6, "it exists already", "Something of this name is there.", "Choose another name, or allow it to be replaced."),
    http("import_conflict", 409, 6, "the import conflicts with stored data", "The database holds other data under the same ids.", "Import into an empty database, or choose a strategy."),
    http("precondition_failed", 412, 6, "the definition has changed", "`If-Match` does not name the present revision.", "Read it again and repeat the change."),
    http("payload_too_large", 413, 2, "the body is too large", "The body is larger than `server.limits` allows.", "Send less, or raise the limit."),
    http("uri_too_long", 414, 2, "the target is too long", "The path and query are longer than `server.limits.uri_bytes`.", "Send the data in a body."),
    http("unsupported_media_type", 415, 2, "unsupported media type", "The body is not declared as JSON.", "Send `Content-Type: application/json`."),
    http("host_not_allowed", 421, 5, "the host is not served here", "The `Host` header is neither loopback, the bound host nor in `server.allowed_hosts`.", "Add the name to `server.allowed_hosts`."),
    http("input_invalid", 422, 3, "the input does not match its schema", "The workflow declares a schema and the input breaks it.", "Read `errors`, which names each place, and mend the input."),
    http("definition_invalid", 422, 3, "the definition is not valid", "The project or a definition has errors.", "Read `errors`, which holds the diagnostics with their places."),
    http("pgvector_requires_postgres", 422, 3, "pgvector needs PostgreSQL", "A vector database of provider pgvector is used with the SQLite driver.", "Use Qdrant or the filesystem provider, or PostgreSQL."),
    http("memory_failed", 422, 3, "the memory operation failed", "The key, the messages or the settings of the operation are not usable, or no summary could be had.", "See the reason; nothing was changed."),
    http("idempotency_mismatch", 422, 6, "the idempotency key was used for another request", "The same key came with another body.", "Use a new key for a new request."),
    http("run_failed", 422, 1, "the run failed", "The run ended FAILED, TIMED_OUT or CANCELED and `strict` was asked for.", "Look at the run's `error`."),
    http("rate_limited", 429, 7, "too many requests", "More requests came than `server.ratelimit` allows.", "Wait as long as `Retry-After` says."),
    http("overloaded", 429, 7, "too many runs are waiting", "`engine.max_pending` runs are waiting; nothing was stored.", "Try again later."),
    http("headers_too_large", 431, 2, "the headers are too large", "The headers are larger than `server.limits.header_bytes`.", "Send less."),
    http("internal", 500, 1, "internal error", "Something unexpected happened; the log has the details under the request id.", "Look into the log, and report it."),
    http("database_busy", 503, 7, "the database is locked", "The database was locked longer than `database.busy_timeout`.", "Try again; stop other programs that use the file."),
    http("database_unavailable", 503, 7, "the database is not available", "The database could not be reached or opened.", "Check the file or the server, then try again."),
    http("shutting_down", 503, 7, "the server is shutting down", "The server was asked to stop.", "Try again after the restart; runs go on by themselves."),
    http("not_ready", 503, 7, "the server is not ready", "The server is starting or stopping, or its database is not well.", "Wait until `/readyz` answers 200; until then it says why."),
    http("disk_full", 507, 7, "the disk is full", "The database could not grow.", "Free space; waiting runs go on by themselves."),
    local("usage", 2, "wrong usage", "A flag or argument is unknown, missing or malformed.", "Read `compozy COMMAND --help`."),
    local("timeout", 124, "the wait is over", "`--timeout` passed; the run goes on.", "Watch it with `compozy execution watch ID`."),
    local("interrupted", 130, "interrupted", "SIGINT or SIGTERM was received.", "Nothing."),
    local("already_served", 6, "the database file is served already", "Another process serves this SQLite file.", "Use that server, or stop it."),
    local("port_in_use", 6, "the port is in use", "Another program listens on the port.", "Choose another port with `--port`, or stop the other program."),
    local("schema_too_new", 6, "the database is newer than this compozy", "A newer version has migrated the database.", "Update compozy."),
    local("database_exclusive", 6, "the database is in exclusive use", "Another command holds the database.", "Wait until it has ended."),
    local("database_unusable", 6, "the database cannot be used", "The file is damaged, or is no database of compozy; nothing was written to it.", "Restore a backup, or move the file away to begin anew."),
    local("database_unwritable", 2, "the database cannot be written", "The file or its folder may not be written by this user.", "Change the owner or permissions, or set `database.path`."),
    local("server_unreachable", 7, "the server cannot be reached", "No server answers at the address.", "Start it, or fix `--server`."),
    local("memory_server_unreachable", 7, "no server holds the database in memory", "A database in memory lives in its server, and none answers.", "Start the server first."),
    local("folder_not_empty", 6, "the folder is not empty", "A new project would be mixed with what the folder holds.", "Choose another folder, or empty it."),
    local("plugin_project_not_found", 4, "no plugin project", "The folder holds no file by which a project of a known language is recognised.", "Make one with `compozy plugin new NAME --lang rust`, or change to its folder."),
    local("program_missing", 6, "a program is missing", "A build needs a compiler or package manager that is not installed.", "Install what the message names."),
    local("build_failed", 1, "the build failed", "A step of the build ended with an error, or made no WebAssembly.", "Read what the step printed; `-v` shows all of it."),
    local("cases_failed", 1, "cases failed", "A plugin did not answer as its cases expect.", "Mend the plugin, or the case."),
    local("secret_missing", 3, "a secret is missing", "A variable that a plugin may see as a secret is not set.", "Set the variable."),
    local("run_lost", 1, "the run was lost", "It ran with durability memory when the process ended.", "Start it again; choose another durability if that must not happen."),
    local("step_timeout", 1, "a step took too long", "An attempt passed its timeout.", "Raise `timeout`, or add `on_error`."),
    local("plugin_trap", 1, "a plugin trapped", "The plugin's code ended abnormally.", "Mend the plugin; the message has its backtrace."),
    local("provider_error", 1, "an LLM provider failed", "The provider refused or could not be reached.", "See the cause in the message."),
];
