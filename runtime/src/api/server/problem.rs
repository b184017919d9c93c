//! `GET /problems/{code}`: what a problem code, or the number of a diagnostic, means.

use axum::extract::Path;
use compozy_lang::codes;
use serde_json::json;

use crate::api::answer::{self, Answer};
use crate::api::code;
use crate::api::error::Problem;

pub(in crate::api) async fn get(Path(word): Path<String>) -> Answer {
    let Some(code) = codes::find(&word) else {
        return Err(Problem::new(code::PROBLEM_NOT_FOUND, "no problem or diagnostic has this code"));
    };
    answer::ok(&json!({
        "code": code.code,
        "title": code.title,
        "status": code.http,
        "exit_code": code.exit,
        "cause": code.cause,
        "fix": code.help,
    }))
}
