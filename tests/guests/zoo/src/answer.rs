//! Functions whose answer is not what it should be.

use compozy_plugin::{Error, Result, log};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(crate) struct Size {
    bytes: Option<usize>,
}

pub(crate) fn giant_output(size: Size) -> Result<String> {
    Ok("x".repeat(size.bytes.unwrap_or(64 << 20)))
}

#[derive(Deserialize)]
pub(crate) struct Given {
    code: String,
    message: String,
    #[serde(default)]
    retryable: bool,
    retry_after_ms: Option<u64>,
}

pub(crate) fn error(given: Given) -> Result<Value> {
    Err(Error {
        code: given.code,
        message: given.message,
        retryable: given.retryable,
        retry_after_ms: given.retry_after_ms,
    })
}

pub(crate) fn huge_error(size: Size) -> Result<Value> {
    Err(Error::new("huge", "x".repeat(size.bytes.unwrap_or(16 << 20))))
}

pub(crate) fn huge_message_log(size: Size) -> Result<Value> {
    log::info(&"x".repeat(size.bytes.unwrap_or(16 << 20)));
    Ok(Value::Null)
}

#[derive(Deserialize)]
pub(crate) struct Words {
    message: String,
}

#[allow(clippy::panic, reason = "that is its deed")]
pub(crate) fn panic_now(words: Words) -> Result<Value> {
    std::panic::panic_any(words.message)
}

pub(crate) fn unreachable_now(_: Value) -> Result<Value> {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    Ok(Value::Null)
}
