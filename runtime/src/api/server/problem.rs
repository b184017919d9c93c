//! `GET /problems/{code}`: what a problem code means.

use axum::extract::Path;
use serde_json::json;

use crate::api::answer::{self, Answer};
use crate::api::code::{self, Code};
use crate::api::error::Problem;

pub(in crate::api) async fn get(Path(word): Path<String>) -> Answer {
    let Some(code) = Code::find(&word) else {
        return Err(Problem::new(code::PROBLEM_NOT_FOUND, "no problem has this code"));
    };
    answer::ok(&json!({
        "code": code.word,
        "title": code.title,
        "status": (code.status != 0).then_some(code.status),
        "exit_code": code.exit,
        "cause": code.cause,
        "fix": code.fix,
    }))
}
