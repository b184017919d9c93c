//! Exit codes (cli-and-api §3.3). They follow the problem `code`, never the text of a message.

use compozy_lang::codes;

use crate::api;

/// Ended well.
pub const OK: u8 = 0;
/// The run failed, or something unclassified did.
pub const FAILED: u8 = 1;
/// Usage: flag, argument, unreadable file.
pub const USAGE: u8 = 2;
/// Project file, workflow or run input do not hold.
pub const VALIDATION: u8 = 3;
/// Not found.
pub const NOT_FOUND: u8 = 4;
/// Authentication or authorisation.
pub const FORBIDDEN: u8 = 5;
/// Conflict or failed precondition.
pub const CONFLICT: u8 = 6;
/// Server, database or provider out of reach.
pub const UNAVAILABLE: u8 = 7;
/// `--timeout` passed while waiting.
pub const TIMEOUT: u8 = 124;
/// Interrupted.
pub const INTERRUPTED: u8 = 130;

/// The exit code that belongs to a problem code. `http_status` decides for codes of a newer server.
#[must_use]
pub fn of(code: &str, http_status: Option<u16>) -> u8 {
    codes::find(code)
        .map(|known| known.exit)
        .or_else(|| api::code::Code::find(code).map(|known| known.exit))
        .or_else(|| http_status.map(of_http))
        .or_else(|| code.ends_with("_not_found").then_some(NOT_FOUND))
        .unwrap_or(FAILED)
}

/// By class, for codes this release does not know.
fn of_http(status: u16) -> u8 {
    match status {
        401 | 403 | 421 => FORBIDDEN,
        404 => NOT_FOUND,
        408 => TIMEOUT,
        409 | 412 => CONFLICT,
        422 => VALIDATION,
        429 | 502..=504 | 507 => UNAVAILABLE,
        400..=499 => USAGE,
        _ => FAILED,
    }
}

/// The exit code of a run that ended, or stands, in a status.
#[must_use]
pub fn of_status(status: &str) -> u8 {
    if status == "SUCCESS" { OK } else { FAILED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_codes_map() {
        for (code, http, exit) in [
            ("invalid_request", Some(400), 2),
            ("unknown_parameter", Some(400), 2),
            ("unauthorized", Some(401), 5),
            ("forbidden", Some(403), 5),
            ("workflow_not_found", Some(404), 4),
            ("agent_not_found", Some(404), 4),
            ("route_not_found", Some(404), 4),
            ("method_not_allowed", Some(405), 2),
            ("sync_timeout", Some(408), 124),
            ("execution_finished", Some(409), 6),
            ("precondition_failed", Some(412), 6),
            ("payload_too_large", Some(413), 2),
            ("unsupported_media_type", Some(415), 2),
            ("host_not_allowed", Some(421), 5),
            ("input_invalid", Some(422), 3),
            ("idempotency_mismatch", Some(422), 6),
            ("run_failed", Some(422), 1),
            ("rate_limited", Some(429), 7),
            ("overloaded", Some(429), 7),
            ("internal", Some(500), 1),
            ("database_busy", Some(503), 7),
            ("disk_full", Some(507), 7),
            ("already_served", None, 6),
            ("port_in_use", None, 6),
            ("database_unusable", None, 6),
            ("database_unwritable", None, 2),
            ("timeout", None, 124),
            ("schema_too_new", None, 6),
            ("server_unreachable", None, 7),
            ("memory_server_unreachable", None, 7),
            ("CZ0101", None, 2),
            ("CZ0108", None, 3),
            ("CZ0601", None, 3),
            ("of_a_newer_server", Some(409), 6),
            ("of_a_newer_server", None, 1),
        ] {
            assert_eq!(of(code, http), exit, "{code}");
        }
    }
}
